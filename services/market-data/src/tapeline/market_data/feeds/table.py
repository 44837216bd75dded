"""Recorded files to typed tables, lazily and in chunks.

Every column is read as text from CSV and converted here, so that a value that does not fit is named
with its row and column instead of turning up as a missing one.

Errors:
    FeedError   the file is missing, is not what its name says, lacks a column or holds a bad value
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from tapeline.market_data.durations import UNITS_NS
from tapeline.market_data.feeds.interface import FeedError
from tapeline.market_data.feeds.mapping import Mapping

CHUNK_ROWS: Final = 50_000
ROW: Final = "__row"
_TEXT_ROLES: Final = ("instrument", "side", "trade_id")
_TRUE: Final = ("true", "1", "yes", "y", "t")
_FALSE: Final = ("false", "0", "no", "n", "f", "")


def chunks(mapping: Mapping) -> Iterator[pl.DataFrame]:
    """Tables with a column for each role and `time` in nanoseconds UTC; raises FeedError."""
    first_row = 0
    try:
        frame = _scan(mapping)
        _require_columns(mapping, frame.collect_schema().names())
        frame = frame.select(
            pl.col(column).alias(role) for role, column in mapping.columns().items()
        )
        for chunk in frame.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True, lazy=True):
            yield _converted(mapping, chunk.with_row_index(ROW, offset=first_row))
            first_row += chunk.height
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise FeedError(
            f"{mapping.path} cannot be read behind row {first_row}: {reason}.",
            "Check that the file is complete and is the CSV, CSV.gz or Parquet its name says.",
        ) from error


def check(mapping: Mapping) -> None:
    """Reads a file once, so that a fault in its last row is found before its first is published."""
    for _ in chunks(mapping):
        pass


def sorted_table(mapping: Mapping) -> pl.DataFrame:
    """The whole file in order of time; records of one time keep their order."""
    return pl.concat(chunks(mapping)).sort("time", maintain_order=True)


def _scan(mapping: Mapping) -> pl.LazyFrame:
    path = mapping.path
    if not path.is_file():
        raise FeedError(f"{path} does not exist.", "Check the path; it is relative to the mapping.")
    if path.name.endswith(".parquet"):
        return pl.scan_parquet(path, glob=False)
    if path.name.endswith((".csv", ".csv.gz")):
        return pl.scan_csv(path, infer_schema=False, empty_string_is_null=False, glob=False)
    raise FeedError(f"{path} is neither CSV nor Parquet.", "Name it .csv, .csv.gz or .parquet.")


def _require_columns(mapping: Mapping, names: list[str]) -> None:
    for role, column in mapping.columns().items():
        if column not in names:
            raise FeedError(
                f"{mapping.path} has no column {column!r} (for {role}).",
                f"Its columns are {', '.join(names)}; name the right one in the mapping.",
            )


def _converted(mapping: Mapping, chunk: pl.DataFrame) -> pl.DataFrame:
    for role in mapping.columns():
        if role != "time" and role not in _TEXT_ROLES and chunk[role].dtype == pl.String:
            chunk = chunk.filter(~pl.col(role).is_in(list(mapping.missing_values)))
    for role in mapping.columns():
        chunk = _convert(mapping, chunk, role)
    in_window = pl.col("time").is_between(mapping.start_ns, mapping.end_ns, closed="left")
    chunk = chunk.filter(in_window)
    if mapping.only:
        chunk = chunk.filter(pl.col("instrument").is_in(list(mapping.only)))
    return chunk


def _convert(mapping: Mapping, chunk: pl.DataFrame, role: str) -> pl.DataFrame:
    if role == "time":
        converted = _time(mapping, chunk["time"])
    elif role in _TEXT_ROLES:
        converted = chunk[role].cast(pl.String)
    elif role == "suspicious":
        converted = _truth(chunk[role])
    else:
        converted = chunk[role].cast(pl.Float64, strict=False)
    bad = converted.is_null()
    if bad.any():
        place = int(bad.arg_true()[0])
        column = mapping.columns()[role]
        expected = mapping.time_format or "a whole number" if role == "time" else "a value"
        raise FeedError(
            f"{mapping.path}, row {chunk[ROW][place] + 1}, column {column!r}: "
            f"{chunk[role][place]!r} is not {expected}.",
            "Correct the row; or list the text under missing_values, or fix the time unit or "
            "format in the mapping.",
        )
    return chunk.with_columns(converted.alias(role))


def _time(mapping: Mapping, column: pl.Series) -> pl.Series:
    """Nanoseconds UTC; null where the value is no time."""
    if column.dtype.is_temporal():
        nanoseconds = column.cast(pl.Datetime("ns")).to_physical()
    elif mapping.time_format:
        text = column.cast(pl.String)
        parsed = text.str.to_datetime(mapping.time_format, time_unit="ns", strict=False)
        nanoseconds = parsed.to_physical()
    else:
        unit_ns = UNITS_NS[mapping.time_unit]
        numbers = column.cast(pl.Int64, strict=False)
        limit = (2**63 - 1) // unit_ns
        nanoseconds = numbers.set(numbers.abs() > limit, None) * unit_ns
    return nanoseconds + mapping.time_offset_ns


def _truth(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Boolean:
        return column
    text = column.cast(pl.String).str.to_lowercase()
    words = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
    return text.replace_strict(words, default=None, return_dtype=pl.Boolean)
