"""A plant for every field of what risk and execution keep: it is lost on the way into a snapshot.

Listed from the classes themselves, so that a field which is new is planted by itself. The snapshots
are all without it, so nothing tells but what the cores say and do behind a death.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from tapeline.contracts.frozen import replace
from tapeline.execution.core import ExecutionCore
from tapeline.execution.state import ExecutionState
from tapeline.risk.core import RiskCore
from tapeline.risk.state import Pace, RiskState, Rush

EACH: Final = "*"
"""in a path: of every value of the map"""
OURS: Final = ("tapeline.risk", "tapeline.execution", "tapeline.accounting")
MUTABLE: Final = (RiskState, Pace, Rush)
"""what a core changes in place; everything else is a value"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostField:
    """One field, by the names that lead to it."""

    core: Any
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join((self.core.__name__.removesuffix("Core").lower(), *self.path))

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Snapshots lose it as long as this lasts."""
        original = self.core.dump
        self.core.dump = lambda core, state: original(core, _without(state, self.path))
        try:
            yield
        finally:
            self.core.dump = original


def _without(state: Any, path: tuple[str, ...]) -> Any:
    name, *rest = path
    if name == EACH:
        return {key: _without(item, tuple(rest)) for key, item in state.items()}
    left = _without(getattr(state, name), tuple(rest)) if rest else _empty(type(state), name)
    if isinstance(state, MUTABLE):
        state = copy.copy(state)
        setattr(state, name, left)
        return state
    return replace(state, **{name: left})


def _empty(cls: Any, name: str) -> Any:
    found = cls.__dataclass_fields__[name]
    return found.default if found.default_factory is MISSING else found.default_factory()


def _can_be_empty(cls: Any, name: str) -> bool:
    found = cls.__dataclass_fields__[name]
    return found.default is not MISSING or found.default_factory is not MISSING


def _paths(cls: Any) -> Iterator[tuple[str, ...]]:
    """Fields with a default, those of the states inside, and those of what maps hold of it."""
    hints = get_type_hints(cls)
    for name in cls.__dataclass_fields__:
        if _is_ours(hints[name]):
            yield from ((name, *inner) for inner in _paths(hints[name]))
            continue
        if _can_be_empty(cls, name):
            yield (name,)
        held = get_args(hints[name])[1:]
        if get_origin(hints[name]) is dict and _is_ours(held[0]):
            yield from ((name, EACH, *inner) for inner in _paths(held[0]))


def _is_ours(cls: Any) -> bool:
    return hasattr(cls, "__dataclass_fields__") and cls.__module__.startswith(OURS)


LOST_FIELDS: Final[tuple[LostField, ...]] = tuple(
    LostField(core=core, path=path)
    for core, state in ((RiskCore, RiskState), (ExecutionCore, ExecutionState))
    for path in _paths(state)
)
