"""The bars of a file of trades or bars, and the ticks at their edges.

A bar covers the interval [start, start + interval) of UTC; an interval without a tick has no bar;
the last, unfinished bar of trades is not closed. Files of bars hold closed bars; longer ones are
made of them as of trades, and the last is closed where the file reaches to its end.

Of trades the bars are made block by block, and what a run mostly asks for is kept with each: its
first tick and its last one. Other ticks are looked up in the file when they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from tapeline.backtest.engine.bar_rows import read_bars
from tapeline.backtest.engine.rows import (
    ALWAYS,
    BAR_COLUMNS,
    TRADE_COLUMNS,
    Block,
    ColumnsDigest,
    Floats,
    Longs,
    RowFile,
    Span,
    Ticks,
    TicksInMemory,
)

TABLE: Final = (
    "first",
    "end_ns",
    "head_ns",
    "open",
    "head_size",
    "high",
    "low",
    "close",
    "tail_ns",
    "tail_size",
    "volume",
)
"""Of each bar: number of its first tick, its end, time, price and size of its first tick and of its
last one (of trades these prices are its open and close), and its other figures."""


class Tick(NamedTuple):
    """One trade; of a file of bars, an open."""

    number: int
    ts_ns: int
    price: float
    size: float


@dataclass(frozen=True, eq=False)
class Market:
    """Bars, and which ticks make up which.

    Of a file of bars each row's open is a tick; its other figures are known when it closes.
    """

    interval_ns: int
    table: Mapping[str, Any]
    """columns as TABLE names them, a row a bar"""
    behind: int
    """number behind the last tick"""
    closed_count: int
    """bars that are closed; of trades, one fewer than there are"""
    row_ns: int
    """length of the bars that the file holds, at most the interval; 0 where it holds trades"""
    ticks: Ticks
    digest: str
    """SHA-256 over the rows, hex"""

    @cached_property
    def first(self) -> Longs:
        """Number of the first tick of each bar, and behind them that behind the last."""
        return np.append(self.table["first"], self.behind)

    @property
    def is_bars(self) -> bool:
        """Whether the file holds bars."""
        return self.row_ns > 0

    @property
    def end_ns(self) -> Longs:
        """End of each bar."""
        found: Longs = self.table["end_ns"]
        return found

    @property
    def start_ns(self) -> int:
        """Time of the first tick."""
        return int(self.table["head_ns"][0])

    @property
    def tick_count(self) -> int:
        """Rows of the file."""
        return self.behind - int(self.table["first"][0])

    @property
    def last_price(self) -> float:
        """At which what is held in the end is valued."""
        return float(self.table["close"][-1])

    @property
    def close(self) -> Floats:
        """Of each closed bar."""
        return self._closed("close")

    @property
    def open(self) -> Floats:
        """Of each closed bar."""
        return self._closed("open")

    @property
    def high(self) -> Floats:
        """Of each closed bar."""
        return self._closed("high")

    @property
    def low(self) -> Floats:
        """Of each closed bar."""
        return self._closed("low")

    @property
    def volume(self) -> Floats:
        """Of each closed bar: sizes added one by one, as a bar adds them."""
        return self._closed("volume")

    def _closed(self, name: str) -> Floats:
        found: Floats = self.table[name][: self.closed_count]
        return found

    @cached_property
    def tick_counts(self) -> Longs:
        """Ticks of each closed bar."""
        found: Longs = np.diff(self.first[: self.closed_count + 1])
        return found

    def mark_ns(self, bar: int) -> int:
        """When the last price of a bar was seen."""
        return int(self.table["tail_ns"][bar]) + max(self.row_ns - 1, 0)

    def row_close(self, index: int) -> Tick:
        """The close of a row of a file of bars, in the row's last nanosecond."""
        block = self.ticks.block(index)
        ts_ns, _, size = (block.columns[name] for name in TRADE_COLUMNS)
        place = index - block.start
        close = float(block.columns["close"][place])
        return Tick(index, int(ts_ns[place]) + self.row_ns - 1, close, float(size[place]))

    def head(self, bar: int) -> Tick:
        """The first tick of a bar."""
        table = self.table
        return Tick(
            int(table["first"][bar]),
            int(table["head_ns"][bar]),
            float(table["open"][bar]),
            float(table["head_size"][bar]),
        )

    def tail(self, bar: int) -> Tick:
        """The last tick of a bar."""
        if self.is_bars:
            return self.tick(int(self.first[bar + 1]) - 1)
        table = self.table
        return Tick(
            int(self.first[bar + 1]) - 1,
            int(table["tail_ns"][bar]),
            float(table["close"][bar]),
            float(table["tail_size"][bar]),
        )

    def tick(self, index: int) -> Tick:
        """Any tick; raises MarketUnusable where the file cannot be read any more."""
        block = self.ticks.block(index)
        ts_ns, price, size = (block.columns[name] for name in TRADE_COLUMNS)
        place = index - block.start
        return Tick(index, int(ts_ns[place]), float(price[place]), float(size[place]))

    def part(self, start_ns: int, end_ns: int) -> Market | None:
        """The bars that lie in a part of the time, as if the file held no others; None for none.

        Ticks keep their numbers. The last bar is closed where its rows reach to its end.
        """
        first = int(np.searchsorted(self.end_ns, start_ns + self.interval_ns, side="left"))
        behind = int(np.searchsorted(self.end_ns, end_ns, side="right"))
        if first >= behind:
            return None
        if (first, behind) == (0, len(self.end_ns)):
            return self
        text = f"{self.digest}/{self.first[first]}/{self.first[behind]}"
        table = {name: values[first:behind] for name, values in self.table.items()}
        return replace(
            self,
            table=table,
            behind=int(self.first[behind]),
            closed_count=_closed_count(table, self.row_ns),
            digest=sha256(text.encode()).hexdigest(),
        )

    def last_before(self, ts_ns: int, number: int) -> Tick | None:
        """The last tick before a time, and before one of some number; None where there is none."""
        lowest = int(self.first[0])
        while number > lowest:
            block = self.ticks.block(number - 1)
            times = block.columns[TRADE_COLUMNS[0]][: number - block.start]
            place = block.start + int(np.searchsorted(times, ts_ns, side="left")) - 1
            if place >= block.start:
                return self.tick(place) if place >= lowest else None
            number = block.start
        return None


class BarBuilder:
    """Makes bars of trades, block by block; a bar may reach over many."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._parts: list[dict[str, Any]] = []
        self._behind = 0

    def add(self, block: Block) -> None:
        """The next rows."""
        times, price, size = (block.columns[name] for name in TRADE_COLUMNS)
        starts = _starts(times, self._interval_ns)
        ends = np.append(starts[1:], len(times))
        end_ns = (times[starts] // self._interval_ns + 1) * self._interval_ns
        open_bar = self._open_bar(int(end_ns[0]))
        part = {
            "first": block.start + starts,
            "end_ns": end_ns,
            "head_ns": times[starts],
            "open": price[starts],
            "head_size": size[starts],
            "high": np.maximum.reduceat(price, starts),
            "low": np.minimum.reduceat(price, starts),
            "close": price[ends - 1],
            "tail_ns": times[ends - 1],
            "tail_size": size[ends - 1],
            "volume": _volumes(size, starts, 0.0 if open_bar is None else open_bar["volume"]),
        }
        if open_bar is not None:
            for name in ("first", "head_ns", "open", "head_size"):
                part[name][0] = open_bar[name]
            part["high"][0] = max(part["high"][0], open_bar["high"])
            part["low"][0] = min(part["low"][0], open_bar["low"])
        self._parts.append(part)
        self._behind = block.start + len(times)

    def _open_bar(self, end_ns: int) -> dict[str, Any] | None:
        """The last bar so far, taken back, where the next rows go on with it."""
        if not self._parts or int(self._parts[-1]["end_ns"][-1]) != end_ns:
            return None
        last = self._parts.pop()
        if len(last["end_ns"]) > 1:
            self._parts.append({name: values[:-1] for name, values in last.items()})
        return {name: values[-1] for name, values in last.items()}

    def market(self, ticks: Ticks, digest: str) -> Market:
        """Of all rows so far, of which there is one or more."""
        table = {name: np.concatenate([part[name] for part in self._parts]) for name in TABLE}
        closed = _closed_count(table, 0)
        return Market(self._interval_ns, table, self._behind, closed, 0, ticks, digest)


def _closed_count(table: Mapping[str, Any], row_ns: int) -> int:
    """Bars that are closed: the last one only where a row of it, of that length, ends with it."""
    is_finished = row_ns > 0 and int(table["tail_ns"][-1]) + row_ns == int(table["end_ns"][-1])
    return len(table["end_ns"]) - (not is_finished)


def _starts(ts_ns: Longs, interval_ns: int) -> Longs:
    """Index of the first tick of each interval that has any."""
    low, high = int(ts_ns[0]) // interval_ns, int(ts_ns[-1]) // interval_ns
    if high - low < len(ts_ns) // 8:
        # Looking for the ends is quicker than dividing all times, where there are few.
        edges = np.arange(low, high + 1, dtype=np.int64) * interval_ns
        return np.unique(np.searchsorted(ts_ns, edges, side="left"))
    number = ts_ns // interval_ns
    return np.concatenate(([0], np.flatnonzero(number[1:] != number[:-1]) + 1))


def _volumes(size: Floats, starts: Longs, carried: float) -> Floats:
    """Sums of each bar's sizes, the first one's on top of what it had before."""
    counts = np.diff(np.append(starts, len(size)))
    counts[0] += 1
    # Other sums of NumPy add in another order, and their last bits differ.
    numbers = np.repeat(np.arange(len(starts)), counts)
    weights = np.concatenate(([carried], size))
    found: Floats = np.bincount(numbers, weights).astype(np.float64, copy=False)
    return found


def market_of_trades(ts_ns: Longs, price: Floats, size: Floats, interval_ns: int) -> Market:
    """Trades in memory, in order of time."""
    block = Block(0, dict(zip(TRADE_COLUMNS, (ts_ns, price, size), strict=True)))
    builder, digest = BarBuilder(interval_ns), ColumnsDigest("trades")
    builder.add(block)
    digest.add(block.columns)
    return builder.market(TicksInMemory(block), digest.hex())


def market_of_bars(
    ts_open_ns: Longs, bars: Mapping[str, Floats], interval_ns: int, row_ns: int = 0
) -> Market:
    """Closed bars, each a tick at its open as well; of shorter ones (`row_ns`) bars are made."""
    row_ns = row_ns or interval_ns
    count, opens, volumes = len(ts_open_ns), bars["open"], bars["volume"]
    digest = ColumnsDigest("bars")
    digest.add({"ts_open_ns": ts_open_ns, **{name: bars[name] for name in BAR_COLUMNS[1:]}})
    ticks = Block(0, dict(zip(TRADE_COLUMNS, (ts_open_ns, opens, volumes), strict=True)))
    rows = TicksInMemory(replace(ticks, columns={**ticks.columns, "close": bars["close"]}))
    if row_ns == interval_ns:
        # As they are: they may begin at any time of the day.
        starts, end_ns = np.arange(count, dtype=np.int64), ts_open_ns + interval_ns
    else:
        starts = _starts(ts_open_ns, interval_ns)
        end_ns = (ts_open_ns[starts] // interval_ns + 1) * interval_ns
    last = np.append(starts[1:], count) - 1
    table = {
        "first": starts,
        "end_ns": end_ns,
        "head_ns": ts_open_ns[starts],
        "open": opens[starts],
        "head_size": volumes[starts],
        "high": np.maximum.reduceat(bars["high"], starts),
        "low": np.minimum.reduceat(bars["low"], starts),
        "close": bars["close"][last],
        "tail_ns": ts_open_ns[last],
        "tail_size": volumes[last],
        "volume": _volumes(volumes, starts, 0.0),
    }
    closed = _closed_count(table, row_ns)
    return Market(interval_ns, table, count, closed, row_ns, rows, digest.hex())


def load_trades(
    path: Path, mapping: Mapping[str, str], interval_ns: int, span: Span = ALWAYS
) -> Market:
    """Trades of a Parquet file, read block by block; raises MarketUnusable."""
    file = RowFile(path, TRADE_COLUMNS, mapping, span=span)
    builder, digest = BarBuilder(interval_ns), ColumnsDigest("trades")
    for block in file.blocks():
        builder.add(block)
        digest.add(block.columns)
    return builder.market(FileTicks(file), digest.hex())


def load_bars(
    path: Path, mapping: Mapping[str, str], interval_ns: int, span: Span = ALWAYS
) -> Market:
    """Bars of a Parquet file, in order of time; raises MarketUnusable."""
    columns, row_ns = read_bars(path, mapping, interval_ns, span)
    return market_of_bars(columns.pop("ts_open_ns"), columns, interval_ns, row_ns)


class FileTicks:
    """Single ticks of a file, looked up about in order: the last two blocks are kept."""

    def __init__(self, file: RowFile) -> None:
        self._file = file
        self._kept: list[Block] = []

    def block(self, index: int) -> Block:
        """The one that holds a row."""
        for block in self._kept:
            if block.start <= index < block.start + block.count:
                return block
        found = self._file.block(index)
        self._kept = [found, *self._kept[:1]]
        return found
