"""Every step at which a process of the money path can die, on the real services: killed and put to
sleep there again and again, from decision to fill; no trace of it.

The long form strikes each failpoint of risk and of execution five times and leaves a zombie at each
three times; the short one, each once, is part of the storm.
"""

from __future__ import annotations

import ast
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from proving.disturbing import DisturbedSession, Kind, Victim, crash_points
from proving.playing import Ground, Progress, play, replayed, short_source
from proving.tracing import assert_no_trace

from tapeline.cli.session import Session
from tapeline.runtime import exits
from tapeline.runtime.failpoints import NAMES

pytestmark = [pytest.mark.chaos]
ROOT = Path(__file__).parents[2]
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
DRIVER = ("libs/runtime/src",)
SERVICES = ("services/risk/src", "services/execution/src")
KILLS, SLEEPERS = 5, 3
END = "2015-12-31"
LIMIT_S = 1500.0
Tell = Callable[[str], None]


def enumerated(folders: Sequence[str] = DRIVER) -> list[str]:
    """Names of the failpoints that the code visits, from the code itself."""
    found: dict[str, None] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id == "failpoint":
                    assert isinstance(node.args[0], ast.Constant), f"{path}: a name is expected"
                    found[str(node.args[0].value)] = None
    return list(found)


def test_the_list_of_failpoints_is_what_the_driver_visits() -> None:
    assert sorted(enumerated()) == sorted(NAMES)


def test_every_failpoint_of_a_service_is_struck_by_a_test_of_its_own() -> None:
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    for name in enumerated(SERVICES):
        assert any(f'"{name}' in text for text in texts), f"no test strikes {name}"


@dataclass
class Round:
    """All crash points of both services in one run."""

    seed: int
    victims: tuple[Victim, ...] = ()
    planned: dict[str, int] = field(default_factory=dict)

    def __call__(self, session: Session, progress: Progress) -> bool:
        """Called while the run plays; True when every blow has struck."""
        assert isinstance(session, DisturbedSession)
        if not self.victims:
            choice = random.Random(self.seed)
            self.victims = tuple(
                Victim(session, service, crash_points(choice, KILLS, SLEEPERS), choice)
                for service in ("risk", "execution")
            )
        for victim in self.victims:
            victim.turn(progress)
        return all(victim.is_done for victim in self.victims)


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_no_crash_point_leaves_a_trace(ground: Ground, tell: Tell) -> None:
    source = short_source(END)
    undisturbed = replayed(play(ground, "whole", source=source, limit_s=LIMIT_S))
    blows = Round(int(SEED) if SEED else random.SystemRandom().randrange(10**6))
    run = replayed(
        play(
            ground,
            "crashes",
            source=source,
            make_session=DisturbedSession,
            meanwhile=blows,
            limit_s=LIMIT_S,
        )
    )
    found, damage = assert_no_trace(run, undisturbed)
    for victim in blows.victims:
        kills = Counter(blow.failpoint for blow in victim.struck if blow.kind is Kind.FAILPOINT)
        sleepers = Counter(blow.failpoint for blow in victim.struck if blow.kind is Kind.SLEEPER)
        covered = [name for name in enumerated() if kills[name] >= KILLS]
        zombies = Counter(victim.zombie_codes)
        tell(
            f"crash points of {victim.service}: TAPELINE_TEST_CHAOS_SEED={blows.seed}: "
            f"{len(covered)} of {len(enumerated())} covered, {kills.total()} kills, "
            f"{sleepers.total()} zombies ({zombies[exits.FENCED]} fenced), ended otherwise "
            f"{victim.unplanned}; {found}: {damage}; {run.seconds:.0f} s, undisturbed "
            f"{undisturbed.seconds:.0f} s"
        )
        assert len(covered) == len(enumerated())
        assert all(sleepers[name] >= SLEEPERS for name in enumerated())
        assert zombies.total() == sleepers.total()
        assert zombies[exits.OK] == 0
