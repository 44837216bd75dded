"""Reads what is committed with aiokafka: another client than that of the drivers it judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from tapeline.contracts import topics
from tapeline.runtime import clock
from tapeline.runtime.codec import Decoder
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import partition_counts

LIMIT_S = 120.0
IDLE_MS = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One committed record."""

    topic: str
    partition: int
    offset: int
    append_ms: int
    event_id: str
    producer: str
    step: str
    """money path: journal sequence, batch, input and output, with dots between"""
    value: bytes
    record: Any


async def committed(settings: KafkaSettings, names: Sequence[str]) -> dict[str, list[Seen]]:
    """Everything a read_committed consumer sees of these topics, partition by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 * 1024 * 1024,
    )
    await consumer.start()
    try:
        counts = partition_counts(settings)
        return await _read(consumer, settings.topic_prefix, {name: counts[name] for name in names})
    finally:
        await consumer.stop()


async def _read(
    consumer: AIOKafkaConsumer, prefix: str, counts: Mapping[str, int]
) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {name: [] for name in counts}
    decoders = {name: Decoder(topics.TOPICS[name].records) for name in counts}
    places = [
        TopicPartition(prefix + name, at) for name, count in counts.items() for at in range(count)
    ]
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    ends = await consumer.end_offsets(places)
    deadline_s = clock.monotonic_s() + LIMIT_S
    while [place for place in places if await consumer.position(place) < ends[place]]:
        assert clock.monotonic_s() < deadline_s, "the topics were not read to their end in time"
        batches = await consumer.getmany(timeout_ms=IDLE_MS)
        for place, messages in batches.items():
            name = place.topic[len(prefix) :]
            found[name] += [seen_of(name, message, decoders[name]) for message in messages]
    return found


def seen_of(name: str, message: Any, decoder: Decoder) -> Seen:
    """A consumed message, decoded."""
    headers = {key: value.decode() for key, value in message.headers}
    return Seen(
        topic=name,
        partition=message.partition,
        offset=message.offset,
        append_ms=message.timestamp,
        event_id=headers.get("event_id", ""),
        producer=headers.get("producer", ""),
        step=headers.get("step", ""),
        value=message.value,
        record=decoder.decode(message.value),
    )
