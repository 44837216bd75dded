"""Hypothesis walks the two cores; the long form counts its steps (make chaos)."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from simulation.machine import Chain
from simulation.plants import PLANTS

LONG_STEPS = int(os.environ.get("TAPELINE_TEST_MACHINE_STEPS", "1000000"))
WALK_STEPS = 100
SEEN_BY_WALKS = ("halt-ignored-by-execution", "closed-twice", "part-fills-forgotten")


def walk(walks: int, steps: int) -> int:
    """Walks, and returns the number of steps."""
    before = Chain.steps
    run_state_machine_as_test(
        Chain,
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Chain.steps - before


def test_short_walks_break_nothing() -> None:
    assert walk(25, 40) > 500


@pytest.mark.parametrize("name", SEEN_BY_WALKS)
@pytest.mark.slow
@pytest.mark.chaos
def test_walks_see_a_planted_bug(name: str) -> None:
    (plant,) = [one for one in PLANTS if one.name == name]
    with plant.planted(), pytest.raises(AssertionError):
        walk(400, 60)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_a_million_steps_break_nothing() -> None:
    taken = 0
    while taken < LONG_STEPS:
        taken += walk(200, WALK_STEPS)
        print(f"\r{taken} steps", end="", flush=True)
    print()
    assert taken >= LONG_STEPS
