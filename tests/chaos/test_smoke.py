"""The money path under fire: SIGKILL at random points, zombies, a broker that dies; no trace of it.

The run is paced, so what it decides, approves and fills must have the very bytes of an undisturbed
run of the same data. The short form strikes each failpoint once, in one of the two services; the
long one strikes each in both, with more kills between. `TAPELINE_TEST_CHAOS_SEED` repeats a storm.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from proving.disturbing import BrokerKill, DisturbedSession, Kind, Victim, money_blows
from proving.playing import Finished, Ground, Progress, from_the_tape, play, replayed
from proving.tracing import assert_no_trace

from tapeline.cli.session import Session
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.runtime import exits
from tapeline.runtime.failpoints import NAMES

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
ROUNDS = 3
INSTANTS = 4
"""random moments, a service, in the long form"""
SERVICES = ("risk", "execution")
LIMIT_S = 1200.0
Tell = Callable[[str], None]


@dataclass
class Storm:
    """Everything that is done to one run."""

    seed: int
    kafka: EmbeddedKafka
    is_long: bool
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
        instants = INSTANTS if self.is_long else 1
        self.victims = tuple(
            Victim(session, service, money_blows(choice, instants, names), choice)
            for service, names in zip(SERVICES, self._shares(choice), strict=True)
        )
        self.broker = BrokerKill(self.kafka, choice.randint(10, 60), choice.uniform(0.2, 2.0))

    def _shares(self, choice: random.Random) -> Sequence[Sequence[str]]:
        """The failpoints for each service."""
        if self.is_long:
            return [NAMES] * len(SERVICES)
        mixed = choice.sample(NAMES, len(NAMES))
        return [mixed[number :: len(SERVICES)] for number in range(len(SERVICES))]

    @property
    def failpoints(self) -> list[str]:
        """Those that ended a process."""
        return [blow.failpoint for victim in self.victims for blow in victim.struck]

    def __str__(self) -> str:
        assert self.broker is not None
        parts = [f"{self.seed}: broker killed, back after {self.broker.was:.1f} s"]
        parts += [
            f"{victim.service}: {', '.join(map(str, victim.struck))}, "
            f"zombies ended with {victim.zombie_codes}, others with {victim.unplanned}"
            for victim in self.victims
        ]
        return "; ".join(parts)


def weather(
    undisturbed: Finished, ground: Ground, kafka: EmbeddedKafka, tell: Tell, *, is_long: bool
) -> None:
    """One storm, and what it may leave behind: nothing."""
    storm = Storm(int(SEED) if SEED else random.SystemRandom().randrange(10**6), kafka, is_long)
    print(f"\nTAPELINE_TEST_CHAOS_SEED={storm.seed}")
    run = replayed(
        play(
            replace(ground, bootstrap_servers=kafka.bootstrap_servers),
            f"storm-{storm.seed}",
            make_session=DisturbedSession,
            meanwhile=storm,
            limit_s=LIMIT_S,
        )
    )
    found, damage = assert_no_trace(run, undisturbed)
    assert from_the_tape(run) == dict(sorted(undisturbed.digests.items()))
    tell(f"storm: TAPELINE_TEST_CHAOS_SEED={storm}; {found}: {damage}; {run.seconds:.0f} s")
    times = len(SERVICES) if is_long else 1
    assert all(storm.failpoints.count(name) == times for name in NAMES)
    for victim in storm.victims:
        assert [blow.kind for blow in victim.struck].count(Kind.ZOMBIE) == 1
        # Nearly always by the fence; one that slept long may meet a time-out before it hears of it.
        assert len(victim.zombie_codes) == 1
        assert exits.OK not in victim.zombie_codes


@pytest.mark.timeout(3600)
def test_a_storm_of_kills_leaves_no_trace(
    undisturbed: Finished, ground: Ground, doomed_kafka: EmbeddedKafka, tell: Tell
) -> None:
    weather(undisturbed, ground, doomed_kafka, tell, is_long=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_more_and_longer_storms_leave_no_trace(
    undisturbed: Finished, ground: Ground, doomed_kafka: EmbeddedKafka, tell: Tell, number: int
) -> None:
    weather(undisturbed, ground, doomed_kafka, tell, is_long=True)
