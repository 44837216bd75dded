"""A file made ready for a run: CSV, and times that are not in nanoseconds, become Parquet once.

The copy is kept under the digest of the file and of how its times are read, so the same file is
not read as text again, and a file that was changed is. It comes to be under another name and is
moved: it is whole or not there.
"""

from __future__ import annotations

import os
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

import polars as pl

from tapeline.backtest.engine.rows import MarketUnusable, State

UNITS_NS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
ISO: Final = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d")
PARQUET: Final = (".parquet", ".pq")
TIME_MAX_NS: Final = 2**63 - 1


def prepared(path: Path, time_column: str, time_format: str, folder: Path) -> Path:
    """The file itself where it is Parquet with times as they must be, else its copy in `folder`.

    `time_format` is a unit of UNITS_NS since 1970, or the form of a text as strptime has it, UTC;
    empty: nanoseconds, timestamps, or texts in ISO 8601, UTC. Raises MarketUnusable.
    """
    if time_format not in ("", *UNITS_NS) and "%" not in time_format:
        raise MarketUnusable(
            "BAD_VALUE",
            f"--time-format {time_format} is no unit and no form of a time.",
            "Write ns, us, ms or s for numbers since 1970, or a form such as %d/%m/%Y.",
        )
    is_parquet = path.suffix.lower() in PARQUET
    if is_parquet and time_format in ("", "ns"):
        return path
    try:
        state = State.of(path)
        with path.open("rb") as opened:
            digest = sha256(file_digest(opened, "sha256").digest())
        digest.update(f"{time_column}\0{time_format}".encode())
        found = folder / f"{path.name}-{digest.hexdigest()[:16]}.parquet"
        if not found.is_file():
            _copy(path, found, state, (time_column, time_format))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise MarketUnusable(
            "UNREADABLE",
            f"{path} cannot be read: {str(error).strip().splitlines()[0]}.",
            "Give a Parquet file, or a CSV file with a line of headings, and say how its times are "
            "written with --time-format (ns, us, ms, s, or such as %d/%m/%Y).",
        ) from error
    return found


def _copy(path: Path, found: Path, state: State, time: tuple[str, str]) -> None:
    # Dates are not guessed: the third of April may be the fourth of March.
    scan = pl.scan_parquet if path.suffix.lower() in PARQUET else pl.scan_csv
    rows = scan(path, glob=False)
    if time[0] in rows.collect_schema():
        rows = rows.with_columns(_time(path, rows, *time).alias(time[0]))
    found.parent.mkdir(parents=True, exist_ok=True)
    part = found.with_suffix(f".{os.getpid()}.part")
    try:
        rows.sink_parquet(part)
        state.require(path)
        part.replace(found)
    finally:
        part.unlink(missing_ok=True)


def _time(path: Path, rows: pl.LazyFrame, name: str, time_format: str) -> pl.Expr:
    """The column of times in nanoseconds, or as timestamps."""
    column, kind = pl.col(name), rows.collect_schema()[name]
    if time_format in UNITS_NS:
        if not kind.is_numeric():
            raise _bad_time(path, name, f"it holds {kind}", time_format)
        return _scaled(path, rows, name, time_format)
    if time_format:
        return column.cast(pl.String).str.to_datetime(time_format, time_unit="ns")
    if kind != pl.String:
        return column
    text = column.str.strip_suffix("Z").str.strip_suffix("+00:00")
    moment = pl.coalesce(text.str.to_datetime(form, time_unit="ns", strict=False) for form in ISO)
    unread = rows.with_row_index("row").filter(moment.is_null())
    for row, found in unread.select("row", name).head(1).collect().rows():
        raise _bad_time(path, name, f"row {row} is {found!r}", "ISO 8601")
    return moment


def _scaled(path: Path, rows: pl.LazyFrame, name: str, unit: str) -> pl.Expr:
    """Numbers in nanoseconds; those with a fraction are good for microseconds."""
    column, unit_ns = pl.col(name), UNITS_NS[unit]
    # A product beyond 64 bits would come out as some other time.
    farthest = rows.select(column.abs().max()).collect().item()
    if farthest is not None and farthest * unit_ns > TIME_MAX_NS:
        raise _bad_time(path, name, f"it holds {farthest}", unit)
    if rows.collect_schema()[name].is_float():
        return (column * (unit_ns / 1_000)).round().cast(pl.Int64) * 1_000
    return column.cast(pl.Int64) * unit_ns


def _bad_time(path: Path, name: str, what: str, time_format: str) -> MarketUnusable:
    return MarketUnusable(
        "BAD_VALUE",
        f"{path}, column {name}: {what}, which is no time in {time_format}.",
        "Name with --time-format the unit of its times (ns, us, ms, s) or the form of its texts.",
    )
