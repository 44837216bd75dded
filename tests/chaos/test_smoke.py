"""The money path under fire: SIGKILL at random points, zombies, a broker that dies; no trace of it.

The run is paced, so what it decides, approves and fills must have the very bytes of an undisturbed
run of the same data. `TAPELINE_TEST_CHAOS_ROUNDS` asks for more and longer rounds, and
`TAPELINE_TEST_CHAOS_SEED` repeats one.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from proving.books import at_risk, at_the_venue, folded, in_postgres, last_states
from proving.disturbing import BrokerKill, DisturbedSession, Kind, Victim, money_blows
from proving.oracle import JUDGED, counted, examine, of
from proving.playing import PRESET, Finished, Ground, Progress, play, replayed
from proving.reading import committed

from tapeline.cli.configuration import load_configuration
from tapeline.cli.session import Session
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.testing import jars_cache
from tapeline.contracts import topics
from tapeline.contracts.config import Account
from tapeline.contracts.orders import Fill
from tapeline.runtime import exits

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
ROUNDS = int(os.environ.get("TAPELINE_TEST_CHAOS_ROUNDS", "0"))
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
KILLS_MIN = 6
INSTANTS, FAILPOINTS = (6, 7) if ROUNDS else (3, 4)
LIMIT_S = 600.0


@pytest.fixture(scope="module")
def own_broker(
    ground: Ground, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[tuple[Ground, EmbeddedKafka]]:
    """A broker that may be killed."""
    folder = tmp_path_factory.mktemp("doomed")
    with EmbeddedKafka(folder / "kafka", jars_dir=jars_cache(pytestconfig.rootpath)) as kafka:
        yield replace(ground, bootstrap_servers=kafka.bootstrap_servers), kafka


@dataclass
class Storm:
    """Everything that is done to one run."""

    seed: int
    kafka: EmbeddedKafka
    victims: tuple[Victim, ...] = ()
    broker: BrokerKill | None = None

    def __call__(self, session: Session, progress: Progress) -> bool:
        """Called while the run plays; True when every blow has struck."""
        assert isinstance(session, DisturbedSession)
        if self.broker is None:
            self._begin(session)
        assert self.broker is not None
        self.broker.turn(progress)
        for victim in self.victims:
            victim.turn(progress)
        return self.broker.is_done and all(victim.is_done for victim in self.victims)

    def _begin(self, session: DisturbedSession) -> None:
        choice = random.Random(self.seed)
        self.victims = tuple(
            Victim(session, service, money_blows(choice, INSTANTS, FAILPOINTS), choice)
            for service in ("risk", "execution")
        )
        self.broker = BrokerKill(self.kafka, choice.randint(10, 60), choice.uniform(0.2, 2.0))

    def __str__(self) -> str:
        assert self.broker is not None
        lines = [f"seed {self.seed}; broker killed, back after {self.broker.was:.1f} s"]
        lines += [
            f"{victim.service}: {', '.join(map(str, victim.struck))}; "
            f"zombies ended with {victim.zombie_codes}, others with {victim.unplanned}"
            for victim in self.victims
        ]
        return "\n".join(lines)


def seeds() -> list[int]:
    """The asked one, or fresh ones; every failure names its own."""
    if SEED:
        return [int(SEED)]
    return [random.SystemRandom().randrange(10**6) for _ in range(max(ROUNDS, 1))]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(len(seeds())))
def test_a_storm_of_kills_leaves_no_trace(
    undisturbed: Finished, own_broker: tuple[Ground, EmbeddedKafka], number: int
) -> None:
    ground, kafka = own_broker
    storm = Storm(int(SEED) if SEED else random.SystemRandom().randrange(10**6), kafka)
    print(f"\nTAPELINE_TEST_CHAOS_SEED={storm.seed}")
    run = replayed(
        play(
            ground,
            f"storm-{number}",
            make_session=DisturbedSession,
            meanwhile=storm,
            limit_s=LIMIT_S,
        )
    )
    print(storm, f"{run.seconds:.0f} s", sep="\n")
    for victim in storm.victims:
        kills = [blow for blow in victim.struck if blow.kind is not Kind.ZOMBIE]
        assert len(kills) >= KILLS_MIN
        assert victim.zombie_codes == [exits.FENCED]
    assert_no_trace(run, undisturbed)


def assert_no_trace(run: Finished, undisturbed: Finished) -> None:
    """Nothing lost, nothing doubled, four equal books, and the bytes of the undisturbed run."""
    assert run.replay is not None
    assert run.replay.differences == ()
    found = asyncio.run(committed(run.settings, JUDGED))
    states = last_states(run)
    damage = examine(found, states.held_open)
    print(counted(found), damage)
    assert damage.is_none, str(damage)
    accounts = load_configuration(PRESET).of(Account)
    expected = folded((item.record for item in of(found[topics.FILLS], Fill)), accounts)
    assert in_postgres(run, accounts) == expected
    assert at_the_venue(states) == expected
    assert at_risk(states) == expected
    assert run.digests == undisturbed.digests
