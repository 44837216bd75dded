"""Hypothesis walks two chains that come back from snapshots at different steps."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from simulation.faults import Broken
from simulation.plants import Plant
from simulation.twin_machine import TwinChain
from simulation.twin_plants import TWIN_PLANTS, Unsorted

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
)
"""what walks must meet to be worth anything; the long ones also what is rare"""
RARE = ("approved AMEND", "queued", "funding")


def walk(walks: int, steps: int, *, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    run_state_machine_as_test(
        TwinChain,
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_snapshots_anywhere_change_no_byte() -> None:
    TwinChain.met.clear()
    walk(WALKS, STEPS)
    assert [name for name in COMES_TO if not TwinChain.met[name]] == []


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(
            one,
            id=one.name,
            marks=[] if one.name in QUICKLY_FOUND else [pytest.mark.slow, pytest.mark.chaos],
        )
        for one in TWIN_PLANTS
    ],
)
def test_a_planted_bug_is_found(plant: Plant | Unsorted) -> None:
    with plant.planted(), pytest.raises((Broken, AssertionError)):
        walk(400, 60, phases=(Phase.generate,))


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_many_snapshots_change_no_byte() -> None:
    TwinChain.met.clear()
    walk(LONG_WALKS, 60)
    assert [name for name in (*COMES_TO, *RARE) if not TwinChain.met[name]] == []
