"""Kafka as the audit reads it: every partition of every topic, assigned statically, committed
records only, from the positions that PostgreSQL holds. Nothing is committed to Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import TopicPartition as KafkaPlace
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from tapeline.audit.chain import Place, Record, pack_headers
from tapeline.audit.errors import LogMismatch
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import KafkaSettings

REQUEST_S: Final = 30.0
QUEUE_KBYTES: Final = 32 * 1024
"""what is fetched ahead; also the bound on memory while the database is away"""
PASSING: Final = (
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
)
GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def record_of(message: KafkaMessage, prefix: str) -> Record:
    """A consumed message, whole."""
    headers: Any = message.headers() or ()
    key: Any = message.key()
    value: Any = message.value()
    return Record(
        topic=str(message.topic()).removeprefix(prefix),
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        append_ms=int(message.timestamp()[1]),
        key=_bytes(key),
        headers=pack_headers((name, _bytes(content)) for name, content in headers),
        value=_bytes(value),
    )


class Source:
    """The consumer, and where partitions begin and end."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._prefix = settings.topic_prefix
        self._admin = AdminClient(confluent_config(settings, error_cb=lambda _error: None))
        self._consumer = Consumer(
            confluent_config(
                settings,
                group_id=f"{settings.topic_prefix}audit",
                client_id=f"{settings.topic_prefix}audit",
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="error",
                enable_partition_eof=True,
                max_poll_interval_ms=86_400_000,
                queued_max_messages_kbytes=QUEUE_KBYTES,
                fetch_wait_max_ms=100,
                error_cb=lambda _error: None,
            )
        )
        self._ends_met: dict[Place, int] = {}

    def close(self) -> None:
        """Leaves."""
        self._consumer.close()

    def places(self) -> tuple[Place, ...]:
        """Every partition of every topic; raises LogMismatch where a topic is missing."""
        found = self._admin.list_topics(timeout=REQUEST_S).topics
        places: list[Place] = []
        for topic in TOPICS:
            metadata = found.get(self._prefix + topic)
            if metadata is None or metadata.error is not None:
                raise LogMismatch(
                    f"The topic {self._prefix}{topic} does not exist.",
                    "Create the topics (`tapeline up` does), or correct TAPELINE_TOPIC_PREFIX.",
                )
            places.extend((topic, number) for number in sorted(metadata.partitions))
        return tuple(places)

    def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        """First offsets that are kept."""
        return self._offsets(places, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Offsets behind the last record that is decided, markers included."""
        return self._offsets(places, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)  # type: ignore[no-untyped-call]

    def high_watermarks(self, places: Iterable[Place]) -> dict[Place, int]:
        """Offsets behind the last record, undecided ones included."""
        return self._offsets(places, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]

    def assign(self, positions: Mapping[Place, int]) -> None:
        """Consumes from these offsets on; below 0 from the beginning."""
        self._ends_met.clear()
        self._consumer.assign(
            [
                KafkaPlace(
                    self._prefix + topic, partition, offset if offset >= 0 else OFFSET_BEGINNING
                )
                for (topic, partition), offset in positions.items()
            ]
        )

    def fetch(self, count: int, timeout_s: float) -> list[Record]:
        """Up to `count` records, in offset order per partition."""
        records: list[Record] = []
        for message in self._consumer.consume(count, timeout_s):
            error = message.error()
            if error is None:
                records.append(record_of(message, self._prefix))
            elif error.code() == KafkaError._PARTITION_EOF:
                place = (
                    str(message.topic()).removeprefix(self._prefix),
                    int(message.partition() or 0),
                )
                self._ends_met[place] = int(message.offset() or 0)
            elif error.code() in GONE:
                raise _gone(message, error)
            elif error.code() not in PASSING and not error.retriable():
                raise KafkaException(error)
        return records

    def has_reached(self, ends: Mapping[Place, int]) -> bool:
        """True when everything below these ends has been fetched."""
        return all(end == 0 or self._ends_met.get(place, -1) >= end for place, end in ends.items())

    def lags(self, positions: Mapping[Place, int]) -> dict[Place, int]:
        """Records not yet fetched, as far as the consumer has been told."""
        found = {}
        for (topic, partition), position in positions.items():
            place = KafkaPlace(self._prefix + topic, partition)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            met = self._ends_met.get((topic, partition), -1)
            found[topic, partition] = max(0, high - max(position, met, 0))
        return found

    def _offsets(
        self, places: Iterable[Place], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[Place, int]:
        request = {KafkaPlace(self._prefix + topic, number): spec for topic, number in places}
        if not request:
            return {}
        futures = self._admin.list_offsets(
            request, isolation_level=isolation, request_timeout=REQUEST_S
        )
        return {
            (place.topic.removeprefix(self._prefix), place.partition): int(future.result().offset)
            for place, future in futures.items()
        }


def misplaced(
    positions: Mapping[Place, int], starts: Mapping[Place, int], ends: Mapping[Place, int]
) -> Sequence[tuple[Place, str]]:
    """Partitions whose next record Kafka no longer holds, and why."""
    found: list[tuple[Place, str]] = []
    for place, position in sorted(positions.items()):
        if 0 <= position < starts[place]:
            found.append((place, f"records {position} to {starts[place] - 1} have been deleted"))
        elif position > ends[place]:
            found.append((place, f"it ends at {ends[place]}, but {position} records are chained"))
    return found


def _gone(message: KafkaMessage, error: KafkaError) -> LogMismatch:
    return LogMismatch(
        f"{message.topic()}/{message.partition()} does not hold offset {message.offset()}: "
        f"{error.str()}.",
        "Kafka deleted records before the audit had read them: lengthen the topic's retention, "
        "and name it in TAPELINE_AUDIT_ACCEPTS_LOSS_OF to go on behind the gap.",
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
