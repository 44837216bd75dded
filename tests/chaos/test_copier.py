"""The oracle of Kafka's own system test, on the driver of the money path: a copier under kills,
zombies and broker kills. The reader that judges is aiokafka, not the driver's own client.

The long form has the message and bounce counts of Kafka's test and more; the naive patterns beside
it show that the oracle sees damage.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from proving.beside import ReaderBeside
from proving.copier_storm import Ring, Sparring, broker_kills, copier_blows
from proving.copying import Copied, CopyDamage, copied, judge
from proving.reading import committed

from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.contracts import topics
from tapeline.runtime import clock, exits
from tapeline.runtime.failpoints import NAMES
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.topology import Topology, create_topics

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]
SCRIPTS = Path(__file__).parents[2] / "libs/runtime/tests"
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
COPIED_TO = (topics.RISK_EVENTS, topics.ORDER_UPDATES)
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done, shard by shard and to the broker."""

    script: str
    messages: int
    kills: int
    zombies: int
    broker_kills: int
    shards: int = 2
    naive: str = ""


SHORT = Plan(script="twin_copier.py", messages=6_000, kills=4, zombies=4, broker_kills=0)
LONG = Plan(script="twin_copier.py", messages=100_000, kills=24, zombies=24, broker_kills=8)
TRANSACTIONAL = Plan(
    script="naive_copier.py",
    messages=3_000,
    kills=1,
    zombies=2,
    broker_kills=0,
    shards=1,
    naive="transactional",
)
PLAIN = Plan(
    script="naive_copier.py",
    messages=3_000,
    kills=3,
    zombies=0,
    broker_kills=0,
    shards=1,
    naive="plain",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a storm left behind."""

    damage: CopyDamage
    asked: int
    ring: Ring
    line: str


def storm(kafka: EmbeddedKafka, folder: Path, plan: Plan) -> Outcome:
    """Runs a plan to its end and judges what is on the topics."""
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**6)
    settings = ServiceSettings(
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        topic_prefix=f"{folder.name}.",
        run_id="r",
    )
    create_topics(settings, Topology(instrument=1, account=plan.shards, service=2 * plan.shards))
    numbers = range(plan.shards)
    started_s = clock.monotonic_s()
    places = [(topic, number) for topic in COPIED_TO for number in numbers]
    with ReaderBeside(settings, places) as beside:
        ring = Ring(
            settings=settings,
            folder=folder,
            script=SCRIPTS / plan.script,
            beside=beside,
            variables={"NAIVE": plan.naive} if plan.naive else {},
            zombies_end_s=5.0 if plan.naive else 120.0,
        )
        choice = random.Random(seed)
        failpoints = ("before_commit",) if plan.naive else NAMES
        kills, zombies = plan.kills // plan.shards, plan.zombies // plan.shards
        shards = [
            Sparring(
                ring,
                number,
                copier_blows(choice, kills, zombies, failpoints),
                plan.messages // plan.shards,
                seed,
            )
            for number in numbers
        ]
        for shard in shards:
            shard.start()
        broker_kills(kafka, ring, shards, plan.broker_kills, seed)
        for shard in shards:
            shard.join()
        for shard in shards:
            if shard.failure is not None:
                raise AssertionError(f"seed {seed}: {shard.failure}") from shard.failure
    names = (topics.DECISIONS, *COPIED_TO, topics.JOURNAL)
    found = copied(
        asyncio.run(committed(settings, names)), topics.DECISIONS, topics.JOURNAL, beside.seen
    )
    damage = judge(found)
    asked = sum(map(len, found.asked.values()))
    transactions = sum(map(len, found.journal.values()))
    name = f"naive copier ({plan.naive})" if plan.naive else "copier"
    line = (
        f"{name}: TAPELINE_TEST_CHAOS_SEED={seed}: {asked} messages, {transactions} transactions, "
        f"{ring.tally}, {hit_work(found, ring)} of {len(ring.tally.strikes)} blows hit work, "
        f"{clock.monotonic_s() - started_s:.0f} s: {damage}"
    )
    return Outcome(damage=damage, asked=asked, ring=ring, line=line)


def hit_work(found: Copied, ring: Ring) -> int:
    """Blows after which something that had been asked before was still to be answered."""
    hits = 0
    for strike in ring.tally.strikes:
        answers = found.answers[COPIED_TO[0], strike.shard]
        asked = set(found.asked[strike.shard][: strike.asked])
        # Who was struck before anything was asked of it had nothing to do.
        ends = [answer.append_ms for answer in answers if answer.decision_id in asked]
        hits += max(ends, default=0) > strike.at_ms
    return hits


def assert_unharmed(outcome: Outcome, plan: Plan) -> None:
    """Everything was done, and nothing shows."""
    tally = outcome.ring.tally
    assert outcome.asked == plan.messages
    assert (tally.kills, tally.zombies) == (plan.kills, plan.zombies)
    assert tally.broker_kills == plan.broker_kills
    assert tally.unfenced == 0
    # How each ended is in the figures; that it ended, and left nothing, is what must hold.
    assert tally.zombie_codes.total() == plan.zombies
    assert tally.zombie_codes[exits.OK] == 0
    assert outcome.damage.is_none, str(outcome.damage)


def test_a_copier_under_kills_zombies_and_a_broker_kill_answers_everything_once(
    doomed_kafka: EmbeddedKafka, tmp_path: Path, tell: Tell
) -> None:
    outcome = storm(doomed_kafka, tmp_path, SHORT)
    tell(outcome.line)
    assert_unharmed(outcome, SHORT)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_long_form_with_the_counts_of_kafkas_own_test(
    doomed_kafka: EmbeddedKafka, tmp_path: Path, tell: Tell
) -> None:
    outcome = storm(doomed_kafka, tmp_path, LONG)
    tell(outcome.line)
    assert_unharmed(outcome, LONG)


@pytest.mark.slow
def test_the_same_oracle_sees_what_a_transactional_id_a_process_does(
    doomed_kafka: EmbeddedKafka, tmp_path: Path, tell: Tell
) -> None:
    stormed_until(doomed_kafka, tmp_path, TRANSACTIONAL, tell, lambda harm: harm.duplicated)


@pytest.mark.slow
def test_the_same_oracle_sees_what_happens_without_transactions(
    doomed_kafka: EmbeddedKafka, tmp_path: Path, tell: Tell
) -> None:
    stormed_until(doomed_kafka, tmp_path, PLAIN, tell, lambda harm: harm.lost or harm.torn)


def stormed_until(
    kafka: EmbeddedKafka, folder: Path, plan: Plan, tell: Tell, is_seen: Callable[[CopyDamage], int]
) -> None:
    """Again until a blow has hit something; one that finds a copier idle does no harm."""
    for number in count(1):
        part = folder / f"{folder.name}-{number}"
        part.mkdir()
        outcome = storm(kafka, part, plan)
        tell(outcome.line)
        if is_seen(outcome.damage):
            break
