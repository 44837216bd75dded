"""The money path as it is usually written: a consumer group, a transactional id of this process's
own, offsets sent to the transaction. Every decision is approved and filled at once, one unit.

Neither id nor position survives the process, so nothing fences one that was only asleep. Ends by
itself when nothing has come for a while.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.orders import (
    Approval,
    ApprovedOrder,
    Fill,
    LiquiditySide,
    Mode,
    Order,
    OrderAction,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.failpoints import failpoint
from tapeline.runtime.ids import derive_id

GROUP = "naive-money"
IDLE_POLLS_MAX = 15
BATCH = 25
ONE = Decimal(1)


def answers(decision: Decision) -> Iterable[tuple[str, Any]]:
    """(topic, record): approval, its end, its fill."""
    name = derive_id("naive", GROUP, decision.decision_id, "Order")
    times = {"ts_event_ns": decision.ts_event_ns, "ts_init_ns": decision.ts_event_ns}
    approved = ApprovedOrder(
        action=OrderAction.OPEN,
        order=order_of(decision, name),
        approval=approval_of(decision, name),
        **times,
    )
    yield topics.APPROVED_ORDERS, approved
    common: dict[str, Any] = {
        "client_order_id": name,
        "venue_order_id": name,
        "account_id": decision.account_id,
        "group_id": decision.group_id,
        "instrument_id": decision.instrument_id,
        "approval_id": name,
        "decision_id": decision.decision_id,
        **times,
    }
    update = OrderUpdate(
        status=OrderStatus.FILLED,
        previous_status=OrderStatus.SUBMITTED,
        is_terminal=True,
        code="",
        reason="",
        quantity=ONE,
        filled_quantity=ONE,
        **common,
    )
    yield topics.ORDER_UPDATES, update
    fill = Fill(
        fill_id=name,
        trade_id=name,
        venue="NAIVE",
        side=Side.BUY,
        quantity=ONE,
        price=ONE,
        commission=Decimal(0),
        currency="USD",
        liquidity_side=LiquiditySide.TAKER,
        arrival_price=ONE,
        leaves_quantity=Decimal(0),
        **common,
    )
    yield topics.FILLS, fill


def order_of(decision: Decision, name: str) -> Order:
    """One unit at market."""
    return Order(
        client_order_id=name,
        account_id=decision.account_id,
        group_id=decision.group_id,
        instrument_id=decision.instrument_id,
        venue="NAIVE",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        quantity=ONE,
        time_in_force=TimeInForce.GTC,
        is_reduce_only=False,
        is_post_only=False,
        arrival_price=ONE,
    )


def approval_of(decision: Decision, name: str) -> Approval:
    """A permission that nobody signed."""
    return Approval(
        approval_id=name,
        decision_id=decision.decision_id,
        run_id="naive",
        mode=Mode.PAPER,
        account_id=decision.account_id,
        key_id="",
        issued_ns=decision.ts_event_ns,
        expires_ns=decision.ts_event_ns,
        last_send_ns=decision.ts_event_ns,
        child_count=1,
        mac=b"",
    )


async def main() -> None:
    """Consumes, answers, commits, until nothing comes any more."""
    servers, prefix = os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["TAPELINE_TOPIC_PREFIX"]
    consumer = AIOKafkaConsumer(
        prefix + topics.DECISIONS,
        bootstrap_servers=servers,
        group_id=f"{prefix}{GROUP}",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1500,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, transactional_id=f"{prefix}{GROUP}-{os.getpid()}"
    )
    await producer.start()
    await consumer.start()
    decoder = Decoder((Decision.AVRO, "tapeline.system.Watermark"))
    idle_polls = 0
    while idle_polls < IDLE_POLLS_MAX:
        batches = await consumer.getmany(timeout_ms=400, max_records=BATCH)
        idle_polls = 0 if batches or not consumer.assignment() else idle_polls + 1
        if not batches:
            continue
        async with producer.transaction():
            for place, messages in batches.items():
                for message in messages:
                    record = decoder.decode(message.value)
                    if not isinstance(record, Decision):
                        continue
                    for topic, answer in answers(record):
                        await producer.send(
                            prefix + topic, encode(answer), partition=place.partition
                        )
            offsets = {place: messages[-1].offset + 1 for place, messages in batches.items()}
            await producer.send_offsets_to_transaction(offsets, f"{prefix}{GROUP}")
            failpoint("before_commit")
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
