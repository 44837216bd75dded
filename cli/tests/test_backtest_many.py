"""`tapeline backtest` over a folder and `tapeline sweep` over a file: each is the runs it stands
for, and the file of a sweep is read once."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from engine_samples import MINUTE, START, TURNER
from typer.testing import CliRunner

from tapeline.backtest.data_check.findings import DataUnfit
from tapeline.backtest.engine.kept_market import kept_market
from tapeline.backtest.engine.loading import Care, Source
from tapeline.backtest.engine.market import load_bars, load_trades
from tapeline.backtest.engine.run import run_market
from tapeline.backtest.engine.setup import Costs, Setup
from tapeline.cli import sweeps
from tapeline.cli.app import app
from tapeline.cli.commands.backtest_file import BadOption
from tapeline.cli.commands.backtest_folder import SomeRefused
from tapeline.runtime.exits import Failure, Stopped

PLAN = ("--param", "fast=2", "--param", "slow=5")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trades of three instruments."""
    monkeypatch.setenv("TAPELINE_HOME", str(tmp_path / "home"))
    found = tmp_path / "files"
    found.mkdir()
    for number in range(3):
        written(found / f"X{number}.SIM.parquet", number)
    return found


def written(path: Path, seed: int, count: int = 3000) -> Path:
    chance = np.random.default_rng(seed)
    pl.DataFrame(
        {
            "ts_event_ns": START + np.cumsum(chance.integers(1, 5_000_000_000, count)),
            "price": np.round(100 + np.cumsum(chance.normal(0, 0.05, count)), 2),
            "size": chance.integers(1, 9, count).astype(float),
        }
    ).write_parquet(path)
    return path


def said(*words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    return json.loads(done.stdout[done.stdout.index("{") :])


def test_a_folder_is_played_as_each_of_its_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("no data")
    facts = said("backtest", "--trades", str(folder), "--workers", "2", *PLAN)
    alone = [
        said("backtest", "--trades", str(path), "--instrument", path.stem, *PLAN)
        for path in sorted(folder.glob("*.parquet"))
    ]
    assert [run["digest"] for run in facts["runs"]] == [run["digest"] for run in alone]
    assert [run["instrument"] for run in facts["runs"]] == ["X0.SIM", "X1.SIM", "X2.SIM"]
    assert facts["orders"] == sum(run["orders"] for run in alone) > 0
    table = pl.read_parquet(facts["results"])
    assert table["final_equity"].to_list() == [run["final_equity"] for run in alone]
    assert all(Path(run["folder"]).is_dir() for run in facts["runs"])


def test_a_folder_of_text_is_played_like_one_of_parquet(folder: Path) -> None:
    wanted = said("backtest", "--trades", str(folder), *PLAN)
    for number in range(1, 3):
        path = folder / f"X{number}.SIM.parquet"
        text = pl.read_parquet(path).write_csv().encode()
        path.unlink()
        if number == 1:
            (folder / "X1.SIM.csv").write_bytes(text)
        else:
            (folder / "X2.SIM.CSV.gz").write_bytes(gzip.compress(text))
    (folder / ".X3.SIM.csv").write_text("hidden")
    (folder / "X4.SIM.xlsx").write_text("no data")
    (folder / "X5.SIM.csv").mkdir()
    facts = said("backtest", "--trades", str(folder), *PLAN)
    for name in ("instrument", "digest"):
        assert [run[name] for run in facts["runs"]] == [run[name] for run in wanted["runs"]]
    assert facts["left_out"] == ["X4.SIM.xlsx", "X5.SIM.csv"]
    (folder / "X1.SIM.csv.gz").write_text("the same again")
    with pytest.raises(BadOption, match=r"X1\.SIM\.csv and X1\.SIM\.csv\.gz are both"):
        said("backtest", "--trades", str(folder), *PLAN)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_file_that_cannot_be_read_is_named(folder: Path, ending: str) -> None:
    (folder / f"BAD.SIM{ending}").write_bytes(b"\x1f\x8b no such thing")
    done = CliRunner().invoke(app, ["backtest", "--trades", str(folder), *PLAN, "--json"])
    assert isinstance(done.exception, SomeRefused)
    assert f"BAD.SIM{ending} cannot be read" in done.exception.cause


def test_a_file_that_is_refused_is_named_and_stops_no_other(folder: Path) -> None:
    bad = folder / "X1.SIM.parquet"
    pl.read_parquet(bad).reverse().write_parquet(bad)
    words = ["backtest", "--trades", str(folder), *PLAN, "--json"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, SomeRefused)
    assert "X1.SIM" in done.exception.cause
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    assert facts["instruments"] == 2
    assert "row 1 is earlier" in facts["runs"][1]["refused"]


def test_what_a_folder_cannot_be_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    trades = ["--trades", str(folder)]
    for words in (
        [*trades, "--instrument", "X.SIM"],
        [*trades, "--workers", "-1"],
        ["--trades", str(empty)],
    ):
        with pytest.raises(BadOption):
            CliRunner().invoke(app, ["backtest", *words], catch_exceptions=False)


def test_a_kept_market_is_the_one_that_was_read(folder: Path, tmp_path: Path) -> None:
    path = folder / "X0.SIM.parquet"
    source = Source(path=path, is_bars=False, block_rows=700)
    kept, _ = source.keep(MINUTE, Care(), tmp_path / "kept")
    again, _ = source.keep(MINUTE, Care(), tmp_path / "kept")
    assert again == kept
    assert [item.name for item in (tmp_path / "kept").iterdir()] == [kept.name]
    plan = Setup(
        instrument_id="X.SIM",
        strategy="sma_cross",
        parameters={"fast": "2", "slow": "5"},
        # So small a share that orders stay open over many ticks.
        costs=Costs(participation_max=Decimal("0.02")),
    )
    wanted = run_market(plan, load_trades(path, {}, MINUTE))
    path.unlink()
    found = run_market(plan, kept_market(kept))
    assert found.digest == wanted.digest
    assert len(found.said.fills) > 2 * len(found.said.approvals)


def test_a_part_of_a_market_is_a_file_of_that_part(folder: Path, tmp_path: Path) -> None:
    path = folder / "X0.SIM.parquet"
    market = load_trades(path, {}, MINUTE)
    start_ns, end_ns = START + 20 * MINUTE, START + 90 * MINUTE
    cut = tmp_path / "cut.parquet"
    time = pl.col("ts_event_ns")
    pl.read_parquet(path).filter((time >= start_ns) & (time < end_ns)).write_parquet(cut)
    plan = Setup(instrument_id="X.SIM", strategy="sma_cross", parameters={"fast": "2", "slow": "5"})
    part = market.part(start_ns, end_ns)
    assert part is not None
    found, wanted = run_market(plan, part), run_market(plan, load_trades(cut, {}, MINUTE))
    money = [(one.side, one.price, one.ts_event_ns) for one in found.said.fills]
    assert money == [(one.side, one.price, one.ts_event_ns) for one in wanted.said.fills]
    assert (found.final_equity, part.tick_count) == (wanted.final_equity, wanted.market.tick_count)
    assert run_market(plan, part, is_scalar=True).digest == found.digest
    assert market.part(0, START) is None


SWEPT = ("--param", "fast=2,3,9", "--param", "slow=5,8", "--objective", "total_return")


def test_the_trials_of_a_sweep_are_backtests_of_their_part(folder: Path, tmp_path: Path) -> None:
    path = folder / "X0.SIM.parquet"
    words = ("sweep", "--trades", str(path), "--instrument", "X.SIM", "--workers", "2", *SWEPT)
    summary = said(*words)
    rows = {(row["fast"], row["slow"]): row for row in summary["rows"] if row["part"] == "in"}
    assert len(rows) == 6
    assert rows["9", "5"]["refused"]
    window = summary["folds"][0]["in_sample"]
    market = load_trades(path, {}, MINUTE).part(window["start_ns"], window["end_ns"])
    assert market is not None
    for (fast, slow), row in rows.items():
        if not row["refused"]:
            plan = Setup(
                instrument_id="X.SIM",
                strategy="sma_cross",
                parameters={"fast": fast, "slow": slow},
                data_digest=market.digest,
            )
            assert run_market(plan, market).digest == row["digest"]
    # Nothing is played twice, and what is kept is enough.
    seconds = summary["seconds_played"]
    assert said(*words)["seconds_played"] == seconds


def test_bars_are_swept_too(folder: Path, tmp_path: Path) -> None:
    del folder
    close = np.round(100 + np.cumsum(np.random.default_rng(1).normal(0, 0.2, 400)), 2)
    path = tmp_path / "bars.parquet"
    pl.DataFrame(
        {
            "ts_open_ns": START + MINUTE * np.arange(400),
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": np.ones(400),
        }
    ).write_parquet(path)
    summary = said("sweep", "--bars", str(path), "--instrument", "X.SIM", "--workers", "1", *SWEPT)
    assert summary["folds"][0]["in"]["total_return"] is not None
    assert summary["folds"][0]["out"] is not None
    kept = next((tmp_path / "home" / "tape" / "markets").iterdir())
    assert kept_market(kept).digest == load_bars(path, {}, MINUTE).digest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trades", "x.parquet", "--kubernetes", "2"], "have no file of this machine"),
        (["--trades", "x.parquet", "--preset", "demo"], "A file and a preset or run"),
        (["--kubernetes", "2"], "Name one thing to play"),
        (["--preset", "demo", "--method", "guess", "--kubernetes", "2"], "'guess' is unknown"),
    ],
)
def test_a_sweep_that_cannot_be_is_told_before_anything_is_read(
    words: list[str], said: str
) -> None:
    with pytest.raises(Failure, match=said):
        CliRunner().invoke(app, ["sweep", *SWEPT, *words], catch_exceptions=False)


def test_a_sweep_none_of_whose_points_can_be_played_is_an_error(folder: Path) -> None:
    words = ["sweep", "--trades", str(folder / "X0.SIM.parquet"), "--instrument", "X.SIM"]
    for wrong, why in (("fats=3,5", "unknown parameter fats"), ("fast=40,50", "0 < fast < slow")):
        with pytest.raises(Failure, match=f"None of 2 points could be played.*{why}"):
            CliRunner().invoke(app, [*words, "--param", wrong], catch_exceptions=False)


def test_a_sweep_that_is_stopped_says_how_it_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "run", stopped)
    words = ["sweep", "--trades", str(folder / "X0.SIM.parquet"), "--instrument", "X.SIM", *SWEPT]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, Stopped)
    assert done.exception.exit_code == 130
    assert "goes on with the trials" in done.exception.remedy


def test_a_sweep_shows_money_as_money(folder: Path) -> None:
    words = ["sweep", "--trades", str(folder / "X0.SIM.parquet"), "--instrument", "X.SIM", *SWEPT]
    shown = CliRunner().invoke(app, words, catch_exceptions=False, env={"COLUMNS": "200"}).stdout
    assert "e+0" not in shown


def test_a_sweep_over_faulty_data_is_refused_or_says_so(folder: Path) -> None:
    path = folder / "X0.SIM.parquet"
    frame = pl.read_parquet(path)
    price = frame["price"].to_numpy().copy()
    price[1500] = 1_000.0
    frame.with_columns(pl.Series("price", price)).write_parquet(path)
    words = ["sweep", "--trades", str(path), "--instrument", "X.SIM", *SWEPT]
    with pytest.raises(DataUnfit, match="ABSURD_PRICE"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    summary = said(*words, "--accept-data-faults", "--workers", "1")
    assert any("ABSURD_PRICE" in line for line in summary["warnings"])


def test_a_sweep_of_a_strategy_file_that_was_changed_is_another(
    folder: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(TURNER)
    words = ["sweep", "--trades", str(folder / "X0.SIM.parquet"), "--instrument", "X.SIM"]
    words += ["--strategy", str(mine), "--param", "every=2,3", "--objective", "total_return"]
    before = said(*words)
    assert [row["refused"] for row in before["rows"]] == [""] * 3
    assert said(*words)["rows"] == before["rows"]  # taken from the book
    mine.write_text(TURNER.replace("Direction.LONG if", "Direction.FLAT if"))
    after = said(*words)
    assert {row["digest"] for row in after["rows"]}.isdisjoint(
        row["digest"] for row in before["rows"]
    )
