"""Copies are what the library's own would be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.accounting.copies import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    one: int
    two: str = "two"
    record: tuple[int, ...] = ()
    kind: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Positional:
    one: int
    two: int = 2


@dataclass(slots=True)
class Mutable:
    one: int = 1


@dataclass(frozen=True)
class WithoutSlots:
    one: int = 1


@dataclass(frozen=True, slots=True)
class Checked:
    one: int = 1

    def __post_init__(self) -> None:
        if self.one < 0:
            raise ValueError("below nothing")


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "one": st.integers(),
        "two": st.text(),
        "record": st.tuples(st.integers()),
        "kind": st.dictionaries(st.text(), st.integers()),
    },
)


@given(CHANGES, CHANGES)
def test_a_copy_is_that_of_the_library(first: dict[str, Any], second: dict[str, Any]) -> None:
    plain = dataclasses.replace(Plain(one=1), **first)
    mine = replace(plain, **second)
    assert mine == dataclasses.replace(plain, **second)
    assert type(mine) is Plain
    assert mine is not plain
    assert plain == dataclasses.replace(Plain(one=1), **first)


@pytest.mark.parametrize("record", [Positional(7), Mutable(7), WithoutSlots(7), Checked(7)])
def test_other_dataclasses_are_copied_as_well(record: Any) -> None:
    assert replace(record, one=8) == dataclasses.replace(record, one=8)
    assert record.one == 7
    assert replace(record) == record


def test_an_unknown_field_and_a_wrong_value_are_refused() -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="three"):
            replace(Plain(one=1), three=3)
        with pytest.raises(ValueError, match="below nothing"):
            replace(Checked(), one=-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(Plain(one=1), one=2).one = 3  # type: ignore[misc]
