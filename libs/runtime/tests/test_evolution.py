"""The rules of schema evolution, one refusal at a time."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime.evolution import hazard, incompatibility

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}


def record(*fields: dict[str, Any], name: str = "Order") -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "x", "fields": list(fields)}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Side", "namespace": "x", "symbols": list(symbols), **more}


def test_every_schema_of_ours_reads_itself() -> None:
    for name, schema in SCHEMAS.items():
        assert incompatibility(schema, copy.deepcopy(schema)) == "", name
        assert hazard(schema) == "", name


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (field("a", "int"), field("a", "long")),
        (field("a", "long"), field("a", "double")),
        (field("a", "long"), field("a", ["null", "long"])),
        (field("a", ["null", "long"]), field("a", ["null", "double"])),
        (field("a", enum("BUY")), field("a", enum("BUY", "SELL"))),
        (
            field("a", enum("BUY", "X", default="BUY")),
            field("a", enum("BUY", default="BUY")),
        ),
        (
            field("a", {"type": "array", "items": "int"}),
            field("a", {"type": "array", "items": "long"}),
        ),
        (
            field("a", {"type": "map", "values": "int"}),
            field("a", {"type": "map", "values": "long"}),
        ),
        (field("a", DECIMAL), field("a", dict(DECIMAL))),
    ],
)
def test_what_avro_allows_and_we_do_is_compatible(writer: Any, reader: Any) -> None:
    assert incompatibility(record(writer), record(reader)) == ""


@pytest.mark.parametrize(
    ("writer", "reader", "said"),
    [
        (field("a", "long"), field("a", "int"), "a is long, we read int"),
        (field("a", "double"), field("a", "long"), "double"),
        (field("a", "string"), field("a", "bytes"), "string"),
        (field("a", ["null", "long"]), field("a", "long"), "may be null"),
        (field("a", DECIMAL), field("a", {**DECIMAL, "scale": 17}), "scale"),
        (field("a", DECIMAL), field("a", {**DECIMAL, "precision": 37}), "precision"),
        (field("a", DECIMAL), field("a", "bytes"), "logicalType"),
        (field("a", "bytes"), field("a", DECIMAL), "logicalType"),
        (field("a", enum("BUY", "X")), field("a", enum("BUY")), "may be X"),
        (
            field("a", enum("BUY", default="BUY")),
            field("a", enum("BUY")),
            "default",
        ),
        (
            field("a", {"type": "array", "items": DECIMAL}),
            field("a", {"type": "array", "items": {**DECIMAL, "scale": 2}}),
            "scale",
        ),
        (
            field("a", record(field("b", "long"), name="Inner")),
            field("a", record(field("b", "long"), name="Other")),
            "Inner",
        ),
    ],
)
def test_what_could_be_misread_is_refused_with_its_place(
    writer: Any, reader: Any, said: str
) -> None:
    assert said in incompatibility(record(writer), record(reader))


def test_a_field_may_be_missing_only_where_we_have_a_default() -> None:
    assert "b is missing" in incompatibility(
        record(field("a", "long")), record(field("a", "long"), field("b", "long"))
    )
    assert not incompatibility(
        record(field("a", "long")), record(field("a", "long"), field("b", "long", default=0))
    )


def test_a_record_is_never_read_as_one_of_another_name() -> None:
    assert "x.Order" in incompatibility(record(name="Order"), record(name="Trade"))


def test_names_defined_inside_a_union_are_known_behind_it() -> None:
    inner = record(field("n", "long"), name="Inner")
    narrow = record(field("n", "int"), name="Inner")
    writer = record(field("a", ["null", inner]), field("b", "x.Inner"))
    assert not incompatibility(writer, copy.deepcopy(writer))
    reader = record(field("a", ["null", narrow]), field("b", "x.Inner"))
    assert "n is long" in incompatibility(writer, reader)


def test_a_type_used_twice_is_not_recursive() -> None:
    inner = record(field("n", "long"), name="Inner")
    assert hazard(record(field("a", inner), field("b", "x.Inner"))) == ""


@pytest.mark.parametrize(
    "kind",
    [
        "x.Order",
        ["null", "x.Order"],
        {"type": "array", "items": ["null", "x.Order"]},
        {"type": "map", "values": "x.Order"},
        record(field("deeper", ["null", "x.Order"]), name="Inner"),
        {"type": "array", "items": "null"},
        {"type": "array", "items": record(field("n", "null"), name="Inner")},
    ],
)
def test_recursion_and_items_without_bytes_are_found_at_any_depth(kind: Any) -> None:
    assert hazard(record(field("a", kind)))
