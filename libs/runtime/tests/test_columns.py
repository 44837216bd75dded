"""Records read together are those that are read one by one, whatever the bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_messages import PLAIN, TYPES, messages
from samples import sample
from test_stage_intake import Stored, intake, trade, watermark

from tapeline.contracts.market import Quote, Trade
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import DecodeError, Decoder, encode, schema_of
from tapeline.runtime.columns import MANY, PADDING, Bodies, ColumnDecoder, RecordColumns
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Raw
from tapeline.runtime.stage_intake import SessionClock


def outcome(record: Any) -> Any:
    """What can be compared of a record or an error."""
    return (record.code, record.reason) if isinstance(record, DecodeError) else record


def one_by_one(decoder: Decoder, values: Sequence[bytes | None]) -> list[Any]:
    found = []
    for value in values:
        try:
            found.append(decoder.decode(value))
        except DecodeError as error:
            found.append(outcome(error))
    return found


def together(values: Sequence[bytes | None], names: tuple[str, ...] = TYPES) -> list[Any]:
    return [outcome(found) for found in ColumnDecoder(names, Decoder(names)).decode_all(values)]


@pytest.mark.parametrize("name", PLAIN)
def test_the_records_of_the_market_are_plain(name: str) -> None:
    values = [encode(sample(name))] * MANY
    columns = RecordColumns.of(schema_of(name))
    assert columns is not None
    assert columns.read(values) == [sample(name)] * MANY


@settings(max_examples=150, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=12), st.integers(1, 6))
def test_whatever_comes_together_is_what_comes_one_by_one(
    found: list[bytes | None], times: int
) -> None:
    values = found * (MANY // len(found) + times)
    expected = [repr(record) for record in one_by_one(Decoder(TYPES), values)]
    assert [repr(record) for record in together(values)] == expected


@pytest.mark.parametrize("name", PLAIN)
def test_any_byte_of_a_record_may_be_any_other(name: str) -> None:
    value = encode(sample(name))
    for at in range(10, len(value)):
        values = [value[:at] + bytes([byte]) + value[at + 1 :] for byte in range(256)]
        expected = [repr(record) for record in one_by_one(Decoder(TYPES), values)]
        assert [repr(record) for record in together(values)] == expected, f"byte {at}"


def test_a_number_of_ten_bytes_is_left_to_the_decoder() -> None:
    joined = bytes([0xFF] * 9 + [0x01] + [0x80] * 8 + [0x01]) + PADDING
    bodies = Bodies(joined, np.array([0, 10]), np.array([10, 19]))
    assert bodies.numbers()[1] == 1 << 55
    assert bodies.is_plain.tolist() == [False, True]


def test_a_byte_too_many_in_one_and_too_few_in_the_next_do_not_even_out() -> None:
    values = [encode(trade(number)) for number in range(MANY)]
    values[3], values[4] = values[3] + b"\x00", values[4][:-1]
    codes = [found[0] for found in together(values) if isinstance(found, tuple)]
    assert codes == ["TRAILING_BYTES", "TRUNCATED"]


def test_what_is_not_allowed_on_a_topic_is_not_read_together_either() -> None:
    values = [encode(sample(Quote.AVRO))] * MANY
    assert {found[0] for found in together(values, (Trade.AVRO,))} == {"UNKNOWN_SCHEMA"}


def test_not_finite_numbers_are_refused_by_name() -> None:
    whole = encode(trade(1))
    price = whole.replace(_double(sample(Trade.AVRO).price), _double(float("nan")), 1)
    assert {found[0] for found in together([price] * MANY)} == {"NOT_FINITE"}


def _double(value: float) -> bytes:
    return struct.pack("<d", value)


@dataclass
class Batch:
    """Ticks and watermarks, some with headers, one broken."""

    values: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, *extra: bytes) -> Batch:
        return cls([*(encode(trade(number)) for number in range(MANY)), *extra])


BATCHES = [Batch.of(), Batch.of(encode(watermark(9)), encode(trade(7))), Batch.of(b"?")]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("headers", [[], [("event_id", b"e")]])
@pytest.mark.parametrize("base_ns", [0, 5])
def test_a_stage_gets_the_same_inputs(
    batch: Batch, headers: list[tuple[str, bytes]], base_ns: int
) -> None:
    stored = [
        Stored(value, offset, headers=headers if offset == 5 else [])
        for offset, value in enumerate(batch.values)
    ]
    taken, clock = intake("ticks"), SessionClock(base_ns)
    expected = []
    for one in stored:
        try:
            expected.append(_seen(taken.input_of(one, clock)))
        except DecodeError as error:
            expected.append(outcome(error))
    again = SessionClock(base_ns)
    found = [
        outcome(event) if isinstance(event, DecodeError) else _seen(event)
        for event in taken.inputs_of(stored, again)
    ]
    assert found == expected
    assert again.now_ns == clock.now_ns
    assert again.at(len(stored)) == clock.at(len(stored))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("recorded", [None, {3: "BAD_MAC"}])
def test_a_shard_gets_the_same_inputs(batch: Batch, recorded: dict[int, str] | None) -> None:
    raws = [
        Raw("ticks", 0, offset, offset, b"k", value, (("event_id", b"e"),) if offset == 5 else ())
        for offset, value in enumerate(batch.values)
    ]
    taken = Intake(("ticks",), verdict=lambda _topic, record: record.feed_sequence % 2 * "ODD")
    if any(isinstance(_decoded(raw), Watermark) for raw in raws):
        taken = Intake(("ticks",), verdict=lambda _topic, _record: "SEEN")
    for part in (raws, raws[:5] + raws[6:]):
        expected = [_seen(taken.input_of(raw, recorded, 11)) for raw in part]
        assert [_seen(event) for event in taken.inputs_of("ticks", part, recorded, 11)] == expected


def _decoded(raw: Raw) -> Any:
    try:
        return Decoder(TYPES).decode(raw.value)
    except DecodeError:
        return None


def _seen(event: Any) -> tuple[Any, ...]:
    names = ("topic", "partition", "offset", "event_id", "correlation_id", "session_ns", "verdict")
    return (type(event), event.record, *(getattr(event, name) for name in names))
