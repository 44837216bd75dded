"""Workers of one stage killed at random under load; an independent client looks at the result."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from samples import sample
from window_stage import expected_value

from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.testing import jars_cache
from tapeline.contracts import topics
from tapeline.contracts.agents import Feature
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Output
from tapeline.runtime.kafka import ClientLost, confluent_config
from tapeline.runtime.outbox import Outbox
from tapeline.runtime.settings import KafkaSettings, ServiceSettings
from tapeline.runtime.telemetry import Metrics
from tapeline.runtime.topology import Topology, create_topics, delete_topics

HERE = Path(__file__).parent
PARTITIONS = 4
RATE_PER_S = 400
KILLS = 6
KILL_PAUSE_S = 4.0
BROKER_AWAY_S = 3.0
GUESTS = 4
LIMIT_S = 240.0
STEP_S = 0.05


@dataclass(frozen=True)
class Damage:
    """What the oracle found."""

    lost: int
    changed: int
    """one id, different bytes; or not the bytes that the inputs make"""
    repeated: int
    """one id, same bytes: allowed"""
    silence_s: float
    """longest time without output of a partition with work, counted from the last kill in it; a
    figure to look at: how long a start takes is the machine's affair"""

    @property
    def is_none(self) -> bool:
        return not self.lost and not self.changed


def event_id(partition: int, number: int) -> str:
    return f"in/{partition}/{number}"


@contextmanager
def feeding(settings: KafkaSettings) -> Iterator[list[int]]:
    """Writes numbers to every partition at a steady rate during the block; gives the counts."""
    counts = [0] * PARTITIONS
    over = threading.Event()

    def delivered(error: object, _message: object) -> None:
        assert error is None

    def feed() -> None:
        producer = Producer(confluent_config(settings, enable_idempotence=True))
        while not over.wait(STEP_S):
            for partition in range(PARTITIONS):
                for _ in range(int(RATE_PER_S * STEP_S)):
                    number = counts[partition]
                    record = Feature(
                        instrument_id=f"p{partition}",
                        name="number",
                        window_ns=1,
                        value=float(number),
                        ts_event_ns=number,
                        ts_init_ns=number,
                    )
                    producer.produce(
                        settings.topic_prefix + topics.FEATURES,
                        encode(record),
                        key=str(partition).encode(),  # a compacted topic takes nothing without
                        partition=partition,
                        on_delivery=delivered,
                        headers=[("event_id", event_id(partition, number).encode())],
                    )
                    counts[partition] = number + 1
            producer.poll(0)
        assert producer.flush(LIMIT_S) == 0

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


class Workers:
    """Processes of one stage; a killed one is started again at once, as a supervisor does."""

    def __init__(
        self, script: str, settings: KafkaSettings, logs: Path, is_named: bool = True
    ) -> None:
        self._is_named = is_named
        self._script = script
        self._logs = logs
        self._env = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "TAPELINE_TOPIC_PREFIX": settings.topic_prefix,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills_ms: list[int] = []

    def start(self, name: str) -> None:
        env = {**self._env, "TAPELINE_INSTANCE_ID": name if self._is_named else ""}
        with (self._logs / f"worker{name}.log").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, str(HERE / self._script)],
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill_one(self, choice: random.Random) -> None:
        name = choice.choice(sorted(self._processes))
        process = self._processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.kills_ms.append(time.time_ns() // 1_000_000)
        self.start(name)

    def stop_one(self, name: str) -> int:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=LIMIT_S)

    def stop(self) -> list[int]:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=LIMIT_S) for process in self._processes.values()]

    def revive(self) -> None:
        """Starts those again that have ended by themselves."""
        for name, process in tuple(self._processes.items()):
            if process.poll() is not None:
                self.start(name)


@dataclass
class Seen:
    """One output as the reader found it."""

    value: bytes
    appended_ms: int
    partition: int


def read_outputs(settings: KafkaSettings, wanted: int, limit_s: float) -> list[tuple[str, Seen]]:
    """Outputs in log order, until each cause has one or the time is over."""
    consumer = Consumer(
        confluent_config(
            settings,
            group_id="oracle",
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
    )
    consumer.assign([TopicPartition(settings.topic_prefix + topics.DISCUSSIONS, 0, 0)])
    found: list[tuple[str, Seen]] = []
    causes: set[str] = set()
    deadline = time.monotonic() + limit_s
    while len(causes) < wanted and time.monotonic() < deadline:
        for message in consumer.consume(5000, 0.2):
            assert message.error() is None
            headers = dict(message.headers() or [])
            cause = headers["causation_id"].decode()
            key, value = message.key(), message.value()
            assert key is not None
            assert value is not None
            found.append((cause, Seen(value, message.timestamp()[1], int(key))))
            causes.add(cause)
    consumer.close()
    return found


def examine(
    found: Sequence[tuple[str, Seen]], counts: Sequence[int], kills_ms: Sequence[int] = ()
) -> Damage:
    """Compares the outputs with what the inputs must make."""
    decoder = Decoder(("tapeline.agents.Feature",))
    first: dict[str, bytes] = {}
    changed = repeated = 0
    last_ms: dict[int, int] = {}
    silence_ms = 0
    for cause, seen in found:
        if cause in first:
            changed += first[cause] != seen.value
            repeated += first[cause] == seen.value
            continue
        first[cause] = seen.value
        number = int(cause.split("/")[2])
        changed += decoder.decode(seen.value).value != expected_value(number)
        since_ms = last_ms.get(seen.partition, seen.appended_ms)
        since_ms = max([since_ms, *(kill for kill in kills_ms if kill < seen.appended_ms)])
        silence_ms = max(silence_ms, seen.appended_ms - since_ms)
        last_ms[seen.partition] = seen.appended_ms
    wanted = {event_id(at, number) for at in range(PARTITIONS) for number in range(counts[at])}
    return Damage(len(wanted - first.keys()), changed, repeated, silence_ms / 1000)


def run_chaos(
    script: str, settings: KafkaSettings, logs: Path, seed: int, catch_up_s: float, kills: int
) -> tuple[Damage, list[int]]:
    choice = random.Random(seed)
    workers = Workers(script, settings, logs)
    workers.start("0")
    workers.start("1")
    try:
        with feeding(settings) as counts:
            time.sleep(2.0)
            for _ in range(kills):
                time.sleep(KILL_PAUSE_S * (0.5 + choice.random()))
                workers.revive()
                workers.kill_one(choice)
        found = read_outputs(settings, sum(counts), catch_up_s)
    finally:
        codes = workers.stop()
    return examine(found, counts, workers.kills_ms), codes


@pytest.fixture
def run_settings(kafka_bootstrap: str, tmp_path: Path) -> Iterator[KafkaSettings]:
    with topics_of(kafka_bootstrap, f"chaos{tmp_path.name[-12:]}.") as settings:
        yield settings


@contextmanager
def topics_of(kafka_bootstrap: str, prefix: str) -> Iterator[KafkaSettings]:
    settings = KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=prefix)
    create_topics(settings, Topology(instrument=PARTITIONS, account=1, service=2))
    yield settings
    delete_topics(settings)


@pytest.mark.kafka
@pytest.mark.chaos
def test_killed_workers_lose_nothing_and_repeat_only_the_same_bytes(
    run_settings: KafkaSettings, tmp_path: Path
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "1"))
    damage, codes = run_chaos("window_stage.py", run_settings, tmp_path, seed, LIMIT_S, KILLS)
    print(f"seed {seed}: {damage}")
    assert damage.is_none, f"seed {seed}: {damage}; logs in {tmp_path}"
    # One that was killed last may still be starting, with nothing open yet.
    assert set(codes) <= {0, -signal.SIGTERM}


@pytest.mark.kafka
@pytest.mark.chaos
def test_members_that_come_and_go_repeat_and_lose_nothing(
    run_settings: KafkaSettings, tmp_path: Path
) -> None:
    workers = Workers("window_stage.py", run_settings, tmp_path, is_named=False)
    workers.start("host")
    try:
        with feeding(run_settings) as counts:
            for _ in range(GUESTS):
                workers.start("guest")
                time.sleep(KILL_PAUSE_S)
                assert workers.stop_one("guest") in (0, -signal.SIGTERM)
        found = read_outputs(run_settings, sum(counts), limit_s=LIMIT_S)
    finally:
        codes = workers.stop()
    damage = examine(found, counts)
    print(damage)
    assert damage.is_none
    assert not damage.repeated
    assert codes == [0]


@pytest.fixture(scope="module")
def own_kafka(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[EmbeddedKafka]:
    """A broker to be stopped and killed."""
    folder = tmp_path_factory.mktemp("kafka")
    with EmbeddedKafka(folder, jars_dir=jars_cache(pytestconfig.rootpath)) as kafka:
        yield kafka


@pytest.mark.kafka
@pytest.mark.chaos
def test_a_broker_killed_under_load_and_started_again_costs_no_record_and_no_worker(
    own_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=own_kafka.bootstrap_servers, topic_prefix="b.")
    create_topics(settings, Topology(instrument=PARTITIONS, account=1, service=2))
    workers = Workers("window_stage.py", settings, tmp_path)
    workers.start("0")
    try:
        with feeding(settings) as counts:
            assert read_outputs(settings, sum(counts) + 100, limit_s=LIMIT_S)
            own_kafka.kill()
            time.sleep(BROKER_AWAY_S)
            own_kafka.start()
            back_ms = time.time_ns() // 1_000_000
        found = read_outputs(settings, sum(counts), limit_s=LIMIT_S)
    finally:
        codes = workers.stop()
    damage = examine(found, counts)
    appended = [seen.appended_ms for _, seen in found]
    wait_ms = min((at - back_ms for at in appended if at > back_ms), default=-1)
    print(damage, codes, f"first output {wait_ms} ms after the broker answered")
    assert not damage.lost
    assert not damage.changed
    assert codes == [0]


def freeze(pid: int) -> None:
    """On a busy machine a thread may still answer before it is stopped."""
    os.kill(pid, signal.SIGSTOP)
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)


@pytest.mark.kafka
@pytest.mark.chaos
def test_what_the_broker_has_not_acknowledged_is_never_reported_as_sent(
    own_kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServiceSettings(
        kafka_bootstrap_servers=own_kafka.bootstrap_servers, topic_prefix="s."
    )
    create_topics(settings, Topology(instrument=1, account=1, service=2))
    output = Output(
        topic=topics.FEATURES,
        key="k",
        record=sample("tapeline.agents.Feature"),
        event_id="e",
        partition=0,
    )

    async def send_to_a_frozen_broker() -> None:
        async with Outbox(settings, "feed", Metrics()) as outbox:
            assert await outbox.send([output]) == 1
            freeze(own_kafka.pid)
            monkeypatch.setattr("tapeline.runtime.outbox.SEND_S", 1.0)
            await outbox.send([output])

    try:
        with pytest.raises(ClientLost, match="no acknowledgement"):
            asyncio.run(send_to_a_frozen_broker())
    finally:
        os.kill(own_kafka.pid, signal.SIGCONT)


@pytest.mark.kafka
@pytest.mark.chaos
def test_the_same_oracle_reports_the_damage_of_unawaited_sends(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """Again until a kill has hit something: on a busy machine all may hit starting processes."""
    for number in count(1):
        with topics_of(kafka_bootstrap, f"naive{number}{tmp_path.name[-12:]}.") as settings:
            damage, _ = run_chaos("naive_stage.py", settings, tmp_path, number, 10, 3)
        print(damage)
        if damage.lost and damage.changed:
            break
