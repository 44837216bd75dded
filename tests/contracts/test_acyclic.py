"""Records that the collector of cycles is not told of can be in none.

Looked at is what their fields may hold, as they are annotated: a way that leads out of plain data,
or back to where it came from, is refused.
"""

from __future__ import annotations

import gc
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Any, Final, Union

import pytest
from proving.frozen_classes import QUICK, named

from tapeline.contracts.frozen import acyclic, quick
from tapeline.contracts.registry import RECORDS

LEAVES: Final = (bool, int, float, str, bytes, Decimal, type(None))
CONTAINERS: Final = (tuple, dict, frozenset, Union, UnionType)
ACYCLIC: Final = [kind for kind in QUICK if not kind.__struct_config__.gc]


class MayBeCyclic(Exception):
    """A field from which a cycle could come."""


def look_at(kind: Any, way: tuple[type[Any], ...] = ()) -> None:
    """Raises MayBeCyclic where a value of this type may hold itself, or nobody knows what."""
    if kind in LEAVES or kind is Ellipsis or (isinstance(kind, type) and issubclass(kind, Enum)):
        return
    if typing.get_origin(kind) in CONTAINERS and typing.get_args(kind):
        for part in typing.get_args(kind):
            look_at(part, way)
        return
    if not _is_acyclic(kind):
        raise MayBeCyclic(f"{_path(way)}: {kind} is no plain data")
    if kind in way:
        raise MayBeCyclic(f"{_path(way)}: leads back to {kind.__name__}")
    for below in (kind, *kind.__subclasses__()):
        hints = typing.get_type_hints(below)
        for name in below.__struct_fields__:
            look_at(hints[name], (*way, kind))


def _is_acyclic(kind: Any) -> bool:
    return hasattr(kind, "__struct_config__") and not kind.__struct_config__.gc


def _path(way: tuple[type[Any], ...]) -> str:
    return " > ".join(kind.__name__ for kind in way)


@pytest.mark.parametrize("kind", ACYCLIC, ids=named)
def test_from_an_acyclic_record_no_way_leads_back_to_it(kind: type[Any]) -> None:
    look_at(kind)


def test_every_record_of_the_wire_is_acyclic() -> None:
    assert {named(kind) for kind in RECORDS.values()} <= {named(kind) for kind in ACYCLIC}


# ---- what the look refuses


@acyclic
@dataclass(frozen=True, slots=True)
class Leaf:
    """Plain through and through."""

    name: str = ""
    sizes: dict[str, tuple[Decimal, ...]] = field(default_factory=dict)
    price: float | None = None


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsLeaves:
    leaves: tuple[Leaf, ...] = ()


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsACall:
    make: Callable[[], str]


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsAnything:
    record: Any


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsAnyMap:
    values: dict  # type: ignore[type-arg]


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsAList:
    values: list[int]


class Core:
    """No record."""


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsACore:
    by_name: dict[str, tuple[Core | None, int]]


@quick
@dataclass(frozen=True, slots=True)
class Collected:
    core: Core


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsWhatIsCollected:
    one: Collected


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsItsLike:
    before: HoldsItsLike | None = None


@acyclic
@dataclass(frozen=True, slots=True)
class Egg:
    hen: Hen | None = None


@acyclic
@dataclass(frozen=True, slots=True)
class Hen:
    eggs: tuple[Egg, ...] = ()


@acyclic
@dataclass(frozen=True, slots=True)
class Above:
    one: int


class BelowIt(Above):
    core: Core


@acyclic
@dataclass(frozen=True, slots=True)
class HoldsOneThatHasOthersBelow:
    one: Above


@pytest.mark.parametrize("kind", [Leaf, HoldsLeaves])
def test_plain_data_may_be_acyclic(kind: type[Any]) -> None:
    look_at(kind)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (HoldsACall, "HoldsACall: .*Callable.* is no plain data"),
        (HoldsAnything, "typing.Any is no plain data"),
        (HoldsAnyMap, "dict.* is no plain data"),
        (HoldsAList, "list.* is no plain data"),
        (HoldsACore, "HoldsACore: .*Core.* is no plain data"),
        (HoldsWhatIsCollected, "Collected.* is no plain data"),
        (HoldsItsLike, "HoldsItsLike: leads back to HoldsItsLike"),
        (Egg, "Egg > Hen: leads back to Egg"),
        (Hen, "Hen > Egg: leads back to Hen"),
        (HoldsOneThatHasOthersBelow, "HoldsOneThatHasOthersBelow > Above: .*Core"),
    ],
)
def test_what_could_be_in_a_cycle_is_refused(kind: type[Any], why: str) -> None:
    with pytest.raises(MayBeCyclic, match=why):
        look_at(kind)


# ---- what it means


@acyclic
@dataclass(frozen=True, slots=True)
class Untold:
    values: dict[str, Any]


def test_the_collector_is_not_told_of_them() -> None:
    """Why the look has to refuse: what is in a cycle all the same is there for ever."""
    assert not gc.is_tracked(Untold({"one": Core()}))
    assert gc.is_tracked(Collected(Core()))


@dataclass(frozen=True)
class WithoutSlots:
    one: int = 1


def test_a_class_that_cannot_be_made_so_is_named() -> None:
    with pytest.raises(TypeError, match="WithoutSlots is no frozen dataclass"):
        acyclic(WithoutSlots)
