"""Messages that a shard writes besides its core's outputs, and the headers of all of them."""

from __future__ import annotations

from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.system import Quarantined, SliceDone, Watermark
from tapeline.runtime.codec import encode
from tapeline.runtime.core import Context, Undecodable
from tapeline.runtime.ids import derive_id
from tapeline.runtime.log import Message, Raw

QUARANTINE_BYTES_MAX = 32 * 1024
Headers = tuple[tuple[str, bytes], ...]


class Envelope:
    """Makes messages in the name of one shard."""

    def __init__(self, context: Context, slot_partition: int) -> None:
        self._context = context
        self._slot_partition = slot_partition

    def headers(self, event_id: str, causation_id: str = "", correlation_id: str = "") -> Headers:
        """What every record outside the bulk topics carries."""
        return (
            ("event_id", event_id.encode()),
            ("causation_id", causation_id.encode()),
            ("correlation_id", correlation_id.encode()),
            ("producer", self._context.instance.encode()),
            ("run_id", self._context.run_id.encode()),
        )

    def watermark(self, topic_names: tuple[str, ...], watermark: Watermark) -> list[Message]:
        """The watermark on the shard's partition of each topic."""
        key, value = self._context.instance.encode(), encode(watermark)
        headers = self.headers(self._derive(str(watermark.ts_event_ns), "Watermark"))
        shard = self._context.shard
        return [Message(topic, shard, key, value, headers) for topic in topic_names]

    def slice_done(
        self, topic_names: tuple[str, ...], number: int, end_ns: int, is_final: bool
    ) -> list[Message]:
        """The end of a slice: watermarks for those who follow, progress for the feed."""
        instance = self._context.instance
        watermark = Watermark(
            source=instance,
            slice=number,
            is_paced=True,
            is_final=is_final,
            ts_event_ns=end_ns,
            ts_init_ns=end_ns,
        )
        done = SliceDone(
            reporter=instance,
            slice=number,
            is_final=is_final,
            ts_event_ns=end_ns,
            ts_init_ns=end_ns,
        )
        headers = self.headers(self._derive(str(number), "SliceDone"))
        progress = Message(topics.PROGRESS, 0, instance.encode(), encode(done), headers)
        return [*self.watermark(topic_names, watermark), progress]

    def own(self, topic: str, sequence: int, record: Any) -> Message:
        """A journal record or snapshot."""
        headers = self.headers(self._derive(str(sequence), record.AVRO))
        key = self._context.instance.encode()
        return Message(topic, self._slot_partition, key, encode(record), headers)

    def quarantined(self, raw: Raw, record: Undecodable, session_ns: int) -> Message:
        """A record of another party that could not be decoded, kept whole."""
        value = Quarantined(
            source_topic=raw.topic,
            source_partition=raw.partition,
            source_offset=raw.offset,
            code=record.code,
            reason=record.reason,
            raw=(raw.value or b"")[:QUARANTINE_BYTES_MAX],
            ts_event_ns=raw.append_ms * 1_000_000,
            ts_init_ns=session_ns,
        )
        place = f"{raw.topic}/{raw.partition}/{raw.offset}"
        headers = self.headers(self._derive(place, "Quarantined"))
        return Message(topics.QUARANTINE, 0, raw.topic.encode(), encode(value), headers)

    def _derive(self, cause: str, kind: str) -> str:
        return derive_id(self._context.run_id, self._context.instance, cause, kind)
