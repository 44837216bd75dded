"""The answer to a commit is lost, or the commit itself arrives after somebody else has taken over:
a transaction is there whole or not at all, and nothing is said twice.

A proxy between the copiers and the broker understands the protocol and interferes with EndTxn.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proving.beside import ReaderBeside
from proving.copier_storm import Ring, Sparring
from proving.copying import copied, judge
from proving.kafka_proxy import KafkaProxy, Mischief, Plan, ProxiedKafka
from proving.reading import committed

from tapeline.cli.stack.testing import jars_cache
from tapeline.contracts import topics
from tapeline.runtime import clock, exits
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.topology import Topology, create_topics

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]
SCRIPTS = Path(__file__).parents[2] / "libs/runtime/tests"
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
COPIED_TO = (topics.RISK_EVENTS, topics.ORDER_UPDATES)
SHARDS = 2
EVERY = 6
ALLOWED = (exits.UNAVAILABLE, exits.INTERNAL, exits.FENCED)
Tell = Callable[[str], None]


@pytest.fixture
def proxied(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[ProxiedKafka]:
    """A broker whose clients are told to come through a proxy."""
    jars = jars_cache(pytestconfig.rootpath)
    with ProxiedKafka(tmp_path / "kafka", jars_dir=jars) as kafka:
        yield kafka


def interfere(kafka: ProxiedKafka, folder: Path, messages: int, times: int, tell: Tell) -> None:
    """Copies through a proxy that interferes so many times in each way, and judges."""
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**6)
    plan = Plan(seed, EVERY, dict.fromkeys(Mischief, times))
    started_s = clock.monotonic_s()
    with KafkaProxy(kafka.advertised, kafka.port, plan) as proxy:
        settings = ServiceSettings(
            kafka_bootstrap_servers=proxy.bootstrap_servers,
            topic_prefix=f"{folder.name}.",
            run_id="r",
        )
        create_topics(settings, Topology(instrument=1, account=SHARDS, service=2 * SHARDS))
        places = [(topic, number) for topic in COPIED_TO for number in range(SHARDS)]
        with ReaderBeside(settings, places) as beside:
            ring = Ring(
                settings=settings,
                folder=folder,
                script=SCRIPTS / "twin_copier.py",
                beside=beside,
                goes_on=lambda: any(plan.left.values()),
            )
            shards = [
                Sparring(ring, number, (), messages // SHARDS, seed) for number in range(SHARDS)
            ]
            for shard in shards:
                shard.start()
            for shard in shards:
                shard.join()
                assert shard.failure is None, f"seed {seed}: {shard.failure}"
        names = (topics.DECISIONS, *COPIED_TO, topics.JOURNAL)
        found = copied(
            asyncio.run(committed(settings, names)), topics.DECISIONS, topics.JOURNAL, beside.seen
        )
    damage = judge(found)
    asked = sum(map(len, found.asked.values()))
    done = ", ".join(f"{plan.done[kind]} {kind.value}" for kind in Mischief)
    ended = dict(sorted((+ring.tally.unplanned).items()))
    tell(
        f"lost commits: TAPELINE_TEST_CHAOS_SEED={seed}: {asked} messages, "
        f"{sum(map(len, found.journal.values()))} transactions, {done}, copiers ended with "
        f"{ended}, {clock.monotonic_s() - started_s:.0f} s: {damage}"
    )
    assert asked == sum(shard.sent for shard in shards)
    assert all(plan.done[kind] == times for kind in Mischief)
    assert set(+ring.tally.unplanned) <= set(ALLOWED)
    assert damage.is_none, str(damage)


def test_lost_and_late_commits_tear_nothing(
    proxied: ProxiedKafka, tmp_path: Path, tell: Tell
) -> None:
    interfere(proxied, tmp_path, 1_000, 1, tell)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_lost_and_late_commits_tear_nothing(
    proxied: ProxiedKafka, tmp_path: Path, tell: Tell
) -> None:
    interfere(proxied, tmp_path, 10_000, 10, tell)
