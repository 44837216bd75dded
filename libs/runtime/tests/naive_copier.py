"""The copier as it is usually written, in two ways (NAIVE=transactional or plain).

transactional: a consumer group, offsets in the transaction, a transactional id of this process's
own. plain: no transactions, sends not awaited, offsets committed first. Neither keeps a state.
Runs until it is killed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from twin_copier import twin_of

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.failpoints import failpoint

GROUP = "naive-copier"
BATCH = 50


class NaiveCopier:
    """One process."""

    def __init__(self) -> None:
        servers = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
        self.prefix = os.environ["TAPELINE_TOPIC_PREFIX"]
        self.is_transactional = os.environ["NAIVE"] == "transactional"
        self.transactions = 0
        self.decoder = Decoder((Decision.AVRO, "tapeline.system.Watermark"))
        self.consumer = AIOKafkaConsumer(
            self.prefix + topics.DECISIONS,
            bootstrap_servers=servers,
            group_id=f"{self.prefix}{GROUP}",
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=1500,
        )
        own_id = f"{self.prefix}{GROUP}-{os.getpid()}" if self.is_transactional else None
        self.producer = AIOKafkaProducer(
            bootstrap_servers=servers,
            transactional_id=own_id,
            transaction_timeout_ms=10_000,
            linger_ms=0 if own_id else 5,
        )

    async def run(self) -> None:
        """Consumes and answers for ever."""
        await self.producer.start()
        await self.consumer.start()
        while True:
            batches = await self.consumer.getmany(timeout_ms=200, max_records=BATCH)
            for place, messages in batches.items():
                self.transactions += 1
                offsets = {place: messages[-1].offset + 1}
                if self.is_transactional:
                    async with self.producer.transaction():
                        await self._answer(place.partition, messages)
                        await self.producer.send_offsets_to_transaction(
                            offsets, f"{self.prefix}{GROUP}"
                        )
                        failpoint("before_commit")
                else:
                    await self.consumer.commit(offsets)
                    await self._answer(place.partition, messages)
                    failpoint("before_commit")

    async def _answer(self, partition: int, messages: Sequence[Any]) -> None:
        step = f"{os.getpid()}{self.transactions:06}.0.0.0".encode()
        for message in messages:
            decision = self.decoder.decode(message.value)
            if not isinstance(decision, Decision):
                continue
            denial = Denial(
                decision_id=decision.decision_id,
                account_id=decision.account_id,
                group_id=decision.group_id,
                instrument_id=decision.instrument_id,
                code=DenialCode.NO_CHANGE,
                measured=Decimal(decision.index + 1),
                limit=Decimal(0),
                reason="",
                also_decision_ids=(),
                ts_event_ns=1,
                ts_init_ns=1,
            )
            answers = {
                topics.RISK_EVENTS: denial,
                topics.ORDER_UPDATES: twin_of(decision, decision.index + 1, 1),
            }
            for topic, answer in answers.items():
                await self.producer.send(
                    self.prefix + topic,
                    encode(answer),
                    partition=partition,
                    headers=[("step", step)],
                )


async def main() -> None:
    """One process."""
    await NaiveCopier().run()


if __name__ == "__main__":
    asyncio.run(main())
