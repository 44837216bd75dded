"""A derived stream as it is usually written: offsets committed first, sends not awaited, the state
in memory alone. Makes bars of the ticks of one run (TICKS_PREFIX) in the topics of another. Ends by
itself when nothing has come for a while.
"""

from __future__ import annotations

import asyncio
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tapeline.contracts import topics
from tapeline.market_data.bars_stage import BarsStage
from tapeline.runtime.codec import encode
from tapeline.runtime.core import Input
from tapeline.runtime.failpoints import failpoint
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Raw

GROUP = "naive-bars"
MINUTE_NS = 60_000_000_000
IDLE_POLLS_MAX = 15
BATCH = 1000


async def main() -> None:
    """Consumes, commits, then says what it has to say."""
    servers, prefix = os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["TAPELINE_TOPIC_PREFIX"]
    consumer = AIOKafkaConsumer(
        os.environ["TICKS_PREFIX"] + topics.TICKS,
        bootstrap_servers=servers,
        group_id=f"{prefix}{GROUP}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1500,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=50)
    await producer.start()
    await consumer.start()
    intake = Intake((topics.TICKS,))
    stage = BarsStage((MINUTE_NS, 5 * MINUTE_NS))
    idle_polls = 0
    while idle_polls < IDLE_POLLS_MAX:
        batches = await consumer.getmany(timeout_ms=400, max_records=BATCH)
        idle_polls = 0 if batches or not consumer.assignment() else idle_polls + 1
        await consumer.commit()
        for place, messages in batches.items():
            events: list[Input] = [
                intake.input_of(
                    Raw(
                        topic=topics.TICKS,
                        partition=message.partition,
                        offset=message.offset,
                        append_ms=message.timestamp,
                        key=message.key,
                        value=message.value,
                    )
                )
                for message in messages
            ]
            for output in await stage.step(topics.TICKS, place.partition, events):
                await producer.send(
                    prefix + output.topic,
                    encode(output.record),
                    key=output.key.encode(),
                    partition=place.partition,
                )
        failpoint("after_outputs")
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
