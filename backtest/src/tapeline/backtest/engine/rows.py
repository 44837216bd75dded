"""Rows of trades or bars, block by block: of a Parquet file, checked, or of columns in memory.

A file is never held whole: a block is read, looked at and let go, so that memory does not grow with
its rows. Blocks count from 0 at the first row of the span; messages say the row of the whole file.

Errors (all MarketUnusable, each with a stable code):
    UNREADABLE, MISSING_COLUMN, BAD_VALUE, UNSORTED, OVERLAPPING, EMPTY, CHANGED
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

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
BLOCK_ROWS: Final = 2**19
"""of a block; two row groups of the usual size"""


class MarketUnusable(Failure):
    """A file that cannot be run over."""

    exit_code = USAGE

    def __init__(self, code: str, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.code = code


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows that follow each other, by column."""

    start: int
    """number of the first"""
    columns: Mapping[str, Any]

    @property
    def count(self) -> int:
        """Rows."""
        return len(next(iter(self.columns.values())))


class Ticks(Protocol):
    """Where single ticks are looked up."""

    def block(self, index: int) -> Block:
        """The block of trades that holds a row."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TicksInMemory:
    """All of them."""

    whole: Block

    def block(self, index: int) -> Block:
        """The only one."""
        return self.whole


@dataclass(slots=True)
class ColumnsDigest:
    """SHA-256 over the digests of the columns: the same however the rows are cut into blocks."""

    kind: str
    _columns: dict[str, Any] = field(default_factory=dict, init=False)

    def add(self, columns: Mapping[str, Any]) -> None:
        """Further rows."""
        for name, values in columns.items():
            known = self._columns.setdefault(name, sha256())
            known.update(np.ascontiguousarray(values).data)

    def hex(self) -> str:
        """Of what was added."""
        whole = sha256(self.kind.encode())
        for column in self._columns.values():
            whole.update(column.digest())
        return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the time; None where it has no bound."""

    start_ns: int | None = None
    """rows before it are left out"""
    end_ns: int | None = None
    """so are rows at or behind it, and bars that end behind it"""


ALWAYS: Final = Span()


@dataclass(frozen=True)
class State:
    """By what a file that was written to, or replaced, is told from the one before."""

    inode: int
    size: int
    written_ns: int

    @classmethod
    def of(cls, path: Path) -> State:
        """As it is now; raises OSError."""
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)

    def require(self, path: Path) -> None:
        """Raises MarketUnusable where the file is not in this state."""
        if State.of(path) != self:
            raise MarketUnusable(
                "CHANGED",
                f"{path} was changed while it was read.",
                "Run again once nobody writes to it; nothing was saved.",
            )


@dataclass(frozen=True)
class RowFile:
    """A Parquet file of trades or bars, or what of it lies in a span: as if it held no more.

    It must stay as it is while it is read.
    """

    path: Path
    wanted: tuple[str, ...]
    mapping: Mapping[str, str] = field(default_factory=dict)
    """our column -> the file's, where they differ"""
    least_ns: int = 0
    """from one row's time to the next"""
    block_rows: int = BLOCK_ROWS
    span: Span = ALWAYS

    @cached_property
    def rows(self) -> tuple[int, int]:
        """(row of the file that comes first, the one behind the last); raises MarketUnusable."""
        start_ns, end_ns = self.span.start_ns, self.span.end_ns
        if end_ns is not None:
            end_ns -= max(self.least_ns - 1, 0)  # of a bar's beginning, that it ends in time
        before = within = place = 0
        ends_ns: list[int] = []
        while len(times := self._times(place)):
            self._require_sorted(place, times, ends_ns[-1] if ends_ns else None)
            ends_ns = [*(ends_ns[:1] or [int(times[0])]), int(times[-1])]
            before += 0 if start_ns is None else int(np.searchsorted(times, start_ns))
            within += len(times) if end_ns is None else int(np.searchsorted(times, end_ns))
            place += len(times)
        if place and before >= within:
            raise MarketUnusable(
                "EMPTY",
                f"{self.path} holds no row in that part of the time.",
                f"Its rows are of {_written(ends_ns[0])} to {_written(ends_ns[-1])} UTC: name "
                "another part with --from and --to.",
            )
        return before, within

    @property
    def names_wanted(self) -> dict[str, str]:
        """Our columns -> the file's, which may not be there."""
        return {ours: self.mapping.get(ours, ours) for ours in self.wanted}

    @cached_property
    def names(self) -> dict[str, str]:
        """Our columns -> the file's; raises MarketUnusable."""
        unknown = sorted(set(self.mapping) - set(self.wanted))
        if unknown:
            raise MarketUnusable(
                "MISSING_COLUMN",
                f"The column mapping names {', '.join(unknown)}, which is no column of ours.",
                f"Map some of: {', '.join(self.wanted)}.",
            )
        names = self.names_wanted
        there = list(self._schema())
        missing = [name for name in names.values() if name not in there]
        if missing:
            raise MarketUnusable(
                "MISSING_COLUMN",
                f"{self.path} has no column {', '.join(missing)}; it has {', '.join(there)}.",
                self._mapped(missing, there),
            )
        return names

    def _mapped(self, missing: list[str], there: list[str]) -> str:
        """What to do about columns that are not there."""
        for kind, columns in (("trades", TRADE_COLUMNS), ("bars", BAR_COLUMNS)):
            if columns != self.wanted and not set(columns) - set(there):
                return f"It is a file of {kind}: give it with --{kind}."
        ours = next(ours for ours, name in self.names_wanted.items() if name in missing)
        return f"Name the file's column with --columns, such as {ours}=" + (
            next((name for name in there if name not in self.wanted), "name") + "."
        )

    @cached_property
    def _state(self) -> State:
        return State.of(self.path)

    def blocks(self) -> Iterator[Block]:
        """All rows, in order; raises MarketUnusable where one is no good."""
        start, before_ns = 0, None
        while True:
            frame = self._read(start)
            if not frame.height:
                break
            block = self._block(start, frame)
            times = block.columns[self.wanted[0]]
            self._require_sorted(start, times, before_ns)
            before_ns = int(times[-1])
            yield block
            start += frame.height
            if frame.height < self.block_rows:
                break
        if not start:
            raise MarketUnusable("EMPTY", f"{self.path} holds no row.", "Give a file with data.")

    def times(self) -> Longs:
        """Of all rows, in whatever order they are; raises MarketUnusable."""
        name = self.wanted[0]
        found: list[Longs] = []
        start = 0
        while len(rows := self._read(start, [self.names[name]])):
            found.append(self._column(start, name, rows[self.names[name]]))
            start += len(rows)
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def block(self, index: int) -> Block:
        """The block that holds a row; raises MarketUnusable."""
        start = index - index % self.block_rows
        return self._block(start, self._read(start))

    def _schema(self) -> Mapping[str, Any]:
        try:
            if not self.path.is_file():
                raise FileNotFoundError("there is no such file")
            self._state.require(self.path)
            return pl.read_parquet_schema(self.path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise self._unreadable(error) from error

    def _read(self, start: int, some: list[str] | None = None) -> pl.DataFrame:
        names = some or list(self.names.values())
        if self.span == ALWAYS:
            return self._slice(names, start, self.block_rows)
        row, behind = self.rows[0] + start, self.rows[1]
        return self._slice(names, row, max(min(self.block_rows, behind - row), 0))

    def _times(self, row: int) -> Longs:
        name = self.names[self.wanted[0]]
        found: Longs = self._column(
            row, self.wanted[0], self._slice([name], row, self.block_rows)[name]
        )
        return found

    def _slice(self, names: list[str], row: int, count: int) -> pl.DataFrame:
        try:
            rows = pl.scan_parquet(self.path, glob=False).select(names)
            found = rows.slice(row, count).collect()
            self._state.require(self.path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise self._unreadable(error) from error
        return found

    def _unreadable(self, error: Exception) -> MarketUnusable:
        return MarketUnusable(
            "UNREADABLE",
            f"{self.path} cannot be read: {str(error).strip().splitlines()[0]}.",
            "Give a complete Parquet file.",
        )

    def _block(self, start: int, frame: pl.DataFrame) -> Block:
        row = start + (0 if self.span == ALWAYS else self.rows[0])
        columns = {ours: self._column(row, ours, frame[name]) for ours, name in self.names.items()}
        return Block(start, columns)

    def _column(self, start: int, ours: str, series: pl.Series) -> Any:
        is_time = ours.startswith("ts_")
        if is_time and series.dtype.is_temporal():
            series = series.cast(pl.Datetime("ns")).to_physical()
        kinds = series.dtype.is_integer() if is_time else series.dtype.is_numeric()
        if not kinds:
            wanted = "a whole number" if is_time else "a number"
            raise self._bad(series, f"is {series.dtype}", wanted)
        if series.null_count():
            row = start + int(series.is_null().arg_true()[0])
            raise self._bad(series, f"row {row} is missing", "a value in every row")
        values = series.cast(pl.Int64 if is_time else pl.Float64).to_numpy()
        if not is_time:
            self._require_numbers(start, ours, series, values)
        return values

    def _require_numbers(self, start: int, ours: str, series: pl.Series, values: Floats) -> None:
        low, high = (VALUE_MIN, VALUE_MAX) if ours in PRICES else (0.0, np.inf)
        # Whatever is not a number fails every comparison.
        if bool(values.min() >= low) and bool(values.max() <= high) and np.isfinite(values.max()):
            return
        is_right = np.isfinite(values) & (values >= low) & (values <= high)
        row = int(np.argmin(is_right))
        expected = f"between {low} and {high}" if ours in PRICES else "finite and not below 0"
        raise self._bad(series, f"row {start + row} is {values[row]}", expected)

    def _bad(self, series: pl.Series, found: str, expected: str) -> MarketUnusable:
        return MarketUnusable(
            "BAD_VALUE",
            f"{self.path}, column {series.name}: {found}; it must be {expected}.",
            "Correct or drop such rows; nothing was run.",
        )

    def _require_sorted(self, start: int, times: Longs, before_ns: int | None) -> None:
        before = times[0] - self.least_ns if before_ns is None else before_ns
        if times[0] >= before + self.least_ns and bool(
            (times[1:] >= times[:-1] + self.least_ns).all()
        ):
            return
        steps = np.diff(times, prepend=before)
        place = int(np.argmax(steps < self.least_ns))
        name = self.names[self.wanted[0]]
        if steps[place] >= 0:
            raise MarketUnusable(
                "OVERLAPPING",
                f"{self.path}, column {name}: row {start + place} begins {steps[place]} ns behind "
                f"the one before; the interval is {self.least_ns} ns.",
                "Give the interval of these bars with --interval, the unit of their times with "
                "--time-format, or drop repeated rows.",
            )
        raise MarketUnusable(
            "UNSORTED",
            f"{self.path}, column {name}: row {start + place} is earlier than the one before.",
            "Sort the file by time.",
        )


def _written(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[s]"))
