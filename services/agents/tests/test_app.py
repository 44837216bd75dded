"""Triggers and a group as processes on real Kafka, killed at inconvenient moments."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from agents_samples import (
    IXIC,
    SPX,
    HeldConfig,
    account_config,
    bar,
    group_config,
    inputs,
    trigger_config,
    vix,
    watermark,
)
from confluent_kafka import Consumer, Producer, TopicPartition

from tapeline.agents.app import main, sources_of
from tapeline.agents.call_log import KafkaCallLog
from tapeline.agents.config_watch import ConfigUnreadable, ConfigWatch
from tapeline.agents.groups_stage import GroupStage
from tapeline.agents.settings import AgentsSettings
from tapeline.agents.triggers_stage import TriggersStage
from tapeline.contracts import topics
from tapeline.contracts.agents import CallStatus, Decision, LlmCall, Signal
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Output
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.partition import partition_of
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.telemetry import Metrics
from tapeline.runtime.topology import Topology, create_topics, delete_topics

PARTITIONS = 2
SLICES = 120
KILL_BEHIND = (25, 50, 75, 100)
"""slices that have been fed when a process is killed"""
WAIT_S = 240.0
TRIGGERS = (
    trigger_config("sma", "sma_cross", {"fast": "2", "slow": "5"}),
    trigger_config("rsi", "rsi_reversal", {"period": "3"}),
    trigger_config("regime", "market_regime", {"momentum": "2"}, interval_ns=0),
)
GROUP = group_config(parameters={"cycle_interval_ns": "0", "band": "0.001"})
pytestmark = pytest.mark.kafka


@dataclass(slots=True)
class Bench:
    """Topics of one test, with a producer and an independent reader."""

    settings: KafkaSettings
    producer: Producer
    sequence: int = 0

    def put(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Publishes records as their writers do."""
        for record in records:
            self.sequence += 1
            is_bulk = topics.TOPICS[topic].is_bulk
            headers: Any = [] if is_bulk else [("event_id", f"event-{self.sequence}".encode())]
            self.producer.produce(
                self.settings.topic_prefix + topic,
                encode(record),
                key=f"{type(record).__name__}-{self.sequence}".encode(),
                partition=partition,
                headers=headers,
            )
        assert self.producer.flush(120) == 0

    def read_until(self, topic: str, partition: int, is_over: Callable[[Any], bool]) -> list[Any]:
        """All records of a partition up to the first that says so."""
        decoder = Decoder(topics.TOPICS[topic].records)
        name = self.settings.topic_prefix + topic
        consumer = Consumer(
            confluent_config(
                self.settings,
                group_id=f"{self.settings.topic_prefix}reader",
                enable_auto_commit=False,
                isolation_level="read_committed",
            )
        )
        found: list[Any] = []
        try:
            consumer.assign([TopicPartition(name, partition, 0)])
            while True:
                message = consumer.poll(WAIT_S)
                assert message is not None, f"nothing more on {name}-{partition}: {found[-1:]}"
                assert message.error() is None, message.error()
                found.append(decoder.decode(message.value()))
                if is_over(found[-1]):
                    return found
        finally:
            consumer.close()


@pytest.fixture
def bench(kafka_bootstrap: str) -> Iterator[Bench]:
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=f"agents-{uuid4().hex[:8]}."
    )
    create_topics(settings, Topology(instrument=PARTITIONS, account=4, service=1))
    yield Bench(settings, Producer(confluent_config(settings)))
    delete_topics(settings)


@dataclass(slots=True)
class Processes:
    """The service's processes, by their arguments."""

    bench: Bench
    folder: Path
    running: dict[tuple[str, ...], subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *arguments: str) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= {
            "KAFKA_BOOTSTRAP_SERVERS": self.bench.settings.kafka_bootstrap_servers,
            "TAPELINE_TOPIC_PREFIX": self.bench.settings.topic_prefix,
            "TAPELINE_RUN_ID": "run",
            "TAPELINE_INSTANCE_ID": "0",
            "TAPELINE_IS_PACED": "true",
            "TAPELINE_AGENTS_CHECKPOINT_INPUT_COUNT": "20",
        }
        with (self.folder / f"{arguments[-1]}.log").open("ab") as log:
            self.running[arguments] = subprocess.Popen(
                [sys.executable, "-m", "tapeline.agents", *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, *arguments: str) -> None:
        process = self.running.pop(arguments)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> list[int]:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(timeout=240) for process in self.running.values()]
        self.running.clear()
        return codes


@pytest.fixture
def processes(bench: Bench, tmp_path: Path) -> Iterator[Processes]:
    found = Processes(bench, tmp_path)
    yield found
    for process in found.running.values():
        process.kill()
        process.wait()


def slice_of(number: int) -> dict[tuple[str, int], list[Any]]:
    """What the market-data service writes in a slice."""
    found: dict[tuple[str, int], list[Any]] = {}
    for partition in range(PARTITIONS):
        bars = [
            bar(number, 100.0 + (number * step) % 17, instrument_id=name)
            for name, step in ((SPX, 5), (IXIC, 7))
            if partition_of(name, PARTITIONS) == partition
        ]
        is_final = number == SLICES
        found[topics.BARS, partition] = [
            *bars,
            watermark(f"bars/{partition}", number, is_final=is_final),
        ]
    macro = [vix(number, 12.0 + (number * 3) % 23), watermark("feed/x", number, is_final=is_final)]
    return {**found, (topics.MACRO, 0): macro}


async def expected() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Signals and decisions by id, without Kafka."""
    config = HeldConfig.of(*TRIGGERS, GROUP, account_config())
    triggers = TriggersStage(run_id="run", config=config, signals_partition_count=1)
    places = list(slice_of(1))
    for topic, partition in places:
        triggers.restore(topic, partition, 0, ())
    told: list[Any] = []
    for number in range(1, SLICES + 1):
        for (topic, partition), records in slice_of(number).items():
            events = inputs(topic, partition, records)
            told += [item.record for item in await triggers.step(topic, partition, events)]
    group = GroupStage(
        run_id="run",
        group_id="momentum",
        config=config,
        sources=sources_of(PARTITIONS),
        signals_partition_count=1,
    )
    group.restore(topics.SIGNALS, 0, 0, ())
    outputs: list[Output] = list(
        await group.step(topics.SIGNALS, 0, inputs(topics.SIGNALS, 0, told))
    )
    return by_id(told), by_id([output.record for output in outputs])


def by_id(records: Sequence[Any]) -> dict[str, bytes]:
    """Signals and decisions; equal ids must have equal bytes."""
    found: dict[str, bytes] = {}
    for record in records:
        match record:
            case Signal():
                key = record.signal_id
            case Decision():
                key = record.decision_id
            case _:
                continue
        assert found.setdefault(key, encode(record)) == encode(record), f"other bytes: {record}"
    return found


def test_killed_processes_lose_no_signal_and_no_decision(
    bench: Bench, processes: Processes
) -> None:
    bench.put(topics.CONFIG, 0, [*TRIGGERS, GROUP, account_config()])
    roles = [("triggers",), ("group", "momentum")]
    for role in roles:
        processes.start(*role)
    for number in range(1, SLICES + 1):
        for (topic, partition), records in slice_of(number).items():
            bench.put(topic, partition, records)
        if number in KILL_BEHIND:
            role = roles[KILL_BEHIND.index(number) % 2]
            # Somewhere in what has been fed, not at its end.
            bench.read_until(topics.SIGNALS, 0, partial(is_behind, number - 5))
            processes.kill(*role)
            processes.start(*role)
    decided = bench.read_until(topics.DECISIONS, 3, partial(is_behind, SLICES))
    told = bench.read_until(topics.SIGNALS, 0, all_sources_final())
    signals, decisions = asyncio.run(expected())
    assert by_id(told) == signals
    assert by_id(decided) == decisions
    assert len(decisions) > SLICES / 2
    assert processes.stop() == [0, 0]


def is_behind(number: int, record: Any) -> bool:
    return isinstance(record, Watermark) and record.slice >= number


def all_sources_final() -> Callable[[Any], bool]:
    """True with the last source's final watermark."""
    missing = set(sources_of(PARTITIONS))

    def is_over(record: Any) -> bool:
        if isinstance(record, Watermark) and record.is_final:
            missing.discard(record.source)
        return not missing

    return is_over


@pytest.mark.parametrize(
    ("records", "arguments", "named"),
    [
        ([replace(TRIGGERS[0], implementation="smaa")], ["triggers"], "no implementation 'smaa'"),
        ([TRIGGERS[0]], ["group", "momentum"], "There is no group momentum"),
    ],
)
def test_a_configuration_that_cannot_work_ends_the_process_with_its_reason(
    bench: Bench, processes: Processes, records: list[Any], arguments: list[str], named: str
) -> None:
    bench.put(topics.CONFIG, 0, records)
    processes.start(*arguments)
    code = processes.running.pop(tuple(arguments)).wait(timeout=240)
    printed = (processes.folder / f"{arguments[-1]}.log").read_text()
    assert code == 64
    assert named in printed
    assert "Traceback" not in printed


async def test_the_configuration_is_read_whole_and_then_followed(bench: Bench) -> None:
    bench.put(topics.CONFIG, 0, [TRIGGERS[0], GROUP, replace(GROUP, version=2)])
    stopping, changed = asyncio.Event(), asyncio.Event()
    async with ConfigWatch(bench.settings, no_schema, changed.set) as config:
        assert (config.book.groups["momentum"].version, len(config.book.triggers)) == (2, 1)
        changed.clear()
        following = asyncio.create_task(config.follow(stopping))
        bench.put(topics.CONFIG, 0, [TRIGGERS[1]])
        async with asyncio.timeout(WAIT_S):
            await changed.wait()
        assert list(config.book.triggers) == ["sma", "rsi"]
        stopping.set()
        await following


async def test_a_configuration_that_cannot_be_read_is_named(bench: Bench) -> None:
    bench.producer.produce(bench.settings.topic_prefix + topics.CONFIG, b"{}", key=b"x")
    bench.producer.flush(120)
    with pytest.raises(ConfigUnreadable, match="The record 0 of"):
        async with ConfigWatch(bench.settings, no_schema):
            pass


def no_schema(_fingerprint: int) -> None:
    return None


def call(number: int, group_id: str = "committee", cycle_ns: int = 1) -> LlmCall:
    return LlmCall(
        call_id=f"{group_id}-{cycle_ns}-{number % 3}",
        group_id=group_id,
        cycle_ns=cycle_ns,
        node="analyst",
        attempt=0,
        request_digest="",
        model="m",
        is_offline_model=True,
        request="{}",
        response=f"answer {number}",
        status=CallStatus.OK,
        error="",
        latency_ns=1,
        prompt_tokens=1,
        completion_tokens=1,
        ts_event_ns=1,
        ts_init_ns=1,
    )


async def test_calls_are_read_back_the_first_of_each_id(bench: Bench) -> None:
    settings = AgentsSettings(
        kafka_bootstrap_servers=bench.settings.kafka_bootstrap_servers,
        topic_prefix=bench.settings.topic_prefix,
    )
    old = [call(number, cycle_ns=cycle) for cycle in range(1, 200) for number in range(2)]
    foreign = [call(number, group_id="other", cycle_ns=200) for number in range(300)]
    bench.put(topics.LLM_CALLS, 0, [*old, call(0, cycle_ns=200), *foreign])
    async with KafkaCallLog(settings, "committee", Metrics(), no_schema) as log:
        await log.record(call(1, cycle_ns=200))
        await log.record(call(3, cycle_ns=200))
        found = await log.recorded("committee", 200)
        assert [item.response for item in found] == ["answer 0", "answer 1"]
        assert list(await log.recorded("committee", 201)) == []
        await log.record(call(0, cycle_ns=201))
        log.forget()
        assert len(await log.recorded("committee", 201)) == 1


def test_arguments_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["group"], ["desk"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "usage: python -m tapeline.agents" in capsys.readouterr().err
