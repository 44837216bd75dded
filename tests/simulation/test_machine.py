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


def walk(walks: int, steps: int, *, is_repeatable: bool = True) -> int:
    """Walks, the same ones each time or new ones, and returns the number of steps."""
    before = Chain.steps
    run_state_machine_as_test(
        Chain,
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            deadline=None,
            derandomize=is_repeatable,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Chain.steps - before


def test_short_walks_break_nothing() -> None:
    assert walk(25, 40)


@pytest.mark.parametrize("name", SEEN_BY_WALKS)
@pytest.mark.slow
@pytest.mark.chaos
def test_walks_see_a_planted_bug(name: str) -> None:
    (plant,) = [one for one in PLANTS if one.name == name]
    with plant.planted(), pytest.raises(AssertionError):
        walk_until_broken()


def walk_until_broken() -> None:
    """New walks until one breaks something; the test's own limit ends them."""
    while True:
        walk(400, 60, is_repeatable=False)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_a_million_steps_break_nothing() -> None:
    taken = 0
    while taken < LONG_STEPS:
        taken += walk(200, WALK_STEPS, is_repeatable=False)
        print(f"\r{taken} steps", end="", flush=True)
    print()
    assert taken >= LONG_STEPS
