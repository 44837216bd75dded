"""The order in which a shard steps what it consumed; it depends on the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, groupby
from operator import itemgetter
from typing import Any

from tapeline.runtime.batches import Batch
from tapeline.runtime.core import InputTopic, Pacing
from tapeline.runtime.log import TopicPartition


class Order:
    """Breaks ties by the order in which a core names its inputs."""

    def __init__(self, inputs: Iterable[InputTopic]) -> None:
        self._specs = {spec.topic: spec for spec in inputs}
        self._numbers = {topic: number for number, topic in enumerate(self._specs)}

    def of(self, place: TopicPartition) -> tuple[int, int]:
        """Order of a place among others."""
        return (self._numbers[place[0]], place[1])

    def merged(
        self, places: Sequence[TopicPartition], batch: Batch, streams: Sequence[Sequence[Any]]
    ) -> Iterator[Any]:
        """Live: by rank, append time, topic order, partition; a partition is never reordered."""
        runs = []
        for place, events in zip(places, streams, strict=True):
            rank, start = (0 if self._specs[place[0]].is_first else 1), 0
            order = self.of(place)
            # Append times of one partition may step back with the broker's clock: its time only
            # goes forward.
            times = accumulate((raw.append_ms for raw in batch.records[place]), max)
            for latest_ms, same in groupby(times):
                end = start + sum(1 for _ in same)
                runs.append((rank, latest_ms, order, start, events[start:end]))
                start = end
        runs.sort(key=itemgetter(0, 1, 2, 3))
        return chain.from_iterable(run[-1] for run in runs)

    def slice_keys(
        self, place: TopicPartition, batch: Batch, events: Sequence[Any]
    ) -> Iterator[tuple[Any, ...]]:
        """Paced: what a complete slice is sorted by; a key is unique through the offset."""
        spec, order = self._specs[place[0]], self.of(place)
        for raw, event in zip(batch.records[place], events, strict=True):
            if spec.pacing is Pacing.UNPACED:
                yield (0 if spec.is_first else 1, -1, *order, "", raw.offset)
            else:
                time_ns = getattr(event.record, "ts_event_ns", 0)
                # Several writers share a partition of decisions: their order by offset depends on
                # the machine, that by name does not.
                yield (2, time_ns, *order, raw.header("producer"), raw.offset)
