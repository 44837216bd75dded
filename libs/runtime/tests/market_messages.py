"""Messages of bulk topics as they may come: whole ones, and broken ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from hypothesis import strategies as st
from samples import sample

from tapeline.contracts.market import Bar, MarkPrice, QualityFlag, Quote, Trade
from tapeline.contracts.registry import RECORDS
from tapeline.contracts.system import Watermark
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.codec import encode

BULK = tuple(name for topic in TOPICS.values() if topic.is_bulk for name in topic.records)
PLAIN = [Trade.AVRO, Quote.AVRO, Bar.AVRO, MarkPrice.AVRO, Watermark.AVRO]
TYPES = tuple(dict.fromkeys(BULK))
"""every type of a bulk topic"""


FINITE = st.floats(allow_nan=False, allow_infinity=False)
LONGS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-70, 70))
TEXTS = st.one_of(st.text(max_size=9), st.sampled_from(["", "SPY.ARCA", "é", "x" * 70, "y" * 9000]))


@st.composite
def records(draw: st.DrawFn, name: str) -> Any:
    """Some record of a type: its sample with other numbers, texts, symbols."""
    record = sample(name)
    changes: dict[str, Any] = {}
    for key in [item.name for item in fields(RECORDS[name])]:
        value = getattr(record, key)
        if isinstance(value, bool):
            changes[key] = draw(st.booleans())
        elif isinstance(value, int):
            changes[key] = draw(LONGS)
        elif isinstance(value, float):
            changes[key] = draw(FINITE)
        elif type(value) is str:
            changes[key] = draw(TEXTS)
        elif isinstance(value, str):
            changes[key] = draw(st.sampled_from(list(type(value))))
    if name == Trade.AVRO:
        changes["quality"] = draw(st.sampled_from([(), (), (QualityFlag.GAP_BEFORE,)]))
    if name == MarkPrice.AVRO and draw(st.booleans()):
        changes["bid_price"] = None
    return replace(record, **changes)


@st.composite
def messages(draw: st.DrawFn, names: Sequence[str] = PLAIN) -> bytes | None:
    """Mostly whole records, some with bytes changed, cut off or added."""
    value = encode(draw(records(draw(st.sampled_from(names)))))
    match draw(st.integers(0, 7)):
        case 0:
            at = draw(st.integers(0, len(value) - 1))
            return value[:at] + bytes([draw(st.integers(0, 255))]) + value[at + 1 :]
        case 1:
            return value[: draw(st.integers(0, len(value)))]
        case 2:
            return value + draw(st.binary(min_size=1, max_size=3))
        case 3:
            return draw(st.one_of(st.none(), st.binary(max_size=30)))
    return value
