"""`tapeline backtest`: what scripts read, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tapeline.backtest.data_check.findings import DataUnfit
from tapeline.backtest.run_tables import load
from tapeline.cli.app import app

MINUTE = 60_000_000_000
START = 1_600_000_020_000_000_000
NAMES = "events bars orders fills fees final_equity load_seconds engine_seconds peak_rss_mb digest"


@pytest.fixture
def bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPELINE_HOME", str(tmp_path / "home"))
    closes = [10.0, 11, 12, 9, 8, 13, 14]
    opens = [10.0, 11, 12, 12, 9, 8, 13]
    frame = pl.DataFrame(
        {
            "ts_open_ns": [START + number * MINUTE for number in range(len(closes))],
            "open": opens,
            "high": [max(pair) for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) for pair in zip(opens, closes, strict=True)],
            "close": closes,
            "volume": [1.0] * len(closes),
        }
    )
    path = tmp_path / "bars.parquet"
    frame.write_parquet(path)
    return path


def command(path: Path, *more: str) -> list[str]:
    given = ["--instrument", "X.SIM", "--param", "fast=2", "--param", "slow=3", *more]
    return ["backtest", "--bars", str(path), *given]


def test_one_json_object_says_what_came_of_it(bars: Path) -> None:
    done = CliRunner().invoke(app, command(bars, "--json"), catch_exceptions=False)
    facts = json.loads(done.stdout)
    assert set(NAMES.split()) <= set(facts)
    assert (facts["events"], facts["bars"], facts["orders"], facts["fills"]) == (7, 7, 2, 2)
    assert facts["final_equity"] == pytest.approx(1_000_000 + 9 - 26 + 14 - 0.035, abs=1e-9)
    assert load(Path(facts["folder"])).description.digest == facts["digest"]
    again = CliRunner().invoke(app, command(bars, "--json", "--scalar"), catch_exceptions=False)
    assert json.loads(again.stdout)["digest"] == facts["digest"]


def test_a_csv_file_in_milliseconds_comes_to_the_same(bars: Path) -> None:
    wanted = CliRunner().invoke(app, command(bars, "--json"), catch_exceptions=False)
    path = bars.with_suffix(".csv")
    renamed = pl.read_parquet(bars).rename({"ts_open_ns": "open_time"})
    renamed.with_columns(pl.col("open_time") // 1_000_000).write_csv(path)
    how = ("--columns", "ts_open_ns=open_time", "--time-format", "ms")
    done = CliRunner().invoke(app, command(path, *how, "--json"), catch_exceptions=False)
    assert json.loads(done.stdout)["digest"] == json.loads(wanted.stdout)["digest"]
    described = load(Path(json.loads(done.stdout)["folder"])).description
    assert described.source == str(path)
    assert "--time-format ms" in described.command


def test_without_json_a_person_reads_it(bars: Path) -> None:
    done = CliRunner().invoke(app, command(bars), catch_exceptions=False)
    assert "orders 2, denied 0, fills 2" in done.stdout
    assert "  assumed   fees                    maker 0 %, taker 0.1 %\n" in done.stdout
    assert "  left out  borrow                  X.SIM 0 %\n" in done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--strategy", "smaa"], "no implementation 'smaa'"),
        (["--param", "quick=3"], "unknown parameter quick"),
        (["--param", "slow=much"], "slow is 'much'"),
        (["--param", "slow"], "no name=value"),
        (["--param", "slow=2"], "needs 0 < fast < slow"),
        (["--interval", "soon"], "no duration"),
        (["--interval", "10ms"], "whole number of seconds"),
        (["--quantity", "0"], "--quantity 0 is not a number above 0"),
        (["--fee-taker", "NaN"], "--fee-taker NaN"),
        (["--slippage", "some"], "--slippage some is unknown"),
        (["--fill", "never"], "--fill never is unknown"),
        (["--trades", "other.parquet"], "either trades or bars"),
        (["--strategy", "absent.py"], "There is no strategy file absent.py in"),
        (["--fee-taker", "1"], "--fee-taker 1 is no share"),
        (["--drawdown-max", "20"], "--drawdown-max 20 is no share"),
        (["--daily-loss-max", "1"], "--daily-loss-max 1 is no share"),
        (["--time-format", "minutes"], "minutes is no unit and no form"),
        (["--columns", "open=o"], "has no column o;"),
        (["--from", "yesterday"], "'yesterday' is no time"),
        (["--from", "2020-09-14", "--to", "2020-09-13"], "is no time"),
        (["--to", "2020-09-13"], "Its rows are of 2020-09-13T12:27:00"),
        (["--set", "venue.*.taker_fee_rate=0", "--groups", "trend"], "--groups, --set means"),
        (["--run-id", "mine"], "--run-id means nothing over a file"),
        (["--llm", "offline"], "--llm means nothing over a file"),
    ],
)
def test_what_means_nothing_is_refused(bars: Path, more: list[str], said: str) -> None:
    done = CliRunner().invoke(app, command(bars, *more))
    assert done.exit_code != 0
    shown = f"{done.exception} {getattr(done.exception, 'remedy', '')}"
    assert said in shown
    assert getattr(done.exception, "remedy", "")


def test_faulty_data_is_refused_unless_it_is_accepted(bars: Path) -> None:
    frame = pl.read_parquet(bars).with_columns(high=pl.col("high") - 1.5)
    frame.write_parquet(bars)
    refused = CliRunner().invoke(app, command(bars))
    assert isinstance(refused.exception, DataUnfit)
    assert "IMPOSSIBLE_BAR" in refused.exception.cause
    assert "--accept-data-faults" in refused.exception.remedy
    done = CliRunner().invoke(app, command(bars, "--accept-data-faults", "--json"))
    facts = json.loads(done.stdout)
    assert facts["warnings"][0].startswith("run with --accept-data-faults")
    description = load(Path(facts["folder"])).description
    assert list(description.warnings) == facts["warnings"]
    assert "--accept-data-faults" in description.command


def test_the_command_that_is_kept_makes_the_same_run(bars: Path) -> None:
    first = CliRunner().invoke(app, command(bars, "--json", "--quantity", "0.5", "--scalar"))
    facts = json.loads(first.stdout)
    kept = load(Path(facts["folder"])).description.command
    again = CliRunner().invoke(app, [*shlex.split(kept)[1:], "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["digest"] == facts["digest"]


@pytest.mark.parametrize(
    "more", [["--fee-taker", "0.002"], ["--quantity", "2"], ["--strategy", "breakout"]]
)
def test_options_of_files_are_no_options_of_presets(more: list[str]) -> None:
    for name in ("backtest", "sweep"):
        done = CliRunner().invoke(app, [name, "--preset", "econometrics", *more])
        assert f"{more[0]} means nothing over a preset" in str(done.exception)


def test_of_a_part_of_the_time_only_its_bars_are_played(bars: Path) -> None:
    """From the second bar to the sixth: the first lies before, the last ends behind."""
    part = ["--from", "2020-09-13T12:28:00", "--to", "2020-09-13T12:33:30"]
    done = CliRunner().invoke(app, [*command(bars), *part, "--json"], catch_exceptions=False)
    pl.read_parquet(bars)[1:6].write_parquet(bars.with_name("part.parquet"))
    alone = CliRunner().invoke(app, [*command(bars.with_name("part.parquet")), "--json"])
    facts, wanted = json.loads(done.stdout), json.loads(alone.stdout)
    assert facts["events"] == 5
    assert (facts["digest"], facts["run_id"]) == (wanted["digest"], wanted["run_id"])
    kept = load(Path(facts["folder"])).description.command
    again = CliRunner().invoke(app, [*shlex.split(kept)[1:], "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["digest"] == facts["digest"]


def test_a_file_of_the_other_kind_is_told(bars: Path) -> None:
    done = CliRunner().invoke(app, ["backtest", "--trades", str(bars), "--instrument", "X.SIM"])
    assert getattr(done.exception, "remedy", "") == "It is a file of bars: give it with --bars."
