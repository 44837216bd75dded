"""The pattern that loses records: sends not awaited, offsets committed first."""

from __future__ import annotations

import asyncio
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from window_stage import NAME, WIDTH

from tapeline.contracts import topics
from tapeline.contracts.agents import Feature
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.ids import derive_id


async def main() -> None:
    """Copies with a window per process, as if nothing ever went wrong."""
    servers, prefix = os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["TAPELINE_TOPIC_PREFIX"]
    consumer = AIOKafkaConsumer(
        prefix + topics.FEATURES,
        bootstrap_servers=servers,
        group_id=f"{prefix}{NAME}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1500,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=200)
    await producer.start()
    await consumer.start()
    decoder = Decoder(("tapeline.agents.Feature", "tapeline.system.Watermark"))
    values: dict[int, list[float]] = {}
    while True:
        batches = await consumer.getmany(timeout_ms=200)
        await consumer.commit()
        for place, records in batches.items():
            window = values.setdefault(place.partition, [])
            for consumed in records:
                record = decoder.decode(consumed.value)
                window.append(record.value)
                del window[:-WIDTH]
                cause = dict(consumed.headers)["event_id"].decode()
                output = Feature(
                    instrument_id=record.instrument_id,
                    name=NAME,
                    window_ns=WIDTH,
                    value=sum(window),
                    ts_event_ns=record.ts_event_ns,
                    ts_init_ns=record.ts_event_ns,
                )
                headers = [
                    ("event_id", derive_id("run", NAME, cause, "Feature").encode()),
                    ("causation_id", cause.encode()),
                ]
                await producer.send(
                    prefix + topics.DISCUSSIONS,
                    encode(output),
                    key=str(place.partition).encode(),
                    partition=0,
                    headers=headers,
                )


if __name__ == "__main__":
    asyncio.run(main())
