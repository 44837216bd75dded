"""`tapeline report`, `backtests` and `data check` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from made_runs import crossover
from typer.testing import CliRunner

from tapeline.backtest.run_folders import NoSuchRun
from tapeline.cli.app import app
from tapeline.cli.commands.data import BadMapping

RUNNER = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPELINE_HOME", str(tmp_path))
    for seed in (3, 5):
        name = f"cross-{seed}"
        crossover(seed, 60 * 24 * 40, name).save(tmp_path / "backtests" / name)
    return tmp_path


def test_a_report_is_written_and_told(home: Path) -> None:
    done = RUNNER.invoke(app, ["report", "cross-3"])
    assert done.exit_code == 0, done.output
    assert "Sharpe ratio" in done.output
    folder = home / "backtests" / "cross-3"
    assert "<!doctype html>" in (folder / "report.html").read_text()
    assert json.loads((folder / "report.json").read_text())["run"]["run_id"] == "cross-3"


def test_a_report_for_scripts_is_one_document(home: Path) -> None:
    done = RUNNER.invoke(app, ["report", "cross-5", "--json", "--out", str(home / "x.html")])
    facts = json.loads(done.output)
    assert facts["html"] == str(home / "x.html")
    assert facts["figures"]["sharpe"].keys() == {"value", "unit", "reason"}
    assert (home / "x.json").is_file()


def test_an_unknown_run_is_named_with_those_there_are(home: Path) -> None:
    done = RUNNER.invoke(app, ["report", "nothing"])
    assert isinstance(done.exception, NoSuchRun)
    assert "cross-5" in done.exception.remedy


def test_backtests_are_listed_and_deleted(home: Path) -> None:
    assert "cross-5" in RUNNER.invoke(app, ["backtests", "list"]).output
    assert RUNNER.invoke(app, ["backtests", "delete", "cross-5", "--yes"]).exit_code == 0
    found = json.loads(RUNNER.invoke(app, ["backtests", "list", "--json"]).output)
    assert [run["run_id"] for run in found] == ["cross-3"]


def test_data_that_is_unfit_ends_with_one(tmp_path: Path) -> None:
    good = {"time": [1_700_000_000_000_000_000 + at for at in range(3)], "price": [1.0, 2.0, 3.0]}
    pl.DataFrame(good).write_parquet(tmp_path / "good.parquet")
    pl.DataFrame({**good, "price": [1.0, 0.0, 3.0]}).write_csv(tmp_path / "bad.csv")
    options = ["--column", "ts_event_ns=time"]
    fine = RUNNER.invoke(app, ["data", "check", str(tmp_path / "good.parquet"), *options])
    assert fine.exit_code == 0, fine.output
    assert "fit for a run" in fine.output
    bad = RUNNER.invoke(app, ["data", "check", str(tmp_path / "bad.csv"), *options, "--json"])
    assert bad.exit_code == 1
    (report,) = json.loads(bad.output)
    assert report["is_fit"] is False
    assert [one["code"] for one in report["findings"]] == ["PRICE_NOT_POSITIVE", "NO_VOLUME"]
    wrong = RUNNER.invoke(app, ["data", "check", str(tmp_path / "bad.csv"), "--column", "time"])
    assert isinstance(wrong.exception, BadMapping)


def test_several_runs_are_compared(home: Path) -> None:
    done = RUNNER.invoke(app, ["report", "cross-3", "cross-5"])
    assert done.exit_code == 0, done.output
    assert "parameter seed" in done.output
    assert "2 runs side by side" in (home / "backtests" / "comparison.html").read_text()
    facts = json.loads(RUNNER.invoke(app, ["report", "cross-3", "cross-5", "--json"]).output)
    assert [run["name"] for run in facts["runs"]] == ["cross-3", "cross-5"]
    assert facts["differs"]["parameter seed"] == ["3", "5"]
