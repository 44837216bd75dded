"""A read_committed reader that reads along while everything else happens; aiokafka, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from proving.copying import Place, answer_of
from proving.reading import seen_of
from tapeline.contracts import topics
from tapeline.runtime import clock
from tapeline.runtime.codec import Decoder
from tapeline.runtime.settings import KafkaSettings


class ReaderBeside:
    """Keeps (offset, decision id) of each answer on some partitions, as it sees them."""

    def __init__(self, settings: KafkaSettings, places: Sequence[Place]) -> None:
        self.seen: dict[Place, list[tuple[int, str]]] = {place: [] for place in places}
        self.failure: BaseException | None = None
        self.grew_s = clock.monotonic_s()
        """when the last answer came"""
        self._ids: dict[Place, set[str]] = {place: set() for place in places}
        self._settings = settings
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beside", daemon=True)

    def count(self, partition: int) -> int:
        """Decisions of a partition that are answered on every topic, each counted once."""
        assert self.failure is None, self.failure
        return min(len(ids) for (_, number), ids in self._ids.items() if number == partition)

    def _run(self) -> None:
        try:
            asyncio.run(self._read())
        except BaseException as error:  # noqa: BLE001 - told by the next look
            self.failure = error

    async def _read(self) -> None:
        prefix = self._settings.topic_prefix
        decoders = {topic: Decoder(topics.TOPICS[topic].records) for topic, _ in self.seen}
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
            retry_backoff_ms=100,
        )
        await consumer.start()
        try:
            places = [TopicPartition(prefix + topic, number) for topic, number in self.seen]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while not self._stopping.is_set():
                try:
                    batches = await consumer.getmany(timeout_ms=100)
                except KafkaError:
                    # The broker is away; a position that was handed out is never read again.
                    await asyncio.sleep(0.2)
                    continue
                for place, messages in batches.items():
                    topic = place.topic[len(prefix) :]
                    for message in messages:
                        answer = answer_of(seen_of(topic, message, decoders[topic]))
                        if answer is not None:
                            found = (answer.offset, answer.decision_id)
                            self.seen[topic, place.partition].append(found)
                            self._ids[topic, place.partition].add(answer.decision_id)
                            self.grew_s = clock.monotonic_s()
        finally:
            await consumer.stop()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(30.0)
