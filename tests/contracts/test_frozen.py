"""What is made and copied quickly is what the library's own would be."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.contracts.frozen import quick, replace


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
            replace(Plain(one=1), three=3)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="below nothing"):
            replace(Checked(), one=-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(Plain(one=1), one=2).one = 3  # type: ignore[misc]


# ---- constructors


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """As Plain."""

    one: int
    two: str = "two"
    record: tuple[int, ...] = ()
    kind: dict[str, int] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class Mixed:
    one: int
    two: int = 2
    self: int = field(default=3, kw_only=True)


class Below(Mixed):
    """Its `two` is worked out."""

    __slots__ = ()

    @property
    def two(self) -> int:
        return self.one * 2

    @two.setter
    def two(self, value: int) -> None:
        """What a constructor is given."""


@given(CHANGES)
def test_a_quick_constructor_makes_what_the_librarys_makes(values: dict[str, Any]) -> None:
    given_values = {"one": 1, **values}
    made, library = Quick(**given_values), Plain(**given_values)
    assert dataclasses.asdict(made) == dataclasses.asdict(library)
    assert type(made) is Quick
    assert made == Quick(**given_values)
    assert repr(made) == repr(library).replace("Plain", "Quick")
    assert pickle.loads(pickle.dumps(made)) == copy.copy(made) == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.one = 3  # type: ignore[misc]


def test_a_quick_default_is_made_anew_each_time() -> None:
    assert Quick(one=1).kind is not Quick(one=1).kind


@pytest.mark.parametrize(
    ("places", "names"),
    [((), {}), ((1,), {"three": 3}), ((1, 2, 3), {}), ((1,), {"one": 1})],
)
def test_a_quick_constructor_refuses_what_the_librarys_refuses(
    places: tuple[int, ...], names: dict[str, int]
) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="__init__"):
            Mixed(*places, **names)


def test_places_and_names_are_those_of_the_library() -> None:
    assert dataclasses.astuple(Mixed(1, 5, self=7)) == (1, 5, 7)
    assert (
        str(inspect.signature(Mixed)) == "(one: 'int', two: 'int' = 2, *, self: 'int' = 3) -> None"
    )
    assert typing.get_type_hints(Quick.__init__)["two"] is str


def test_a_class_below_keeps_its_own_rules() -> None:
    made = Below(4, self=9)
    assert type(made) is Below
    assert (made.one, made.two, made.self) == (4, 8, 9)


@pytest.mark.parametrize("kind", [Checked, WithoutSlots])
def test_other_classes_stay_as_they_are(kind: type[Any]) -> None:
    before = kind.__init__
    assert quick(kind).__init__ is before
