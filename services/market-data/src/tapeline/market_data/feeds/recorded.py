"""Recorded files as a feed: trades, quotes, bars or macro readings of any CSV or Parquet.

Options: `mapping`, the path of a TOML file (see mapping.py); several separated by commas are merged
in order of time; `name`, the feed's name.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl

from tapeline.contracts.market import AggressorSide
from tapeline.market_data.feeds import mapping as mappings
from tapeline.market_data.feeds.interface import (
    Feed,
    FeedError,
    LastSeen,
    Options,
    RawFunding,
    RawMacro,
    RawQuote,
    RawRecord,
    RawTrade,
    only_options,
)
from tapeline.market_data.feeds.ohlc import bar_ticks
from tapeline.market_data.feeds.table import check, chunks, sorted_table

BATCH: Final = 1000
_SIDES: Final = {side.value: side for side in AggressorSide}


class RecordedFeed:
    """Files merged in order of event time; of equal times the earlier file comes first."""

    is_live = False

    def __init__(
        self,
        name: str,
        sources: Sequence[Iterable[RawRecord]],
        silence_ns_max: int = 0,
    ) -> None:
        """`sources` yield the same records every time they are iterated."""
        self.name = name
        self.silence_ns_max = silence_ns_max
        self._sources = sources

    async def batches(self, seen: Mapping[str, LastSeen]) -> AsyncIterator[Sequence[RawRecord]]:
        """All records from the start; `seen` is not needed, as a second reading is the same."""
        merged = (
            heapq.merge(*self._sources, key=lambda raw: raw.ts_event_ns)
            if len(self._sources) > 1
            else iter(self._sources[0])
        )
        while batch := list(islice(merged, BATCH)):
            yield batch

    async def close(self) -> None:
        """Nothing is held open between batches."""


class RecordedFile:
    """The records of one file, read anew each time they are iterated."""

    def __init__(self, mapping: mappings.Mapping) -> None:
        self._mapping = mapping

    def __iter__(self) -> Iterator[RawRecord]:
        """Records in the order of the file, or of time where the mapping sorts."""
        mapping = self._mapping
        read = _READERS[mapping.kind]
        tables = iter((sorted_table(mapping),)) if mapping.must_sort else chunks(mapping)
        for table in tables:
            yield from read(mapping, table)


def make(options: Options) -> Feed:
    """The plug-in `recorded`."""
    only_options("recorded", options, ("mapping", "name"))
    paths = [part.strip() for part in options.get("mapping", "").split(",") if part.strip()]
    if not paths:
        raise FeedError(
            "The feed recorded needs the option mapping.",
            "Set it to the path of a TOML file that says what the columns of your file hold.",
        )
    found = [mappings.Mapping.from_toml(Path(path)) for path in paths]
    for mapping in found:
        check(mapping)
    silence_ns_max = max(mapping.silence_ns_max for mapping in found)
    name = options.get("name") or Path(paths[0]).stem
    return RecordedFeed(name, [RecordedFile(mapping) for mapping in found], silence_ns_max)


def _instruments(mapping: mappings.Mapping, table: pl.DataFrame) -> Iterable[str]:
    if mapping.instrument_id:
        return [mapping.instrument_id] * table.height
    suffix = f".{mapping.venue}" if mapping.venue else ""
    return [value.replace("/", "") + suffix for value in table["instrument"].to_list()]


def _column(table: pl.DataFrame, role: str, default: object) -> list[object]:
    return table[role].to_list() if role in table.columns else [default] * table.height


def _trades(mapping: mappings.Mapping, table: pl.DataFrame) -> Iterator[RawRecord]:
    rows = zip(
        _instruments(mapping, table),
        table["time"].to_list(),
        table["price"].to_list(),
        _column(table, "size", mapping.default_size),
        _column(table, "side", "NONE"),
        _column(table, "trade_id", ""),
        _column(table, "suspicious", False),
        strict=True,
    )
    for instrument_id, ts_ns, price, size, side, trade_id, is_suspicious in rows:
        yield RawTrade(
            instrument_id=instrument_id,
            price=price,
            size=_float(size),
            ts_event_ns=ts_ns,
            trade_id=str(trade_id),
            side=_SIDES.get(str(side).upper(), AggressorSide.NONE),
            origin=mapping.origin,
            is_suspicious=bool(is_suspicious),
        )


def _quotes(mapping: mappings.Mapping, table: pl.DataFrame) -> Iterator[RawRecord]:
    rows = zip(
        _instruments(mapping, table),
        table["time"].to_list(),
        table["bid_price"].to_list(),
        table["ask_price"].to_list(),
        _column(table, "bid_size", 0.0),
        _column(table, "ask_size", 0.0),
        _column(table, "suspicious", False),
        strict=True,
    )
    for instrument_id, ts_ns, bid, ask, bid_size, ask_size, is_suspicious in rows:
        yield RawQuote(
            instrument_id=instrument_id,
            bid_price=bid,
            ask_price=ask,
            ts_event_ns=ts_ns,
            bid_size=_float(bid_size),
            ask_size=_float(ask_size),
            origin=mapping.origin,
            is_suspicious=bool(is_suspicious),
        )


def _bars(mapping: mappings.Mapping, table: pl.DataFrame) -> Iterator[RawRecord]:
    rows = zip(
        _instruments(mapping, table),
        table["time"].to_list(),
        table.select("open", "high", "low", "close").rows(),
        _column(table, "volume", 0.0),
        strict=True,
    )
    # Bars of several instruments over one interval: their ticks take turns in order of time.
    open_ticks: list[RawTrade] = []
    start_ns = -1
    for instrument_id, ts_ns, prices, volume in rows:
        if ts_ns != start_ns:
            yield from sorted(open_ticks, key=lambda tick: tick.ts_event_ns)
            open_ticks, start_ns = [], ts_ns
        o, h, low, c = prices
        open_ticks += bar_ticks(
            instrument_id, ts_ns, mapping.interval_ns, (o, h, low, c), _float(volume)
        )
    yield from sorted(open_ticks, key=lambda tick: tick.ts_event_ns)


def _macro(mapping: mappings.Mapping, table: pl.DataFrame) -> Iterator[RawRecord]:
    rows = zip(
        _instruments(mapping, table),
        table["time"].to_list(),
        table["value"].to_list(),
        strict=True,
    )
    for series, ts_ns, value in rows:
        yield RawMacro(series=series, value=value, ts_event_ns=ts_ns)


def _funding(mapping: mappings.Mapping, table: pl.DataFrame) -> Iterator[RawRecord]:
    rows = zip(
        _instruments(mapping, table),
        table["time"].to_list(),
        table["rate"].to_list(),
        strict=True,
    )
    for instrument_id, ts_ns, rate in rows:
        yield RawFunding(
            instrument_id=instrument_id,
            rate=rate,
            interval_ns=mapping.interval_ns,
            ts_event_ns=ts_ns,
        )


_READERS: Final = {
    "trades": _trades,
    "quotes": _quotes,
    "bars": _bars,
    "macro": _macro,
    "funding": _funding,
}


def _float(value: object) -> float:
    assert isinstance(value, float)
    return value
