"""Complete slices of a paced run: what a shard may step, and when.

A shard steps slice n when every expected source has passed watermark n on every current input, and
watermark n-1 on every input that comes back from a later service. Inputs without watermarks
(control, config) are taken along with the next slice; before the first one they are read up to
their end, so that a run never starts on half a configuration. A partition of which no source is
expected (decisions of a shard without a group) has no watermarks either: what an operator writes
there is taken along in the same way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import DecodeError, Decoder, schema_of
from tapeline.runtime.core import InputTopic, Pacing
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.shard import Batch

WATERMARKS = Decoder((Watermark.AVRO,))
WATERMARK_HEADER = schema_of(Watermark.AVRO).header


@dataclass(slots=True)
class Lane:
    """One input partition: what has arrived and how far its sources have come."""

    pacing: Pacing
    expected: frozenset[str] | None
    """sources that must have passed; empty: nobody sets a pace; None: whoever has been seen, but at
    least one"""
    floor: int
    """slice that every source is known to have passed"""
    records: deque[tuple[Raw, Watermark | None]] = field(default_factory=deque)
    passed: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)

    def add(self, raw: Raw) -> Watermark | None:
        """Keeps a record; returns it decoded when it is a watermark."""
        watermark = watermark_of(raw)
        if watermark is not None:
            before = self.passed.get(watermark.source, self.floor)
            self.passed[watermark.source] = max(before, watermark.slice)
        self.records.append((raw, watermark))
        return watermark

    def reached(self, number: int, sources: Mapping[str, int]) -> bool:
        """Whether all sources have come to a slice."""
        if number <= self.floor:
            return True
        if self.expected is not None:
            return all(sources.get(source, self.floor) >= number for source in self.expected)
        return bool(sources) and all(slice_ >= number for slice_ in sources.values())

    def take(self, number: int) -> list[Raw]:
        """The records up to the watermark with which the last source reaches a slice."""
        if self.expected is not None and not self.expected:
            return self.take_all()
        found: list[Raw] = []
        while not self.reached(number, self.taken):
            raw, watermark = self.records.popleft()
            found.append(raw)
            if watermark is not None:
                before = self.taken.get(watermark.source, self.floor)
                self.taken[watermark.source] = max(before, watermark.slice)
        return found

    def take_all(self) -> list[Raw]:
        """Everything that has arrived."""
        found = [raw for raw, _ in self.records]
        self.records.clear()
        return found


def watermark_of(raw: Raw) -> Watermark | None:
    """The watermark in a record, if it is one."""
    if raw.value is None or raw.value[:10] != WATERMARK_HEADER:
        return None
    try:
        record = WATERMARKS.decode(raw.value)
    except DecodeError:
        return None
    assert isinstance(record, Watermark)
    return record


class SliceGate:
    """Holds inputs back until a slice is complete, and then gives it as one batch."""

    def __init__(
        self,
        inputs: Sequence[InputTopic],
        places: Sequence[TopicPartition],
        *,
        expected: Mapping[TopicPartition, frozenset[str]],
        last_slice: int,
        unpaced_until: Mapping[TopicPartition, int],
    ) -> None:
        pacing = {spec.topic: spec.pacing for spec in inputs}
        self.last_slice = last_slice
        self._unpaced_until = dict(unpaced_until)
        self._ends: dict[int, tuple[int, bool]] = {}
        self._lanes = {
            place: Lane(
                pacing=pacing[place[0]],
                expected=expected.get(place),
                floor=last_slice if pacing[place[0]] is Pacing.CURRENT else max(last_slice - 1, 0),
            )
            for place in places
        }

    def add(self, raw: Raw) -> None:
        """Takes a record in."""
        place = (raw.topic, raw.partition)
        watermark = self._lanes[place].add(raw)
        if watermark is not None and watermark.is_paced:
            self._ends.setdefault(watermark.slice, (watermark.ts_event_ns, watermark.is_final))
        if raw.offset + 1 >= self._unpaced_until.get(place, 0):
            self._unpaced_until.pop(place, None)

    def next_batch(self) -> Batch | None:
        """The next complete slice, or None."""
        number = self.last_slice + 1
        if self._unpaced_until or not self._is_complete(number):
            return None
        records: dict[TopicPartition, Sequence[Raw]] = {}
        for place, lane in self._lanes.items():
            if lane.pacing is Pacing.UNPACED:
                found = lane.take_all()
            else:
                found = lane.take(number if lane.pacing is Pacing.CURRENT else number - 1)
            if found:
                records[place] = found
        self.last_slice = number
        end_ns, is_final = self._ends.pop(number)
        return Batch(end_ns, records, number, is_final)

    def _is_complete(self, number: int) -> bool:
        if number not in self._ends:
            return False
        return all(
            lane.reached(number if lane.pacing is Pacing.CURRENT else number - 1, lane.passed)
            for lane in self._lanes.values()
            if lane.pacing is not Pacing.UNPACED
        )
