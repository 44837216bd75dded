"""Waits until every expected reporter has finished a slice of a paced run.

Errors:
    ReportersMissing    some have not reported within the bound; named in the message
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tapeline.contracts import topics
from tapeline.contracts.system import SliceDone
from tapeline.runtime import clock, exits
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.kafka import confluent_config, topic_name
from tapeline.runtime.log_reader import RETRIABLE
from tapeline.runtime.settings import KafkaSettings

POLL_S: Final = 0.2
ANSWER_S: Final = 30.0
FETCH_MAX: Final = 1000


class ReportersMissing(exits.Failure):
    """Some reporters have not finished a slice within the bound."""

    exit_code = exits.UNAVAILABLE


class Reporters:
    """Reads `progress` from its start; a restarted feed finds what was reported before."""

    def __init__(self, settings: KafkaSettings, expected: Sequence[str]) -> None:
        self._expected = tuple(expected)
        self._done: dict[str, int] = {}
        self._decoder = Decoder((SliceDone.AVRO,))
        self._consumer = Consumer(
            confluent_config(
                settings,
                group_id=f"{settings.topic_prefix}feed-progress",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_wait_max_ms=100,
            )
        )
        place = TopicPartition(topic_name(settings, topics.PROGRESS), 0)
        # Named, not OFFSET_BEGINNING: asking for that costs half a second.
        place.offset, _ = self._consumer.get_watermark_offsets(place, timeout=ANSWER_S)
        self._consumer.assign([place])

    def close(self) -> None:
        """Leaves."""
        self._consumer.close()

    def missing(self, number: int) -> tuple[str, ...]:
        """Who has not reported a slice, or a later one."""
        return tuple(name for name in self._expected if self._done.get(name, 0) < number)

    def wait(self, number: int, wait_s: float, is_stopping: Callable[[], bool]) -> None:
        """Returns when all have reported, or when the process is stopping."""
        deadline = clock.monotonic_s() + wait_s
        while (missing := self.missing(number)) and not is_stopping():
            if clock.monotonic_s() > deadline:
                raise ReportersMissing(
                    f"Slice {number} was not finished within {wait_s:.0f} s by "
                    f"{', '.join(missing)}.",
                    "Check that they run and look into their logs; "
                    "TAPELINE_MARKET_DATA_REPORTERS lists who is expected.",
                )
            self._read()

    def _read(self) -> None:
        first = self._consumer.poll(POLL_S)
        if first is None:
            return
        for message in (first, *self._consumer.consume(FETCH_MAX, 0)):
            error = message.error()
            if error is not None:
                if error.code() in RETRIABLE:
                    continue
                raise KafkaException(error)
            self._take(message.value())

    def _take(self, value: bytes | None) -> None:
        try:
            record = self._decoder.decode(value)
        except DecodeError:
            return
        self._done[record.reporter] = max(self._done.get(record.reporter, 0), record.slice)
