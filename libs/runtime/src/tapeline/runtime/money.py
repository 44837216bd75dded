"""The Kafka driver of the money path: exactly once, fenced, one transactional id a shard.

A process serves the shards its settings list. Its main thread fetches, once for all of them; each
shard has a thread with a transactional producer of its own (money_worker.py). Order of a start:
fence (InitProducerId), then snapshot and journal to the end by `evolve` only (recovery.py), then
consume from the journaled positions, the only ones there are.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPlace

from tapeline.contracts import topics
from tapeline.contracts.control import LocalTrip
from tapeline.contracts.system import Heartbeat
from tapeline.runtime import clock, exits
from tapeline.runtime.alarm import raise_alarm
from tapeline.runtime.batches import LOCAL_TYPES
from tapeline.runtime.builds import PLACE, MixedBuilds, Peers, schema_set
from tapeline.runtime.codec import encode
from tapeline.runtime.collector import spare_what_is_loaded
from tapeline.runtime.core import Context, MoneyCore, Pacing
from tapeline.runtime.failpoints import failpoint
from tapeline.runtime.fetching import Fetched, fetch
from tapeline.runtime.health import Health, HealthServer
from tapeline.runtime.intake import Intake, Resolve, Verdict, no_verdict
from tapeline.runtime.kafka import (
    KafkaUnavailable,
    confluent_config,
    reason_of,
    wait_for_kafka,
)
from tapeline.runtime.log import TopicPartition
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.money_worker import (
    ShardFenced,
    ShardWorker,
    WorkerSettings,
    as_fenced,
    expected_sources,
    is_outage,
)
from tapeline.runtime.recovery import recover
from tapeline.runtime.schemas import SchemaTopic
from tapeline.runtime.settings import ServiceSettings, SettingsError
from tapeline.runtime.shard import JournalError, Shard, identity
from tapeline.runtime.slices import SliceGate
from tapeline.runtime.telemetry import Metrics, configure_logging, get_logger
from tapeline.runtime.trip_watch import ShardTrips, TripWatch, never_released, sends_nothing

State = TypeVar("State")
TRANSACTION_TIMEOUT_MS = 10_000
INIT_TIMEOUT_S = 60.0
HEARTBEAT_S = 2.0
OFFSETS_S = 5.0
FENCED_SILENCE_S = 15.0
JOIN_S = 20.0
RESTART = "Nothing is lost: the process goes on from its last commit when it is started again."
AWAY_S = 2.0  # a transaction that takes longer: the broker is away, and we are not ready
ALARMS: dict[type[BaseException], str] = {  # a stop for good, and its incident
    exits.PositionLost: "POSITION_LOST",
    MixedBuilds: "MIXED_BUILDS",
    JournalError: "JOURNAL_UNFIT",
}
log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class MoneyService(Generic[State]):
    """What a service of the money path declares."""

    name: str
    slot: int
    """its number among the services of the money path: risk 0, execution 1"""
    make_core: Callable[[Context], MoneyCore[State]]
    sign: Callable[[Any, bytes], Any] = identity
    """(record, its body as it is digested) -> record, just before it is produced"""
    signed: frozenset[str] = frozenset()
    """Avro names of the record types that `sign` changes"""
    verdict: Verdict = no_verdict
    """(topic, record) -> code, on the way in"""
    check: Callable[[Any], None] | None = None
    """called with each output as it will leave; raises on one that must never leave"""
    is_released: Callable[[State, LocalTrip], bool] = never_released
    """whether a state has taken a control record that supersedes a trip"""
    is_send: Callable[[Any], bool] = sends_nothing
    """whether an output makes a venue do something that a halt forbids"""


def run_money_service(
    service: MoneyService[State], settings: ServiceSettings, trips: TripWatch | None = None
) -> int:
    """Runs the service until SIGTERM and returns its exit code; `trips` has been started."""
    configure_logging(settings, service.name)
    if not settings.shards:
        raise SettingsError(
            f"{service.name} has no shards to serve.", "Set TAPELINE_SHARDS, such as 0 or 0,1."
        )
    if trips is None:
        trips = TripWatch.of(service.name, settings)
        # Before Kafka is there: a switch that is pulled now must hold all the same.
        trips.start()
    wait_for_kafka(settings)
    process = MoneyProcess(service, settings, trips)
    spare_what_is_loaded()
    # Whoever sees the probes' port may end the process: from here on that is a clean stop.
    process.end_by_signals()
    with HealthServer(process.health, process.metrics, settings):
        try:
            return process.run()
        except tuple(ALARMS) as failure:
            raise_alarm(settings, service.name, ALARMS[type(failure)], str(failure.args[0]))
            raise
        except KafkaException as error:
            if is_outage(error):
                raise KafkaUnavailable(f"Kafka went away: {reason_of(error)}.", RESTART) from error
            raise


class MoneyProcess(Generic[State]):
    """One process of the money path."""

    def __init__(
        self, service: MoneyService[State], settings: ServiceSettings, trips: TripWatch
    ) -> None:
        self.service = service
        self.settings = settings
        self.trips = trips
        self.health = Health(settings.watchdog_s)
        self.metrics = Metrics()
        self._config = confluent_config(settings)
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._workers: list[ShardWorker[State]] = []
        self._schemas = SchemaTopic(settings)
        self._started_ns = clock.wall_ns()
        self._peers = Peers(self._heartbeat(settings.shards[0], 0), self._schemas.resolve)

    def run(self) -> int:
        """Starts the shards, fetches for them, ends with them."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        self._schemas.publish(self._written_types())
        reader = LogReader(self._config, self.settings.topic_prefix)
        self._peers.refuse_to_mix(reader, self._stopping.is_set)
        try:
            partitions = {
                name: reader.partition_count(name)
                for name in (*self._input_topics(), topics.JOURNAL)
            }
            for shard in self.settings.shards:
                self._workers.append(self._start_shard(shard, partitions, reader))
                self.health.beat()
        except KafkaException as error:
            if isinstance(as_fenced(error), ShardFenced):
                return self._end_fenced(as_fenced(error))
            raise
        for worker in self._workers:
            worker.start()
        self.health.set_ready(True)
        return self._fetch_until_ended(reader.ends([PLACE])[PLACE])

    def end_by_signals(self) -> None:
        """SIGTERM and SIGINT ask for an orderly end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()

    def _input_topics(self) -> list[str]:
        core = self.service.make_core(self._context(self.settings.shards[0]))
        return [spec.topic for spec in core.inputs]

    def _written_types(self) -> tuple[str, ...]:
        core = self.service.make_core(self._context(self.settings.shards[0]))
        own = (*core.outputs, *core.watermark_topics, topics.JOURNAL, topics.SNAPSHOTS)
        shared = (topics.PROGRESS, topics.HEARTBEATS, topics.INCIDENTS, topics.QUARANTINE)
        names = [name for topic in (*own, *shared) for name in topics.TOPICS[topic].records]
        return tuple(dict.fromkeys((*names, *LOCAL_TYPES)))

    def _context(self, shard: int) -> Context:
        return Context(
            run_id=self.settings.run_id,
            service=self.service.name,
            shard=shard,
            mode=self.settings.mode.value,
            is_paced=self.settings.is_paced,
        )

    # ---- start of a shard

    def _start_shard(
        self, number: int, partitions: Mapping[str, int], reader: LogReader
    ) -> ShardWorker[State]:
        context = self._context(number)
        accounts = partitions[topics.JOURNAL] // 2
        if number >= accounts:
            raise SettingsError(
                f"Shard {number} does not exist: the account topics have {accounts} partitions.",
                f"Choose shards from 0 to {accounts - 1} in TAPELINE_SHARDS.",
            )
        producer = self._producer(context)
        producer.init_transactions(INIT_TIMEOUT_S)
        failpoint("after_fence")
        shard = self._shard(context, partitions, self.service.slot * accounts + number)
        started_s = clock.monotonic_s()
        done = recover(shard, reader)
        failpoint("after_recovery")
        log.info(
            "recovered",
            shard=context.instance,
            sequence=done.sequence,
            snapshot=done.snapshot_sequence,
            journal_records=done.journal_records,
            inputs=done.inputs,
            seconds=round(clock.monotonic_s() - started_s, 3),
        )
        worker = ShardWorker(
            shard,
            producer,
            WorkerSettings(prefix=self.settings.topic_prefix),
            self.metrics,
            self._ended.set,
        )
        if self.settings.is_paced:
            worker.gate = self._gate(shard, reader)
        worker.trips = ShardTrips(
            self.trips,
            worker.name,
            is_released=self.service.is_released,
            is_send=self.service.is_send,
        )
        return worker

    def _producer(self, context: Context) -> Producer:
        name = f"{self.settings.topic_prefix}{context.service}-{context.shard}"
        return Producer(
            {
                **self._config,
                "transactional.id": name,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "linger.ms": 0,
                "message.max.bytes": 67_108_864,
                "retry.backoff.ms": 5,
                "retry.backoff.max.ms": 200,
                "client.id": name,
            }
        )

    def _shard(
        self, context: Context, partitions: Mapping[str, int], slot_partition: int
    ) -> Shard[State]:
        core = self.service.make_core(context)
        return Shard(
            core,
            context,
            intake_of(core, self.service, self._schemas.resolve),
            build_id=self.settings.build_id,
            partitions=partitions,
            slot_partition=slot_partition,
            sign=self._signed_and_checked,
            signed=self.service.signed,
        )

    def _signed_and_checked(self, record: Any, body: bytes) -> Any:
        signed = self.service.sign(record, body)
        if self.service.check is not None:
            self.service.check(signed)
        return signed

    def _gate(self, shard: Shard[State], reader: LogReader) -> SliceGate:
        unpaced = [
            place for place in shard.positions if shard.specs[place[0]].pacing is Pacing.UNPACED
        ]
        ends = reader.ends(unpaced)
        return SliceGate(
            shard.core.inputs,
            list(shard.positions),
            expected=expected_sources(self.settings.paced_sources),
            last_slice=shard.last_slice,
            unpaced_until={
                place: end for place, end in ends.items() if end > shard.positions[place]
            },
        )

    # ---- fetching

    def _fetch_until_ended(self, heartbeats_from: int) -> int:
        consumer = self._consumer()
        routes = self._routes()
        self._assign(consumer, routes, heartbeats_from)
        heartbeats = Producer({**self._config, "linger.ms": 5})
        last_heartbeat_s = last_offsets_s = 0.0
        while not self._ended.is_set() and not self._stopping.is_set():
            fetched = fetch(consumer, self.settings.topic_prefix, self.service.name)
            for place, raws in fetched:
                if place == PLACE:
                    self._peers.check(raws)
            self._dispatch(fetched, routes)
            self.health.beat()
            now_s = clock.monotonic_s()
            if now_s - last_heartbeat_s > HEARTBEAT_S:
                last_heartbeat_s = now_s
                self._beat(heartbeats)
            if now_s - last_offsets_s > OFFSETS_S:
                last_offsets_s = now_s
                self._commit_for_lag_tools(consumer)
        return self._end(consumer)

    def _consumer(self) -> Consumer:
        first = self._context(self.settings.shards[0])
        name = f"{self.settings.topic_prefix}{first.service}-{first.shard}"
        return Consumer(
            {
                **self._config,
                "group.id": name,
                "client.id": name,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
            }
        )

    def _routes(self) -> dict[TopicPartition, list[ShardWorker[State]]]:
        routes: dict[TopicPartition, list[ShardWorker[State]]] = {}
        for worker in self._workers:
            for place in worker.shard.positions:
                routes.setdefault(place, []).append(worker)
        return routes

    def _assign(
        self,
        consumer: Consumer,
        routes: Mapping[TopicPartition, Sequence[ShardWorker[State]]],
        heartbeats_from: int,
    ) -> None:
        prefix = self.settings.topic_prefix
        starts = {
            place: min(worker.shard.positions[place] for worker in workers)
            for place, workers in routes.items()
        }
        starts.setdefault(PLACE, heartbeats_from)
        consumer.assign(
            [KafkaPlace(prefix + topic, at, start) for (topic, at), start in starts.items()]
        )

    def _dispatch(
        self,
        fetched: Sequence[Fetched],
        routes: Mapping[TopicPartition, Sequence[ShardWorker[State]]],
    ) -> None:
        shares: dict[str, list[Fetched]] = {}
        for place, raws in fetched:
            self.metrics.consumed.labels(place[0]).inc(len(raws))
            for worker in routes.get(place, ()):
                shares.setdefault(worker.name, []).append((place, raws))
        for worker in self._workers:
            if worker.name in shares:
                # A full inbox holds the fetching back: memory stays bounded.
                while not self._ended.is_set():
                    with suppress(queue.Full):
                        worker.inbox.put(shares[worker.name], timeout=1.0)
                        break

    def _beat(self, producer: Producer) -> None:
        topic = self.settings.topic_prefix + topics.HEARTBEATS
        for worker in self._workers:
            context = worker.shard.context
            record = self._heartbeat(context.shard, worker.inbox.qsize())
            producer.produce(topic, encode(record), context.instance.encode(), 0)
        producer.poll(0)

    def _heartbeat(self, shard: int, lag: int) -> Heartbeat:
        now_ns = clock.wall_ns()
        return Heartbeat(
            service=self.service.name,
            shard=shard,
            build_id=self.settings.build_id,
            lag=lag,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
            schema_set=schema_set(),
            started_ns=self._started_ns,
        )

    def _commit_for_lag_tools(self, consumer: Consumer) -> None:
        prefix = self.settings.topic_prefix
        offsets = [
            KafkaPlace(prefix + topic, partition, offset)
            for topic, partition, offset in {
                (*place, offset): None
                for worker in self._workers
                for place, offset in list(worker.shard.positions.items())
            }
        ]
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.debug("lag_offsets_not_committed", error=str(error))

    # ---- end

    def _end(self, consumer: Consumer) -> int:
        self.health.set_ready(False, "stopping")
        for worker in self._workers:
            worker.stop()
        failures = []
        for worker in self._workers:
            worker.join(JOIN_S)
            if worker.is_alive():
                log.error("shard_did_not_stop", shard=worker.name)
                os._exit(exits.WATCHDOG)
            if worker.failure is not None:
                failures.append((worker, worker.failure))
        if not failures:
            consumer.close()
            log.info("stopped")
            return exits.OK
        return self._end_failed(failures)

    def _end_failed(self, failures: Sequence[tuple[ShardWorker[State], BaseException]]) -> int:
        for worker, failure in failures:
            log.error("shard_failed", shard=worker.name, error=str(failure), exc_info=failure)
        for worker, failure in failures:
            if isinstance(failure, ShardFenced):
                return self._end_fenced(failure)
            if isinstance(failure, tuple(ALARMS)):
                raise_alarm(self.settings, worker.name, ALARMS[type(failure)], str(failure.args[0]))
        # Threads of the client may still wait for a broker that is away.
        was_outage = all(is_outage(failure) for _, failure in failures)
        os._exit(exits.UNAVAILABLE if was_outage else exits.INTERNAL)

    def _end_fenced(self, failure: BaseException) -> int:
        """Waits until the new owner's journal has been silent, so that two supervised owners do
        not fence each other for ever, and ends."""
        log.error("fenced", error=str(failure), silence_s=FENCED_SILENCE_S)
        reader = LogReader(self._config, self.settings.topic_prefix)
        accounts = reader.partition_count(topics.JOURNAL) // 2
        first = self.service.slot * accounts
        places = [(topics.JOURNAL, first + shard) for shard in self.settings.shards]
        last, since_s = reader.ends(places), clock.monotonic_s()
        while clock.monotonic_s() - since_s < FENCED_SILENCE_S and not self._stopping.is_set():
            time.sleep(1.0)
            self.health.beat()
            ends = reader.ends(places)
            if ends != last:
                last, since_s = ends, clock.monotonic_s()
        os._exit(exits.FENCED)

    def _watch(self) -> None:
        """Ends a process that has work and does none; says when the broker is away."""
        while True:
            looked_s = clock.monotonic_s()
            time.sleep(1.0)
            if clock.monotonic_s() - looked_s > self.settings.watchdog_s / 2:
                # The whole process was asleep: let it find out whether it was fenced.
                for worker in list(self._workers):
                    worker.last_progress_s = clock.monotonic_s()
            waits_s = max((worker.waits_s() for worker in list(self._workers)), default=0.0)
            self.health.set_ready(waits_s < AWAY_S, f"no answer for {waits_s:.0f} s", "kafka")
            for worker in list(self._workers):
                if worker.is_stuck(self.settings.watchdog_s) and worker.is_alive():
                    log.error("no_progress", shard=worker.name, watchdog_s=self.settings.watchdog_s)
                    os._exit(exits.WATCHDOG)


def intake_of(core: MoneyCore[Any], service: MoneyService[Any], resolve: Resolve | None) -> Intake:
    """The intake of a core's inputs."""
    return Intake(
        tuple(spec.topic for spec in core.inputs),
        critical=frozenset(spec.topic for spec in core.inputs if spec.is_critical),
        verdict=service.verdict,
        resolve=resolve,
    )
