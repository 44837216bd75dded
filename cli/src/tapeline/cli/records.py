"""Records of a run, decoded, for commands that look at topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tapeline.contracts import topics
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.slices import WATERMARK_HEADER
from tapeline.runtime.writer_schemas import schemas_on


@dataclass(frozen=True, slots=True)
class Found:
    """One record with its place; where it cannot be decoded `record` is None, `error` says why."""

    raw: Raw
    record: Any
    error: str = ""


class TopicRecords:
    """Reads topics of one run."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        resolve = schemas_on(reader).resolve
        self._decoders = {
            name: Decoder(topic.records, resolve) for name, topic in topics.TOPICS.items()
        }

    def decode(self, raw: Raw) -> Found:
        """A record as its topic's type."""
        try:
            return Found(raw, self._decoders[raw.topic].decode(raw.value))
        except DecodeError as error:
            return Found(raw, None, str(error))

    def places(self, topic: str) -> list[TopicPartition]:
        """The partitions of a topic."""
        return [(topic, number) for number in range(self._reader.partition_count(topic))]

    def all(self, topic: str, kind: type[Any] | None = None) -> list[Found]:
        """Every committed record of a topic, by append time and then place."""
        places = self.places(topic)
        starts, ends = self._reader.starts(places), self._reader.ends(places)
        read = self._reader.read({place: (starts[place], ends[place]) for place in places})
        found = [self.decode(raw) for raws in read.values() for raw in raws]
        found.sort(key=lambda item: (item.raw.append_ms, item.raw.partition, item.raw.offset))
        return [item for item in found if kind is None or isinstance(item.record, kind)]

    def counts(self, names: list[str]) -> dict[str, int]:
        """Offsets between start and end of each topic: records, and a few transaction markers."""
        places = [place for name in names for place in self.places(name)]
        starts, ends = self._reader.starts(places), self._reader.ends(places)
        totals = dict.fromkeys(names, 0)
        for place in places:
            totals[place[0]] += ends[place] - starts[place]
        return totals

    def counted(self, names: list[str]) -> dict[str, int]:
        """Committed records of each topic; neither watermarks nor transaction markers count."""
        places = [place for name in names for place in self.places(name)]
        starts, ends = self._reader.starts(places), self._reader.ends(places)
        read = self._reader.read({place: (starts[place], ends[place]) for place in places})
        totals = dict.fromkeys(names, 0)
        for place, raws in read.items():
            totals[place[0]] += sum(not is_watermark(raw) for raw in raws)
        return totals

    def latest(self, topic: str, key: Callable[[Any], str]) -> dict[str, Any]:
        """The last record of each key, as compaction would leave it."""
        return {key(item.record): item.record for item in self.all(topic) if item.record}


def is_watermark(raw: Raw) -> bool:
    """Whether a record only says how far its source has come."""
    return raw.value is not None and raw.value.startswith(WATERMARK_HEADER)


def as_plain(value: Any) -> Any:
    """A record as JSON takes it: decimals and bytes as text, nothing rounded."""
    if hasattr(value, "to_avro"):
        plain = {name: as_plain(getattr(value, name)) for name in value.to_avro()}
        return {"type": type(value).__name__, **plain}
    if isinstance(value, Decimal):
        return short(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [as_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: as_plain(item) for name, item in value.items()}
    return value


def short(value: Decimal) -> str:
    """A decimal without the zeros that the wire pads it with."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def utc(ts_ns: int) -> str:
    """Nanoseconds UTC for people, to the millisecond."""
    moment = datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ts_ns // 1_000_000 % 1000:03d}Z"


def fields_of(found: Found) -> Iterator[tuple[str, Any]]:
    """What a filter may name: the record's fields, then key, partition, offset, type."""
    if found.record is not None:
        for name in found.record.to_avro():
            yield name, getattr(found.record, name)
    yield "type", type(found.record).__name__
    yield "key", found.raw.key.decode(errors="replace")
    yield "partition", found.raw.partition
    yield "offset", found.raw.offset
