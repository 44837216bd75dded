"""Sends a feed's records to Kafka: idempotent, acknowledged by all replicas, in order.

Errors:
    PublishFailed   the broker did not take a record in time; whatever follows it is not sent
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from tapeline.contracts import topics
from tapeline.contracts.system import Heartbeat
from tapeline.market_data.feed_core import Sent
from tapeline.runtime import clock, exits
from tapeline.runtime.codec import encode
from tapeline.runtime.ids import content_id
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.telemetry import Metrics

LINGER_MS: Final = 5
DELIVERY_S: Final = 30.0
FLUSH_S: Final = 35.0
FULL_PAUSE_S: Final = 0.01
Headers = list[tuple[str, str | bytes | None]]


class PublishFailed(exits.Failure):
    """The broker did not take a record in time."""

    exit_code = exits.UNAVAILABLE


class Publisher:
    """One producer for all partitions. A failure is raised by the next call, and is final."""

    def __init__(self, settings: ServiceSettings, source: str, metrics: Metrics) -> None:
        self._prefix = settings.topic_prefix
        self._source = source
        self._build_id = settings.build_id
        self._metrics = metrics
        self._fixed_headers: Headers = [
            ("causation_id", b""),
            ("correlation_id", b""),
            ("producer", source.encode()),
            ("run_id", settings.run_id.encode()),
        ]
        self._failure = ""
        self._last: tuple[object, bytes] = (None, b"")
        self._producer = Producer(
            confluent_config(
                settings,
                enable_idempotence=True,
                # Nothing may overtake a record that failed: a restart resumes behind the last one.
                enable_gapless_guarantee=True,
                acks="all",
                linger_ms=LINGER_MS,
                message_timeout_ms=int(DELIVERY_S * 1000),
                queue_buffering_max_messages=200_000,
                error_cb=self._on_error,
            )
        )

    async def send(self, records: Iterable[Sent]) -> None:
        """Hands records to the producer; waits while its buffer is full. Raises PublishFailed."""
        for sent in records:
            headers: Headers | None = None
            if sent.event_id:
                headers = [("event_id", sent.event_id.encode()), *self._fixed_headers]
            value = self._encoded(sent.record)
            while not self._produced(sent, value, headers):
                await asyncio.sleep(FULL_PAUSE_S)
                self.poll()

    def poll(self) -> None:
        """Serves deliveries; raises PublishFailed."""
        self._producer.poll(0)
        if self._failure:
            raise PublishFailed(
                f"{self._source} could not publish: {self._failure}.",
                "Check the broker, then start the feed again; it continues behind the last record.",
            )

    async def flush(self) -> None:
        """Returns when everything is acknowledged; raises PublishFailed."""
        left = await asyncio.to_thread(self._producer.flush, FLUSH_S)
        self.poll()
        if left:
            self._failure = f"{left} records without acknowledgement after {FLUSH_S:.0f} s"
            self.poll()

    async def send_heartbeat(self) -> None:
        """A sign of life."""
        now_ns = clock.wall_ns()
        record = Heartbeat(
            service=self._source,
            shard=-1,
            build_id=self._build_id,
            lag=-1,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        headers: Headers = [
            ("event_id", content_id(f"Heartbeat/{self._source}/{now_ns}").encode()),
            *self._fixed_headers,
        ]
        name = self._prefix + topics.HEARTBEATS
        self._producer.produce(
            name, encode(record), self._source.encode(), 0, self._on_delivery, headers=headers
        )
        self.poll()

    def _produced(self, sent: Sent, value: bytes, headers: Headers | None) -> bool:
        try:
            self._producer.produce(
                self._prefix + sent.topic,
                value,
                sent.key.encode(),
                sent.partition,
                self._on_delivery,
                headers=headers,
            )
        except BufferError:
            return False
        except KafkaException as error:
            self._failure = self._failure or str(error)
            self.poll()
        return True

    def _encoded(self, record: object) -> bytes:
        # A watermark is the same on every partition.
        if record is not self._last[0]:
            self._last = (record, encode(record))
        return self._last[1]

    def _on_delivery(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failure = self._failure or str(error)
        else:
            self._metrics.produced.labels(message.topic()[len(self._prefix) :]).inc()

    def _on_error(self, error: Any) -> None:
        if error.fatal():
            self._failure = self._failure or str(error)
