"""The topic `schemas`: what every service has written its records with.

A service publishes its schemas before its first record, so a reader that meets an unknown
fingerprint finds it here. A broker that does not answer raises KafkaUnavailable: a record must not
be called unreadable because its schema could not be looked up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from threading import Lock
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tapeline.contracts import topics
from tapeline.contracts.registry import SCHEMAS
from tapeline.contracts.system import WriterSchema
from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.codec import encode, fingerprint_of
from tapeline.runtime.ids import content_id
from tapeline.runtime.kafka import (
    KafkaUnavailable,
    confluent_config,
    is_reachable,
    reason_of,
    topic_name,
)
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.writer_schemas import WriterSchemas

READ_S: Final = 30.0
SEND_S: Final = 30.0
SETTLE_S: Final = 10.0
SETTLE_PAUSE_S: Final = 0.2
MISS_PAUSE_S: Final = 1.0
FRUITLESS_MAX: Final = 3


class SchemaTopic:
    """Publishes our schemas and finds those of others; safe to use from several threads."""

    def __init__(self, settings: KafkaSettings, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = Lock()
        self._known = WriterSchemas()
        self._next_offset = 0
        self._last_read_s = float("-inf")
        self._fruitless = 0

    def publish(self, names: Iterable[str]) -> int:
        """Writes the schemas of these record types that are not there yet; returns their number.

        Returns after the broker has them; raises KafkaUnavailable.
        """
        wanted = {fingerprint_of(SCHEMAS[name]): name for name in sorted(set(names))}
        with self._lock:
            self._read()
            missing = {
                mark: name for mark, name in wanted.items() if self._known.find(mark) is None
            }
        if missing:
            self._produce(missing)
        return len(missing)

    def resolve(self, fingerprint: int) -> dict[str, Any] | None:
        """The schema with a fingerprint, or None when nobody has published it.

        At most one read a second for fingerprints that are not found: a miss waits for its turn,
        but after a few fruitless reads it is answered at once, so that garbage costs no time.
        """
        with self._lock:
            found = self._known.find(fingerprint)
            if found is not None:
                return found
            pause_s = self._last_read_s + MISS_PAUSE_S - self._clock.monotonic_s()
            if pause_s > 0:
                if self._fruitless >= FRUITLESS_MAX:
                    return None
                time.sleep(pause_s)
            self._read()
            found = self._known.find(fingerprint)
            self._fruitless = 0 if found is not None else self._fruitless + 1
            return found

    def _read(self) -> None:
        """Everything behind what has been read already."""
        if not is_reachable(self._settings):
            raise self._unavailable("read", "no broker answers")
        consumer = Consumer(
            confluent_config(
                self._settings,
                group_id="tapeline-schemas",
                enable_auto_commit=False,
                isolation_level="read_committed",
                fetch_wait_max_ms=20,
                error_cb=lambda _error: None,
            )
        )
        deadline_s = self._clock.monotonic_s() + SETTLE_S
        try:
            while not self._is_read_with(consumer, deadline_s):
                time.sleep(SETTLE_PAUSE_S)
        except KafkaException as error:
            raise self._unavailable("read", reason_of(error)) from error
        finally:
            consumer.close()
        self._last_read_s = self._clock.monotonic_s()

    def _is_read_with(self, consumer: Consumer, deadline_s: float) -> bool:
        """False while a broker that has just come back does not lead its partitions yet."""
        try:
            self._read_with(consumer)
        except KafkaException as error:
            if not error.args[0].retriable() or self._clock.monotonic_s() > deadline_s:
                raise
            return False
        return True

    def _read_with(self, consumer: Consumer) -> None:
        place = TopicPartition(topic_name(self._settings, topics.SCHEMAS), 0)
        start, end = consumer.get_watermark_offsets(place, timeout=READ_S)
        place.offset = max(start, self._next_offset)
        if place.offset >= end:
            return
        consumer.assign([place])
        deadline = self._clock.monotonic_s() + READ_S
        while self._next_offset < end:
            if self._clock.monotonic_s() > deadline:
                raise self._unavailable("read", "no answer")
            for message in consumer.consume(500, 0.1):
                if message.error() is None:
                    self._known.keep(message.value())
            [position] = consumer.position([place])
            self._next_offset = max(self._next_offset, position.offset)

    def _produce(self, missing: dict[int, str]) -> None:
        producer = Producer(
            confluent_config(
                self._settings,
                enable_idempotence=True,
                message_timeout_ms=int(SEND_S * 1000),
                error_cb=lambda _error: None,
            )
        )
        failures: list[str] = []

        def on_delivery(error: Any, _message: Any) -> None:
            if error is not None:
                failures.append(str(error))

        for mark, name in missing.items():
            text = json.dumps(SCHEMAS[name], separators=(",", ":"))
            record = WriterSchema(
                fingerprint=f"{mark:016x}",
                name=name,
                schema=text,
                ts_init_ns=self._clock.wall_ns(),
            )
            producer.produce(
                topic_name(self._settings, topics.SCHEMAS),
                key=record.fingerprint.encode(),
                value=encode(record),
                partition=0,
                headers=[("event_id", content_id(f"WriterSchema/{record.fingerprint}").encode())],
                on_delivery=on_delivery,
            )
        left = producer.flush(SEND_S)
        if left or failures:
            raise self._unavailable("written", failures[0] if failures else "no acknowledgement")

    def _unavailable(self, verb: str, reason: str) -> KafkaUnavailable:
        name = topic_name(self._settings, topics.SCHEMAS)
        return KafkaUnavailable(
            f"The topic {name} at {self._settings.kafka_bootstrap_servers} cannot be {verb}: "
            f"{reason}.",
            "Check that Kafka runs and that the topics have been created (`tapeline up`).",
        )
