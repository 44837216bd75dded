"""What the records of the topic `schemas` say: the schemas that records were written with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from tapeline.contracts import topics
from tapeline.contracts.system import WriterSchema
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.log import Raw, TopicPartition

SCHEMAS_MAX: Final = 10_000


class WriterSchemas:
    """Schemas by fingerprint; the first record of each holds."""

    def __init__(self) -> None:
        self._decoder = Decoder((WriterSchema.AVRO,))
        self._known: dict[int, dict[str, Any]] = {}

    def keep(self, value: bytes | None) -> None:
        """Takes a record of the topic; one that is none is not usable either."""
        try:
            record = self._decoder.decode(value)
            mark, schema = int(record.fingerprint, 16), json.loads(record.schema)
        except (DecodeError, ValueError, RecursionError):
            return
        if isinstance(schema, dict) and len(self._known) < SCHEMAS_MAX:
            self._known.setdefault(mark, schema)

    def find(self, fingerprint: int) -> dict[str, Any] | None:
        """The schema with a fingerprint, or None when nobody has published it."""
        return self._known.get(fingerprint)


class RecordedSchemas:
    """The schemas of a run that is read after the fact: taken once, when the first is asked for.

    A service publishes its schemas before its first record, so this knows those of all records
    that were there when it was made.
    """

    def __init__(self, read: Callable[[], Iterable[bytes | None]]) -> None:
        """`read` gives the values of the topic `schemas`."""
        self._read = read
        self._found: WriterSchemas | None = None

    def resolve(self, fingerprint: int) -> dict[str, Any] | None:
        """The schema with a fingerprint, or None; raises what reading the topic raises."""
        if self._found is None:
            found = WriterSchemas()
            for value in self._read():
                found.keep(value)
            self._found = found
        return self._found.find(fingerprint)


class Reader(Protocol):
    """Reads ranges of a run's topics, such as LogReader."""

    def partition_count(self, topic: str) -> int:
        """Partitions of a topic."""
        ...

    def starts(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """First offsets that are still kept."""
        ...

    def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Offsets behind the last record."""
        ...

    def read(
        self, ranges: dict[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Raw]]:
        """The committed records of each range."""
        ...


def schemas_on(reader: Reader) -> RecordedSchemas:
    """Those of the run that a reader's topics hold."""

    def values() -> Iterable[bytes | None]:
        count = reader.partition_count(topics.SCHEMAS)
        places = [(topics.SCHEMAS, number) for number in range(count)]
        starts, ends = reader.starts(places), reader.ends(places)
        found = reader.read({place: (starts[place], ends[place]) for place in places})
        return [raw.value for raws in found.values() for raw in raws]

    return RecordedSchemas(values)
