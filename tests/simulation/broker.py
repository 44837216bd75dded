"""Kafka as the money path knows it, in memory: partitions, offsets, fenced transactions.

What a transaction writes appears at once or not at all; an aborted one leaves a hole in the
offsets, as its records and its marker do on a real broker.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tapeline.runtime.log import Message, Raw, TopicPartition


class Fenced(Exception):
    """The writer has been replaced by a newer one."""


@dataclass(slots=True)
class Partition:
    """Committed records in order of offset; `end` lies behind markers and holes as well."""

    records: list[Raw] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    end: int = 0


class Broker:
    """All topics of one run. `on_commit` hears of every record that becomes visible."""

    def __init__(self, on_commit: Callable[[Sequence[Raw]], None]) -> None:
        self.now_ms = 0
        self.places: dict[TopicPartition, Partition] = {}
        self.epochs: dict[str, int] = {}
        self._on_commit = on_commit
        self._digest = hashlib.sha256()
        self.record_count = 0

    # ---- writing

    def publish(self, messages: Sequence[Message]) -> None:
        """Records of a plain producer."""
        self._on_commit([self._append(message) for message in messages])

    def fence(self, name: str) -> int:
        """InitProducerId: the epoch of the only writer from now on."""
        self.epochs[name] = self.epochs.get(name, 0) + 1
        return self.epochs[name]

    def commit(
        self, name: str, epoch: int, messages: Sequence[Message]
    ) -> dict[TopicPartition, int]:
        """A whole transaction; returns the offset of the last record of each partition."""
        if self.epochs[name] != epoch:
            raise Fenced(name)
        raws = [self._append(message) for message in messages]
        last = {(raw.topic, raw.partition): raw.offset for raw in raws}
        for place in last:
            self.places[place].end += 1
        self._on_commit(raws)
        return last

    def abort(self, messages: Sequence[Message]) -> None:
        """A transaction that got as far as these records and was never committed."""
        touched: dict[TopicPartition, int] = {}
        for message in messages:
            place = (message.topic, message.partition)
            touched[place] = touched.get(place, 1) + 1
        for place, count in touched.items():
            self.places.setdefault(place, Partition()).end += count

    def _append(self, message: Message) -> Raw:
        held = self.places.setdefault((message.topic, message.partition), Partition())
        raw = Raw(
            message.topic,
            message.partition,
            held.end,
            self.now_ms,
            message.key,
            message.value,
            message.headers,
        )
        held.records.append(raw)
        held.offsets.append(raw.offset)
        held.end += 1
        self.record_count += 1
        text = f"{raw.topic}/{raw.partition}/{raw.offset}/{raw.append_ms}/{raw.headers}"
        self._digest.update(text.encode())
        self._digest.update(len(message.value).to_bytes(4, "big") + message.value)
        return raw

    def digest(self) -> str:
        """Over every committed record, in the order of the commits."""
        return self._digest.hexdigest()

    # ---- reading, as runtime.log_reader does

    def starts(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """First offsets that are kept: nothing is deleted here."""
        return dict.fromkeys(places, 0)

    def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Behind everything."""
        return {place: self.places.get(place, Partition()).end for place in places}

    def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Raw]]:
        """The committed records with from <= offset < to of each partition."""
        found: dict[TopicPartition, list[Raw]] = {}
        for place, (start, behind) in ranges.items():
            held = self.places.get(place, Partition())
            low = bisect.bisect_left(held.offsets, start)
            high = bisect.bisect_left(held.offsets, behind)
            found[place] = held.records[low:high]
        return found

    def behind(self, place: TopicPartition, position: int) -> list[Raw]:
        """Everything from a position on."""
        held = self.places.get(place)
        if held is None or held.end <= position:
            return []
        return held.records[bisect.bisect_left(held.offsets, position) :]
