"""Execution under the driver without I/O: recovery and replay from what the topics hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from execution_samples import (
    CONTEXT,
    SECOND,
    T0,
    TOPIC_OF,
    account,
    approved,
    cancel,
    instrument,
    limit,
    order,
    trade,
    venue,
    watermark,
)

from tapeline.contracts import topics
from tapeline.contracts.system import Consumed
from tapeline.execution.admission import Rules
from tapeline.execution.core import ExecutionCore
from tapeline.execution.state import ExecutionState
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Message, Raw, TopicPartition
from tapeline.runtime.log_reader import slicer
from tapeline.runtime.shard import Batch, Shard

PARTITIONS = {
    topics.CONTROL: 1,
    topics.CONFIG: 1,
    topics.TICKS: 2,
    topics.BOOKS: 2,
    topics.FUNDING_RATES: 1,
    topics.JOURNAL: 24,
}


def new_shard() -> Shard[ExecutionState]:
    core = ExecutionCore(CONTEXT, Rules())
    intake = Intake(tuple(spec.topic for spec in core.inputs))
    return Shard(core, CONTEXT, intake, build_id="test", partitions=PARTITIONS, slot_partition=12)


class Log:
    """Topics in memory: what came in, and what transactions wrote."""

    def __init__(self) -> None:
        self.inputs: dict[TopicPartition, list[Raw]] = {}
        self.written: list[Message] = []

    def take(self, records: Sequence[Any], now_ns: int) -> Batch:
        """Puts records at the end of their topics and into a batch."""
        batch: dict[TopicPartition, list[Raw]] = {}
        for record in records:
            place = (TOPIC_OF.get(record.AVRO, topics.TICKS), 0)
            held = self.inputs.setdefault(place, [])
            headers = (
                ()
                if place[0] == topics.TICKS
                else (
                    ("event_id", f"{place[0]}-{len(held)}".encode()),
                    ("correlation_id", f"workflow-{place[0]}-{len(held)}".encode()),
                )
            )
            raw = Raw(*place, len(held), now_ns // 1_000_000, b"k", encode(record), headers)
            held.append(raw)
            batch.setdefault(place, []).append(raw)
        return Batch(now_ns, batch)

    def outputs(self) -> list[Raw]:
        """The account topics as recovery reads them: grouped by topic."""
        return [
            Raw(one.topic, 0, number, 0, one.key, one.value, one.headers)
            for topic in ExecutionCore.outputs
            for number, one in enumerate(self.written)
            if one.topic == topic
        ]

    def journal(self) -> list[Consumed]:
        return [
            Decoder((Consumed.AVRO,)).decode(one.value)
            for one in self.written
            if one.topic == topics.JOURNAL
        ]


def play(log: Log, batches: Sequence[Sequence[Any]]) -> Shard[ExecutionState]:
    shard = new_shard()
    for number, records in enumerate(batches):
        shard.step(log.take(records, T0 + number * SECOND), None)
        if number % 2:
            log.written += shard.transaction(with_snapshot=False, watermark=None)
    log.written += shard.transaction(with_snapshot=False, watermark=None)
    return shard


def recovered(log: Log) -> Shard[ExecutionState]:
    shard = new_shard()
    outputs = shard.own_outputs(log.outputs())
    for consumed in log.journal():
        shard.absorb(consumed, slicer(log.inputs), outputs)
    return shard


TRADING = (
    [account(), instrument(), venue(), watermark(T0)],
    [approved(order("o1")), approved(limit("o2", "90")), trade(T0 + SECOND, 100.0)],
    [trade(T0 + 2 * SECOND, 101.0), watermark(T0 + 2 * SECOND)],
    [cancel(limit("o2", "90"), now_ns=T0 + 3 * SECOND)],
    [trade(T0 + 4 * SECOND, 89.0)],
)


def test_recovery_from_the_topics_reaches_the_same_state() -> None:
    log = Log()
    live = play(log, TRADING)
    again = recovered(log)
    assert live.state.paper.accounts["a1"].positions["SPY.ARCA"] == 10
    assert again.core.dump(again.state) == live.core.dump(live.state)
    assert (again.sequence, again.digest) == (live.sequence, live.digest)


def test_recovery_passes_over_incidents() -> None:
    log = Log()
    live = play(log, (*TRADING, [approved(order("o1")), watermark(T0 + 5 * SECOND)]))
    assert topics.INCIDENTS in [one.topic for one in log.written]
    again = recovered(log)
    assert again.core.dump(again.state) == live.core.dump(live.state)
