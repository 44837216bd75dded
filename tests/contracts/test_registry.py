"""The generated contracts against the files in schemas/, read by the Avro library alone."""

from __future__ import annotations

import io
import tomllib
from typing import Any

import fastavro
import pytest
from check_evolution import SCHEMAS as FOLDER
from check_evolution import load
from fastavro.schema import load_schema
from generate_contracts import references
from samples import sample

from tapeline.contracts import registry
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.codec import Decoder, encode, fingerprint_of
from tapeline.runtime.settings import SERVICES

TYPES = load(FOLDER)
RECORDS = sorted(name for name, one in TYPES.items() if one["type"] == "record")
TABLE: dict[str, Any] = tomllib.loads((FOLDER / "topics.toml").read_text())
SEEDS = (1, 2, 3)
WORDS = ["tapeline.control.LocalTrip", "tapeline.control.SwitchLevel"]
"""On no topic: words of operators' tools, and what a journal keeps of trips."""


def source(name: str) -> Any:
    """The schema as the library puts it together from the files."""
    return load_schema(str(FOLDER / f"{name}.avsc"))


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_means_to_others_what_it_means_to_us(name: str) -> None:
    schema = source(name)
    assert fingerprint_of(schema) == fingerprint_of(registry.SCHEMAS[name])
    for seed in SEEDS:
        record = sample(name, seed)
        sent = encode(record)
        assert fastavro.schemaless_reader(io.BytesIO(sent[10:]), schema, None) == record.to_avro()
        written = io.BytesIO()
        fastavro.schemaless_writer(written, schema, record.to_avro(), strict=True)
        assert Decoder((name,)).decode(sent[:10] + written.getvalue()) == record


def test_every_record_has_a_class_and_no_class_is_without_a_schema() -> None:
    assert sorted(registry.RECORDS) == sorted(registry.SCHEMAS) == RECORDS
    assert all(name == kind.AVRO for name, kind in registry.RECORDS.items())


def test_no_two_schemas_share_a_fingerprint() -> None:
    marks = [fingerprint_of(schema) for schema in registry.SCHEMAS.values()]
    assert len(set(marks)) == len(marks)


def test_every_record_is_in_a_topic_or_in_a_record_that_is() -> None:
    seen = [record for topic in TABLE["topics"].values() for record in topic["records"]]
    for name in seen:
        for field in TYPES[name].get("fields", ()):
            seen += [other for other in references(field["type"]) if other not in seen]
    assert sorted(set(TYPES) - set(seen)) == WORDS


def test_every_field_says_what_it_is() -> None:
    for name, one in TYPES.items():
        assert one["doc"], name
        for field in one.get("fields", ()):
            assert field.get("doc"), f"{name}.{field['name']}"


def test_every_decimal_is_the_one_of_the_house() -> None:
    house = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}
    for name, one in TYPES.items():
        for field in one.get("fields", ()):
            for kind in _decimals(field["type"]):
                assert kind == house, f"{name}.{field['name']}"


def _decimals(kind: Any) -> list[Any]:
    if isinstance(kind, list):
        return [found for part in kind for found in _decimals(part)]
    if isinstance(kind, dict) and "logicalType" in kind:
        return [kind]
    if isinstance(kind, dict):
        return _decimals(kind.get("items", kind.get("values", "string")))
    return []


def test_every_topic_says_all_that_is_needed_and_nothing_else() -> None:
    needed = {"doc", "key", "records", "spread", "writers"}
    for name, topic in TABLE["topics"].items():
        assert needed <= set(topic) <= needed | {"bulk", "cleanup", "retention"}, name
        assert topic["cleanup" if "cleanup" in topic else "doc"] in ("compact", topic["doc"]), name
        assert topic.get("retention", "short") in ("short", "longest"), name
        assert topic["records"], name
        assert set(topic["writers"]) <= {*SERVICES, "all"}, name
    assert list(TABLE["topics"]) == list(TOPICS)


def test_only_risk_approves_and_only_execution_reports() -> None:
    assert TOPICS["approved-orders"].writers == ("risk",)
    for name in ("venue-reports", "order-updates", "fills", "account-events"):
        assert TOPICS[name].writers == ("execution",)


def test_bulk_records_can_be_named_without_a_header() -> None:
    for name, topic in TABLE["topics"].items():
        if topic.get("bulk"):
            for record in topic["records"]:
                assert TYPES[record].get("content_key") or record.endswith(".Watermark"), name
