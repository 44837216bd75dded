"""Records as rows of a frame, with the columns that their types give, empty topics included."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import polars as pl

from tapeline.backtest.run_tables import COLUMNS
from tapeline.contracts import topics
from tapeline.contracts.registry import RECORDS
from tapeline.contracts.system import Watermark
from tapeline.runtime.exits import USAGE, Failure

PLAIN: Final[Mapping[type[Any], pl.DataType]] = {
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    str: pl.String(),
}
MONEY: Final = pl.Decimal(38, 18)


class NothingToRead(Failure):
    """There is no topic or table of that name."""

    exit_code = USAGE

    def __init__(self, name: str) -> None:
        known = ", ".join(sorted({*topics.TOPICS, *COLUMNS}))
        super().__init__(f"There is no topic or table {name!r}.", f"There are: {known}.")


def columns_of(topic: str, *, is_exact: bool) -> dict[str, pl.DataType]:
    """Columns of a topic: its records' fields, nested ones with a dot; `type` where it holds
    several kinds of records."""
    if topic not in topics.TOPICS:
        raise NothingToRead(topic)
    kinds = kinds_of(topic)
    found: dict[str, pl.DataType] = {"type": pl.String()} if len(kinds) > 1 else {}
    for kind in kinds:
        found |= {
            name: dtype
            for name, dtype in _columns(kind, "", is_exact=is_exact).items()
            if name not in found
        }
    return found


def kinds_of(topic: str) -> list[type[Any]]:
    """Types of a topic's records, watermarks left out."""
    found = [RECORDS[name] for name in topics.TOPICS[topic].records]
    return [kind for kind in found if kind is not Watermark]


def _columns(kind: Any, prefix: str, *, is_exact: bool) -> dict[str, pl.DataType]:
    hints = typing.get_type_hints(kind)
    found: dict[str, pl.DataType] = {}
    for field in fields(kind):
        held, name = _required(hints[field.name]), prefix + field.name
        if is_dataclass(held):
            found |= _columns(held, f"{name}.", is_exact=is_exact)
        else:
            found[name] = _dtype(held, is_exact=is_exact)
    return found


def _required(hint: Any) -> Any:
    """The type of a field that may be missing."""
    if isinstance(hint, types.UnionType):
        return next(item for item in typing.get_args(hint) if item is not type(None))
    return hint


def _dtype(held: Any, *, is_exact: bool) -> pl.DataType:
    if held is Decimal:
        return MONEY if is_exact else pl.Float64()
    # Lists, maps, bytes and enums are text.
    return PLAIN.get(held, pl.String())


def frame_of(topic: str, records: Iterable[Any], *, is_exact: bool = False) -> pl.DataFrame:
    """The records of a topic as a frame. Money is a float, or exact (decimal of 38 digits, 18
    behind the point); lists and maps are JSON, bytes are hex."""
    columns = columns_of(topic, is_exact=is_exact)
    has_type = "type" in columns
    rows = []
    for record in records:
        row = {"type": type(record).__name__} if has_type else {}
        _fill(row, record, "", is_exact=is_exact)
        rows.append(row)
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in columns}, schema=columns, strict=False
    )


def _fill(row: dict[str, Any], record: Any, prefix: str, *, is_exact: bool) -> None:
    for field in fields(record):
        value, name = getattr(record, field.name), prefix + field.name
        if is_dataclass(value):
            _fill(row, value, f"{name}.", is_exact=is_exact)
        else:
            row[name] = _cell(value, is_exact=is_exact)


def _cell(value: Any, *, is_exact: bool) -> Any:
    match value:
        case Decimal():
            return value if is_exact else float(value)
        case Enum():
            return value.value
        case bytes():
            return value.hex()
        case tuple() | list() | dict():
            return json.dumps(_plain(value))
        case _:
            return value


def _plain(value: Any) -> Any:
    """As JSON takes it; money as text, nothing rounded."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    match value:
        case Decimal():
            return f"{value:f}"
        case Enum():
            return value.value
        case bytes():
            return value.hex()
        case tuple() | list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value
