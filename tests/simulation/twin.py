"""Two shards that take the same inputs, and what may tell them apart: snapshots at different steps,
maps that come back in another order, outputs as they were said or as they are read back.

Nothing of that may change a byte of what a core says, or of where it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import Any

from map_order import reversed_maps

from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Input, MoneyCore, Output, TimerFired

from .faults import require

Make = Callable[[], MoneyCore[Any]]


class Maps(StrEnum):
    """In which order the maps of a snapshot come back: a map has none, so each must do."""

    SORTED = "SORTED"
    REVERSED = "REVERSED"


class Shard:
    """One core that is killed and comes back at times."""

    def __init__(self, make: Make, *, hears_itself: bool) -> None:
        self._make = make
        self.core = make()
        self.state = self.core.initial()
        self.hears_itself = hears_itself
        """evolves over the very outputs that it said; else over those that were written and read"""

    def take(self, event: Input) -> list[Output]:
        """decide, evolve over the input, evolve over what was said."""
        said = list(self.core.decide(self.state, event))
        self.state = self.core.evolve(self.state, event)
        for output in said:
            if output.topic in self.core.outputs:
                heard = output if self.hears_itself else _read_back(output)
                self.state = self.core.evolve(self.state, heard)
        return said

    def come_back(self, maps: Maps) -> None:
        """Another process with the state of the last snapshot, and nothing else."""
        data = self.core.dump(self.state)
        self.core = self._make()
        self.state = self.core.load(data if maps is Maps.SORTED else reversed_maps(data))
        require(self.core.dump(self.state) == data, "recovery", "load is not the inverse of dump")


class Twins:
    """Two shards of one core; what one says and where it stands is what the other does."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self.one = Shard(make, hears_itself=True)
        self.other = Shard(make, hears_itself=False)
        self.count = 0
        self.returns = (0, 0)
        """after so many inputs each comes back, besides when it is told to; 0: never"""

    @property
    def state(self) -> Any:
        return self.one.state

    def take(self, record: Any, now_ns: int, topic: str, verdict: str = "") -> list[Output]:
        """Steps both over an input, and one that has just come back."""
        self.count += 1
        event = Input(
            record=_through_the_wire(record) if hasattr(record, "AVRO") else record,
            topic=topic,
            partition=0 if topic else -1,
            offset=self.count if topic else -1,
            event_id=getattr(record, "decision_id", "") or f"event-{self.count}",
            session_ns=now_ns,
            verdict=verdict,
        )
        for shard, every, maps in zip(
            (self.one, self.other), self.returns, (Maps.REVERSED, Maps.SORTED), strict=True
        ):
            if every and self.count % every == 0:
                shard.come_back(maps)
        stranger = Shard(self._make, hears_itself=True)
        stranger.state = stranger.core.load(reversed_maps(self.other.core.dump(self.other.state)))
        said = self.one.take(event)
        for shard in (self.other, stranger):
            again = shard.take(event)
            require(_written(again) == _written(said), "same words", record)
            require(self._stands(shard) == self._stands(self.one), "same state", record)
        return said

    def fire(self, now_ns: int) -> list[Output]:
        """The timer, where it is due."""
        due_ns = self.one.core.next_due_ns(self.state)
        same = self.other.core.next_due_ns(self.other.state) == due_ns
        require(same, "same words", "the next due time")
        if due_ns is None or due_ns > now_ns:
            return []
        return self.take(TimerFired(ts_event_ns=now_ns), now_ns, "")

    @staticmethod
    def _stands(shard: Shard) -> bytes:
        return shard.core.dump(shard.state)


def _written(outputs: list[Output]) -> list[tuple[Any, ...]]:
    return [
        (
            one.topic,
            one.key,
            one.event_id,
            one.partition,
            one.causation_id,
            one.correlation_id,
            encode(one.record),
        )
        for one in outputs
    ]


def _read_back(output: Output) -> Output:
    record = _through_the_wire(output.record)
    return Output(topic=output.topic, key=output.key, record=record, event_id=output.event_id)


def _through_the_wire(record: Any) -> Any:
    return _decoder(record.AVRO).decode(encode(record))


@cache
def _decoder(name: str) -> Decoder:
    return Decoder((name,))
