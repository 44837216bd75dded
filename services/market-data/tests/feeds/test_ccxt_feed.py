from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from market_data_exchange_server import Exchange

from tapeline.contracts.market import AggressorSide
from tapeline.market_data.feeds.ccxt_feed import (
    CcxtFeed,
    instrument_id_of,
    make,
    parsed,
)
from tapeline.market_data.feeds.interface import (
    FeedError,
    LastSeen,
    RawQuote,
    RawRecord,
    RawTrade,
    RawUnreadable,
)
from tapeline.market_data.feeds.message_watch import MessageWatch
from tapeline.market_data.quality import Gate, Limits, Refusal

WAIT_S = 120.0
INSTRUMENT = "XRPETH.BINANCE"


def listed(count: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "id": 100 + index,
            "price": f"0.0014{index:02}",
            "qty": "5.0",
            "time": 1_570_752_011_620 + index * 100,
            "isBuyerMaker": index % 2 == 0,
        }
        for index in range(count)
    ]


def options(url: str, **changes: str) -> dict[str, str]:
    return {
        "exchange": "binance",
        "symbols": "XRP/ETH",
        "quotes": "no",
        "poll_seconds": "0",
        "http_url": f"http://{url}",
        "websocket_url": f"ws://{url}",
        "config": '{"options": {"fetchMarkets": {"types": ["spot"]}}, "rateLimit": 1}',
        **changes,
    }


class Pauses:
    """Notes how long the feed would have waited, and goes on at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def playing(
    exchange: Exchange, pauses: Pauses | None = None, **changes: str
) -> AsyncIterator[CcxtFeed]:
    runner = await exchange.start()
    feed = CcxtFeed(parsed(options(exchange.url, **changes)), pauses or Pauses())
    try:
        yield feed
    finally:
        await feed.close()
        await runner.cleanup()


async def take(
    feed: CcxtFeed, count: int, seen: dict[str, LastSeen] | None = None
) -> list[RawRecord]:
    """The first records of a feed."""
    found: list[RawRecord] = []
    async with asyncio.timeout(WAIT_S):
        async for batch in feed.batches(seen or {}):
            found += batch
            if len(found) >= count:
                break
    return found


def ids(raws: list[RawRecord]) -> list[str]:
    return [
        raw.trade_id + ("*" if raw.is_after_gap else "")
        for raw in raws
        if isinstance(raw, RawTrade)
    ]


def numbers(start: int, stop: int) -> list[str]:
    return [str(number) for number in range(start, stop)]


async def test_trades_come_by_web_socket_with_id_side_and_time() -> None:
    exchange = Exchange(trades=listed(), streams=[[(0, 3)]])
    async with playing(exchange) as feed:
        first, *rest = await take(feed, 3)
    assert first == RawTrade(
        instrument_id=INSTRUMENT,
        price=0.0014,
        size=5.0,
        ts_event_ns=1_570_752_011_620_000_000,
        trade_id="100",
        side=AggressorSide.SELL,
        is_after_gap=True,
    )
    assert ids(rest) == ["101", "102"]


async def test_a_dropped_connection_is_made_anew_and_what_was_missed_is_fetched() -> None:
    exchange = Exchange(trades=listed(), streams=[[(0, 5), "drop"], [(10, 12), "drop"], [(15, 20)]])
    async with playing(exchange) as feed:
        found = await take(feed, 20)
    assert ids(found) == ["100*", *numbers(101, 120)]
    assert exchange.connections == 3


async def test_a_wait_that_ccxt_cancels_is_a_lost_connection_and_not_our_end() -> None:
    async def ask() -> None:
        raise asyncio.CancelledError

    async def close() -> None:
        """Nothing is open."""

    with pytest.raises(ConnectionError):
        await MessageWatch(ask, WAIT_S, close).turn()


async def test_what_cannot_be_fetched_any_more_is_a_gap() -> None:
    # The exchange keeps what happened before and after, and nothing of the minutes between.
    kept = [*listed(2), *listed()[8:]]
    exchange = Exchange(trades=kept, streams=[[(0, 2), "drop"], [(2, 6)]])
    async with playing(exchange) as feed:
        found = await take(feed, 6)
    assert ids(found) == ["100*", "101", "108*", "109", "110", "111"]


async def test_a_trade_sent_twice_reaches_the_gate_and_is_refused_there() -> None:
    exchange = Exchange(trades=listed(), streams=[[(0, 3), (2, 3), (3, 5)]])
    async with playing(exchange) as feed:
        found = await take(feed, 6)
    assert sorted(ids(found)) == sorted(["100*", "101", "102", "102", "103", "104"])
    gate = Gate(Limits())
    verdicts = [gate.judge(raw, None) for raw in found if isinstance(raw, RawTrade)]
    refused = [verdict.code for verdict in verdicts if isinstance(verdict, Refusal)]
    assert refused == ["DUPLICATE"]


async def test_half_a_message_breaks_nothing() -> None:
    exchange = Exchange(trades=listed(), streams=[[(0, 2), "half", (2, 4), "drop"], [(4, 6)]])
    async with playing(exchange, silence_seconds="2") as feed:
        found = await take(feed, 6)
    assert ids(found) == ["100*", *numbers(101, 106)]


async def test_a_restart_fetches_what_was_missed_meanwhile() -> None:
    exchange = Exchange(trades=listed(), streams=[[(10, 12)]], published=10)
    seen = {INSTRUMENT: LastSeen(ts_event_ns=1_570_752_011_620_000_000, trade_ids=("100", "101"))}
    async with playing(exchange) as feed:
        found = await take(feed, 10, seen)
    assert ids(found) == numbers(102, 112)


async def test_polling_plays_only_what_is_new() -> None:
    exchange = Exchange(trades=listed(), published=5)
    async with playing(exchange, transport="rest") as feed:
        batches = feed.batches({})
        first = asyncio.ensure_future(anext(batches))
        async with asyncio.timeout(WAIT_S):
            await exchange.asked(2)
            exchange.published = 8
            assert ids(list(await first)) == numbers(105, 108)
        await batches.aclose()


@pytest.mark.parametrize("status", ["429", "418"])
async def test_an_answer_to_stay_away_is_obeyed_for_as_long_as_it_says(status: str) -> None:
    exchange = Exchange(trades=listed(), published=5, rest_faults=["ok", status])
    pauses = Pauses()
    async with playing(exchange, pauses, transport="rest") as feed:
        batches = feed.batches({})
        first = asyncio.ensure_future(anext(batches))
        async with asyncio.timeout(WAIT_S):
            await exchange.asked(3)
            exchange.published = 6
            await first
        await batches.aclose()
    assert max(pauses.seconds) > 6.0


async def test_failures_in_a_row_make_the_pause_longer_and_a_success_resets_it() -> None:
    exchange = Exchange(trades=listed(), published=5)
    exchange.rest_faults = ["500", "500", "500", "ok", "500", "ok"]
    pauses = Pauses()
    async with playing(exchange, pauses, transport="rest") as feed:
        batches = feed.batches({})
        first = asyncio.ensure_future(anext(batches))
        async with asyncio.timeout(WAIT_S):
            await exchange.asked(6)
            exchange.published = 6
            await first
        await batches.aclose()
    assert [seconds for seconds in pauses.seconds if seconds] == [0.5, 1.0, 2.0, 0.5]


async def test_unreadable_answers_go_to_quarantine_and_the_feed_goes_on() -> None:
    exchange = Exchange(trades=listed(), published=5, rest_faults=["ok", "half", "html", "500"])
    async with playing(exchange, transport="rest") as feed:
        batches = feed.batches({})
        async with asyncio.timeout(WAIT_S):
            found = list(await anext(batches))
            await exchange.asked(5)
            exchange.published = 7
            while not any(isinstance(raw, RawTrade) for raw in found):
                found += await anext(batches)
        await batches.aclose()
    unreadable = [raw for raw in found if isinstance(raw, RawUnreadable)]
    assert unreadable
    assert b'"id"' in unreadable[0].raw
    assert "105" in "".join(ids(found))


@pytest.mark.parametrize("transport", ["rest", "websocket"])
async def test_quotes_come_when_they_change(transport: str) -> None:
    books = [("10.0", "10.1"), ("10.0", "10.1"), ("10.0", "10.2")]
    exchange = Exchange(trades=listed(), books=books)
    async with playing(exchange, transport=transport, quotes="yes") as feed:
        found = await take(feed, 1 if transport == "websocket" else 2)
    quotes = [(raw.bid_price, raw.ask_price) for raw in found if isinstance(raw, RawQuote)]
    expected = [(10.0, 10.1), (10.0, 10.2)]
    assert quotes[-1] in expected
    assert all(quote in expected for quote in quotes)
    if transport == "rest":
        assert quotes == expected


async def test_a_symbol_that_is_not_traded_is_named() -> None:
    exchange = Exchange(trades=listed())
    async with playing(exchange, symbols="DOGE/ETH") as feed:
        with pytest.raises(FeedError, match="DOGE/ETH"):
            await take(feed, 1)


@pytest.mark.data
async def test_recorded_trades_of_an_exchange_survive_every_fault(data_dir: Path) -> None:
    table = pl.read_parquet(data_dir / "xrp-eth-trades-20191011-20191013.parquet").head(600)
    trades = [
        {
            "id": int(row["trade_id"]),
            "price": str(row["price"]),
            "qty": str(row["size"]),
            "time": row["ts_event_ns"] // 1_000_000,
            "isBuyerMaker": row["side"] == "SELL",
        }
        for row in table.iter_rows(named=True)
    ]
    streams: list[list[Any]] = [
        [(0, 150), "drop"],
        [(180, 300), "half", (300, 320), "drop"],
        ["drop"],
        [(400, 420), (410, 420), "drop"],
        [(500, 600)],
    ]
    exchange = Exchange(trades=trades, streams=streams)
    exchange.rest_faults = ["429", "half", "ok", "500", "ok", "418"]
    async with playing(exchange, silence_seconds="2") as feed:
        batches = feed.batches({})
        found: list[RawRecord] = []
        async with asyncio.timeout(60):
            while str(trades[-1]["id"]) not in ids(found):
                found += await anext(batches)
        await batches.aclose()
    gate = Gate(Limits())
    passed = [
        raw
        for raw in found
        if isinstance(raw, RawTrade) and not isinstance(gate.judge(raw, None), Refusal)
    ]
    assert [raw.trade_id for raw in passed] == table["trade_id"].to_list()
    assert [raw.price for raw in passed] == table["price"].to_list()


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("BTC/USDT", "BTCUSDT.BINANCE"),
        ("BTC/USDT:USDT", "BTCUSDT-PERP.BINANCE"),
        ("BTC/USD:BTC-240329", "BTCUSD-240329.BINANCE"),
    ],
)
def test_instrument_ids(symbol: str, expected: str) -> None:
    assert instrument_id_of(symbol, "binance") == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"exchange": ""},
        {"exchange": "nowhere"},
        {"symbols": " , "},
        {"transport": "pigeon"},
        {"quotes": "maybe"},
        {"poll_seconds": "soon"},
        {"config": "{"},
        {"colour": "red"},
    ],
)
def test_wrong_options_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(FeedError):
        make({**options("127.0.0.1:1"), **changes})
