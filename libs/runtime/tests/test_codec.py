"""What the decoder takes, and every way in which it refuses."""

from __future__ import annotations

import copy
import io
import json
import math
import struct
from dataclasses import replace
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import sample

from tapeline.contracts.registry import RECORDS, SCHEMAS
from tapeline.runtime.codec import (
    MAX_BYTES,
    DecodeError,
    Decoder,
    EncodeError,
    IncompatibleSchema,
    UnknownSchema,
    digest_body,
    encode,
    encode_body,
    fingerprint_of,
    schema_of,
)

BAR = "tapeline.market.Bar"
TRADE = "tapeline.market.Trade"
NEWS = "tapeline.market.NewsItem"
FILL = "tapeline.orders.Fill"
NAMES = tuple(SCHEMAS)


def code_of(decoder: Decoder, value: bytes | None) -> str:
    with pytest.raises(DecodeError) as caught:
        decoder.decode(value)
    return caught.value.code


def decoded_or_none(decoder: Decoder, value: bytes) -> Any:
    try:
        return decoder.decode(value)
    except DecodeError:
        return None


def with_writer(source: dict[str, Any], datum: dict[str, Any]) -> bytes:
    """A message written with a schema that is not ours."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(copy.deepcopy(source)), datum)
    return b"\xc3\x01" + struct.pack("<Q", fingerprint_of(source)) + body.getvalue()


def resolving(*sources: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {fingerprint_of(source): source for source in sources}


@given(st.sampled_from(NAMES), st.integers(1, 40))
def test_every_record_type_comes_back_as_it_went(name: str, seed: int) -> None:
    record = sample(name, seed)
    decoded = Decoder((name,), is_canonical=True).decode(encode(record))
    assert decoded == record
    assert encode(decoded) == encode(record)


def test_the_fingerprint_is_the_published_one_in_little_endian() -> None:
    # The value of "null" in the Avro project's own test data.
    assert fingerprint_of({"type": "null"}) == 0x63DD24E7CC258F8A
    header = encode(sample(BAR))[:10]
    assert header == b"\xc3\x01" + struct.pack("<Q", fingerprint_of(SCHEMAS[BAR]))


@settings(max_examples=600)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(1, 6),
    position=st.integers(0, 10_000),
    cut=st.integers(0, 6),
    noise=st.binary(max_size=12),
)
def test_damaged_bytes_are_a_record_or_a_coded_refusal_and_nothing_else(
    name: str, seed: int, position: int, cut: int, noise: bytes
) -> None:
    value = encode(sample(name, seed))
    at = 10 + position % max(1, len(value) - 10)
    damaged = value[:at] + noise + value[at + cut :]
    record = decoded_or_none(Decoder((name,), is_canonical=True), damaged)
    assert record is None or encode(record) == damaged


@pytest.mark.parametrize("length", range(10, 40))
def test_a_cut_message_is_truncated_at_every_length(length: int) -> None:
    value = encode(sample(TRADE, 3))
    assert code_of(Decoder((TRADE,)), value[:length]) in ("TRUNCATED", "MALFORMED")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "EMPTY"),
        (b"", "NOT_AVRO"),
        (b"{}", "NOT_AVRO"),
        (b"\xc3\x01\x00", "NOT_AVRO"),
        (b"\xc3\x01" + bytes(8), "UNKNOWN_SCHEMA"),
        (b"\x00\x00\x00\x00\x01body", "NOT_AVRO"),
    ],
)
def test_what_is_not_one_of_our_messages_is_named(value: bytes | None, code: str) -> None:
    assert code_of(Decoder((BAR,)), value) == code


def test_one_byte_behind_a_record_is_refused() -> None:
    assert code_of(Decoder((BAR,)), encode(sample(BAR)) + b"\x00") == "TRAILING_BYTES"


def test_a_record_type_that_the_topic_does_not_hold_is_refused() -> None:
    value = encode(sample(TRADE))
    assert code_of(Decoder((BAR,)), value) == "UNKNOWN_SCHEMA"
    assert code_of(Decoder((BAR,), resolving(SCHEMAS[TRADE]).get), value) == "NOT_ALLOWED"


@pytest.mark.parametrize("price", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused_in_both_directions(price: float) -> None:
    trade = replace(sample(TRADE), price=1.0)
    body = encode(trade)
    spoiled = body.replace(struct.pack("<d", 1.0), struct.pack("<d", price), 1)
    assert code_of(Decoder((TRADE,)), spoiled) == "NOT_FINITE"
    with pytest.raises(EncodeError):
        encode(replace(trade, price=price))


def test_an_encoding_other_than_ours_is_refused_where_it_matters() -> None:
    value = encode(replace(sample(NEWS), source=""))
    assert value[10] == 0
    longer = value[:10] + b"\x80\x00" + value[11:]
    assert Decoder((NEWS,)).decode(longer) == Decoder((NEWS,)).decode(value)
    assert code_of(Decoder((NEWS,), is_canonical=True), longer) == "NOT_CANONICAL"


def test_a_decimal_with_more_digits_than_the_field_is_refused_both_ways() -> None:
    fill = replace(sample(FILL), price=Decimal("1.5"))
    assert Decoder((FILL,)).decode(encode(fill)).price == Decimal("1.5")
    with pytest.raises(EncodeError):
        encode(replace(fill, price=Decimal("0.0000000000000000001")))
    with pytest.raises(EncodeError):
        encode(replace(fill, price=Decimal("1E+20")))


def test_a_decimal_of_many_bytes_is_refused_before_it_is_computed() -> None:
    fields = {field["name"]: field for field in SCHEMAS[FILL]["fields"]}
    assert fields["price"]["type"]["logicalType"] == "decimal"
    datum = sample(FILL).to_avro()
    raw = copy.deepcopy(SCHEMAS[FILL])
    for field in raw["fields"]:
        if isinstance(field["type"], dict) and field["type"].get("logicalType") == "decimal":
            field["type"] = "bytes"
            datum[field["name"]] = b"\x7f" * (40_000 if field["name"] == "price" else 1)
    body = with_writer(raw, datum)[10:]
    value = schema_of(FILL).header + body
    assert code_of(Decoder((FILL,)), value) == "MALFORMED"


def test_an_enum_symbol_without_default_is_refused_and_one_with_default_is_read_so() -> None:
    newer = copy.deepcopy(SCHEMAS[TRADE])
    origin = next(field for field in newer["fields"] if field["name"] == "origin")["type"]
    origin["symbols"] = [*origin["symbols"], "AUCTION"]
    value = with_writer(newer, {**sample(TRADE).to_avro(), "origin": "AUCTION"})
    record = Decoder((TRADE,), resolving(newer).get).decode(value)
    assert record.origin.value == origin["default"]

    stricter = copy.deepcopy(SCHEMAS[FILL])
    side = next(field for field in stricter["fields"] if field["name"] == "side")["type"]
    assert side.get("default") is None
    side["symbols"] = [*side["symbols"], "SHORT"]
    value = with_writer(stricter, {**sample(FILL).to_avro(), "side": "SHORT"})
    with pytest.raises(IncompatibleSchema):
        Decoder((FILL,), resolving(stricter).get).decode(value)


def test_a_writer_schema_of_the_same_shape_never_swaps_fields() -> None:
    swapped = copy.deepcopy(SCHEMAS[TRADE])
    names = [field["name"] for field in swapped["fields"]]
    price, size = names.index("price"), names.index("size")
    fields = swapped["fields"]
    fields[price], fields[size] = fields[size], fields[price]
    value = with_writer(swapped, {**sample(TRADE).to_avro(), "price": 7.0, "size": 3.0})
    record = Decoder((TRADE,), resolving(swapped).get).decode(value)
    assert (record.price, record.size) == (7.0, 3.0)


def test_an_older_writer_is_read_with_our_defaults_and_a_newer_ones_fields_are_skipped() -> None:
    newer = copy.deepcopy(SCHEMAS[NEWS])
    newer["fields"].append({"name": "mood", "type": "double", "default": 0.0})
    value = with_writer(newer, {**sample(NEWS).to_avro(), "mood": 0.5})
    assert Decoder((NEWS,), resolving(newer).get).decode(value) == sample(NEWS)


def test_names_written_in_short_are_the_same_names() -> None:
    book = "tapeline.market.BookSnapshot"
    short = json.loads(
        json.dumps(SCHEMAS[book]).replace('"tapeline.market.BookLevel"', '"BookLevel"')
    )
    short["fields"].append({"name": "venue_note", "type": "string", "default": ""})
    level = next(field for field in short["fields"] if field["name"] == "bids")["type"]["items"]
    del level["namespace"]
    value = with_writer(short, {**sample(book, 5).to_avro(), "venue_note": "x"})
    assert Decoder((book,), resolving(short).get).decode(value) == sample(book, 5)


def test_a_schema_with_another_fingerprint_than_asked_for_is_not_used() -> None:
    value = encode(sample(TRADE))
    with pytest.raises(UnknownSchema):
        Decoder((BAR,), lambda _: SCHEMAS[BAR]).decode(value)


def recursive(field: Any) -> dict[str, Any]:
    source = copy.deepcopy(SCHEMAS[NEWS])
    source["fields"].append({"name": "extra", "type": field})
    return source


@pytest.mark.parametrize(
    "field",
    [
        ["null", "tapeline.market.NewsItem"],
        {"type": "array", "items": "tapeline.market.NewsItem"},
        {"type": "map", "values": ["null", "tapeline.market.NewsItem"]},
        {"type": "array", "items": "null"},
        {"type": "array", "items": {"type": "record", "name": "x.Nothing", "fields": []}},
        {"type": "array", "items": {"type": "fixed", "name": "x.Empty", "size": 0}},
    ],
)
def test_hazardous_types_are_refused_even_in_fields_that_would_be_skipped(field: Any) -> None:
    source = recursive(field)
    value = b"\xc3\x01" + struct.pack("<Q", fingerprint_of(source)) + encode_body(sample(NEWS))
    decoder = Decoder((NEWS,), resolving(source).get)
    assert code_of(decoder, value + b"\x02" * 50_000) == "INCOMPATIBLE_SCHEMA"


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "name", "fields", "items", "symbols", "namespace"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_anything_a_registry_may_answer_is_a_refusal_at_worst(answer: Any) -> None:
    decoder = Decoder((NEWS,), resolve_confluent=lambda _: answer)
    if isinstance(answer, dict):
        assert code_of(decoder, b"\x00" + bytes(4) + encode_body(sample(NEWS)))


def test_the_confluent_format_is_read_where_a_registry_is_given() -> None:
    value = b"\x00" + struct.pack(">I", 7) + encode_body(sample(NEWS))
    decoder = Decoder((NEWS,), resolve_confluent={7: SCHEMAS[NEWS]}.get)
    assert decoder.decode(value) == sample(NEWS)
    other = b"\x00" + struct.pack(">I", 8) + encode_body(sample(NEWS))
    assert code_of(decoder, other) == "UNKNOWN_SCHEMA"


def test_a_record_may_be_as_large_as_the_bound_and_not_a_byte_larger() -> None:
    room = MAX_BYTES - len(encode(replace(sample(NEWS), body="")))
    # The length of a text of that size takes two bytes more than that of an empty one.
    fits = replace(sample(NEWS), body="x" * (room - 2))
    assert len(encode(fits)) == MAX_BYTES
    assert Decoder((NEWS,)).decode(encode(fits)) == fits
    with pytest.raises(EncodeError, match="at most"):
        encode(replace(fits, body="x" * (room - 1)))
    assert code_of(Decoder((NEWS,)), encode(fits) + b"x") == "TOO_LARGE"


def test_digests_leave_authentication_codes_out_and_nothing_else() -> None:
    for name, kind in RECORDS.items():
        record = sample(name, 2)
        if hasattr(kind, "without_mac"):
            assert digest_body(record) == encode_body(record.without_mac())
        else:
            assert digest_body(record) == encode_body(record)
