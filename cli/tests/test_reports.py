"""`tapeline report`, `backtests` and `data check` from the outside."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from made_runs import crossover
from run_samples import RUN
from typer.testing import CliRunner

from tapeline.backtest.run_folders import NoSuchRun
from tapeline.backtest.run_tables import DESCRIPTION
from tapeline.cli.app import app
from tapeline.cli.commands.data import BadMapping
from tapeline.cli.recorded import dated
from tapeline.cli.runs import RunStore

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


def test_the_newest_is_last_and_the_one_before_it_last_1(home: Path) -> None:
    folders = [home / "backtests" / name for name in ("cross-5", "cross-3")]
    for at, folder in enumerate(folders):
        os.utime(folder / DESCRIPTION, (1_000 + at, 1_000 + at))
    for words, name in (([], "cross-3"), (["last"], "cross-3"), (["last~1"], "cross-5")):
        said = json.loads(RUNNER.invoke(app, ["report", *words, "--json"]).output)
        assert said["run"]["run_id"] == name
    several = json.loads(RUNNER.invoke(app, ["report", "last~1", "last", "--json"]).output)
    assert [run["name"] for run in several["runs"]] == ["cross-5", "cross-3"]
    parity = json.loads(RUNNER.invoke(app, ["parity", "last~1", "last", "--json"]).output)
    assert (parity["a"]["run_id"], parity["b"]["run_id"]) == ("cross-5", "cross-3")
    for command in (["report", "last~2"], ["parity", "last~2", "last"]):
        failed = RUNNER.invoke(app, command).exception
        assert isinstance(failed, NoSuchRun)
        assert "last~2" in failed.cause


def test_the_last_to_compare_is_tested_or_recorded(home: Path) -> None:
    for at, name in enumerate(("cross-3", "cross-5")):
        os.utime(home / "backtests" / name / DESCRIPTION, (1_000 + at, 1_000 + at))
    run = replace(RUN, name="demo-1", run_id="demo-1-x", started_ns=1_000_500_000_000)
    RunStore(home).save(run)
    names = [Path(dated(name)).name for name in ("last", "last~1", "last~2", "demo-1", "lasting")]
    assert names == ["cross-5", "demo-1", "cross-3", "demo-1", "lasting"]


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
