"""What is made and copied quickly is what the library's own would be."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from dataclasses import dataclass, field
from typing import Any

import msgspec
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

    @property
    def two(self) -> int:
        return self.one * 2

    @two.setter
    def two(self, value: int) -> None:
        """What a constructor is given."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfOrder:
    one: int = 1
    two: int


@given(CHANGES)
def test_a_quick_constructor_makes_what_the_librarys_makes(values: dict[str, Any]) -> None:
    given_values = {"one": 1, **values}
    made, library = Quick(**given_values), Plain(**given_values)
    assert dataclasses.asdict(made) == dataclasses.asdict(library)
    assert type(made) is Quick
    assert made == Quick(**given_values)
    assert repr(made) == repr(library).replace("Plain", "Quick")
    assert pickle.loads(pickle.dumps(made)) == copy.copy(made) == copy.deepcopy(made) == made
    with pytest.raises(AttributeError):
        made.one = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        made.three = 3  # type: ignore[attr-defined]


@given(CHANGES, CHANGES)
def test_a_copy_is_that_of_the_library(first: dict[str, Any], second: dict[str, Any]) -> None:
    plain = Quick(**{"one": 1, **first})
    mine = replace(plain, **second)
    assert mine == dataclasses.replace(plain, **second)
    assert type(mine) is Quick
    assert mine is not plain
    assert plain == Quick(**{"one": 1, **first})


def test_an_unknown_field_is_refused_and_so_is_what_is_not_quick() -> None:
    with pytest.raises(TypeError, match="three"):
        replace(Quick(one=1), three=3)  # type: ignore[call-arg]
    for record in (Mutable(7), WithoutSlots(7), Checked(7)):
        with pytest.raises(TypeError, match="Struct"):
            replace(record, one=8)


@pytest.mark.parametrize(("one", "other"), [(Quick(one=1), Quick(one=2)), (Mixed(1), Mixed(1, 3))])
def test_equal_records_are_equal_and_hash_alike(one: Any, other: Any) -> None:
    assert one == copy.copy(one)
    assert one != other
    if isinstance(one, Mixed):
        assert hash(one) == hash(copy.copy(one))
    else:
        with pytest.raises(TypeError, match="unhashable"):
            hash(one)


def test_a_record_is_written_and_read_as_one_of_the_librarys() -> None:
    made, library = Quick(one=1, record=(3,)), Plain(one=1, record=(3,))
    data = msgspec.json.encode(made, order="deterministic")
    assert data == msgspec.json.encode(library, order="deterministic")
    assert msgspec.json.decode(data, type=Quick) == made


def test_a_quick_default_is_made_anew_each_time() -> None:
    assert Quick(one=1).kind is not Quick(one=1).kind


@pytest.mark.parametrize(
    ("places", "names"),
    [((), {}), ((1,), {"three": 3}), ((1, 2, 3, 4), {}), ((1,), {"one": 1})],
)
def test_a_quick_constructor_refuses_what_the_librarys_refuses(
    places: tuple[int, ...], names: dict[str, int]
) -> None:
    for _ in range(2):
        with pytest.raises(TypeError):
            Mixed(*places, **names)


def test_places_and_names_are_those_of_the_library() -> None:
    assert dataclasses.astuple(Mixed(1, 5, self=7)) == (1, 5, 7)
    assert list(inspect.signature(Mixed).parameters) == ["one", "two", "self"]
    assert typing.get_type_hints(Quick)["two"] is str
    assert (OutOfOrder(two=2).one, OutOfOrder(two=2).two) == (1, 2)
    assert repr(OutOfOrder(two=2, one=3)) == "OutOfOrder(two=2, one=3)"


def test_a_class_below_keeps_its_own_rules() -> None:
    made = Below(4, self=9)
    assert type(made) is Below
    assert (made.one, made.two, made.self) == (4, 8, 9)


@pytest.mark.parametrize("kind", [Checked, WithoutSlots, Mutable])
def test_other_classes_stay_as_they_are(kind: type[Any]) -> None:
    assert quick(kind) is kind
