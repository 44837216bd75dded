"""A log in memory that answers as LogReader does."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from tapeline.runtime.log import Raw, RawColumns, TopicPartition

BATCH = 4


@dataclass
class MemoryLog:
    """Partitions as lists; `starts` may be moved, as retention does it."""

    records: dict[TopicPartition, list[Raw]] = field(default_factory=dict)
    kept_from: dict[TopicPartition, int] = field(default_factory=dict)
    markers: int = 0
    """offsets behind each partition's last record that hold no record"""
    ids: dict[str, str] = field(default_factory=dict)
    """of topics that were deleted and made again"""
    reads: list[tuple[TopicPartition, int, int]] = field(default_factory=list)

    def add(
        self,
        place: TopicPartition,
        value: bytes,
        headers: tuple[tuple[str, bytes], ...] = (),
        gap: int = 0,
    ) -> None:
        """A record behind the last one; `gap` offsets before it hold none."""
        raws = self.records.setdefault(place, [])
        offset = (raws[-1].offset + 1 if raws else 0) + gap
        raws.append(Raw(place[0], place[1], offset, 1000 + offset, b"key", value, headers))

    def partition_count(self, topic: str) -> int:
        return len([place for place in self.records if place[0] == topic])

    def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self.ids.get(name, "first") for name in names}

    def starts(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self.kept_from.get(place, 0) for place in places}

    def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        found = {}
        for place in places:
            raws = self.records[place]
            found[place] = (raws[-1].offset + 1 if raws else 0) + self.markers
        return found

    def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Raw]]:
        found = {}
        for place, (start, end) in ranges.items():
            self.reads.append((place, start, end))
            found[place] = [raw for raw in self.records[place] if start <= raw.offset < end]
        return found

    def stream(self, place: TopicPartition, start: int, behind: int) -> Generator[RawColumns]:
        """In batches of a few records."""
        if start >= behind:
            return
        self.reads.append((place, start, behind))
        found = [raw for raw in self.records[place] if start <= raw.offset < behind]
        for at in range(0, len(found), BATCH):
            part = found[at : at + BATCH]
            yield RawColumns(
                [raw.offset for raw in part],
                [raw.append_ms for raw in part],
                [raw.key for raw in part],
                [raw.value for raw in part],
                [raw.headers for raw in part],
            )
