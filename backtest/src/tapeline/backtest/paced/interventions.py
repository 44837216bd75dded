"""What a run was told that none of its stages makes, and when each shard heard it.

That is control records, trips of the kill switch by file or signal, decisions by hand and from
outside, configuration that came later, and books. The journal of a shard tells in which slice it
stepped each of them; played again, it hears them there. Where the session clock of a slice is later
than the one by which a run in real time heard a record, what the record says of its own age moves
with it: it was in time then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.control import AcceptVenueTruth, CancelAll, Flatten, LocalTrip
from tapeline.runtime.core import Input

COMMANDS: Final = (CancelAll, Flatten, AcceptVenueTruth)
"""They are done once; other control records hold until the next."""
LASTING_TOPICS: Final = (topics.CONTROL, topics.CONFIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One record as one shard heard it."""

    instance: str
    """the shard, such as risk/0"""
    heard_ns: int
    """the last nanosecond of its slice; in real time the session clock; nanoseconds UTC"""
    session_ns: int
    """the session clock by which it was heard, nanoseconds UTC"""
    event: Input
    """as the shard stepped it, with the verdict of then"""
    producer: str = ""

    @property
    def is_lasting(self) -> bool:
        """Whether it holds for all that follows."""
        return self.event.topic in LASTING_TOPICS and not isinstance(self.event.record, COMMANDS)

    def told_at(self, end_ns: int) -> Input:
        """The input as of a slice that ends there."""
        event, late_ns = self.event, end_ns - self.session_ns
        return Input(
            record=moved(event.record, late_ns) if late_ns > 0 else event.record,
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
            event_id=event.event_id,
            correlation_id=event.correlation_id,
            session_ns=end_ns,
            verdict=event.verdict,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Trips that a shard took together, between two slices."""

    instance: str
    heard_ns: int
    """the session clock: the end of the slice before"""
    trips: tuple[LocalTrip, ...]
    verdicts: tuple[str, ...]

    @property
    def is_lasting(self) -> bool:
        """A trip is latched."""
        return True


Intervention: TypeAlias = Word | Pull


def moved(record: Any, late_ns: int) -> Any:
    """A record that is heard so much later than it was, and is not older for it."""
    match record:
        case CancelAll() | Flatten() | AcceptVenueTruth():
            return replace(record, expires_ns=record.expires_ns + late_ns)
        case Decision():
            return replace(record, ts_event_ns=record.ts_event_ns + late_ns)
    return record


def during(
    interventions: Iterable[Intervention], start_ns: int, end_ns: int
) -> tuple[Intervention, ...]:
    """Those of a part of the run: what came within it, and what still held at its start."""
    return tuple(
        item
        for item in interventions
        if item.heard_ns < end_ns and (item.heard_ns >= start_ns or item.is_lasting)
    )


def not_repeated(interventions: Iterable[Intervention], unknown: Mapping[str, str]) -> list[str]:
    """What was said and found nothing to be done with, record by record.

    `unknown`: decision_id -> risk's reason for not knowing the order that it is about.
    """
    return [
        f"The {item.event.record.kind.value} that {item.event.record.group_id} asked for in "
        f"account {item.event.record.account_id} found nothing to be done: {unknown[name]}"
        for item in interventions
        if isinstance(item, Word)
        and (name := getattr(item.event.record, "decision_id", "")) in unknown
    ]


class Hearing:
    """Gives each shard what it has to hear, slice by slice."""

    def __init__(self, interventions: Sequence[Intervention]) -> None:
        self._words: dict[str, deque[Word]] = {}
        self._pulls: dict[str, deque[Pull]] = {}
        for item in sorted(interventions, key=lambda item: item.heard_ns):
            if isinstance(item, Word):
                self._words.setdefault(item.instance, deque()).append(item)
            else:
                self._pulls.setdefault(item.instance, deque()).append(item)

    def pulls(self, instance: str, end_ns: int) -> list[Pull]:
        """Trips in front of the slice that ends there."""
        return _before(self._pulls.get(instance), end_ns)

    def words(self, instance: str, end_ns: int) -> list[Word]:
        """Records within the slice that ends there."""
        return _before(self._words.get(instance), end_ns)


def _before(waiting: Any, end_ns: int) -> list[Any]:
    found = []
    while waiting and waiting[0].heard_ns < end_ns:
        found.append(waiting.popleft())
    return found


def of_run(
    interventions: Iterable[Intervention],
    run_ids: tuple[str, str],
    orders: Mapping[str, str],
) -> tuple[Intervention, ...]:
    """What was said to one run, as it would be said to another that repeats it.

    `run_ids` are those of the recorded run and of the other. What was signed for the one is meant
    for the other; `orders` are the names of its orders: recorded client_order_id -> the other's.
    """
    return tuple(_renamed(item, *run_ids, orders) for item in interventions)


def _renamed(
    item: Intervention, before: str, after: str, orders: Mapping[str, str]
) -> Intervention:
    if isinstance(item, Pull):
        return item
    record: Any = item.event.record
    changes: dict[str, Any] = {}
    if getattr(record, "run_id", None) == before:
        changes["run_id"] = after
    name = (record.client_order_id or "") if isinstance(record, Decision) else ""
    if name in orders:
        changes["client_order_id"] = orders[name]
    if not changes:
        return item
    return replace(item, event=replace(item.event, record=replace(record, **changes)))
