"""Slices as columns on disk, for many runs over the same data: read from mapped memory, shared by
all processes, and made into records a few thousand at a time.

Arrow files without compression: trades, quotes, macro readings, funding rates, and the slices with
the row behind the last of each. A folder comes to be under another name and is moved, so it is
whole or not there.
"""

from __future__ import annotations

import os
import platform
import shutil
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from hashlib import file_digest, sha256
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from tapeline.backtest.paced.setup import ALL, Choice, MacroInput, MarketSlice
from tapeline.backtest.paced.windows import windowed
from tapeline.contracts.market import FundingRate, MacroReading, QualityFlag, Quote, Trade
from tapeline.runtime.columns import fill_slots

KINDS: Final[Mapping[str, Any]] = {
    "trades": Trade,
    "quotes": Quote,
    "macro": MacroReading,
    "funding": FundingRate,
}
WITH_IDS: Final = ("macro", "funding")
"""records that come with an id of their own"""
TYPES: Final[Mapping[Any, Any]] = {int: pl.Int64, float: pl.Float64, str: pl.String}
BLOCK_ROWS: Final = 20_000
FLUSH_ROWS: Final = 200_000
PLACE: Final = ("partition", "position")
"""partition, and number of the record among all of the slice's partition"""
EVENT_ID: Final = "event_id"
LEFT_OUT: Final = "left-out.json"
FORMAT: Final = 2
"""1: without what was left out"""


@dataclass(slots=True)
class Column:
    """How a field is kept."""

    name: str
    kind: Any

    @property
    def dtype(self) -> Any:
        """Texts for what is no number."""
        return TYPES.get(self.kind, pl.String)

    def kept(self, value: Any) -> Any:
        """As the file has it."""
        if isinstance(value, tuple):
            return ",".join(flag.value for flag in value)
        return value.value if isinstance(value, Enum) else value

    def restored(self, values: Sequence[Any]) -> list[Any]:
        """As the record has it."""
        if self.kind in TYPES:
            return list(values)
        known = {text: self._one(text) for text in dict.fromkeys(values)}
        return [known[text] for text in values]

    def _one(self, text: str) -> Any:
        if typing.get_origin(self.kind) is tuple:
            return tuple(QualityFlag(flag) for flag in text.split(",") if flag)
        return self.kind(text)


def columns_of(kind: Any) -> list[Column]:
    """The fields of a record type."""
    hints = typing.get_type_hints(kind)
    return [Column(field.name, hints[field.name]) for field in fields(kind)]


COLUMNS: Final = {name: columns_of(kind) for name, kind in KINDS.items()}


class Writer:
    """Rows of one kind, written in parts so that memory stays bounded."""

    def __init__(self, name: str, folder: Path) -> None:
        self._columns = COLUMNS[name]
        self._folder = folder / name
        self._folder.mkdir()
        self._rows: list[tuple[Any, ...]] = []
        self._schema = {column.name: column.dtype for column in self._columns}
        self._schema |= dict.fromkeys(PLACE, pl.Int64) | {EVENT_ID: pl.String}
        self.count = 0
        self._parts = 0

    def add(self, record: Any, place: tuple[int, int], event_id: str = "") -> None:
        """One record."""
        values = [column.kept(getattr(record, column.name)) for column in self._columns]
        self._rows.append((*values, *place, event_id))
        self.count += 1
        if len(self._rows) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what was added since."""
        frame = pl.DataFrame(self._rows, schema=self._schema, orient="row")
        frame.write_ipc(self._folder / f"{self._parts:06d}.arrow", compression="uncompressed")
        self._parts += 1
        self._rows = []


async def keep(
    slices: AsyncIterable[MarketSlice],
    parent: Path,
    name: str = "",
    left_out: Callable[[], Sequence[str]] = tuple,
) -> Path:
    """Writes all slices to a folder in `parent`, whole or not at all, and gives that; without a
    name it is called after what it holds. `left_out` tells behind the last slice what of the data
    is in none."""
    # The folder may be shared by machines, whose processes have the same numbers.
    part = parent / f"{platform.node()}-{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    writers = {kind: Writer(kind, part) for kind in KINDS}
    rows: list[tuple[int, ...]] = []
    async for piece in slices:
        for partition, ticks in piece.ticks.items():
            for position, tick in enumerate(ticks):
                kind = "trades" if isinstance(tick, Trade) else "quotes"
                writers[kind].add(tick, (partition, position))
        for kind, found in (("macro", piece.macro), ("funding", piece.funding)):
            for position, item in enumerate(found):
                writers[kind].add(item.record, (0, position), item.event_id)
        ends = [writer.count for writer in writers.values()]
        rows.append((piece.end_ns, int(piece.is_final), *ends))
    for writer in writers.values():
        writer.flush()
    names = ["end_ns", "is_final", *KINDS]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Int64), orient="row")
    frame.write_ipc(part / "slices.arrow", compression="uncompressed")
    (part / LEFT_OUT).write_bytes(msgspec.json.encode(left_out()))
    folder = parent / (name or _digest(part)[:16])
    _move(part, folder)
    return folder


def _digest(folder: Path) -> str:
    """Of all files in it and their names."""
    whole = sha256()
    for path in sorted(folder.rglob("*.arrow")):
        whole.update(f"{path.relative_to(folder)}\0".encode())
        with path.open("rb") as file:
            whole.update(file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _move(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        shutil.rmtree(part)
        if not folder.is_dir():  # else another process was first, with the same
            raise


class SliceTape:
    """What `keep` has written, mapped into memory."""

    def __init__(self, folder: Path, width_ns: int) -> None:
        self._slices = pl.read_ipc(folder / "slices.arrow")
        self._frames = {name: _mapped(folder / name) for name in KINDS}
        self._width_ns = width_ns
        self._folder = folder

    def left_out(self) -> list[str]:
        """What of the data is in no slice, for people."""
        content = (self._folder / LEFT_OUT).read_bytes()
        return msgspec.json.decode(content, type=list[str])

    @property
    def start_ns(self) -> int:
        """Where the first slice begins."""
        return int(self._slices["end_ns"][0]) - self._width_ns

    @property
    def end_ns(self) -> int:
        """Where the last slice with data ends."""
        final = int(self._slices["is_final"][-1])
        return int(self._slices["end_ns"][-1]) - (self._width_ns if final else 0)

    async def played(self, choice: Choice = ALL) -> AsyncIterator[MarketSlice]:
        """The slices that were chosen."""
        for part in windowed(self._all(choice), choice, self._width_ns):
            yield part

    def _all(self, choice: Choice) -> Iterator[MarketSlice]:
        """From the first slice that matters on, read block by block."""
        rows = self._slices.rows()
        first = int((self._slices["end_ns"] <= choice.start_ns).sum())
        before = rows[first - 1][2:] if first else (0,) * len(KINDS)
        while first < len(rows):
            last = first
            while last + 1 < len(rows) and sum(rows[last][2:]) - sum(before) < BLOCK_ROWS:
                last += 1
            found = {
                name: self._records(name, start, end)
                for name, start, end in zip(KINDS, before, rows[last][2:], strict=True)
            }
            base = before
            for number in range(first, last + 1):
                yield _slice_of(found, base, before, rows[number])
                before = rows[number][2:]
            first = last + 1

    def _records(self, name: str, start: int, end: int) -> list[tuple[Any, int, int, str]]:
        """(record, partition, position, event_id) of a range of rows."""
        frame = self._frames[name].slice(start, end - start).collect()
        values = {
            column.name: column.restored(frame[column.name].to_list()) for column in COLUMNS[name]
        }
        records = fill_slots(KINDS[name], values, frame.height)
        ids = frame[EVENT_ID].to_list() if name in WITH_IDS else repeat("", frame.height)
        places = (frame[column].to_list() for column in PLACE)
        return list(zip(records, *places, ids, strict=True))


def _mapped(folder: Path) -> pl.LazyFrame:
    return pl.scan_ipc(sorted(folder.glob("*.arrow")), glob=False)


def _slice_of(
    found: Mapping[str, Sequence[Any]],
    base: Sequence[int],
    before: Sequence[int],
    row: Sequence[int],
) -> MarketSlice:
    parts = {
        name: found[name][before[at] - base[at] : row[2 + at] - base[at]]
        for at, name in enumerate(KINDS)
    }
    ticks: dict[int, list[Any]] = {}
    together = [*parts["trades"], *parts["quotes"]]
    if parts["trades"] and parts["quotes"]:
        together.sort(key=lambda item: item[2])
    for record, partition, _, _ in together:
        ticks.setdefault(partition, []).append(record)
    named = {
        name: [MacroInput(record, event_id) for record, _, _, event_id in parts[name]]
        for name in WITH_IDS
    }
    return MarketSlice(number=0, end_ns=row[0], is_final=bool(row[1]), ticks=ticks, **named)
