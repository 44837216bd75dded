"""Reads ranges of committed records, and says where partitions end.

Errors:
    LogUnavailable  the broker did not answer within the bound
    PositionLost    what is to be read has been deleted
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Generator, Mapping, Sequence
from itertools import repeat
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
)
from confluent_kafka import TopicPartition as KafkaPlace
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from tapeline.runtime import clock, exits
from tapeline.runtime.columns import fill_slots
from tapeline.runtime.log import Raw, RawColumns, TopicPartition
from tapeline.runtime.shard import ReadRange

TIMEOUT_S = 60.0
BATCH_MAX = 10_000
SETTLING = (
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
)
RETRIABLE = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)


class LogUnavailable(Exception):
    """The broker did not answer within the bound."""

    remedy = "Check that Kafka runs and can be reached, then start again."
    exit_code = exits.UNAVAILABLE


def position_lost(who: str, message: Message) -> exits.PositionLost:
    """For a consumer that was told that its offset is not there any more."""
    where = f"{message.topic()}-{message.partition()}"
    return exits.PositionLost(
        f"{who} has to read {where} at offset {message.offset()}, which has been deleted.",
        "Records are missing for good, and nothing is skipped in silence: keep the topics of a run "
        "longer than its services are ever stopped, and start a new run.",
    )


def raw_of(message: Message, prefix: str) -> Raw:
    """A consumed message as the drivers see it."""
    timestamp = message.timestamp()
    headers: Any = message.headers()
    return Raw(
        topic=str(message.topic())[len(prefix) :],
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        append_ms=int(timestamp[1]),
        key=message.key() or b"",
        value=message.value(),
        headers=tuple([(name, as_bytes(value)) for name, value in headers]) if headers else (),
    )


def raws_of(messages: Sequence[Message], prefix: str) -> list[Raw]:
    """Messages of one partition, without errors, as the drivers see them; half of the time."""
    headers: list[Any] = [message.headers() for message in messages]
    columns = {
        "topic": repeat(str(messages[0].topic())[len(prefix) :]),
        "partition": repeat(int(messages[0].partition() or 0)),
        "offset": [message.offset() for message in messages],
        "append_ms": [message.timestamp()[1] for message in messages],
        "key": [message.key() or b"" for message in messages],
        "value": [message.value() for message in messages],
        "headers": [
            tuple([(name, as_bytes(value)) for name, value in items]) if items else ()
            for items in headers
        ],
    }
    return fill_slots(Raw, columns, len(messages))


def columns_of(messages: Sequence[Message]) -> RawColumns:
    """Messages of one partition, without errors, by columns: no object for a record."""
    headers: list[Any] = [message.headers() for message in messages]
    return RawColumns(
        offsets=[message.offset() or 0 for message in messages],
        append_ms=[message.timestamp()[1] for message in messages],
        keys=[message.key() or b"" for message in messages],
        values=[message.value() for message in messages],
        headers=[
            tuple([(name, as_bytes(value)) for name, value in items]) if items else ()
            for items in headers
        ],
    )


def as_bytes(value: str | bytes | None) -> bytes:
    """A header's value as the wire has it."""
    return value.encode() if isinstance(value, str) else value or b""


class LogReader:
    """A consumer without group, for looking things up."""

    def __init__(self, config: Mapping[str, Any], prefix: str) -> None:
        self._prefix = prefix
        self._config = {
            **config,
            "group.id": "tapeline-log-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            # By default a full queue is left alone for a second, and then is long empty.
            "fetch.queue.backoff.ms": 10,
        }
        self._admin = AdminClient(dict(config))

    def partition_count(self, topic: str) -> int:
        """Partitions of a topic."""
        name = self._prefix + topic
        found = self._admin.list_topics(name, timeout=TIMEOUT_S).topics.get(name)
        if found is None or found.error is not None:
            raise LogUnavailable(f"topic {name} does not exist")
        return len(found.partitions)

    def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        """What the cluster calls each topic: one that was deleted and made again has another."""
        wanted = TopicCollection([self._prefix + name for name in names])
        found = self._admin.describe_topics(wanted, request_timeout=TIMEOUT_S)
        try:
            return {name: str(found[self._prefix + name].result().topic_id) for name in names}
        except KafkaException as error:
            raise LogUnavailable(
                f"the broker does not tell of {', '.join(names)}: {error}"
            ) from error

    def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """High watermarks: behind the last record, aborted and open transactions included."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def starts(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """First offsets that are still kept."""
        return self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def _offsets(
        self, places: Sequence[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        deadline = clock.monotonic_s() + TIMEOUT_S
        while True:
            try:
                return self._list_offsets(places, spec)
            except KafkaException as error:
                # A broker that has just started does not know its own partitions yet.
                if not error.args[0].retriable() and error.args[0].code() not in SETTLING:
                    raise
                if clock.monotonic_s() > deadline:
                    raise LogUnavailable(f"the broker gives no offsets: {error}") from error
                time.sleep(0.2)

    def _list_offsets(
        self, places: Sequence[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        request = {KafkaPlace(self._prefix + topic, number): spec for topic, number in places}
        futures = self._admin.list_offsets(
            request, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=TIMEOUT_S
        )
        return {
            (place.topic[len(self._prefix) :], place.partition): future.result().offset
            for place, future in futures.items()
        }

    def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, list[Raw]]:
        """The committed records with from <= offset < to of each partition, in order.

        All partitions are assigned at once, to a consumer of its own: a re-assignment costs about
        a second, a new consumer a twentieth, unless it has to ask where the beginning is. Where
        open transactions lie before `to` this waits until they are decided.
        """
        found: dict[TopicPartition, list[Raw]] = {place: [] for place in ranges}
        open_places = {place: to for place, (start, to) in ranges.items() if start < to}
        if not open_places:
            return found
        consumer = Consumer(self._config)
        consumer.assign(
            [
                KafkaPlace(self._prefix + topic, number, ranges[topic, number][0])
                for topic, number in open_places
            ]
        )
        deadline = clock.monotonic_s() + TIMEOUT_S
        try:
            while open_places:
                if clock.monotonic_s() > deadline:
                    raise self._too_slow(consumer, open_places)
                for message in consumer.consume(2000, 0.05):
                    self._take(message, found, open_places)
        finally:
            consumer.close()
        return found

    def stream(self, place: TopicPartition, start: int, behind: int) -> Generator[RawColumns]:
        """The committed records with start <= offset < behind of one partition, in order, as they
        come: by one consumer, which fetches on while the caller is at work.

        Where open transactions lie before `behind` this waits until they are decided.
        """
        if start >= behind:
            return
        consumer = Consumer(self._config)
        consumer.assign([KafkaPlace(self._prefix + place[0], place[1], start)])
        deadline = clock.monotonic_s() + TIMEOUT_S
        try:
            is_open = True
            while is_open:
                if clock.monotonic_s() > deadline:
                    raise self._too_slow(consumer, {place: behind})
                first = consumer.poll(0.05)
                if first is None:
                    continue
                messages = [first, *consumer.consume(BATCH_MAX, 0)]
                is_open = not _reaches(messages, behind)
                found = [message for message in messages if _is_within(message, behind)]
                if found:
                    yield columns_of(found)
                    deadline = clock.monotonic_s() + TIMEOUT_S
        finally:
            consumer.close()

    def _too_slow(
        self, consumer: Consumer, open_places: Mapping[TopicPartition, int]
    ) -> LogUnavailable:
        """Says where reading stands, and whether an undecided transaction is in its way."""
        places = [KafkaPlace(self._prefix + topic, number) for topic, number in open_places]
        request = {place: OffsetSpec.latest() for place in places}  # type: ignore[no-untyped-call]
        stable = self._admin.list_offsets(
            request, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
        )
        decided = {
            (place.topic, place.partition): future.result().offset
            for place, future in stable.items()
        }
        lines = [
            f"{place.topic}-{place.partition} at {place.offset} of {end}, "
            f"decided up to {decided[place.topic, place.partition]}"
            for place, end in zip(consumer.position(places), open_places.values(), strict=True)
        ]
        return LogUnavailable(f"reading took over {TIMEOUT_S:.0f} s: " + "; ".join(lines))

    def _take(
        self,
        message: Message,
        found: dict[TopicPartition, list[Raw]],
        open_places: dict[TopicPartition, int],
    ) -> None:
        error = message.error()
        if not _says_where(message):
            return
        place = (str(message.topic())[len(self._prefix) :], int(message.partition() or 0))
        end = open_places.get(place)
        if end is None:
            return
        offset = int(message.offset() or 0)
        if error is None and offset < end:
            found[place].append(raw_of(message, self._prefix))
        # At the end of a partition the position may lie behind markers and aborted records.
        if offset >= end - (0 if error is not None else 1):
            del open_places[place]


def _says_where(message: Message) -> bool:
    """Whether it is a record or the end of its partition; raises PositionLost, KafkaException."""
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return True
    if error.code() in RETRIABLE:
        return False
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise position_lost("Recovery or replay", message)
    raise KafkaException(error)


def _is_within(message: Message, behind: int) -> bool:
    return message.error() is None and (message.offset() or 0) < behind


def _reaches(messages: Sequence[Message], behind: int) -> bool:
    """Whether nothing more is to come before an offset."""
    # At the end of a partition the position may lie behind markers and aborted records.
    return any(
        (message.offset() or 0) >= behind - (0 if message.error() is not None else 1)
        for message in messages
        if _says_where(message)
    )


def slicer(records: Mapping[TopicPartition, Sequence[Raw]]) -> ReadRange:
    """Gives parts of what was read in one go."""
    offsets = {place: [raw.offset for raw in raws] for place, raws in records.items()}

    def read(topic: str, partition: int, start: int, behind: int) -> Sequence[Raw]:
        index = offsets.get((topic, partition), [])
        low = bisect.bisect_left(index, start)
        high = bisect.bisect_left(index, behind)
        return records[topic, partition][low:high] if index else ()

    return read
