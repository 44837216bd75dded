"""One thread a shard: takes what the consumer fetched, steps it, commits what follows.

Memory is ahead of Kafka until the commit. So on any error the thread says so and the process ends;
nothing is retried and nothing is shown outside before the commit.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tapeline.contracts.system import Watermark
from tapeline.runtime import clock
from tapeline.runtime.failpoints import failpoint
from tapeline.runtime.fetching import Fetched
from tapeline.runtime.log import Message as OutMessage
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.log_reader import RETRIABLE
from tapeline.runtime.shard import Batch, Shard
from tapeline.runtime.slices import SliceGate
from tapeline.runtime.telemetry import Metrics, get_logger
from tapeline.runtime.trip_watch import ShardTrips

State = TypeVar("State")
QUEUE_SIZE = 32
WAIT_S = 0.02
PULSE_S = 0.5
"""unpaced: how often a watermark is passed on, so that those behind know we live"""
SNAPSHOT_S = 5.0
COMMIT_TIMEOUT_S = 9.0
ASK_S = 3.0
SETTLE_S = 0.002
"""The broker ends a transaction a moment after it has said so. One that begins before is told to
wait, and the client then waits 20 ms."""
FENCED_CODES = (
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
log = get_logger(__name__)


class ShardFenced(Exception):
    """Another process has taken over this shard."""


class DeliveryError(Exception):
    """A record of a transaction was not taken by the broker."""


class NoAnswer(Exception):
    """The broker did not acknowledge the records of a transaction in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker is told."""

    prefix: str


class ShardWorker(threading.Thread, Generic[State]):
    """Runs one shard; `failure` says why it ended, None for an orderly stop."""

    def __init__(
        self,
        shard: Shard[State],
        producer: Producer,
        settings: WorkerSettings,
        metrics: Metrics,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(name=shard.context.instance, daemon=True)
        self.shard = shard
        self.failure: BaseException | None = None
        self.last_progress_s = clock.monotonic_s()
        self.last_journal_s = clock.monotonic_s()
        self._commit_since_s = float("inf")
        self.inbox: queue.Queue[Sequence[Fetched]] = queue.Queue(QUEUE_SIZE)
        self.gate: SliceGate | None = None
        self.trips: ShardTrips[State] | None = None
        self._producer = producer
        self._settings = settings
        self._metrics = metrics
        self._on_end = on_end
        self._stopping = threading.Event()
        self._next: dict[TopicPartition, int] = {}
        self._last_commit_s = 0.0
        self._last_pulse_s = 0.0
        self._last_snapshot_s = clock.monotonic_s()
        self._acknowledged: dict[TopicPartition, int] = {}
        self._delivery_error: KafkaError | None = None

    def stop(self) -> None:
        """Asks for an orderly end: a last commit with a snapshot."""
        self._stopping.set()

    def is_stuck(self, watchdog_s: float) -> bool:
        """Whether there is work but no progress for too long."""
        waits = not self.inbox.empty()
        return waits and clock.monotonic_s() - self.last_progress_s > watchdog_s

    def waits_s(self) -> float:
        """For how long a transaction has been under way; 0 without one."""
        return max(0.0, clock.monotonic_s() - self._commit_since_s)

    def run(self) -> None:
        """The thread: until stopped or failed."""
        # The other shards of the process recovered since this worker was made.
        self.last_progress_s = clock.monotonic_s()
        try:
            self._next = dict(self.shard.positions)
            while not self._stopping.is_set():
                self._turn()
            self._commit(with_snapshot=True)
        except BaseException as error:  # noqa: BLE001 - a thread ends in silence otherwise
            self.failure = cause_of(error, self._producer)
        finally:
            self._on_end()

    def _turn(self) -> None:
        records = self._fetched(WAIT_S)
        if self.gate is not None:
            self._step_slices(self.gate, records)
        else:
            self._turn_live(records)
        self.last_progress_s = clock.monotonic_s()

    def _fetched(self, wait_s: float) -> dict[TopicPartition, list[Raw]]:
        """What has come since the last turn and was not stepped before."""
        groups: list[Sequence[Fetched]] = []
        try:
            groups.append(self.inbox.get(timeout=wait_s))
            while True:
                groups.append(self.inbox.get_nowait())
        except queue.Empty:
            pass
        fresh: dict[TopicPartition, list[Raw]] = {}
        for place, raws in (fetched for group in groups for fetched in group):
            # The process's consumer starts at the smallest position of all its shards.
            start, found = self._next[place], raws
            if raws[0].offset < start:
                found = [raw for raw in raws if raw.offset >= start]
            if found:
                self._next[place] = found[-1].offset + 1
                fresh.setdefault(place, []).extend(found)
        return fresh

    def _step_slices(
        self, gate: SliceGate, records: Mapping[TopicPartition, Sequence[Raw]]
    ) -> None:
        for raws in records.values():
            for raw in raws:
                gate.add(raw)
        # The kill switch does not wait for a slice.
        if local := self._local():
            self._step(Batch(self.shard.session_ns, {}, local=local))
            self._settle()
            self._commit(with_snapshot=False)
        while (batch := gate.next_batch()) is not None:
            self._step(batch)
            self._settle()
            self._commit(with_snapshot=self._snapshot_is_due() or batch.is_final)

    def _turn_live(self, records: Mapping[TopicPartition, Sequence[Raw]]) -> None:
        self._step_live(records)
        is_pulse_due = clock.monotonic_s() - self._last_pulse_s >= PULSE_S
        if not self.shard.pending.outputs and not is_pulse_due:
            return
        # What comes before the broker is ready for another transaction goes with this one.
        while (pause_s := self._settling_s()) > 0:
            if further := self._fetched(pause_s):
                self._step_live(further)
        self._commit(with_snapshot=self._snapshot_is_due())

    def _step_live(self, records: Mapping[TopicPartition, Sequence[Raw]]) -> None:
        session_ns = max(clock.wall_ns(), self.shard.session_ns)
        due_ns = self.shard.core.next_due_ns(self.shard.state)
        local = self._local()
        if records or local or (due_ns is not None and due_ns <= session_ns):
            self._step(Batch(session_ns, records, local=local))

    def _local(self) -> Sequence[Any]:
        return () if self.trips is None else self.trips.take()

    def _step(self, batch: Batch) -> None:
        started_s = clock.monotonic_s()
        self.shard.step(batch, None)
        self._metrics.step_seconds.labels(self.shard.context.instance).observe(
            clock.monotonic_s() - started_s
        )

    def _snapshot_is_due(self) -> bool:
        return clock.monotonic_s() - self._last_snapshot_s >= SNAPSHOT_S

    def _pulse(self) -> Watermark | None:
        """The next, where it is due: each partition of a transaction is a request of its own."""
        now_s = clock.monotonic_s()
        if self.gate is not None or now_s - self._last_pulse_s < PULSE_S:
            return None
        now_ns = max(clock.wall_ns(), self.shard.session_ns)
        self._last_pulse_s = now_s
        return Watermark(
            source=self.shard.context.instance,
            slice=now_ns // 1_000_000_000,
            is_paced=False,
            is_final=False,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )

    def _settling_s(self) -> float:
        """How long the broker may still need before it is ready for another transaction."""
        return self._last_commit_s + SETTLE_S - clock.monotonic_s()

    def _settle(self) -> None:
        if (pause_s := self._settling_s()) > 0:
            time.sleep(pause_s)

    def _commit(self, *, with_snapshot: bool) -> None:
        self._commit_since_s = clock.monotonic_s()
        failpoint("before_begin")
        self._producer.begin_transaction()
        failpoint("after_begin")
        said = [stamped.output.record for stamped in self.shard.pending.outputs]
        messages = self.shard.transaction(with_snapshot=with_snapshot, watermark=self._pulse())
        for message in messages:
            self._produce(message)
        failpoint("after_outputs")
        unacknowledged = self._producer.flush(COMMIT_TIMEOUT_S)
        if self._delivery_error is not None:
            if self._delivery_error.code() in FENCED_CODES:
                raise ShardFenced(str(self._delivery_error))
            raise DeliveryError(str(self._delivery_error))
        if unacknowledged:
            raise NoAnswer(f"{unacknowledged} records unacknowledged for {COMMIT_TIMEOUT_S:.0f} s")
        failpoint("before_commit")
        if self.trips is not None:
            self.trips.refuse_overtaken(said)
        self._producer.commit_transaction(COMMIT_TIMEOUT_S)
        failpoint("after_commit")
        self._commit_since_s = float("inf")
        self.shard.committed(self._acknowledged)
        self._acknowledged.clear()
        if self.trips is not None:
            self.trips.committed(self.shard.state)
        self.last_journal_s = self._last_commit_s = clock.monotonic_s()
        if with_snapshot:
            self._last_snapshot_s = clock.monotonic_s()
        self._metrics.produced.labels(self.shard.context.instance).inc(len(messages))

    def _produce(self, message: OutMessage) -> None:
        self._producer.produce(
            self._settings.prefix + message.topic,
            message.value,
            message.key,
            message.partition,
            on_delivery=self._delivered,
            headers=list(message.headers),
        )

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._delivery_error = error
            return
        topic = str(message.topic())[len(self._settings.prefix) :]
        place = (topic, int(message.partition() or 0))
        offset = int(message.offset() or 0)
        self._acknowledged[place] = max(offset, self._acknowledged.get(place, -1))


def cause_of(error: BaseException, producer: Producer) -> BaseException:
    """What ended the thread: ShardFenced where the producer says so, whatever came up first.

    One who was asleep meets its time-outs and purged records before it hears that it was fenced,
    and the client may lose a fatal error on its way. Ended by anything but a fence it would be
    started again at once, and fence its successor.
    """
    found = as_fenced(error)
    kinds = (KafkaException, SystemError, DeliveryError, NoAnswer)
    if isinstance(found, ShardFenced) or not isinstance(error, kinds):
        return found
    try:
        producer.abort_transaction(ASK_S)
    except (KafkaException, SystemError) as told:
        told_fence = as_fenced(told)
        return told_fence if isinstance(told_fence, ShardFenced) else error
    return error


def is_outage(error: BaseException) -> bool:
    """Whether the broker was away, rather than something wrong here."""
    if isinstance(error, KafkaException):
        return error.args[0].code() in RETRIABLE
    return isinstance(error, NoAnswer)


def as_fenced(error: BaseException) -> BaseException:
    """ShardFenced where the error, or one it came from, means it, else the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KafkaException) and cause.args[0].code() in FENCED_CODES:
            return ShardFenced(str(cause.args[0]))
        # The client wraps a fatal error in a SystemError when a delivery report is due as well.
        cause = cause.__cause__ or cause.__context__
    return error


def expected_sources(
    paced_sources: Mapping[str, Mapping[str, Sequence[str]]],
) -> dict[TopicPartition, frozenset[str]]:
    """The settings' sources by place."""
    return {
        (topic, int(partition)): frozenset(sources)
        for topic, partitions in paced_sources.items()
        for partition, sources in partitions.items()
    }
