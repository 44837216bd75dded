"""A head says what the whole record says, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import sample

from tapeline.contracts.agents import Decision
from tapeline.contracts.market import Bar
from tapeline.runtime.codec import MAX_BYTES, encode
from tapeline.runtime.heads import HeadReader
from tapeline.runtime.log import Raw


@dataclass(frozen=True, slots=True)
class Head:
    """Who decides, and what about."""

    AVRO: ClassVar[str] = Decision.AVRO
    decision_id: str
    account_id: str
    group_id: str
    cycle_ns: int
    index: int
    kind: str


READER = HeadReader(Head)


def head_of(value: bytes | None) -> Any:
    raw = Raw("decisions", 0, 7, 0, b"k", value)
    found = READER.unread(raw)
    assert found.raw is raw
    return found.head


def head_in(decision: Decision) -> Head:
    return Head(
        decision.decision_id,
        decision.account_id,
        decision.group_id,
        decision.cycle_ns,
        decision.index,
        decision.kind.value,
    )


@given(st.integers(0, 300), st.text(max_size=40), st.integers(-(2**63), 2**63 - 1))
def test_a_head_is_the_record_s_beginning(seed: int, name: str, cycle_ns: int) -> None:
    decision = replace(sample(Decision.AVRO, seed), decision_id=name, cycle_ns=cycle_ns)
    assert head_of(encode(decision)) == head_in(decision)


@given(st.integers(0, 300), st.binary(max_size=60))
def test_what_stands_behind_a_head_is_not_looked_at(seed: int, noise: bytes) -> None:
    decision = sample(Decision.AVRO, seed)
    value = encode(decision)
    assert head_of(value + noise) == head_in(decision)


def test_a_cut_head_is_none() -> None:
    decision = sample(Decision.AVRO)
    value = encode(decision)
    heads = [head_of(value[:size]) for size in range(len(value) + 1)]
    known = [head for head in heads if head is not None]
    assert heads[0] is heads[9] is None
    assert set(known) == {head_in(decision)}


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        encode(sample(Bar.AVRO)),
        b"\x00\x00\x00\x00\x01" + encode(sample(Decision.AVRO))[10:],
        encode(sample(Decision.AVRO))[:10] + b"\x03" + b"x" * 40,
        encode(sample(Decision.AVRO))[:10] + b"\x04\xff\xfe" + b"\x00" * 40,
        encode(sample(Decision.AVRO)) + b"x" * MAX_BYTES,
    ],
    ids=["empty", "nothing", "another type", "another format", "no length", "no text", "too long"],
)
def test_what_is_no_record_of_ours_has_no_head(value: bytes | None) -> None:
    assert head_of(value) is None


def test_a_head_is_made_of_the_leading_fields() -> None:
    @dataclass(frozen=True)
    class Other:
        AVRO: ClassVar[str] = Decision.AVRO
        account_id: str

    with pytest.raises(AssertionError, match="head"):
        HeadReader(Other)
