"""From consumed records to a stage's inputs: decoding, ids, the session clock of a partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol

from tapeline.contracts.system import Watermark
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.bulk import BulkInput, bulk_input, bulk_inputs
from tapeline.runtime.codec import DecodeError, Decoder, IncompatibleSchema, UnknownSchema
from tapeline.runtime.columns import MANY, ColumnDecoder
from tapeline.runtime.core import Input

MILLISECOND_NS = 1_000_000
_HEADERS = attrgetter("headers")
_ERRORS = (DecodeError, UnknownSchema, IncompatibleSchema)


class Consumed(Protocol):
    """A record as the consumer hands it out."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class SessionClock:
    """Session time of one partition: the last watermark's, before any the record's own.

    It is a function of the partition's records alone. What came before the low water is not read
    again, so its time is kept in the metadata of the commit.
    """

    def __init__(self, base_ns: int = 0) -> None:
        self._base_ns = base_ns
        self._now_ns = base_ns
        self._watermarks: deque[tuple[int, int]] = deque()

    @property
    def now_ns(self) -> int:
        """Session time behind the last record; 0 before the first watermark."""
        return self._now_ns

    def set(self, now_ns: int) -> None:
        """Takes over what was kept."""
        self._now_ns = now_ns

    def stamp(self, record: Any, offset: int, append_ms: int) -> int:
        """Session time of the next record."""
        if type(record) is Watermark:
            self._now_ns = max(self._now_ns, record.ts_event_ns)
            self._watermarks.append((offset, self._now_ns))
        return self._now_ns or int(getattr(record, "ts_event_ns", append_ms * MILLISECOND_NS))

    def at(self, offset: int) -> int:
        """Session time in front of an offset; what lies before it is forgotten."""
        while self._watermarks and self._watermarks[0][0] < offset:
            self._base_ns = self._watermarks.popleft()[1]
        return self._base_ns


class StageIntake:
    """Decodes the records of a set of topics into inputs."""

    def __init__(
        self,
        names: Sequence[str],
        prefix: str,
        resolve: Callable[[int], dict[str, Any] | None],
    ) -> None:
        self._topics = {
            prefix + name: (
                name,
                TOPICS[name].is_bulk,
                Decoder(TOPICS[name].records, resolve, is_canonical=not TOPICS[name].is_bulk),
            )
            for name in names
        }
        self._columns = {
            prefix + name: ColumnDecoder(TOPICS[name].records, self._topics[prefix + name][2])
            for name in names
            if TOPICS[name].is_bulk
        }

    def input_of(self, consumed: Consumed, clock: SessionClock) -> Input:
        """An input; raises DecodeError."""
        record = self._topics[consumed.topic][2].decode(consumed.value)
        return self._found(consumed, record, clock)

    def inputs_of(
        self, batch: Sequence[Consumed], clock: SessionClock
    ) -> list[Input | DecodeError]:
        """For each record of one partition its input, or why there is none."""
        columns = self._columns.get(batch[0].topic) if len(batch) >= MANY else None
        if columns is None:
            return [self._input_or_error(consumed, clock) for consumed in batch]
        records = columns.decode_all([consumed.value for consumed in batch])
        kinds = set(map(type, records))
        if any(map(_HEADERS, batch)) or not kinds.isdisjoint(_ERRORS):
            return [
                record if isinstance(record, DecodeError) else self._found(consumed, record, clock)
                for consumed, record in zip(batch, records, strict=True)
            ]
        if clock.now_ns and Watermark not in kinds:
            sessions_ns = [clock.now_ns] * len(records)
        else:
            sessions_ns = [
                clock.stamp(record, consumed.offset, consumed.timestamp)
                for consumed, record in zip(batch, records, strict=True)
            ]
        return list(bulk_inputs(records, self._topics[batch[0].topic][0], batch, sessions_ns))

    def _input_or_error(self, consumed: Consumed, clock: SessionClock) -> Input | DecodeError:
        try:
            return self.input_of(consumed, clock)
        except DecodeError as error:
            return error

    def _found(self, consumed: Consumed, record: Any, clock: SessionClock) -> Input:
        name, is_bulk, _ = self._topics[consumed.topic]
        session_ns = clock.stamp(record, consumed.offset, consumed.timestamp)
        if is_bulk and not consumed.headers:
            return bulk_input(record, name, consumed, session_ns)
        headers = dict(consumed.headers)
        kind = Input if "event_id" in headers or not is_bulk else BulkInput
        return kind(
            record=record,
            topic=name,
            partition=consumed.partition,
            offset=consumed.offset,
            event_id=_text(headers.get("event_id")),
            correlation_id=_text(headers.get("correlation_id")),
            session_ns=session_ns,
        )


def _text(value: bytes | None) -> str:
    return value.decode(errors="replace") if value else ""
