"""The Kafka driver of the money path on real Kafka: killed, fenced, restarted, replayed.

The reader that judges is aiokafka, not the driver's own client.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import copier
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaPlace

from tapeline.contracts import topics
from tapeline.contracts.risk import Denial
from tapeline.contracts.system import Incident, Watermark
from tapeline.runtime import exits
from tapeline.runtime.codec import DecodeError, Decoder, encode
from tapeline.runtime.core import Context
from tapeline.runtime.intake import Intake
from tapeline.runtime.kafka import admin_client, confluent_config
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.replay import ShardReplay, replay_shard
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.shard import Shard
from tapeline.runtime.topology import Topology, create_topics

pytestmark = pytest.mark.kafka
SCRIPT = Path(__file__).parent / "copier_service.py"
LIMIT_S = 240.0
Found = TypeVar("Found", Denial, Incident)


class Stand:
    """A run of its own: topics, a copier process or two, a feed."""

    def __init__(self, bootstrap: str, folder: Path, *, is_paced: bool = False) -> None:
        self.prefix = f"{folder.name}."
        self.bootstrap = bootstrap
        self.folder = folder
        self.is_paced = is_paced
        self.settings = ServiceSettings(
            kafka_bootstrap_servers=bootstrap, topic_prefix=self.prefix, run_id="r"
        )
        create_topics(self.settings, Topology(instrument=1, account=1, service=2))
        self.producer = Producer({**confluent_config(self.settings), "linger.ms": 1})
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, **extra: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "TAPELINE_TOPIC_PREFIX": self.prefix,
            "TAPELINE_RUN_ID": "r",
            "TAPELINE_SHARDS": "0",
            "TAPELINE_IS_PACED": str(self.is_paced).lower(),
            "TAPELINE_PACED_SOURCES": '{"decisions": {"0": ["group/g"]}}',
            **extra,
        }
        log = (self.folder / f"copier-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], env=environment, stdout=log, stderr=log
        )
        log.close()
        self.processes.append(process)
        return process

    def send(self, topic: str, record: object, event_id: str = "") -> None:
        headers = [("event_id", event_id.encode()), ("producer", b"group/g")]
        self.producer.produce(
            self.prefix + topic, encode(record), b"k", 0, headers=headers if event_id else []
        )
        self.producer.poll(0)

    def decide(self, start: int, end: int) -> None:
        for index in range(start, end):
            self.send(topics.DECISIONS, copier.decision(index), f"d{index}")
        self.producer.flush(60)

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    async def recovered(self) -> None:
        """Until the process that was started last has found back to where it was."""
        path = self.folder / f"copier-{len(self.processes) - 1}.log"
        deadline = time.monotonic() + LIMIT_S
        while '"event": "recovered"' not in path.read_text():
            assert time.monotonic() < deadline, path.read_text()
            await asyncio.sleep(0.05)

    async def answers(self, count: int) -> list[Denial]:
        """Everything committed on risk-events, once at least `count` answers are there."""
        return await self._records(topics.RISK_EVENTS, Denial, count)

    async def incidents(self) -> list[Incident]:
        """Everything that people were told, at least one."""
        return await self._records(topics.INCIDENTS, Incident, 1)

    async def _records(self, topic: str, kind: type[Found], count: int) -> list[Found]:
        decoder = Decoder((kind.AVRO,))
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        found: list[Found] = []
        try:
            consumer.assign([TopicPartition(self.prefix + topic, 0)])
            deadline = time.monotonic() + LIMIT_S
            idle = 0
            while time.monotonic() < deadline and (len(found) < count or idle < 2):
                batches = await consumer.getmany(timeout_ms=500)
                idle = 0 if batches else idle + 1
                for messages in batches.values():
                    for message in messages:
                        try:
                            found.append(decoder.decode(message.value))
                        except DecodeError:
                            continue
        finally:
            await consumer.stop()
        return found

    def replay(self) -> ShardReplay:
        context = Context(run_id="r", service="risk", shard=0, mode="PAPER")
        core = copier.Copier(context)
        intake = Intake(tuple(spec.topic for spec in core.inputs))
        partitions = {spec.topic: 1 for spec in core.inputs}
        shard = Shard(core, context, intake, build_id="", partitions=partitions, slot_partition=0)
        return replay_shard(shard, LogReader(confluent_config(self.settings), self.prefix))


@pytest.fixture
def stand(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Stand]:
    """An unpaced run."""
    found = Stand(kafka_bootstrap, tmp_path)
    yield found
    found.stop()


def assert_answered_once_in_order(answers: list[Denial], count: int) -> None:
    assert [denial.decision_id for denial in answers] == [f"d{index}" for index in range(count)]
    assert [int(denial.measured or 0) for denial in answers] == list(range(1, count + 1))


async def test_every_decision_is_answered_once_in_order_over_kills_and_a_zombie(
    stand: Stand,
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    process, sent = stand.start(), 0
    zombies = []
    for number in range(4):
        stand.decide(sent, sent + 300)
        sent += 300
        # The kill is to hit work: it comes a random, short time after the first answers.
        await stand.answers(sent - chance.randrange(100, 300))
        if number == 2:
            process.send_signal(signal.SIGSTOP)
            zombie, process = process, stand.start()
            stand.decide(sent, sent + 50)
            sent += 50
            await stand.answers(sent)
            zombie.send_signal(signal.SIGCONT)
            zombies.append(zombie)
        else:
            process.kill()
            process.wait()
            process = stand.start()
    stand.decide(sent, sent + 100)
    sent += 100
    assert_answered_once_in_order(await stand.answers(sent), sent)
    result = stand.replay()
    assert result.difference is None
    assert result.outputs == {topics.RISK_EVENTS: sent}
    process.terminate()
    # Nearly always by the fence; one that slept long may meet a time-out before it hears of it.
    assert zombies[0].wait(LIMIT_S) != exits.OK


async def test_one_that_was_asleep_before_a_transaction_hears_that_it_was_fenced(
    stand: Stand,
) -> None:
    stand.decide(0, 20)
    asleep = stand.start(FAILPOINT="before_begin:stop:2")
    while psutil.Process(asleep.pid).status() != psutil.STATUS_STOPPED:
        assert asleep.poll() is None
        await asyncio.sleep(0.01)
    successor = stand.start()
    stand.decide(20, 40)
    await stand.answers(40)
    asleep.send_signal(signal.SIGCONT)
    assert_answered_once_in_order(await stand.answers(40), 40)
    successor.terminate()
    assert asleep.wait(LIMIT_S) == exits.FENCED


@pytest.mark.parametrize(
    "name", ["after_fence", "after_recovery", "after_begin", "after_outputs", "after_commit"]
)
async def test_a_kill_at_each_step_of_a_transaction_neither_loses_nor_repeats(
    stand: Stand, name: str
) -> None:
    stand.decide(0, 40)
    nth = 1 if name in ("after_fence", "after_recovery") else 2
    doomed = stand.start(FAILPOINT=f"{name}:kill:{nth}")
    doomed.wait(LIMIT_S)
    assert doomed.returncode == -signal.SIGKILL
    stand.start()
    stand.decide(40, 60)
    assert_answered_once_in_order(await stand.answers(60), 60)
    assert stand.replay().difference is None


async def test_an_orderly_stop_writes_a_snapshot_and_the_next_start_goes_on(stand: Stand) -> None:
    process = stand.start()
    stand.decide(0, 30)
    await stand.answers(30)
    process.terminate()
    assert process.wait(LIMIT_S) == 0
    assert "stopped" in (stand.folder / "copier-0.log").read_text()
    stand.start()
    stand.decide(30, 40)
    assert_answered_once_in_order(await stand.answers(40), 40)
    recovered = (stand.folder / "copier-1.log").read_text()
    assert '"snapshot": 0' not in recovered
    result = stand.replay()
    assert result.difference is None
    assert result.states_compared >= 1


def send_slice(stand: Stand, number: int) -> None:
    """Two decisions and a mark of one slice, each input's watermark behind them."""
    end_ns = number * 100
    first = (number - 1) * 2
    for index in (first, first + 1):
        record = copier.decision(index, ts_event_ns=end_ns)
        stand.send(topics.DECISIONS, record, f"d{index}")
    stand.send(topics.MARKS, copier.mark(float(number), end_ns - 50))
    for topic, source in ((topics.MARKS, "bars/0"), (topics.DECISIONS, "group/g")):
        watermark = Watermark(
            source=source,
            slice=number,
            is_paced=True,
            is_final=number == 6,
            ts_event_ns=end_ns,
            ts_init_ns=end_ns,
        )
        stand.send(topic, watermark, f"w{number}" if topic == topics.DECISIONS else "")
    stand.producer.flush(60)


async def test_a_paced_run_gives_the_same_bytes_however_it_is_cut(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    digests = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        stand = Stand(kafka_bootstrap, folder, is_paced=True)
        try:
            process = stand.start()
            for number in range(1, 7):
                send_slice(stand, number)
                if name == "killed" and number in (2, 4):
                    await stand.answers(number)
                    process.kill()
                    process.wait()
                    process = stand.start()
            assert_answered_once_in_order(await stand.answers(12), 12)
            result = stand.replay()
            assert result.difference is None
            digests.append(result.digests)
        finally:
            stand.stop()
    assert digests[0] == digests[1]


async def test_a_process_of_another_build_refuses_to_join_and_tells_so(stand: Stand) -> None:
    first = stand.start(TAPELINE_BUILD_ID="1.0")
    stand.decide(0, 20)
    await stand.answers(20)
    joiner = stand.start(TAPELINE_BUILD_ID="0.9")
    assert joiner.wait(LIMIT_S) == exits.USAGE
    said = (stand.folder / "copier-1.log").read_text()
    assert "risk/0 is build 0.9" in said
    assert "Stop every risk and execution process of the run" in said
    assert "MIXED_BUILDS" in [incident.code for incident in await stand.incidents()]
    # It has not even fenced the one that was there.
    stand.decide(20, 40)
    assert_answered_once_in_order(await stand.answers(40), 40)
    assert first.poll() is None


async def test_another_build_takes_over_from_one_that_has_ended_and_decides_nothing_twice(
    stand: Stand,
) -> None:
    first = stand.start(TAPELINE_BUILD_ID="1.0")
    stand.decide(0, 50)
    await stand.answers(30)
    first.kill()
    first.wait()
    stand.start(TAPELINE_BUILD_ID="1.1")
    stand.decide(50, 80)
    assert_answered_once_in_order(await stand.answers(80), 80)


async def test_records_deleted_before_they_were_read_stop_the_process_for_good(
    stand: Stand,
) -> None:
    first = stand.start()
    stand.decide(0, 30)
    await stand.answers(30)
    first.terminate()
    assert first.wait(LIMIT_S) == exits.OK
    stand.decide(30, 60)
    place = TopicPartition(stand.prefix + topics.DECISIONS, 0)
    admin = admin_client(stand.settings)
    for future in admin.delete_records([KafkaPlace(place.topic, 0, 45)]).values():
        future.result()
    second = stand.start()
    assert second.wait(LIMIT_S) == exits.USAGE
    assert "which has been deleted" in (stand.folder / "copier-1.log").read_text()
    assert "POSITION_LOST" in [incident.code for incident in await stand.incidents()]
    # Nothing behind the gap was answered: nobody jumped over it.
    assert_answered_once_in_order(await stand.answers(30), 30)


async def test_a_paced_run_goes_on_after_orderly_stops_without_a_slice_between(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    stand = Stand(kafka_bootstrap, tmp_path, is_paced=True)
    try:
        process = stand.start()
        for number in range(1, 4):
            send_slice(stand, number)
        await stand.answers(6)
        for _ in range(3):
            process.terminate()
            assert process.wait(LIMIT_S) == exits.OK
            process = stand.start()
            await stand.recovered()
        for number in range(4, 7):
            send_slice(stand, number)
        assert_answered_once_in_order(await stand.answers(12), 12)
        assert stand.replay().difference is None
    finally:
        stand.stop()
