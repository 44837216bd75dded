"""A call log that answers from a recorded run and never asks a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tapeline.contracts.agents import LlmCall


class RecordedCalls:
    """The first record of each call id; nothing new is taken."""

    def __init__(self, calls: Iterable[LlmCall]) -> None:
        self._calls: dict[tuple[str, int], dict[str, LlmCall]] = {}
        for call in calls:
            cycle = self._calls.setdefault((call.group_id, call.cycle_ns), {})
            cycle.setdefault(call.call_id, call)

    async def record(self, call: LlmCall) -> None:
        """A replay makes no calls: what it would ask must have been asked then."""
        raise AssertionError(f"replay tried to record the call {call.call_id} of {call.node}")

    async def recorded(self, group_id: str, cycle_ns: int) -> Sequence[LlmCall]:
        """Calls of a cycle, oldest first."""
        return tuple(self._calls.get((group_id, cycle_ns), {}).values())

    def forget(self) -> None:
        """Nothing is cached."""
