"""Our own writer says what the Avro library says, to the byte, and refuses what does not fit."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Context, Decimal
from threading import Barrier
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import sample

from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime import encoder
from tapeline.runtime.codec import EncodeError, encode_body, schema_of
from tapeline.runtime.encoder import writer_of

NAMES = tuple(SCHEMAS)
ORDER, DENIAL = "tapeline.orders.ApprovedOrder", "tapeline.risk.Denial"
FILL, NEWS, BAR = "tapeline.orders.Fill", "tapeline.market.NewsItem", "tapeline.market.Bar"
EXACT = Context(prec=60)
GROUP = "tapeline.config.TradingGroup"
WIRE = st.integers(-(10**38) + 1, 10**38 - 1).map(lambda number: Decimal(number).scaleb(-18, EXACT))


def of_the_library(record: Any) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema_of(record.AVRO).parsed, record.to_avro(), strict=True)
    return body.getvalue()


@settings(max_examples=400)
@given(st.sampled_from(NAMES), st.integers(0, 400))
def test_every_record_type_is_written_as_the_library_does(name: str, seed: int) -> None:
    record = sample(name, seed)
    assert encode_body(record) == of_the_library(record)


@settings(max_examples=400)
@given(WIRE, st.integers(-(2**63), 2**63 - 1), st.text(max_size=300), st.binary(max_size=300))
def test_every_figure_is_written_as_the_library_does(
    figure: Decimal, number: int, text: str, data: bytes
) -> None:
    order = sample(ORDER, 3)
    inner = replace(order.order, quantity=figure, limit_price=figure, stop_price=None)
    approval = replace(order.approval, mac=data, decision_id=text)
    order = replace(order, order=inner, approval=approval, ts_init_ns=number)
    assert encode_body(order) == of_the_library(order)


@settings(max_examples=400)
@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(max_size=80))
def test_every_other_value_is_written_as_the_library_does(
    price: float, is_complete: bool, text: str
) -> None:
    bar = replace(sample(BAR, 3), close=price, is_complete=is_complete, feed=text)
    assert encode_body(bar) == of_the_library(bar)


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 9_000])
def test_lists_of_any_length_are_written_as_the_library_does(count: int) -> None:
    names = tuple(f"decision-{number}" for number in range(count))
    denial = replace(sample(DENIAL, 3), also_decision_ids=names)
    assert encode_body(denial) == of_the_library(denial)


@pytest.mark.parametrize("size", [0, 1, 2, 31, 32, 62, 63, 64, 65, 128])
@pytest.mark.parametrize("letter", ["d", "\x7f", "\x00", "ä", "€", "😀"])
def test_lists_of_ids_of_one_length_are_written_as_the_library_does(size: int, letter: str) -> None:
    for names in ((letter * size,), (letter * size,) * 70, ("e" * size, letter * size, "")):
        denial = replace(sample(DENIAL, 3), also_decision_ids=names)
        assert encode_body(denial) == of_the_library(denial)


@pytest.mark.parametrize("size", [0, 1, 62, 63, 64, 65, 127, 128, 8_191, 8_192, 20_000])
def test_texts_and_bytes_of_any_length_are_written_as_the_library_does(size: int) -> None:
    order = sample(ORDER)
    approval = replace(order.approval, mac=b"m" * size, decision_id="d" * size)
    assert encode_body(replace(order, approval=approval)) == of_the_library(
        replace(order, approval=approval)
    )


def test_a_map_is_written_in_the_order_of_its_keys() -> None:
    weights = {"b": 0.5, "a": 0.25, "c": 1.0}
    group = sample(GROUP)
    given_so = replace(group, trigger_weights=weights)
    sorted_so = replace(group, trigger_weights=dict(sorted(weights.items())))
    assert encode_body(given_so) == encode_body(sorted_so) == of_the_library(given_so)


@pytest.mark.parametrize(
    "digits", ["0", "-0", "-128E-18", "127E-18", "128E-18", "-129E-18", "1E+2", "-1E+19", "1.50"]
)
def test_decimals_at_the_edge_of_a_byte_are_written_as_the_library_does(digits: str) -> None:
    fill = replace(sample(FILL), price=Decimal(digits))
    assert encode_body(fill) == of_the_library(fill)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (FILL, {"price": Decimal("1E-19")}),
        (FILL, {"price": Decimal("1." + "0" * 29 + "1")}),
        (FILL, {"price": Decimal("1." + "0" * 70 + "1")}),
        (FILL, {"price": Decimal("1E+20")}),
        (FILL, {"price": Decimal("NaN")}),
        (FILL, {"price": 1.5}),
        (FILL, {"price": None}),
        (FILL, {"side": "NEITHER"}),
        (FILL, {"side": None}),
        (FILL, {"ts_event_ns": 2**63}),
        (FILL, {"ts_event_ns": -(2**63) - 1}),
        (FILL, {"ts_event_ns": 1.5}),
        (FILL, {"ts_event_ns": "1"}),
        (FILL, {"fill_id": None}),
        (FILL, {"fill_id": b"1"}),
        (FILL, {"fill_id": "\ud800"}),
        (BAR, {"close": float("inf")}),
        (BAR, {"close": "1"}),
        (DENIAL, {"also_decision_ids": (1,)}),
        (NEWS, {"body": 7}),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(EncodeError, match=name):
        encode_body(replace(sample(name), **change))


def test_a_union_of_two_types_is_not_known() -> None:
    field = {"name": "either", "type": ["long", "string"]}
    parsed = fastavro.parse_schema({"type": "record", "name": "x.Either", "fields": [field]})
    with pytest.raises(AssertionError, match="either"):
        writer_of(parsed)


def test_threads_write_the_same_as_one_while_texts_come_and_go() -> None:
    """Each writes more texts than are kept, so that they are forgotten under the others' hands."""
    orders = [sample(ORDER, seed) for seed in range(12)]
    records = [
        replace(order, order=replace(order.order, client_order_id=f"{place}-{number}"))
        for number in range(encoder._TEXTS_MAX // 8)
        for place, order in enumerate(orders)
    ]
    wanted = [of_the_library(record) for record in records]
    begin = Barrier(4)

    def write(first: int) -> list[bytes]:
        begin.wait()
        places = [(first + place) % len(records) for place in range(len(records))]
        written = dict(zip(places, [encode_body(records[place]) for place in places], strict=True))
        return [written[place] for place in range(len(records))]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(write, range(0, len(records), len(records) // 4)):
                assert found == wanted
    finally:
        sys.setswitchinterval(before)
    assert len(encoder._TEXTS) <= encoder._TEXTS_MAX + 4
