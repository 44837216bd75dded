"""The bare limits: what a user of aiokafka and fastavro would write by hand, and nothing else."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import fastavro
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.meter import Meter, Rate
from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime.codec import HEADER_BYTES, schema_of

BATCH = 1000


def consume(servers: str, topic: str, count: int, name: str) -> Rate:
    """`getmany` and `schemaless_reader`, from the first batch to the last."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_consume(servers, topic, count, name))


async def _consume(servers: str, topic: str, count: int, name: str) -> Rate:
    schema = fastavro.parse_schema(SCHEMAS[name])
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        meter, is_over = Meter(count), False
        while not is_over:
            batches = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            for records in batches.values():
                is_over = meter.add(len(records))
                for record in records:
                    fastavro.schemaless_reader(
                        io.BytesIO(record.value[HEADER_BYTES:]), schema, None
                    )
        return meter.rate
    finally:
        await consumer.stop()


def produce(servers: str, topic: str, data: list[dict[str, Any]], name: str) -> Rate:
    """`schemaless_writer` and `send`, acknowledged a batch at a time."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_produce(servers, topic, data, name))


async def _produce(servers: str, topic: str, data: list[dict[str, Any]], name: str) -> Rate:
    schema, head = fastavro.parse_schema(SCHEMAS[name]), schema_of(name).header
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        meter = Meter(len(data))
        meter.add(0)
        for low in range(0, len(data), BATCH):
            for datum in data[low : low + BATCH]:
                buffer = io.BytesIO()
                fastavro.schemaless_writer(buffer, schema, datum)
                key = datum["instrument_id"].encode()
                await producer.send(topic, head + buffer.getvalue(), key, partition=0)
            await producer.flush()
            meter.add(BATCH)
        return meter.rate
    finally:
        await producer.stop()
