"""The bare chain: the same hops and guarantees as the real one, and nothing decided.

`plain K READY`           ticks -> signals (every k-th) -> decisions: aiokafka consumer groups,
                          offsets committed after acknowledged sends
`transactional FROM TO SLOT READY`  confluent-kafka, static assignment, records and the position in
                          one transaction
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition as Place
from confluent_kafka import Consumer, Producer, TopicPartition

from tapeline.contracts import topics
from tapeline.contracts.market import Trade
from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime.codec import HEADER_BYTES

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
PREFIX = os.environ.get("TAPELINE_TOPIC_PREFIX", "")
COMMIT_S = 0.5
TRANSACTION_S = 9.0


async def plain(every: int, ready: Path) -> None:
    """Both plain hops in one process."""
    schema = fastavro.parse_schema(SCHEMAS[Trade.AVRO])

    def is_chosen(value: bytes) -> bool:
        datum: Any = fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), schema, None)
        return bool(datum["feed_sequence"] % every == 0)

    started = asyncio.Barrier(3)
    tasks = [
        asyncio.create_task(_hop(topics.TICKS, topics.SIGNALS, is_chosen, started)),
        asyncio.create_task(_hop(topics.SIGNALS, topics.DECISIONS, lambda _value: True, started)),
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, os._exit, 0)
    await started.wait()
    await asyncio.to_thread(ready.write_text, "ready")
    await asyncio.gather(*tasks)


async def _hop(
    source: str, sink: str, is_chosen: Callable[[bytes], bool], started: asyncio.Barrier
) -> None:
    consumer = AIOKafkaConsumer(
        PREFIX + source,
        bootstrap_servers=SERVERS,
        group_id=f"{PREFIX}{sink}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=SERVERS, acks="all", enable_idempotence=True, retry_backoff_ms=50
    )
    await consumer.start()
    await producer.start()
    await started.wait()
    committed_s, place = time.monotonic(), Place(PREFIX + source, 0)
    while True:
        batches = await consumer.getmany(timeout_ms=500, max_records=1000)
        for records in batches.values():
            futures = [
                await producer.send(PREFIX + sink, record.value, record.key, partition=0)
                for record in records
                if is_chosen(record.value)
            ]
            if futures:
                await asyncio.gather(*futures)
            if time.monotonic() - committed_s > COMMIT_S:
                await consumer.commit({place: records[-1].offset + 1})
                committed_s = time.monotonic()


def transactional(source: str, sink: str, slot: int, ready: Path) -> None:
    """One transactional hop."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: stopping.append(caught))
    producer = Producer(
        {
            "bootstrap.servers": SERVERS,
            "transactional.id": PREFIX + sink,
            "transaction.timeout.ms": 10_000,
            "linger.ms": 0,
        }
    )
    producer.init_transactions(30.0)
    consumer = Consumer(
        {
            "bootstrap.servers": SERVERS,
            "group.id": PREFIX + sink,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
        }
    )
    consumer.assign([TopicPartition(PREFIX + source, 0, 0)])
    ready.write_text("ready")
    while not stopping:
        first = consumer.poll(0.1)
        if first is None:
            continue
        messages = [first, *consumer.consume(2000, 0)]
        found = [message for message in messages if message.error() is None]
        if not found:
            continue
        producer.begin_transaction()
        for message in found:
            producer.produce(PREFIX + sink, message.value(), message.key(), 0)
        # The position, as the journal of the real chain keeps it.
        position = str(int(found[-1].offset() or 0) + 1).encode()
        producer.produce(PREFIX + topics.JOURNAL, position, b"position", slot)
        producer.commit_transaction(TRANSACTION_S)
    consumer.close()


def main(arguments: list[str]) -> None:
    """One process of the bare chain."""
    if arguments[0] == "plain":
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(plain(int(arguments[1]), Path(arguments[2])))
    else:
        source, sink, slot, ready = arguments[1:]
        transactional(source, sink, int(slot), Path(ready))


if __name__ == "__main__":
    main(sys.argv[1:])
