"""Market data from a Parquet or CSV file, its columns renamed to the usual ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tapeline.runtime.exits import FileUnusable


def read_market_data(path: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    """The file as a table; `columns` maps usual names to those of the file.

    Raises FileUnusable for a file that is not there or not readable, or has no such column.
    """
    try:
        is_parquet = path.suffix in (".parquet", ".pq")
        frame = pl.read_parquet(path) if is_parquet else pl.read_csv(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise FileUnusable(
            f"{path} cannot be read as market data: {error}",
            "Name a Parquet file, or a CSV file with a line of headings.",
        ) from error
    absent = [name for name in columns.values() if name not in frame.columns]
    if absent:
        raise FileUnusable(
            f"{path} has no column {', '.join(absent)}; it has {', '.join(frame.columns)}.",
            "Map usual names to columns of the file: --column ts_event_ns=time.",
        )
    return frame.rename({theirs: ours for ours, theirs in columns.items()})
