"""A strategy file as something to play: names, slices, and data that are not there."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tapeline.backtest.data_check.findings import DataUnfit
from tapeline.backtest.engine.market import load_bars, market_of_trades
from tapeline.cli.app import app
from tapeline.cli.runs import RunStore
from tapeline.cli.sources import BadSource
from tapeline.cli.strategy_source import Wanted, looked_at, prepared_strategy, slice_of, stem_of
from tapeline.contracts.config import Account, Instrument, Mandate, TradingGroup
from tapeline.contracts.orders import Mode
from tapeline.market_data.feeds.ccxt_feed import instrument_id_of
from tapeline.market_data.feeds.interface import make_feed

PAGE = Path(__file__).parents[2] / "docs" / "how-to-add-a-trigger.md"


@pytest.mark.parametrize(
    ("interval", "expected"),
    [("1m", "15s"), ("10s", "2s"), ("3s", "1s"), ("1s", "1s"), ("1d", "21600s"), ("5s", "1s")],
)
def test_a_slice_is_a_part_of_a_bar_in_whole_seconds(interval: str, expected: str) -> None:
    assert slice_of(interval) == expected


def test_a_run_is_named_for_its_file() -> None:
    assert stem_of(Path("My_Idea 2.py")) == "my-idea-2"


def test_data_that_are_not_there_make_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no file"):
        prepared_strategy(tmp_path, Wanted(path=tmp_path / "m.py", trades=(tmp_path / "none",)))
    data = tmp_path / "t.parquet"
    data.touch()
    with pytest.raises(BadSource, match="needs its instrument"):
        prepared_strategy(tmp_path, Wanted(path=tmp_path / "m.py", trades=(data,)))
    one_short = Wanted(path=tmp_path / "m.py", trades=(data, data), instruments=("A.X",))
    with pytest.raises(BadSource, match="2 files and 1 instruments"):
        prepared_strategy(tmp_path, one_short)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def strategy(tmp_path: Path) -> Path:
    """The strategy of the docs, in a file."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    path = tmp_path / "mine.py"
    path.write_text(found.group(1))
    return path


def test_several_files_are_several_instruments(tmp_path: Path, strategy: Path) -> None:
    files = (tmp_path / "a.parquet", tmp_path / "b.parquet")
    for file in files:
        file.touch()
    wanted = Wanted(path=strategy, trades=files, instruments=("A.SIM", "B.SIM"))
    run, configuration, source = prepared_strategy(tmp_path, wanted)
    assert run.is_paced
    names = [instrument.instrument_id for instrument in configuration.of(Instrument)]
    assert names == ["A.SIM", "B.SIM"]
    for group in (*configuration.of(TradingGroup), *configuration.of(Mandate)):
        assert group.instruments == ("A.SIM", "B.SIM")
    options = json.loads(source.feed_options["TAPELINE_MARKET_DATA_FEED_OPTIONS"])
    told = [tomllib.loads(Path(path).read_text()) for path in options["mapping"].split(",")]
    assert [(one["instrument_id"], one["path"]) for one in told] == [
        ("A.SIM", str(files[0])),
        ("B.SIM", str(files[1])),
    ]


def test_what_is_no_file_is_not_looked_at(tmp_path: Path) -> None:
    live = Wanted(path=tmp_path / "m.py", live="binance", instruments=("BTC/USDT",))
    assert looked_at(tmp_path, live, accept_faults=False) == ()


def test_times_that_a_backtest_reads_are_read_on_paper_too(tmp_path: Path, strategy: Path) -> None:
    data = tmp_path / "a.csv"
    data.write_text("ts_event_ns,price,size\n2024-01-01T00:00:00,10,1\n2024-01-01 00:00:01,11,2\n")
    wanted = Wanted(path=strategy, trades=(data,), instruments=("A.X",))
    _, _, source = prepared_strategy(tmp_path, wanted)
    (options,) = source.feed_options.values()

    async def found() -> list[Any]:
        feed = make_feed("recorded", json.loads(options))
        return [raw.ts_event_ns async for batch in feed.batches({}) for raw in batch]

    assert asyncio.run(found()) == [1_704_067_200 * 10**9, 1_704_067_201 * 10**9]


def test_minutes_are_hours_on_paper_as_in_a_backtest(tmp_path: Path, strategy: Path) -> None:
    data, minute_ns = tmp_path / "a.parquet", 60 * 10**9
    closes = [100.0 + number % 7 for number in range(190)]
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    times = [number * minute_ns for number in range(190)]
    volumes = [1.0] * 190
    pl.DataFrame({"ts_open_ns": times, **prices, "volume": volumes}).write_parquet(data)
    wanted = Wanted(path=strategy, bars=(data,), instruments=("A.X",), interval="1h")
    _, _, source = prepared_strategy(tmp_path, wanted)
    (options,) = source.feed_options.values()

    async def found() -> list[Any]:
        feed = make_feed("recorded", json.loads(options))
        return [raw async for batch in feed.batches({}) for raw in batch]

    ticks = asyncio.run(found())
    bars = market_of_trades(
        np.array([tick.ts_event_ns for tick in ticks]),
        np.array([tick.price for tick in ticks]),
        np.array([tick.size for tick in ticks]),
        60 * minute_ns,
    )
    tested = load_bars(data, {}, 60 * minute_ns)
    assert tested.close.tolist() == bars.close.tolist() == [closes[59], closes[119], closes[179]]
    assert tested.end_ns.tolist() == bars.end_ns.tolist()


@pytest.mark.parametrize("is_faulty", [False, True])
def test_faulty_data_are_not_played_on_paper_unless_accepted(
    tmp_path: Path, strategy: Path, monkeypatch: pytest.MonkeyPatch, is_faulty: bool
) -> None:
    data = tmp_path / "a.csv"
    prices = [100.0 + number % 3 for number in range(200)]
    if is_faulty:
        prices[90] = 10_000.0
    times = [1_600_000_020_000_000_000 + number * 10**9 for number in range(200)]
    frame = pl.DataFrame({"ts_event_ns": times, "price": prices, "size": [1.0] * 200})
    frame.write_csv(data)
    played: list[str] = []

    def run_demo(*arguments: Any) -> dict[str, Any]:
        played.append(arguments[1].name)
        return {"checks": {"replay equal byte for byte": True}}

    monkeypatch.setenv("TAPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tapeline.cli.demo.run_demo", run_demo)
    words = ["run", str(strategy), "--trades", str(data), "--instrument", "A.X", "--json"]
    if is_faulty:
        with pytest.raises(DataUnfit, match="ABSURD_PRICE"):
            CliRunner().invoke(app, words, catch_exceptions=False)
        assert not (tmp_path / "home" / "runs").exists()
        words.append("--accept-data-faults")
    said = json.loads(CliRunner().invoke(app, words, catch_exceptions=False).stdout)
    assert played == ["mine-1"]
    assert any("ABSURD_PRICE" in line for line in said["data_warnings"]) is is_faulty
    # A report that is made of the run later tells the same.
    kept = RunStore(tmp_path / "home").get("mine-1")
    assert list(kept.data_warnings) == said["data_warnings"]


def test_an_exchange_is_followed_in_real_time_on_paper(tmp_path: Path, strategy: Path) -> None:
    wanted = Wanted(path=strategy, live="binance", instruments=("BTC/USDT", "SOL/USDT"))
    run, configuration, source = prepared_strategy(tmp_path, wanted)
    assert (run.is_paced, run.feed) == (False, "ccxt")
    options = json.loads(source.feed_options["TAPELINE_MARKET_DATA_FEED_OPTIONS"])
    assert options == {"exchange": "binance", "symbols": "BTC/USDT,SOL/USDT"}
    names = [instrument.instrument_id for instrument in configuration.of(Instrument)]
    assert names == ["BTCUSDT.BINANCE", "SOLUSDT.BINANCE"]
    assert names == [instrument_id_of(symbol, "binance") for symbol in wanted.instruments]
    (account,) = configuration.of(Account)
    assert (account.venue, account.mode) == ("BINANCE", Mode.PAPER)
    two = prepared_strategy(tmp_path, Wanted(path=strategy, live="kraken"))[1].of(Instrument)
    assert len(two) == 2, "those of the demo, where none is named"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"live": "binance", "instruments": ("BTCUSDT",)}, "no spot symbol of an exchange"),
        ({"instruments": ("A.X", "B.Y")}, "an account has one venue"),
        ({"instruments": ("A.X", "A.X")}, "named twice"),
        ({"live": "binance", "trades": (Path(__file__),)}, "Several sources"),
    ],
)
def test_instruments_that_do_not_go_together_are_refused(
    tmp_path: Path, strategy: Path, more: Any, message: str
) -> None:
    with pytest.raises(BadSource, match=message):
        prepared_strategy(tmp_path, Wanted(path=strategy, **more))
