"""A log in memory, with what the tape asks of a real one."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapeline.backtest.tape import store
from tapeline.backtest.tape.store import Tape
from tapeline.runtime.log import Raw, TopicPartition

TICKS = ("ticks", 0)


@dataclass
class MemoryLog:
    """Partitions as lists; `starts` may be moved, as retention does it."""

    records: dict[TopicPartition, list[Raw]] = field(default_factory=dict)
    kept_from: dict[TopicPartition, int] = field(default_factory=dict)
    markers: int = 0
    """offsets behind each partition's last record that hold no record"""
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


def a_log(count: int = 25, markers: int = 1) -> MemoryLog:
    """Ticks of partition 0, with headers here and there, and gaps."""
    log = MemoryLog(markers=markers)
    for number in range(count):
        headers = (("event_id", b"%d" % number), ("producer", b"x")) if number % 3 else ()
        log.add(TICKS, b"value %d" % number, headers, gap=number % 7 == 6)
    return log


class Dying(MemoryLog):
    """A log whose reader is killed in its third file."""

    def read(self, ranges: Any) -> Any:
        if len(self.reads) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(ranges)


def pull_and_die(folder: Path) -> None:
    """What a process does that is killed while it pulls."""
    store.CHUNK = 10  # type: ignore[misc]
    Tape(folder).pull(Dying(a_log().records, markers=1), ["ticks"])


def pull(folder: Path) -> None:
    """What a process does that pulls in many small files."""
    store.CHUNK = 3  # type: ignore[misc]
    Tape(folder).pull(a_log(200), ["ticks"])
