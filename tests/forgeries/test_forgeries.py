"""No approval but risk's own is carried out, none twice, none a moment too late."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from simulation import world
from simulation.simulation import Simulation

from forgeries.forging import Forgery, forgeries, is_accepted
from forgeries.replays import THREADS, Replayer
from tapeline.contracts import topics
from tapeline.contracts.orders import ApprovedOrder
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.keys import KeyRing

SHORT_APPROVALS, LONG_APPROVALS = 1, 40
LONG_FORGERIES_MIN = 100_000
SHORT_REPLAYS, LONG_REPLAYS = 100, 10_000


def given(count: int) -> tuple[list[ApprovedOrder], KeyRing]:
    """Approvals that risk gave in a simulation, and the ring they verify under."""
    simulation = Simulation(5)
    decoder = Decoder(topics.TOPICS[topics.APPROVED_ORDERS].records)
    ring = simulation.seals.rings[1]
    found: list[ApprovedOrder] = []
    while len(found) < count + 1:
        simulation.step()
        found = [
            record
            for raw in simulation.broker.behind((topics.APPROVED_ORDERS, 0), 0)
            if raw.header("producer") == "risk/0"
            and isinstance(record := decoder.decode(raw.value), ApprovedOrder)
            and is_accepted(Forgery("genuine", encode(record)), ring)
        ]
    return found[: count + 1], ring


def forge(count: int, random_count: int) -> Counter[str]:
    """Forges that many approvals and counts the forgeries by kind; none may be accepted."""
    approvals, ring = given(count)
    made: Counter[str] = Counter()
    chance = Random(1)
    genuine = {encode(record) for record in approvals}
    for number in range(count):
        others = [approvals[(number + 1) % len(approvals)], approvals[number - 1]]
        for forgery in forgeries(approvals[number], others, chance, random_count):
            if forgery.value in genuine:
                continue
            made[forgery.kind.partition(" ")[0] if "field" in forgery.kind else forgery.kind] += 1
            assert not is_accepted(forgery, ring), forgery
    return made


def test_no_forgery_is_accepted() -> None:
    made = forge(SHORT_APPROVALS, 200)
    assert sum(made.values()) > 3_000
    assert len(made) > 20


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_none_of_a_hundred_thousand_forgeries_is_accepted() -> None:
    made = forge(LONG_APPROVALS, 1_000)
    for kind, count in made.most_common():
        print(f"{count:8} {kind}")
    print(f"{sum(made.values()):8} forgeries, 0 accepted")
    assert sum(made.values()) >= LONG_FORGERIES_MIN


def test_an_approval_that_comes_fifty_times_at_once_is_sent_once() -> None:
    replays = Replayer(1).run(SHORT_REPLAYS)
    assert replays.copies == SHORT_REPLAYS * THREADS
    assert len(replays.sends) == SHORT_REPLAYS
    assert replays.repeated == []


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_approvals_that_come_fifty_times_at_once_are_sent_once() -> None:
    replays = Replayer(2).run(LONG_REPLAYS)
    print(
        f"{replays.approvals} approvals, {replays.copies} copies, {replays.deaths} deaths, "
        f"{len(replays.sends)} sent, {len(replays.repeated)} sent again"
    )
    assert len(replays.sends) == LONG_REPLAYS
    assert replays.repeated == []


@pytest.mark.parametrize(
    ("late_ns", "is_sent"),
    [
        (-world.MILLI, True),
        (-1, True),
        (0, False),
        (1, False),
        (world.MILLI, False),
    ],
)
def test_an_approval_expires_to_the_nanosecond(late_ns: int, is_sent: bool) -> None:
    replayer = Replayer(3)
    replayer.now_ns += world.SECOND
    approved = replayer.approved(1)
    now_ns = approved.approval.expires_ns + late_ns
    replayer.beat(now_ns)
    replayer.broker.publish([world.message(approved, "once", "risk/0")])
    replayer.process.place.is_lagging = False
    replayer.process.turn(now_ns)
    assert bool(replayer.result.sends) == is_sent
