"""What a simulation took for granted, for people: one line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class Assumption(Protocol):
    """One of a run's description."""

    @property
    def name(self) -> str:
        """Such as spread."""
        ...

    @property
    def value(self) -> str:
        """What is assumed of it."""
        ...

    @property
    def is_on(self) -> bool:
        """Whether the simulation does it at all."""
        ...


def lines(assumptions: Iterable[Assumption]) -> Iterator[str]:
    """Those that are made, then those that are left out, then where they are explained."""
    listed = list(assumptions)
    width = max((len(one.name) for one in listed), default=0)
    for heading, is_on in (("assumed ", True), ("left out", False)):
        for one in listed:
            if one.is_on is is_on:
                yield f"  {heading}  {one.name:<{width}}  {one.value}"
    if listed:
        yield "  meanings and switches: the run's report, docs/simulator.md"
