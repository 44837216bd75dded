"""Hypothesis walks two chains that come back from snapshots at different steps."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from simulation.faults import Broken
from simulation.plants import Plant
from simulation.twin_plants import TWIN_PLANTS, Unsorted
from simulation.twin_walks import SCENES, all_that_an_order_can_be, walked
from simulation.wide_chain import WideChain

WALKS, STEPS = 25, 40
LONG_WALKS = int(os.environ.get("TAPELINE_TEST_TWIN_WALKS", "3000"))
QUICKLY_FOUND = ("fill-knows-no-quote", "schedules-as-they-come", "snapshot-without-consumed")
COMES_TO = (
    "approved OPEN",
    "approved CANCEL",
    "partial fill",
    "last fill",
    "own size consumed",
    "TWAP",
    "VWAP",
    "ICEBERG",
    "STOP_LOSS",
    "TAKE_PROFIT",
    "QUERY amendment",
    "denial",
    "trip",
    "deaths",
    "approved AMEND",
    "queued",
    "funding",
)
"""what a walk must meet to be worth anything"""
RARE = (
    "budget",
    "history",
    "unknown",
    "drift",
    "live switch",
    "asked twice",
    "from the future",
    "rush",
)
"""and many walks besides"""


def walk(
    walks: int,
    steps: int,
    *,
    is_repeatable: bool = True,
    phases: tuple[Phase, ...] = tuple(Phase),
) -> None:
    """The same walks each time, or new ones."""
    run_state_machine_as_test(
        WideChain,
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            deadline=None,
            derandomize=is_repeatable,
            database=None,
            print_blob=True,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_snapshots_anywhere_change_no_byte() -> None:
    walk(WALKS, STEPS)


@pytest.mark.parametrize(("risk", "execution"), [(0, 1), (1, 0), (1, 3), (3, 1)])
def test_snapshots_change_no_byte_of_all_that_an_order_can_be(risk: int, execution: int) -> None:
    """What chance draws may leave something out: this walk meets everything, each time."""
    WideChain.met.clear()
    walked(all_that_an_order_can_be, (risk, execution))
    assert [name for name in COMES_TO if not WideChain.met[name]] == []


@pytest.mark.parametrize("returns", [(0, 1), (3, 1)])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_snapshots_change_no_byte_of_what_rarely_comes(
    scene: Callable[[WideChain], None], returns: tuple[int, int]
) -> None:
    walked(scene, returns)


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_bug_is_found_by_hand(name: str) -> None:
    (plant,) = [one for one in TWIN_PLANTS if one.name == name]
    with plant.planted(), pytest.raises((Broken, AssertionError)):
        walk_by_hand()


def walk_by_hand() -> None:
    for scene in reversed(SCENES):
        walked(scene, (0, 1))


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("plant", TWIN_PLANTS, ids=lambda plant: plant.name)
def test_a_planted_bug_is_found(plant: Plant | Unsorted) -> None:
    with plant.planted(), pytest.raises((Broken, AssertionError)):
        walk_until_broken()


def walk_until_broken() -> None:
    """New walks until one breaks something; the test's own limit ends them."""
    while True:
        walk(400, 60, is_repeatable=False, phases=(Phase.generate,))


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_many_snapshots_change_no_byte() -> None:
    WideChain.met.clear()
    walk(LONG_WALKS, 60, is_repeatable=False)
    assert [name for name in (*COMES_TO, *RARE) if not WideChain.met[name]] == []
