"""The topics of a recorded run, read whole and decoded, for analysis after the fact.

Errors:
    RecordsLost     the beginning of a topic has been deleted, so that no sum over it can be right
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tapeline.contracts import topics
from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Input, Undecodable
from tapeline.runtime.exits import USAGE, Failure
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import TopicPartition
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.writer_schemas import schemas_on

CHUNK: Final = 50_000
"""Offsets of a partition that are read at a time."""


class RecordsLost(Failure):
    """Records that a figure is made of are not kept any more."""

    exit_code = USAGE


class RecordedTopics:
    """Reads what a run has left on its topics."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.quarantined = 0
        """records met so far that could not be decoded"""

    def inputs(self, topic: str) -> Iterator[Input]:
        """Every committed record but watermarks, each partition in its order."""
        return (event for event in self._all(topic) if not isinstance(event.record, Watermark))

    def watermarks(self, topic: str) -> Iterator[Watermark]:
        """The watermarks alone."""
        return (event.record for event in self._all(topic) if isinstance(event.record, Watermark))

    def _all(self, topic: str) -> Iterator[Input]:
        low, ends = self._bounds(topic)
        intake = Intake((topic,), resolve=schemas_on(self._reader).resolve)
        while low != ends:
            ranges = {place: (low[place], min(low[place] + CHUNK, ends[place])) for place in low}
            for raws in self._reader.read(ranges).values():
                for event in intake.inputs_of(topic, raws):
                    if isinstance(event.record, Undecodable):
                        self.quarantined += 1
                    else:
                        yield event
            low = {place: high for place, (_, high) in ranges.items()}

    def _bounds(self, topic: str) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        places = [(topic, number) for number in range(self._reader.partition_count(topic))]
        return self._reader.starts(places), self._reader.ends(places)

    def records(self, topic: str) -> list[Any]:
        """The records alone, each once: a stage may have said one again after a crash."""
        found: dict[str, Any] = {}
        for event in self.inputs(topic):
            place = f"{event.partition}/{event.offset}"
            found.setdefault(event.event_id.partition("@")[0] or place, event.record)
        return list(found.values())

    def whole(self, topic: str) -> list[Any]:
        """The same; raises RecordsLost where the topic's beginning has been deleted."""
        for place, start in self._bounds(topic)[0].items():
            if start and not topics.TOPICS[topic].is_compacted:
                raise RecordsLost(
                    f"{topic}-{place[1]} begins at offset {start}: what came before has been "
                    "deleted.",
                    "No account can be told from a part of its records; keep the topics longer "
                    "than a run, or export it earlier.",
                )
        return self.records(topic)

    def offset_count(self, topic: str) -> int:
        """Offsets of a topic: its records, and the few that are watermarks and markers."""
        starts, ends = self._bounds(topic)
        return sum(ends[place] - starts[place] for place in ends)
