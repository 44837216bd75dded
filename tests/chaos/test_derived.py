"""agents and market-data killed under load: nothing lost, repeats in the same bytes, no stall.

The run is paced, so the disturbed one must say what the undisturbed one says, id by id and byte by
byte; what comes behind the derived streams must not even show the repeats.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from proving.disturbing import DisturbedSession, Sniper
from proving.playing import LOAD_LIMIT_S, Finished, Ground, Progress, load_source, play
from proving.reading import Seen, committed
from proving.streams import compare, silences

from tapeline.cli.session import Session
from tapeline.contracts import topics

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
LONG = int(os.environ.get("TAPELINE_TEST_CHAOS_ROUNDS", "0"))
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
MARKET_DATA = ("feed", "bars")
AGENTS = ("triggers", "group-trend", "group-swing")
KILLS = {"feed": 3, "bars": 3, "triggers": 3, "group-trend": 2, "group-swing": 1}
UPSTREAM = (topics.TICKS, topics.BARS, topics.MARKS, topics.SIGNALS, topics.DECISIONS)
DOWNSTREAM = (topics.APPROVED_ORDERS, topics.RISK_EVENTS, topics.ORDER_UPDATES, topics.FILLS)
SILENCE_MAX_S = 15.0
BUSY_LOAD = 2.0
"""runnable processes a processor, beyond which the machine is blamed for its share of a silence"""


def silence_max_s() -> float:
    """The bound, stretched where others keep the machine busy."""
    share = os.getloadavg()[0] / (os.cpu_count() or 1) / BUSY_LOAD
    return SILENCE_MAX_S * max(1.0, share)


@pytest.mark.timeout(900)
def test_killed_agents_and_market_data_lose_nothing_and_stall_nobody(
    loaded: Finished, ground: Ground
) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**6)
    print(f"\nTAPELINE_TEST_CHAOS_SEED={seed}")
    choice = random.Random(seed)
    names = [name for name, kills in KILLS.items() for _ in range(kills * (1 + bool(LONG)))]
    choice.shuffle(names)
    snipers: list[Sniper] = []

    def meanwhile(session: Session, progress: Progress) -> bool:
        assert isinstance(session, DisturbedSession)
        if not snipers:
            snipers.append(Sniper(session, names, choice))
        snipers[0].turn(progress)
        return snipers[0].is_done

    run = play(
        ground,
        "sniped",
        source=load_source(),
        make_session=DisturbedSession,
        meanwhile=meanwhile,
        limit_s=LOAD_LIMIT_S,
    )
    killed = snipers[0].killed
    print(f"killed {', '.join(killed)} in {run.seconds:.0f} s; undisturbed {loaded.seconds:.0f} s")
    assert sum(name in MARKET_DATA for name in killed) >= 6
    assert sum(name in AGENTS for name in killed) >= 6
    assert_same(run, loaded)


def assert_same(run: Finished, whole: Finished) -> None:
    """Upstream nothing lost or changed, downstream not even repeated; no long silence."""
    found = asyncio.run(committed(run.settings, (*UPSTREAM, *DOWNSTREAM)))
    wanted = asyncio.run(committed(whole.settings, (*UPSTREAM, *DOWNSTREAM)))
    damages = [compare(topic, found[topic], wanted[topic]) for topic in (*UPSTREAM, *DOWNSTREAM)]
    print("\n".join(map(str, damages)))
    assert all(damage.is_none for damage in damages)
    assert not any(damage.repeated for damage in damages if damage.topic in DOWNSTREAM)
    watched: dict[str, list[Seen]] = {topic: found[topic] for topic in UPSTREAM}
    silent = silences(watched)
    place = max(silent, key=lambda name: silent[name])
    print(f"longest silence {silent[place]:.1f} s on {place}, allowed {silence_max_s():.1f} s")
    assert silent[place] <= silence_max_s()
