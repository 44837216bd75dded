"""Bulk records by their position, from Kafka: the database keeps only digests of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from tapeline.audit.chain import Place, Record
from tapeline.audit.source import GONE, PASSING, record_of
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.kafka import KafkaUnavailable, confluent_config
from tapeline.runtime.settings import KafkaSettings

READ_S: Final = 20.0
FETCH_RECORDS: Final = 5000


class BulkReader(Protocol):
    """Records by position; Kafka, or a tape made of it."""

    def read(self, topic: str, partition: int, start: int, behind: int) -> Sequence[Record]:
        """Records with start <= offset < behind that are still kept, in order."""
        ...

    def offset_at(self, topic: str, partition: int, append_ms: int) -> int:
        """The first offset appended at this time or later; the end where there is none."""
        ...


class KafkaRecords:
    """Reads from a run's topics; committed records only."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._prefix = settings.topic_prefix
        self._servers = settings.kafka_bootstrap_servers
        self._consumer = Consumer(
            confluent_config(
                settings,
                group_id="tapeline-audit-reader",
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                enable_partition_eof=True,
                fetch_wait_max_ms=20,
                error_cb=lambda _error: None,
            )
        )
        self._at: tuple[Place, int] | None = None
        self._ahead: list[Record] = []

    def close(self) -> None:
        """Leaves."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, topic: str, partition: int, start: int, behind: int) -> Sequence[Record]:
        """Records with start <= offset < behind that are still kept, in order.

        Ranges that follow each other are read in one go. Raises KafkaUnavailable.
        """
        place = (topic, partition)
        if self._at != (place, start):
            self._ahead = []
            offset = start if start > 0 else OFFSET_BEGINNING
            self._consumer.assign([KafkaPlace(self._prefix + topic, partition, offset)])
        found, self._ahead = self._ahead, []
        deadline_s = monotonic_s() + READ_S
        is_at_end = False
        while not is_at_end and not (found and found[-1].offset >= behind - 1):
            if monotonic_s() > deadline_s:
                raise self._unavailable(f"{topic}/{partition}")
            for message in self._consumer.consume(FETCH_RECORDS, 0.05):
                is_at_end = self._take(message, found) or is_at_end
        self._ahead = [record for record in found if record.offset >= behind]
        # At the end of the partition the consumer goes on only when more has been written.
        self._at = None if is_at_end else (place, behind)
        return [record for record in found if start <= record.offset < behind]

    def offset_at(self, topic: str, partition: int, append_ms: int) -> int:
        """The first offset appended at this time or later; the end where there is none."""
        place = KafkaPlace(self._prefix + topic, partition, append_ms)
        try:
            [found] = self._consumer.offsets_for_times([place], timeout=READ_S)
            if found.offset >= 0:
                return int(found.offset)
            place = KafkaPlace(self._prefix + topic, partition)
            return int(self._consumer.get_watermark_offsets(place, timeout=READ_S)[1])
        except KafkaException as error:
            raise self._unavailable(f"{topic}/{partition}") from error

    def _take(self, message: Any, found: list[Record]) -> bool:
        """Keeps a record; True at the end of the partition."""
        error = message.error()
        if error is None:
            found.append(record_of(message, self._prefix))
            return False
        if error.code() == KafkaError._PARTITION_EOF or error.code() in GONE:
            return True
        if error.code() not in PASSING:
            raise KafkaException(error)
        return False

    def _unavailable(self, where: str) -> KafkaUnavailable:
        return KafkaUnavailable(
            f"Kafka at {self._servers} did not give {where} within {READ_S:.0f} s.",
            "Check that Kafka runs (`tapeline status`), then try again.",
        )
