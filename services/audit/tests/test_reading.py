"""What a record says, and that PostgreSQL gives it back unchanged."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import psycopg
import pytest
from audit_samples import decision, decisions, message, plain, watermark
from hypothesis import given
from hypothesis import strategies as st

from tapeline.audit.reading import Reader, _plain, canonical

numbers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | floats | st.text() | st.binary(max_size=80)
bodies = st.dictionaries(st.text(max_size=8), scalars | st.lists(scalars, max_size=3), max_size=5)


def laid_out(body: object) -> str:
    """As Reader writes bodies."""
    return msgspec.json.encode(_plain(body), order="deterministic").decode()


def test_a_decision_is_read_with_its_ids_and_decimals_as_text() -> None:
    [record] = decisions(1)
    reading = Reader().read(record)
    body = msgspec.json.decode(reading.body)
    assert reading.record_type == "tapeline.agents.Decision"
    assert (reading.event_id, reading.decision_id) == ("decision-0", "decision-0")
    assert reading.producer == "test/0"
    assert reading.causation_id is None
    assert body["target_weight"] == "0.025"
    assert body["confidence"] == 0.7
    assert body["cycle_ns"] == 1000


def test_what_cannot_be_decoded_is_read_with_its_code() -> None:
    reading = Reader().read(message("fills", 0, 0, b"\xc3\x01garbage!!", "f-1"))
    assert reading.record_type == "undecodable"
    assert reading.event_id == "f-1"
    assert msgspec.json.decode(reading.body)["code"] == "UNKNOWN_SCHEMA"


def test_a_record_of_another_topic_is_undecodable() -> None:
    reading = Reader().read(message("fills", 0, 0, decision(1), "d-1"))
    assert reading.record_type == "undecodable"


def test_a_record_without_a_value_is_a_tombstone() -> None:
    reading = Reader().read(message("config", 0, 0, None))
    assert (reading.record_type, reading.body) == ("tombstone", "null")


def test_only_a_final_watermark_is_final() -> None:
    reader = Reader()
    assert reader.is_final_watermark(message("ticks", 0, 0, watermark(is_final=True)))
    assert not reader.is_final_watermark(message("ticks", 0, 0, watermark(is_final=False)))
    assert not reader.is_final_watermark(message("ticks", 0, 0, b"\xc3\x01"))
    assert not reader.is_final_watermark(message("ticks", 0, 0, None))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("0.500000000000000000"), "0.5"),
        (Decimal("100"), "100"),
        (Decimal("-0.000000000000000001"), "-0.000000000000000001"),
        (Decimal("1E+3"), "1000"),
        (b"\x00\xff", "00ff"),
        (
            bytes(65),
            "sha256:98ce42deef51d40269d542f5314bef2c7468d401ad5d85168bfab4c0108f75f7 (65 bytes)",
        ),
        ("a\0b", "a\u2400b"),
    ],
)
def test_values_are_shown_so(value: object, shown: str) -> None:
    assert _plain(value) == shown


@pytest.mark.postgres
def test_postgresql_gives_bodies_back_unchanged(postgres_url: str) -> None:
    with psycopg.connect(plain(postgres_url)) as connection:

        @given(st.lists(bodies, min_size=1, max_size=20))
        def check(many: list[dict[str, object]]) -> None:
            texts = [laid_out(body) for body in many]
            rows = connection.execute(
                """SELECT t::jsonb::text FROM unnest(%s::text[]) WITH ORDINALITY AS u (t, n)
                ORDER BY n""",
                (texts,),
            ).fetchall()
            assert [canonical(row[0]) for row in rows] == texts

        check()
