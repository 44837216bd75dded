"""Of every dataclass of the cores, what is made and copied quickly is what the library's own makes.

Field by field and by identity, so that no two fields can change places.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from proving.frozen_classes import QUICK, named

from tapeline.contracts.frozen import replace

STATES = ("ExecutionState", "PaperState", "LiveOrder", "Ledger", "ApprovedOrder")


def values_of(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def fresh(kind: type[Any]) -> dict[str, Any]:
    return {field.name: object() for field in dataclasses.fields(kind)}


def made(kind: type[Any], values: dict[str, Any]) -> Any:
    """As the library's constructor makes it: of what is missing, the defaults."""
    for field in dataclasses.fields(kind):
        if field.name not in values:
            make: Any = field.default_factory
            value = field.default if make is dataclasses.MISSING else make()
            values = {**values, field.name: value}
    return kind(**values)


def test_the_states_of_the_cores_are_among_them() -> None:
    assert set(STATES) <= {kind.__name__ for kind in QUICK}
    assert len(QUICK) > 130


@pytest.mark.parametrize("kind", QUICK, ids=named)
def test_a_copy_has_the_changed_fields_and_of_all_others_the_very_objects(kind: type[Any]) -> None:
    before = fresh(kind)
    record = made(kind, before)
    changes = [{}, fresh(kind), *({name: object()} for name in before)]
    for change in changes:
        mine, library = replace(record, **change), dataclasses.replace(record, **change)
        assert type(mine) is type(library) is kind
        assert mine is not record
        for name, value in values_of(library).items():
            assert getattr(mine, name) is value, name
    assert values_of(record) == before


@pytest.mark.parametrize("kind", QUICK, ids=named)
def test_a_constructor_gives_each_field_what_it_is_given(kind: type[Any]) -> None:
    values = fresh(kind)
    for _ in range(2):
        mine = kind(**values)
        assert type(mine) is kind
        assert all(getattr(mine, name) is value for name, value in values.items())


@pytest.mark.parametrize("kind", QUICK, ids=named)
def test_defaults_are_those_of_the_library(kind: type[Any]) -> None:
    required = {
        field.name: object()
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    mine, other, library = kind(**required), kind(**required), made(kind, required)
    for field in dataclasses.fields(kind):
        one, wanted = getattr(mine, field.name), getattr(library, field.name)
        assert type(one) is type(wanted), field.name
        if field.default is not dataclasses.MISSING:
            assert one is wanted, field.name
        elif field.default_factory in (dict, list, set):
            assert one == wanted
            assert one is not getattr(other, field.name), field.name
