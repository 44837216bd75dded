"""agents and market-data killed under load: nothing lost, repeats in the same bytes, no stall.

The run is paced, so the disturbed one must say what the undisturbed one says, id by id and byte by
byte; what comes behind the derived streams must not even show the repeats.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

import pytest
from proving.disturbing import DisturbedSession, Sniper
from proving.playing import LOAD_LIMIT_S, Finished, Ground, Progress, load_source, play
from proving.reading import Seen, committed
from proving.streams import StreamDamage, compare, silences

from tapeline.cli.session import Session
from tapeline.contracts import topics

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
SEED = os.environ.get("TAPELINE_TEST_CHAOS_SEED", "")
MARKET_DATA = ("feed", "bars")
AGENTS = ("triggers", "group-trend", "group-swing")
KILLS = {"feed": 3, "bars": 3, "triggers": 3, "group-trend": 2, "group-swing": 1}
UPSTREAM = (topics.TICKS, topics.BARS, topics.MARKS, topics.SIGNALS, topics.DECISIONS)
DOWNSTREAM = (topics.APPROVED_ORDERS, topics.RISK_EVENTS, topics.ORDER_UPDATES, topics.FILLS)
SILENCE_GOAL_S = 15.0
"""what a machine that is not busy with anything else should stay below; the figure is printed"""
SILENCE_MAX_S = 300.0
"""whatever else the machine does: a partition that nobody serves is silent until the run's end"""
Tell = Callable[[str], None]


@pytest.mark.timeout(3600)
def test_killed_agents_and_market_data_lose_nothing_and_stall_nobody(
    loaded: Finished, ground: Ground, tell: Tell
) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**6)
    print(f"\nTAPELINE_TEST_CHAOS_SEED={seed}")
    choice = random.Random(seed)
    names = [name for name, kills in KILLS.items() for _ in range(kills)]
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
    assert sum(name in MARKET_DATA for name in killed) >= 6
    assert sum(name in AGENTS for name in killed) >= 6
    damages, silence_s, place = compared(run, loaded)
    tell(
        f"derived streams: TAPELINE_TEST_CHAOS_SEED={seed}: {len(killed)} kills in "
        f"{run.seconds:.0f} s (undisturbed {loaded.seconds:.0f} s), longest silence "
        f"{silence_s:.1f} s on {place} (goal {SILENCE_GOAL_S:.0f} s); "
        + "; ".join(map(str, damages))
    )
    assert all(damage.is_none for damage in damages)
    assert not any(damage.repeated for damage in damages if damage.topic in DOWNSTREAM)
    assert silence_s <= SILENCE_MAX_S


def compared(run: Finished, whole: Finished) -> tuple[list[StreamDamage], float, str]:
    """Damage by topic, and the longest silence of the upstream with its place."""
    found = asyncio.run(committed(run.settings, (*UPSTREAM, *DOWNSTREAM)))
    wanted = asyncio.run(committed(whole.settings, (*UPSTREAM, *DOWNSTREAM)))
    damages = [compare(topic, found[topic], wanted[topic]) for topic in (*UPSTREAM, *DOWNSTREAM)]
    watched: dict[str, list[Seen]] = {topic: found[topic] for topic in UPSTREAM}
    silent = silences(watched)
    place = max(silent, key=lambda name: silent[name])
    return damages, silent[place], place
