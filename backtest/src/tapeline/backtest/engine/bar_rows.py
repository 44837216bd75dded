"""Rows of a file of bars, and how long each is: the interval of a run, or a part of it.

A file does not say how long its bars are. Where its rows are nowhere closer than the interval that
is asked for, they are bars of that. Else they are taken for bars as long as the most frequent
distance of two rows, of which longer ones are made. No row may then be closer to the one before,
nor reach over the end of a longer bar: what was traded on which side of it is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from tapeline.backtest.engine.rows import (
    ALWAYS,
    BAR_COLUMNS,
    Longs,
    MarketUnusable,
    RowFile,
    Span,
)
from tapeline.market_data.durations import SECOND_NS, UNITS_NS

UNITS: Final = tuple((UNITS_NS[name], name) for name in ("d", "h", "m", "s", "ns"))


def read_bars(
    path: Path, mapping: Mapping[str, str], interval_ns: int, span: Span = ALWAYS
) -> tuple[dict[str, Any], int]:
    """(columns as BAR_COLUMNS names them, in order of time; length of the bars in nanoseconds, at
    most the interval). Raises MarketUnusable."""
    row_ns = file_row_ns(path, mapping, interval_ns, span)
    file = RowFile(path, BAR_COLUMNS, mapping, least_ns=row_ns, span=span)
    blocks = [block.columns for block in file.blocks()]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in BAR_COLUMNS}
    if row_ns < interval_ns:
        _require_within(path, columns["ts_open_ns"], interval_ns, row_ns)
    return columns, row_ns


def file_row_ns(
    path: Path, mapping: Mapping[str, str], interval_ns: int, span: Span = ALWAYS
) -> int:
    """Length of the bars of a file in nanoseconds, at most the interval; raises MarketUnusable."""
    return row_ns_of(RowFile(path, BAR_COLUMNS, mapping, span=span).times(), interval_ns)


def row_ns_of(ts_open_ns: Longs, interval_ns: int) -> int:
    """Length of bars that begin at these times, in nanoseconds, at most the interval.

    What is no whole number of seconds is no length of a bar but a wrong unit: the interval, then.
    """
    steps = np.diff(ts_open_ns)
    steps = steps[steps > 0]  # a row at a time that was there before is refused later
    if not len(steps) or int(steps.min()) >= interval_ns:
        return interval_ns
    distances, counts = np.unique(steps, return_counts=True)
    usual = int(distances[np.argmax(counts)])
    is_length = usual < interval_ns and usual % SECOND_NS == 0
    return usual if is_length else interval_ns


def length_text(interval_ns: int) -> str:
    """As options write it: 1m, 90s, 4h."""
    unit_ns, unit = next((size, name) for size, name in UNITS if interval_ns % size == 0)
    return f"{interval_ns // unit_ns}{unit}"


def _require_within(path: Path, ts_open_ns: Longs, interval_ns: int, row_ns: int) -> None:
    reaches = ts_open_ns // interval_ns != (ts_open_ns + row_ns - 1) // interval_ns
    if not bool(reaches.any()):
        return
    row = int(np.argmax(reaches))
    at = np.datetime64(int(ts_open_ns[row]), "ns").astype("datetime64[s]")
    raise MarketUnusable(
        "ACROSS",
        f"{path} holds bars of {length_text(row_ns)}, and that of {at} UTC reaches over the end of "
        f"a bar of {length_text(interval_ns)}.",
        f"Give an --interval of which {length_text(row_ns)} is a whole part, counted from midnight "
        "UTC, or play the file at its own.",
    )
