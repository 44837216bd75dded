"""The oracles against the patterns they are there to catch: each must report the damage."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from proving.oracle import JUDGED, counted, examine
from proving.playing import Finished, Ground
from proving.reading import Seen, committed
from proving.streams import compare

from tapeline.contracts import topics
from tapeline.runtime import clock
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import Topology, create_topics, delete_topics

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
HERE = Path(__file__).parent
LIMIT_S = 120.0
PARTITIONS = 2


@pytest.fixture
def empty(ground: Ground, request: pytest.FixtureRequest) -> Iterator[KafkaSettings]:
    """Topics of their own for a naive pattern."""
    settings = KafkaSettings(
        kafka_bootstrap_servers=ground.bootstrap_servers,
        topic_prefix=f"naive-{ground.token}-{len(request.node.name)}.",
    )
    create_topics(settings, Topology(instrument=PARTITIONS, account=PARTITIONS, service=4))
    yield settings
    delete_topics(settings)


def start(script: str, settings: KafkaSettings, **variables: str) -> subprocess.Popen[bytes]:
    """A naive process on these topics."""
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "TAPELINE_TOPIC_PREFIX": settings.topic_prefix,
        **variables,
    }
    return subprocess.Popen([sys.executable, str(HERE / script)], env=environment)


async def copied(settings: KafkaSettings, decisions: Sequence[Seen]) -> None:
    """The decisions of another run, on these topics."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    for seen in decisions:
        await producer.send_and_wait(
            settings.topic_prefix + topics.DECISIONS, seen.value, partition=seen.partition
        )
    await producer.stop()


def await_stopped(process: subprocess.Popen[bytes]) -> None:
    """Until the process has stopped itself."""
    deadline_s = clock.monotonic_s() + LIMIT_S
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert clock.monotonic_s() < deadline_s, "it did not come to its failpoint"
        assert process.poll() is None
        time.sleep(0.05)


def test_the_oracle_reports_what_a_zombie_does_to_a_transactional_id_of_its_own(
    undisturbed: Finished, empty: KafkaSettings
) -> None:
    found = asyncio.run(committed(undisturbed.settings, (topics.DECISIONS,)))
    asyncio.run(copied(empty, found[topics.DECISIONS]))
    zombie = start("naive_money.py", empty, FAILPOINT="before_commit:stop:3")
    try:
        await_stopped(zombie)
        # Its session ends, its successor takes its partitions over and does the rest.
        assert start("naive_money.py", empty).wait(LIMIT_S) == 0
        zombie.send_signal(signal.SIGCONT)
        assert zombie.wait(LIMIT_S) == 0, "nobody fences it"
    finally:
        zombie.kill()
        zombie.wait()
    judged = asyncio.run(committed(empty, JUDGED))
    damage = examine(judged, held_open=())
    print(f"\nnaive money path: {counted(judged)}: {damage}")
    assert damage.answered_twice
    assert damage.approved_twice
    assert damage.filled_twice
    assert damage.finished_twice


def test_the_oracle_reports_what_unawaited_sends_and_early_commits_lose(
    loaded: Finished, empty: KafkaSettings
) -> None:
    variables = {"TICKS_PREFIX": loaded.settings.topic_prefix}
    for nth in (4, 7):
        doomed = start("naive_bars.py", empty, FAILPOINT=f"after_outputs:kill:{nth}", **variables)
        assert doomed.wait(LIMIT_S) == -signal.SIGKILL
    assert start("naive_bars.py", empty, **variables).wait(LIMIT_S) == 0
    wanted = asyncio.run(committed(loaded.settings, (topics.BARS,)))
    found = asyncio.run(committed(empty, (topics.BARS,)))
    damage = compare(topics.BARS, found[topics.BARS], wanted[topics.BARS])
    print(f"\nnaive derived stream: {damage}")
    assert damage.lost
    assert damage.changed
