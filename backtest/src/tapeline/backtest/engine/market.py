"""A file of trades or bars as columns, checked, and the bars made of them.

A bar covers the interval [start, start + interval) of UTC; an interval without a tick has no bar;
the last, unfinished bar of trades is not closed. Files of bars hold closed bars.

Errors (all MarketUnusable, each with a stable code):
    UNREADABLE, MISSING_COLUMN, BAD_VALUE, UNSORTED, OVERLAPPING, EMPTY
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from tapeline.agents.analysis import VALUE_MAX, VALUE_MIN
from tapeline.runtime.exits import USAGE, Failure

Floats: TypeAlias = npt.NDArray[np.float64]
Longs: TypeAlias = npt.NDArray[np.int64]
TRADE_COLUMNS: Final = ("ts_event_ns", "price", "size")
BAR_COLUMNS: Final = ("ts_open_ns", "open", "high", "low", "close", "volume")
PRICES: Final = ("price", "open", "high", "low", "close")


class MarketUnusable(Failure):
    """A file that cannot be run over."""

    exit_code = USAGE

    def __init__(self, code: str, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.code = code


@dataclass(frozen=True, eq=False)
class Market:
    """Ticks, and which of them make up which bar.

    Of a file of bars each bar's tick is its open; its other figures are known when it closes.
    """

    ts_ns: Longs
    price: Floats
    size: Floats
    interval_ns: int
    first: Longs
    """index of the first tick of each bar, and behind them the number of ticks"""
    end_ns: Longs
    """end of each bar"""
    closed_count: int
    """bars that are closed; of trades, one fewer than there are"""
    bars: Mapping[str, Floats] | None = None
    """open, high, low, close, volume as the file gives them; None: made of the ticks"""

    @property
    def is_bars(self) -> bool:
        """Whether the file holds bars."""
        return self.bars is not None

    @property
    def tick_count(self) -> int:
        """Rows of the file."""
        return len(self.ts_ns)

    @property
    def last_price(self) -> float:
        """At which what is held in the end is valued."""
        return float(self.price[-1] if self.bars is None else self.bars["close"][-1])

    @cached_property
    def close(self) -> Floats:
        """Of each closed bar."""
        if self.bars is not None:
            return self.bars["close"]
        found: Floats = self.price[self.first[1 : self.closed_count + 1] - 1]
        return found

    @cached_property
    def open(self) -> Floats:
        """Of each closed bar."""
        if self.bars is not None:
            return self.bars["open"]
        found: Floats = self.price[self.first[: self.closed_count]]
        return found

    @cached_property
    def high(self) -> Floats:
        """Of each closed bar."""
        return self.bars["high"] if self.bars is not None else self._reduced(np.maximum)

    @cached_property
    def low(self) -> Floats:
        """Of each closed bar."""
        return self.bars["low"] if self.bars is not None else self._reduced(np.minimum)

    def _reduced(self, function: Any) -> Floats:
        if not self.closed_count:
            return np.empty(0)
        end = int(self.first[self.closed_count])
        found: Floats = function.reduceat(self.price[:end], self.first[: self.closed_count])
        return found

    @cached_property
    def volume(self) -> Floats:
        """Of each closed bar: sizes added one by one, as a bar adds them."""
        if self.bars is not None:
            return self.bars["volume"]
        if not self.closed_count:
            return np.empty(0)
        end = int(self.first[self.closed_count])
        counts = np.diff(self.first[: self.closed_count + 1])
        # Other sums of NumPy add in another order, and their last bits differ.
        numbers = np.repeat(np.arange(self.closed_count), counts)
        found: Floats = np.bincount(numbers, self.size[:end]).astype(np.float64, copy=False)
        return found

    @cached_property
    def tick_counts(self) -> Longs:
        """Ticks of each closed bar."""
        found: Longs = np.diff(self.first[: self.closed_count + 1])
        return found

    def mark_ns(self, bar: int) -> int:
        """When the last price of a bar was seen."""
        if self.is_bars:
            return int(self.end_ns[bar]) - 1
        return int(self.ts_ns[self.first[bar + 1] - 1])

    def frame(self) -> pl.DataFrame:
        """The file's rows in our columns."""
        if self.bars is not None:
            return pl.DataFrame({"ts_open_ns": self.ts_ns, **self.bars})
        return pl.DataFrame({"ts_event_ns": self.ts_ns, "price": self.price, "size": self.size})

    def digest(self) -> str:
        """SHA-256 over the columns, hex."""
        found = sha256(b"bars" if self.is_bars else b"trades")
        columns = [self.ts_ns, self.price, self.size]
        columns += [] if self.bars is None else [self.bars[name] for name in BAR_COLUMNS[2:]]
        for column in columns:
            found.update(np.ascontiguousarray(column).data)
        return found.hexdigest()


def market_of_trades(ts_ns: Longs, price: Floats, size: Floats, interval_ns: int) -> Market:
    """Trades in order of time, cut into bars."""
    count = len(ts_ns)
    starts = _starts(ts_ns, interval_ns)
    first = np.append(starts, count)
    opened = ts_ns[starts] // interval_ns * interval_ns
    return Market(ts_ns, price, size, interval_ns, first, opened + interval_ns, len(starts) - 1)


def _starts(ts_ns: Longs, interval_ns: int) -> Longs:
    """Index of the first tick of each interval that has any."""
    low, high = int(ts_ns[0]) // interval_ns, int(ts_ns[-1]) // interval_ns
    if high - low < len(ts_ns) // 8:
        # Looking for the ends is quicker than dividing all times, where there are few.
        edges = np.arange(low, high + 1, dtype=np.int64) * interval_ns
        return np.unique(np.searchsorted(ts_ns, edges, side="left"))
    number = ts_ns // interval_ns
    return np.concatenate(([0], np.flatnonzero(number[1:] != number[:-1]) + 1))


def market_of_bars(ts_open_ns: Longs, bars: Mapping[str, Floats], interval_ns: int) -> Market:
    """Closed bars; each is a tick at its open as well."""
    count = len(ts_open_ns)
    first = np.arange(count + 1, dtype=np.int64)
    ends = ts_open_ns + interval_ns
    opens, volumes = bars["open"], bars["volume"]
    return Market(ts_open_ns, opens, volumes, interval_ns, first, ends, count, bars)


def load_trades(path: Path, mapping: Mapping[str, str], interval_ns: int) -> Market:
    """Trades of a Parquet file; `mapping` names its columns where they differ from ours."""
    columns = _columns(path, TRADE_COLUMNS, mapping)
    ts_ns = columns["ts_event_ns"]
    _require_sorted(path, mapping.get("ts_event_ns", "ts_event_ns"), ts_ns, 0)
    return market_of_trades(ts_ns, columns["price"], columns["size"], interval_ns)


def load_bars(path: Path, mapping: Mapping[str, str], interval_ns: int) -> Market:
    """Bars of a Parquet file, in order of time."""
    columns = _columns(path, BAR_COLUMNS, mapping)
    ts_ns = columns.pop("ts_open_ns")
    _require_sorted(path, mapping.get("ts_open_ns", "ts_open_ns"), ts_ns, interval_ns)
    return market_of_bars(ts_ns, columns, interval_ns)


def _columns(path: Path, wanted: tuple[str, ...], mapping: Mapping[str, str]) -> dict[str, Any]:
    unknown = sorted(set(mapping) - set(wanted))
    if unknown:
        raise MarketUnusable(
            "MISSING_COLUMN",
            f"The column mapping names {', '.join(unknown)}, which is no column of ours.",
            f"Map some of: {', '.join(wanted)}.",
        )
    names = {ours: mapping.get(ours, ours) for ours in wanted}
    frame = _read(path, names)
    if not frame.height:
        raise MarketUnusable("EMPTY", f"{path} holds no row.", "Give a file with data.")
    return {ours: _column(path, ours, frame[name]) for ours, name in names.items()}


def _read(path: Path, names: Mapping[str, str]) -> pl.DataFrame:
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        there = list(pl.read_parquet_schema(path))
        missing = [name for name in names.values() if name not in there]
        if missing:
            raise MarketUnusable(
                "MISSING_COLUMN",
                f"{path} has no column {', '.join(missing)}; it has {', '.join(there)}.",
                "Map its columns to ours with --columns, such as "
                f"{missing[0]}={there[0] if there else 'name'}.",
            )
        return pl.read_parquet(path, columns=list(names.values()))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise MarketUnusable(
            "UNREADABLE",
            f"{path} cannot be read: {str(error).strip().splitlines()[0]}.",
            "Give a complete Parquet file.",
        ) from error


def _column(path: Path, ours: str, series: pl.Series) -> Any:
    is_time = ours.startswith("ts_")
    if is_time and series.dtype.is_temporal():
        series = series.cast(pl.Datetime("ns")).to_physical()
    kinds = series.dtype.is_integer() if is_time else series.dtype.is_numeric()
    if not kinds:
        raise _bad(path, series, f"is {series.dtype}", "a whole number" if is_time else "a number")
    if series.null_count():
        row = int(series.is_null().arg_true()[0])
        raise _bad(path, series, f"row {row} is missing", "a value in every row")
    values = series.cast(pl.Int64 if is_time else pl.Float64).to_numpy()
    if not is_time:
        _require_numbers(path, ours, series, values)
    return values


def _require_numbers(path: Path, ours: str, series: pl.Series, values: Floats) -> None:
    low, high = (VALUE_MIN, VALUE_MAX) if ours in PRICES else (0.0, np.inf)
    # Whatever is not a number fails every comparison.
    if bool(values.min() >= low) and bool(values.max() <= high) and np.isfinite(values.max()):
        return
    is_right = np.isfinite(values) & (values >= low) & (values <= high)
    row = int(np.argmin(is_right))
    expected = f"between {low} and {high}" if ours in PRICES else "finite and not below 0"
    raise _bad(path, series, f"row {row} is {values[row]}", expected)


def _bad(path: Path, series: pl.Series, found: str, expected: str) -> MarketUnusable:
    return MarketUnusable(
        "BAD_VALUE",
        f"{path}, column {series.name}: {found}; it must be {expected}.",
        "Correct or drop such rows; nothing was run.",
    )


def _require_sorted(path: Path, name: str, ts_ns: Longs, least_ns: int) -> None:
    if len(ts_ns) < 2 or bool((ts_ns[1:] >= ts_ns[:-1] + least_ns).all()):
        return
    steps = np.diff(ts_ns)
    row = int(np.argmax(steps < least_ns)) + 1
    if steps[row - 1] >= 0:
        raise MarketUnusable(
            "OVERLAPPING",
            f"{path}, column {name}: row {row} begins {steps[row - 1]} ns behind the one before; "
            f"the interval is {least_ns} ns.",
            "Give the interval of these bars with --interval, or drop repeated rows.",
        )
    raise MarketUnusable(
        "UNSORTED",
        f"{path}, column {name}: row {row} is earlier than the one before.",
        "Sort the file by time.",
    )
