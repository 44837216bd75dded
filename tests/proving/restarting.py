"""Transactional writers while their broker is killed and comes back at once, again and again.

A writer is one transactional id. A transaction writes one record to each of several partitions, so
that a part of one would show. When the broker is back every writer has a successor, which fences
it; when all have, nothing may be open any more. What was acknowledged must be there, in whole and
once; what nobody knows must be there in whole or not at all.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from itertools import pairwise
from threading import Event

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as Place
from confluent_kafka import IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.runtime import clock

WRITERS = 12
PARTITIONS = 16
PARTS = 8
"""records of a transaction, each in another partition"""
FENCE_S = 60.0
"""in which a successor must have its transactional id, and all transactions must have ended"""
COMMIT_S = 60.0
READ_S = 240.0
TRANSACTION_MS_MAX = 10_000
SKIPPED = "these partitions are likely deleted already"
"""what the coordinator says of partitions that it leaves without a marker; ours never are"""


class Hung(AssertionError):
    """The broker is back, and something does not go on."""


@dataclass
class Writer:
    """One transactional id."""

    name: str
    topic: str
    bootstrap_servers: str
    begun: int = 0
    """transactions, numbered from 0"""
    acknowledged: set[int] = field(default_factory=set)
    producer: Producer | None = None

    def fence(self) -> str:
        """A successor takes over; what went wrong, where something did."""
        self.producer = Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "transactional.id": f"{self.topic}.{self.name}",
                "transaction.timeout.ms": TRANSACTION_MS_MAX,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        try:
            self.producer.init_transactions(FENCE_S)
        except KafkaException as error:
            return f"{self.name}: {error}"
        return ""

    def write(self, stop: Event) -> None:
        """One transaction after the other, until told or until one fails."""
        assert self.producer is not None
        while not stop.is_set():
            number = self.begun
            self.begun += 1
            try:
                self.producer.begin_transaction()
                for part in parts_of(number):
                    self.producer.produce(self.topic, f"{number}", self.name, part)
                self.producer.commit_transaction(COMMIT_S)
            except KafkaException:
                return
            self.acknowledged.add(number)


def parts_of(number: int) -> list[int]:
    """Partitions that a transaction writes to."""
    return [(number + part) % PARTITIONS for part in range(PARTS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """How many transactions are not as they were said to be."""

    lost: int
    """acknowledged, and not there"""
    torn: int
    """there in part"""
    duplicated: int
    """there more than once"""
    reordered: int
    """records in front of an earlier one of their writer"""
    invented: int
    """never begun"""

    @property
    def is_none(self) -> bool:
        """Nothing is wrong."""
        return not any(getattr(self, name.name) for name in fields(self))

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, name.name)} {name.name}" for name in fields(self))


Found = Mapping[int, Sequence[tuple[str, int]]]
"""partition -> writer and number of each record, in their order"""


def judge(writers: Iterable[Writer], found: Found) -> Harm:
    """What is wrong with what a reader found."""
    places: dict[tuple[str, int], Counter[int]] = {}
    reordered = 0
    for partition, records in found.items():
        for name, number in records:
            places.setdefault((name, number), Counter())[partition] += 1
        for name in {name for name, _ in records}:
            numbers = [number for writer, number in records if writer == name]
            reordered += sum(later < earlier for earlier, later in pairwise(numbers))
    begun = {(writer.name, number) for writer in writers for number in range(writer.begun)}
    lost = sum(
        (writer.name, number) not in places for writer in writers for number in writer.acknowledged
    )
    return Harm(
        lost=lost,
        torn=sum(set(at) != set(parts_of(number)) for (_, number), at in places.items()),
        duplicated=sum(max(at.values()) > 1 for at in places.values()),
        reordered=reordered,
        invented=len(places.keys() - begun),
    )


@dataclass
class RestartStorm:
    """A broker of one's own, the writers, and what is drawn."""

    kafka: EmbeddedKafka
    topic: str
    seed: int
    restarts: int = 0
    writers: list[Writer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._choice = random.Random(self.seed)
        admin = self._admin()
        admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])[self.topic].result(READ_S)
        self.writers = [
            Writer(f"writer-{number}", self.topic, self.kafka.bootstrap_servers)
            for number in range(WRITERS)
        ]

    def run(self, restarts: int) -> None:
        """So many restarts in the midst of work; raises Hung at the first that leaves a trace."""
        with ThreadPoolExecutor(WRITERS) as pool:
            for _ in range(restarts):
                self._take_over(pool)
                stop = Event()
                writing = [pool.submit(writer.write, stop) for writer in self.writers]
                self._until_busy()
                time.sleep(self._choice.uniform(0.0, 0.3))
                self.kafka.kill()
                self.kafka.start()
                self.restarts += 1
                stop.set()
                for work in writing:
                    work.result()
            self._take_over(pool)

    @property
    def acknowledged(self) -> int:
        """Transactions that are known to be committed."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    def _until_busy(self) -> None:
        """Several transactions of each writer have gone through, and the next are under way."""
        wanted = self.acknowledged + 2 * len(self.writers)
        deadline_s = clock.monotonic_s() + READ_S
        while self.acknowledged < wanted:
            assert clock.monotonic_s() < deadline_s, f"seed {self.seed}: the writers write nothing"
            time.sleep(0.01)

    def _take_over(self, pool: ThreadPoolExecutor) -> None:
        """Successors of all, and nothing open behind them."""
        unfenced = [problem for problem in pool.map(Writer.fence, self.writers) if problem]
        deadline_s = clock.monotonic_s() + FENCE_S
        while (still_open := self._open()) and clock.monotonic_s() < deadline_s:
            time.sleep(0.2)
        skipped = self._skipped()
        if unfenced or still_open or skipped:
            raise Hung(
                f"seed {self.seed}, restart {self.restarts}: {FENCE_S:.0f} s after it, without "
                f"successor: {unfenced}; open transactions: {still_open or 'none'}; transactions "
                f"whose partitions the coordinator took for deleted: {skipped}"
            )

    def _skipped(self) -> int:
        """Seldom does it leave a trace besides: another attempt follows when the broker is back."""
        logs = self.kafka.log.parent.glob(f"{self.kafka.log.name}*")
        return sum(path.read_text(errors="replace").count(SKIPPED) for path in logs)

    def _open(self) -> str:
        """Partitions with a transaction that has not ended; empty when there is none."""
        # One that has seen the leaders of before the restart goes on asking with their epoch.
        admin = self._admin()
        try:
            stable = ends(admin, self.topic, IsolationLevel.READ_COMMITTED)
            end = ends(admin, self.topic, IsolationLevel.READ_UNCOMMITTED)
        except KafkaException as error:
            return str(error)
        behind = {number: end[number] - stable[number] for number in end}
        return ", ".join(f"{number} by {count}" for number, count in behind.items() if count)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers, "log_level": 0})

    async def found(self) -> Found:
        """Everything that a read_committed reader sees: aiokafka, not the writers' client."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            return await self._read(consumer)
        finally:
            await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> Found:
        places = [Place(self.topic, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: dict[int, list[tuple[str, int]]] = {number: [] for number in range(PARTITIONS)}
        deadline_s = clock.monotonic_s() + READ_S
        while [place for place in places if await consumer.position(place) < ends[place]]:
            assert clock.monotonic_s() < deadline_s, "the topic was not read to its end in time"
            batches = await consumer.getmany(timeout_ms=500)
            for place, messages in batches.items():
                found[place.partition] += [
                    (message.key.decode(), int(message.value)) for message in messages
                ]
        return found


def ends(admin: AdminClient, topic: str, level: IsolationLevel) -> dict[int, int]:
    """Where each partition ends for a reader of this isolation."""
    asked = {
        TopicPartition(topic, number): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for number in range(PARTITIONS)
    }
    answers = admin.list_offsets(asked, isolation_level=level, request_timeout=FENCE_S)
    return {place.partition: answer.result().offset for place, answer in answers.items()}
