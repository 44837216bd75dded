"""A market kept as plain columns on disk, mapped into memory by every process that plays it.

    <folder>/<column>.npy        a row a bar, as market.TABLE names them
    <folder>/ticks-<column>.bin  the rows of the file as ticks, in their own order
    <folder>/market.json         what else a market is

A folder comes to be under another name and is moved: it is whole or not there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np

from tapeline.backtest.engine.market import TABLE, Market
from tapeline.backtest.engine.rows import TRADE_COLUMNS, Block, TicksInMemory

BLOCK_ROWS: Final = 4096
DTYPES: Final = dict(zip(TRADE_COLUMNS, (np.int64, np.float64, np.float64), strict=True))
ROW_DTYPES: Final = {**DTYPES, "close": np.float64}
"""of a file of bars"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is no column."""

    interval_ns: int
    behind: int
    closed_count: int
    row_ns: int
    digest: str


class MappedTicks:
    """Ticks of a kept market, a few thousand at a time."""

    def __init__(self, folder: Path) -> None:
        self._columns = _mapped(folder, DTYPES)

    def block(self, index: int) -> Block:
        """The one that holds a row."""
        start = index - index % BLOCK_ROWS
        columns = {
            name: values[start : start + BLOCK_ROWS] for name, values in self._columns.items()
        }
        return Block(start, columns)


class TickKeeper:
    """Writes the ticks of a file as they pass. Use as a context manager."""

    def __init__(self, folder: Path, dtypes: Mapping[str, Any] = DTYPES) -> None:
        self._dtypes = dtypes
        self._files = {name: _ticks_path(folder, name).open("wb") for name in dtypes}

    def add(self, block: Block) -> None:
        """The next rows."""
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(block.columns[name], dtype=self._dtypes[name]).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()


@contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """A folder that nobody else writes to, taken away again."""
    part = parent / f"{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def keep(market: Market, part: Path) -> Path:
    """Writes a market whose ticks are in `part` already, and moves it to where it belongs."""
    folder = part.with_name(f"{market.digest[:32]}-{market.interval_ns}-{market.row_ns}")
    if folder.is_dir():
        return folder  # the same rows, kept before
    for name in TABLE:
        np.save(part / f"{name}.npy", market.table[name])
    kept = Kept(
        interval_ns=market.interval_ns,
        behind=market.behind,
        closed_count=market.closed_count,
        row_ns=market.row_ns,
        digest=market.digest,
    )
    (part / "market.json").write_bytes(msgspec.json.encode(kept))
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same
            raise
    return folder


def kept_market(folder: Path) -> Market:
    """What was kept, mapped."""
    kept = msgspec.json.decode((folder / "market.json").read_bytes(), type=Kept)
    # Of plain arrays over the mapped memory single values are had sooner.
    table: dict[str, Any] = {
        name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in TABLE
    }
    ticks: Any = (
        TicksInMemory(Block(0, _mapped(folder, ROW_DTYPES))) if kept.row_ns else MappedTicks(folder)
    )
    return Market(
        kept.interval_ns,
        table,
        kept.behind,
        kept.closed_count,
        kept.row_ns,
        ticks,
        kept.digest,
    )


def _mapped(folder: Path, dtypes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: np.asarray(np.memmap(_ticks_path(folder, name), dtype=dtype, mode="r"))
        for name, dtype in dtypes.items()
    }


def _ticks_path(folder: Path, name: str) -> Path:
    return folder / f"ticks-{name}.bin"
