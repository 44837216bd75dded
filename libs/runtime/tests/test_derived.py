"""The driver of derived streams on a real broker: restoring, quarantine, leaving, fencing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from samples import sample
from window_stage import Settings, WindowStage, expected_value

from tapeline.contracts import topics
from tapeline.contracts.agents import Feature
from tapeline.contracts.system import Watermark
from tapeline.runtime import exits
from tapeline.runtime.codec import Decoder
from tapeline.runtime.core import Input, Output
from tapeline.runtime.derived import run_stage
from tapeline.runtime.exits import PositionLost
from tapeline.runtime.ids import derive_id
from tapeline.runtime.kafka import admin_client, confluent_config
from tapeline.runtime.membership import AssignmentOver, Membership
from tapeline.runtime.outbox import Outbox
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.shell import Shell, make_shell
from tapeline.runtime.telemetry import Metrics
from tapeline.runtime.topology import TopicUnfit, Topology, create_topics, delete_topics

pytestmark = pytest.mark.kafka
HERE = Path(__file__).parent


@pytest.fixture
def run_settings(kafka_bootstrap: str, tmp_path: Path) -> Iterator[ServiceSettings]:
    prefix = f"d{tmp_path.name[-20:]}."
    settings = Settings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=prefix)
    create_topics(settings, Topology(instrument=1, account=1, service=2))
    yield settings
    delete_topics(settings)


def number(value: int) -> Output:
    record = Feature(
        instrument_id="p0",
        name="number",
        window_ns=1,
        value=float(value),
        ts_event_ns=value,
        ts_init_ns=value,
    )
    return Output(
        topic=topics.FEATURES, key="k", record=record, event_id=f"in/0/{value}", partition=0
    )


async def feed(settings: ServiceSettings, *outputs: Output) -> None:
    async with Outbox(settings, "feed", Metrics()) as outbox:
        await outbox.send(outputs)


def read(settings: ServiceSettings, topic: str, count: int) -> list[tuple[dict[str, bytes], Any]]:
    """The first records of a topic's partition 0, waiting until there are so many."""
    consumer = Consumer(
        confluent_config(
            settings, group_id="oracle", auto_offset_reset="earliest", enable_auto_commit=False
        )
    )
    consumer.assign([TopicPartition(settings.topic_prefix + topic, 0, 0)])
    found: list[tuple[dict[str, bytes], Any]] = []
    decoder = Decoder((*topics.TOPICS[topic].records, "tapeline.agents.Feature"))
    for _ in range(2400):
        for message in consumer.consume(1000, 0.1):
            assert message.error() is None
            found.append((dict(message.headers() or []), decoder.decode(message.value())))
        if len(found) >= count:
            break
    consumer.close()
    return found


async def values_of(settings: ServiceSettings, count: int) -> list[float]:
    found = await asyncio.to_thread(read, settings, topics.DISCUSSIONS, count)
    return [record.value for _, record in found]


@asynccontextmanager
async def running(stage: Any, settings: ServiceSettings) -> AsyncIterator[Shell]:
    """A stage beside the test, ended as by SIGTERM."""
    shell = make_shell(settings, "test")
    task = asyncio.create_task(run_stage(stage, shell))
    try:
        yield shell
    finally:
        shell.stopping.set()
        await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(240):
        while not holds():  # noqa: ASYNC110 - what is awaited belongs to the code under test
            await asyncio.sleep(0.01)


async def ready(shell: Shell) -> None:
    await until(lambda: WindowStage.name in shell.health.not_ready())
    shell.health.set_ready(True)
    await until(shell.health.is_ready)


def committed(settings: ServiceSettings) -> int:
    """As another client sees it."""
    name = f"{settings.topic_prefix}window"
    place = TopicPartition(settings.topic_prefix + topics.FEATURES, 0)
    client: AdminClient = admin_client(settings)
    futures = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name, [place])])
    return int(futures[name].result().topic_partitions[0].offset)


async def test_what_is_committed_at_a_stop_is_not_repeated_and_the_state_goes_on(
    run_settings: ServiceSettings,
) -> None:
    await feed(run_settings, *(number(value) for value in range(10)))
    async with running(WindowStage(), run_settings):
        assert len(await values_of(run_settings, 10)) == 10
    assert committed(run_settings) == 10
    await feed(run_settings, *(number(value) for value in range(10, 20)))
    async with running(WindowStage(), run_settings):
        values = await values_of(run_settings, 20)
    assert values == [expected_value(value) for value in range(20)]


async def test_headers_name_the_cause_its_workflow_the_producer_and_the_run(
    run_settings: ServiceSettings,
) -> None:
    await feed(run_settings, number(0))
    async with running(WindowStage(), run_settings):
        [(headers, _)] = await asyncio.to_thread(read, run_settings, topics.DISCUSSIONS, 1)
    assert headers == {
        "event_id": derive_id("run", "window", "in/0/0", "Feature").encode(),
        "causation_id": b"in/0/0",
        "correlation_id": b"in/0/0",
        "producer": b"window",
        "run_id": b"local",
    }


@pytest.mark.parametrize("state", [None, topics.TRIGGER_STATE])
async def test_session_time_survives_a_restart_behind_its_watermark(
    run_settings: ServiceSettings, state: str | None
) -> None:
    mark = Watermark(
        source="feed/x",
        slice=1,
        is_paced=False,
        is_final=False,
        ts_event_ns=777,
        ts_init_ns=777,
    )
    sent = Output(topic=topics.SIGNALS, key="k", record=mark, event_id="w", partition=0)

    class SignalsWindow(WindowStage):
        """The same over a topic that has watermarks; it passes them on."""

        input_topics = (topics.SIGNALS,)
        state_topic = state

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[int, int]] = []

        async def step(
            self, topic: str, partition: int, events: Sequence[Input]
        ) -> Iterable[Output]:
            self.seen.extend((event.offset, event.session_ns) for event in events)
            return [
                Output(
                    topic=topics.SIGNALS,
                    key="k",
                    record=replace(event.record, source="window"),
                    event_id="",
                    partition=0,
                )
                for event in events
                if event.record.source == "feed/x"
            ]

        def low_water(self, topic: str, partition: int, position: int) -> int:
            return position if state is None else 0

    await feed(run_settings, sent)
    async with running(SignalsWindow(), run_settings):
        found = await asyncio.to_thread(read, run_settings, topics.SIGNALS, 2)
    assert found[1][1] == replace(mark, source="window")
    older = Output(
        topic=topics.SIGNALS,
        key="k",
        record=replace(mark, source="feed/y", ts_event_ns=5),
        event_id="w2",
        partition=0,
    )
    await feed(run_settings, older)
    again = SignalsWindow()
    async with running(again, run_settings):
        await until(lambda: any(offset == 2 for offset, _ in again.seen))
    assert {session for _, session in again.seen} == {777}


async def test_what_cannot_be_decoded_goes_to_quarantine_and_the_next_record_is_stepped(
    run_settings: ServiceSettings,
) -> None:
    foreign = Output(
        topic=topics.FEATURES,
        key="k",
        record=sample("tapeline.agents.TriggerState"),
        event_id="bad",
        partition=0,
    )
    await feed(run_settings, number(0), foreign, number(1))
    async with running(WindowStage(), run_settings) as shell:
        assert await values_of(run_settings, 2) == [0.0, 1.0]
        [(_, record)] = await asyncio.to_thread(read, run_settings, topics.QUARANTINE, 1)
        counted = shell.metrics.undecodable.labels(topics.FEATURES, record.code)
        assert counted._value.get() == 1
    assert (record.source_topic, record.source_partition, record.source_offset) == (
        "features",
        0,
        1,
    )
    assert record.code == "UNKNOWN_SCHEMA"
    assert record.raw


class CountingStage:
    """Keeps its count on a state topic, and says what it was given back."""

    name = "window"
    input_topics = (topics.FEATURES,)
    state_topic: str | None = topics.TRIGGER_STATE

    def __init__(self, restart_at: int) -> None:
        self._restart_at = restart_at
        self.kept: list[str] = []
        self.committed = -1
        self.stepped: list[int] = []
        self.count = 0

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        self.committed, self.kept = committed, [event.event_id for event in kept]
        self.stepped.clear()
        return self._restart_at

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        self.stepped.extend(event.offset for event in events)
        return [
            Output(
                topic=topics.DISCUSSIONS,
                key="0",
                record=event.record,
                event_id=f"out{event.offset}",
                partition=0,
            )
            for event in events
        ]

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        """Key a at every commit, key b at the first one only."""
        self.count += 1
        record = sample("tapeline.agents.TriggerState")
        return [
            Output(
                topic=topics.TRIGGER_STATE, key=key, record=record, event_id=f"{key}{self.count}"
            )
            for key in ("ab" if self.count == 1 else "a")
        ]

    def low_water(self, topic: str, partition: int, position: int) -> int:
        return position

    def is_warm(self) -> bool:
        return True


async def test_a_state_comes_back_as_the_latest_of_each_key_and_inputs_behind_it_are_stepped_again(
    run_settings: ServiceSettings,
) -> None:
    await feed(run_settings, *(number(value) for value in range(6)))
    first = CountingStage(restart_at=0)
    async with running(first, run_settings):
        await values_of(run_settings, 6)
        assert (first.committed, first.kept) == (0, [])
        await until(lambda: first.count == 1)
        await feed(run_settings, number(6))

    again = CountingStage(restart_at=4)
    await feed(run_settings, number(7))
    async with running(again, run_settings):
        values = await values_of(run_settings, 8)
    assert again.committed == 7
    assert again.kept == ["b1", f"a{first.count}"]
    assert first.count > 1
    assert again.stepped == [4, 5, 6, 7]
    assert values == [float(value) for value in range(8)]


async def test_a_state_ahead_of_the_committed_offset_skips_what_it_contains(
    run_settings: ServiceSettings,
) -> None:
    await feed(run_settings, *(number(value) for value in range(6)))
    ahead = CountingStage(restart_at=4)
    async with running(ahead, run_settings):
        assert await values_of(run_settings, 2) == [4.0, 5.0]
    assert ahead.stepped == [4, 5]


async def test_records_deleted_before_they_were_read_stop_the_stage(
    run_settings: ServiceSettings,
) -> None:
    await feed(run_settings, *(number(value) for value in range(4)))
    async with running(WindowStage(), run_settings):
        await values_of(run_settings, 4)
    await feed(run_settings, *(number(value) for value in range(4, 8)))
    place = TopicPartition(run_settings.topic_prefix + topics.FEATURES, 0, 6)
    # Only a topic with cleanup by deletion takes this; the records are gone either way.
    client = admin_client(run_settings)
    policy = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, place.topic, incremental_configs=[policy])
    for changed in client.incremental_alter_configs([resource]).values():
        changed.result()
    for future in client.delete_records([place]).values():
        future.result()
    with pytest.raises(PositionLost, match="features"):
        async with asyncio.timeout(240):
            await run_stage(WindowStage(), make_shell(run_settings, "test"))


async def test_a_topic_that_does_not_exist_is_refused_at_the_start(
    run_settings: ServiceSettings,
) -> None:
    elsewhere = run_settings.model_copy(update={"topic_prefix": "no.such.run."})
    with pytest.raises(TopicUnfit, match=r"no\.such\.run\.features"):
        await run_stage(WindowStage(), make_shell(elsewhere, "test"))


async def test_a_commit_for_an_assignment_that_is_over_is_refused(
    run_settings: ServiceSettings,
) -> None:
    async def nothing() -> None:
        return

    member = Membership(run_settings, "window", (topics.FEATURES,), nothing)
    await member.start()
    try:
        await until(lambda: member.is_new)
        [place] = member.assigned
        await member.commit({place: (3, "3 0 0")}, member.epoch)
        with pytest.raises(AssignmentOver):
            await member.commit({place: (1, "1 0 0")}, member.epoch - 1)
        assert await member.committed([place]) == {place: (3, "3 0 0")}
    finally:
        await member.stop()
    assert committed(run_settings) == 3


async def test_of_two_processes_under_one_instance_id_the_older_ends(
    run_settings: ServiceSettings,
) -> None:
    named = run_settings.model_copy(update={"instance_id": "0"})
    shell = make_shell(named, "older")
    older = asyncio.create_task(run_stage(WindowStage(), shell))
    await ready(shell)
    async with running(WindowStage(), named):
        with pytest.raises(exits.Fenced, match="put out"):
            async with asyncio.timeout(240):
                await older


def start(settings: ServiceSettings, script: str = "window_stage.py", **more: str) -> Any:
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "TAPELINE_TOPIC_PREFIX": settings.topic_prefix,
        **more,
    }
    return subprocess.Popen(
        [sys.executable, str(HERE / script)], env=env, stderr=subprocess.PIPE, text=True
    )


def test_a_step_that_hangs_the_loop_ends_the_process(run_settings: ServiceSettings) -> None:
    asyncio.run(feed(run_settings, number(0)))
    process = start(run_settings, "hanging_stage.py", TAPELINE_WATCHDOG_S="2")
    _, told = process.communicate(timeout=240)
    assert process.returncode == exits.WATCHDOG
    assert "no_progress" in told


def test_a_broker_that_is_away_at_the_start_is_one_message(run_settings: ServiceSettings) -> None:
    away = run_settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    process = start(away, TAPELINE_KAFKA_WAIT_S="0")
    _, told = process.communicate(timeout=240)
    assert process.returncode == exits.UNAVAILABLE
    assert "127.0.0.1:1" in told
    assert "Traceback" not in told


def test_a_failure_inside_the_loop_is_one_message_and_its_code(
    run_settings: ServiceSettings,
) -> None:
    elsewhere = run_settings.model_copy(update={"topic_prefix": run_settings.topic_prefix})
    delete_topics(elsewhere)
    process = start(elsewhere)
    _, told = process.communicate(timeout=240)
    assert process.returncode == exits.UNAVAILABLE
    assert "schemas" in told
    assert "Traceback" not in told
