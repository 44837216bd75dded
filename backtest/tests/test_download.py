"""Public history over HTTP, as the exchange's own protocol has it: whole, paged, taken up again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from history_server import MINUTE_MS, History

from tapeline.backtest.tape.download import (
    ATTEMPTS_MAX,
    Download,
    ExchangeSilent,
    NothingFound,
    TooManyAtOnce,
    Wanted,
    options_of,
)
from tapeline.market_data.feeds.interface import FeedError
from tapeline.runtime import clock

START_MS = 1_570_752_000_000
CONFIG = {"options": {"fetchMarkets": {"types": ["spot"]}}, "rateLimit": 1}


def bars(
    count: int, *, without: tuple[int, ...] = ()
) -> list[tuple[int, float, Any, Any, Any, Any]]:
    return [
        (START_MS + index * MINUTE_MS, 1.0 + index, 2.0 + index, 0.5, 1.5, float(index))
        for index in range(count)
        if index not in without
    ]


def trades(count: int, a_ms: int = 1) -> list[tuple[int, int, float, float, bool]]:
    """`a_ms` trades in each millisecond."""
    return [
        (100 + index, START_MS + index // a_ms, 1.0 + index / 8, 0.5, index % 2 == 0)
        for index in range(count)
    ]


class Pauses:
    """Notes how long it would have waited, and goes on at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def downloaded(
    history: History,
    path: Path,
    what: str = "1m",
    *,
    until_ms: int = START_MS + 10**9,
    pauses: Pauses | None = None,
    **changes: Any,
) -> int:
    async def run() -> int:
        runner = await history.start()
        exchange, symbol = changes.get("exchange", "binance"), changes.get("symbol", "XRP/ETH")
        wanted = Wanted(
            options=options_of(exchange, symbol, CONFIG, history.url),
            start_ns=START_MS * 1_000_000,
            end_ns=until_ms * 1_000_000,
            what=what,
        )
        try:
            on_page = changes.get("on_page", lambda _rows, _ms: None)
            return await Download(wanted, pauses or Pauses()).to(path, on_page)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_bars_come_page_by_page_and_whole(tmp_path: Path) -> None:
    path, history = tmp_path / "bars.parquet", History(bars=bars(2500, without=(7, 1000, 1001)))
    assert downloaded(history, path) == 2497
    frame = pl.read_parquet(path)
    assert frame.columns == ["ts_open_ns", "open", "high", "low", "close", "volume"]
    expected = [(at * 1_000_000, *prices) for at, *prices in history.bars]
    assert frame.rows() == expected
    assert pl.read_parquet_metadata(path)["instrument_id"] == "XRPETH.BINANCE"
    assert not path.with_name("bars.parquet.pages").exists()


HOUR_MS = 60 * MINUTE_MS


def test_hours_without_a_trade_do_not_end_the_download(tmp_path: Path) -> None:
    late = [(9, START_MS + 5 * HOUR_MS, 7.0, 1.0, True)]
    history = History(trades=[*trades(10), *late])
    path = tmp_path / "trades.parquet"
    assert downloaded(history, path, "trades", until_ms=START_MS + 8 * HOUR_MS) == 11
    assert pl.read_parquet(path)["price"].to_list()[-1] == 7.0


@pytest.mark.parametrize("what", ["1m", "trades"])
def test_an_empty_page_is_asked_for_again_before_it_is_believed(tmp_path: Path, what: str) -> None:
    history = History(bars=bars(1500), trades=trades(1500), faults=["ok", "empty"])
    until_ms = START_MS + (1500 * MINUTE_MS if what == "1m" else 1500)
    assert downloaded(history, tmp_path / "file.parquet", what, until_ms=until_ms) == 1500


def test_days_without_a_bar_do_not_end_the_download(tmp_path: Path) -> None:
    late = (START_MS + 3 * 24 * HOUR_MS, 7.0, 7.0, 7.0, 7.0, 1.0)
    path, history = tmp_path / "bars.parquet", History(bars=[*bars(10), late])
    assert downloaded(history, path, until_ms=START_MS + 4 * 24 * HOUR_MS) == 11


def test_what_is_at_or_behind_the_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    assert downloaded(History(bars=bars(20)), path, until_ms=START_MS + 5 * MINUTE_MS) == 5


@pytest.mark.parametrize(("now_ms", "bars_kept"), [(-1, 4), (0, 5), (MINUTE_MS - 1, 5)])
def test_a_bar_that_is_not_over_yet_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now_ms: int, bars_kept: int
) -> None:
    now_ns = (START_MS + 5 * MINUTE_MS + now_ms) * 1_000_000
    monkeypatch.setattr(clock, "wall_ns", lambda: now_ns)
    assert downloaded(History(bars=bars(6)), tmp_path / "bars.parquet") == bars_kept


@pytest.mark.parametrize("a_ms", [1, 3, 700])
def test_trades_of_one_millisecond_over_two_pages_are_neither_lost_nor_repeated(
    tmp_path: Path, a_ms: int
) -> None:
    path, history = tmp_path / "trades.parquet", History(trades=trades(2600, a_ms))
    assert downloaded(history, path, "trades") == 2600
    frame = pl.read_parquet(path)
    assert frame.columns == ["ts_event_ns", "price", "size", "side", "trade_id"]
    assert frame["trade_id"].to_list() == [str(name) for name, *_ in history.trades]
    assert frame["ts_event_ns"].is_sorted()
    assert frame["side"].to_list()[:2] == ["SELL", "BUY"]


def test_more_trades_in_a_millisecond_than_a_page_holds_is_an_error(tmp_path: Path) -> None:
    history = History(trades=trades(2600, 1500))
    with pytest.raises(TooManyAtOnce, match="more than 1000 trades"):
        downloaded(history, tmp_path / "trades.parquet", "trades")


class Killed(Exception):
    pass


@pytest.mark.parametrize("what", ["1m", "trades"])
def test_what_was_stopped_goes_on_where_it_was(tmp_path: Path, what: str) -> None:
    history = History(bars=bars(2500), trades=trades(2500, 3))
    path = tmp_path / "file.parquet"
    until_ms = START_MS + (2500 * MINUTE_MS if what == "1m" else 834)

    def kill(rows: int, _ms: int) -> None:
        if rows >= 1900:
            raise Killed

    with pytest.raises(Killed):
        downloaded(history, path, what, until_ms=until_ms, on_page=kill)
    assert not path.exists()
    (path.with_name("file.parquet.pages") / "0.part").write_bytes(b"half")
    asked = len(history.requests)
    assert downloaded(history, path, what, until_ms=until_ms) == 2500
    assert len(history.requests) - asked <= 3, "pages that were there are not asked again"
    column = pl.read_parquet(path)["ts_open_ns" if what == "1m" else "trade_id"]
    assert column.n_unique() == 2500


def test_the_exchange_s_wish_to_be_left_alone_is_heeded(tmp_path: Path) -> None:
    history = History(bars=bars(10), faults=["429", "500", "half"])
    pauses = Pauses()
    assert downloaded(history, tmp_path / "bars.parquet", pauses=pauses) == 10
    assert pauses.seconds[0] == 7.0
    assert len(pauses.seconds) == 3
    assert pauses.seconds[1:] == sorted(pauses.seconds[1:])


def test_an_exchange_that_stays_silent_ends_it_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    history = History(bars=bars(1500), faults=["ok", *["500"] * ATTEMPTS_MAX])
    with pytest.raises(ExchangeSilent, match="8 times"):
        downloaded(history, path)
    assert downloaded(history, path) == 1500


def test_nothing_found_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    with pytest.raises(NothingFound, match="no 1m of XRP/ETH"):
        downloaded(History(), path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "what", "says"),
    [
        ({"exchange": "nowhere"}, "1m", "no exchange 'nowhere'"),
        ({"symbol": "DOGE/XYZ"}, "1m", "does not trade 'DOGE/XYZ'"),
        ({}, "7m", "no bars of 7m"),
    ],
)
def test_what_there_is_not_is_named(
    tmp_path: Path, changes: dict[str, Any], what: str, says: str
) -> None:
    with pytest.raises(FeedError, match=says):
        downloaded(History(bars=bars(5)), tmp_path / "bars.parquet", what, **changes)
