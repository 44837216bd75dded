"""The contract of a trigger: a pure core over a stream of bars or macro readings, opinions out.

The stage owns everything around it: which records it sees (its interval, its instruments, only
those newer than the last), ids, times, universe, liquidity, keeping the state. A trigger is a
frozen dataclass whose fields are its parameters; the entry point (group "tapeline.triggers") that
its config record names is that class:

    cls(name=..., interval_ns=..., **parameters)      parameters converted to the fields' types

`name` and `interval_ns` come from the config record. A bad parameter raises ValueError.
`JsonState` gives dump and load to any trigger whose state is a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from tapeline.contracts.agents import Direction
from tapeline.contracts.market import Bar, MacroReading

ENTRY_POINTS: Final = "tapeline.triggers"

State = TypeVar("State")
Reading: TypeAlias = Bar | MacroReading
"""What a trigger analyses"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a trigger thinks after a reading; the stage makes a Signal of it."""

    direction: Direction
    confidence: float
    """0 to 1"""
    expected_return: float = 0.0
    """fraction expected over the horizon, signed"""
    horizon_ns: int
    """how long it holds, nanoseconds"""
    reason: str
    """one sentence"""
    features: Mapping[str, float] = field(default_factory=dict)
    """the figures behind it, finite"""


class TriggerCore(Protocol[State]):
    """Pure: the same readings give the same opinions."""

    @property
    def name(self) -> str:
        """Of the config record."""
        ...

    def initial(self) -> State:
        """State before the first reading of an instrument."""
        ...

    def step(self, state: State, reading: Reading) -> tuple[State, Opinion | None]:
        """State after a reading, and the opinion; None until warm or where it does not concern."""
        ...

    def is_warm(self, state: State) -> bool:
        """True once the longest window is filled."""
        ...

    def dump(self, state: State) -> bytes:
        """Canonical JSON: equal states give equal bytes."""
        ...

    def load(self, data: bytes) -> State:
        """Inverse of dump, exact to the bit."""
        ...


class JsonState(Generic[State]):
    """dump and load of a state that is a frozen dataclass."""

    __slots__ = ()
    state_type: ClassVar[type]

    def dump(self, state: State) -> bytes:
        """Canonical JSON; floats in the shortest text that reads back the same."""
        return msgspec.json.encode(state, order="deterministic")

    def load(self, data: bytes) -> State:
        """Raises msgspec.ValidationError where the bytes are not such a state."""
        state: State = msgspec.json.decode(data, type=self.state_type)
        return state


def conviction(strength: float) -> float:
    """Confidence of a standing opinion: one half at no strength, 1 at full strength (1 or more)."""
    return 0.5 + 0.5 * min(max(strength, 0.0), 1.0)


def require(is_right: bool, sentence: str) -> None:
    """Refuses parameters with one sentence that says what they must be."""
    if not is_right:
        raise ValueError(sentence)
