"""Makes a record of any type, from numbers that a test draws."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import fastavro

from tapeline.contracts.registry import RECORDS, SCHEMAS


def sample(name: str, seed: int = 1) -> Any:
    """A valid record of a type, by Avro full name; other seeds give other values."""
    parsed: Any = fastavro.parse_schema(SCHEMAS[name])
    return RECORDS[name].from_avro(_datum(parsed, seed, parsed["__named_schemas"]))


def _datum(schema: Any, seed: int, known: dict[str, Any]) -> Any:
    if isinstance(schema, str) and schema in known:
        return _datum(known[schema], seed, known)
    if isinstance(schema, list):
        return _datum(schema[seed % len(schema)], seed, known)
    if isinstance(schema, str):
        schema = {"type": schema}
    kind = schema["type"]
    if kind == "record":
        fields = schema["fields"]
        return {
            field["name"]: _datum(field["type"], seed + index, known)
            for index, field in enumerate(fields)
        }
    if kind == "enum":
        return schema["symbols"][seed % len(schema["symbols"])]
    if kind == "array":
        return [_datum(schema["items"], seed + index, known) for index in range(seed % 3)]
    if kind == "map":
        return {f"key{index}": _datum(schema["values"], seed, known) for index in range(seed % 3)}
    if schema.get("logicalType") == "decimal":
        return Decimal(seed * 37 - 500).scaleb(-3)
    if isinstance(kind, dict | list) or kind in known:
        return _datum(kind, seed, known)
    return {
        "null": None,
        "boolean": seed % 2 == 0,
        "int": seed,
        "long": seed * 1_000_003 - 7,
        "double": seed / 8,
        "string": f"text {seed}",
        "bytes": bytes([seed % 256]) * (seed % 5),
    }[kind]
