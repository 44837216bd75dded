"""The money path under a simulated world; the long form prints its seeds (make chaos)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from repository import ROOT

from simulation.plants import PLANTS, Plant
from simulation.self_test import find, find_all
from simulation.simulation import Simulation

SHORT_STEPS = 150
LONG_SEEDS, LONG_STEPS = 40, 2000
QUICKLY_FOUND = (
    "halt-ignored-by-risk",
    "limits-do-not-cut",
    "late-fills-not-awaited",
    "signature-ignored",
    "output-lost-in-recovery",
)
PLANTS_MIN, FOUND_MISSING_MAX = 20, 1


@pytest.mark.parametrize("is_live", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_everything_holds_whatever_the_world_does(seed: int, is_live: bool) -> None:
    """Live, the venue is outside of the process."""
    result = Simulation(seed, is_live=is_live).run(SHORT_STEPS)
    totals = result.totals
    assert totals.decisions > SHORT_STEPS
    assert min(totals.approvals, totals.denials, totals.sends, totals.fills) > 0
    assert result.deaths


def test_one_seed_gives_one_digest_in_every_process() -> None:
    """Under another hash seed as well."""
    script = (
        "import sys; sys.path[:0] = ['tests']\n"
        "from simulation.simulation import Simulation\n"
        "print(Simulation(7).run(60).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert digests == {f"{Simulation(7).run(60).digest}\n"}
    assert Simulation(8).run(60).digest not in next(iter(digests))


@pytest.mark.parametrize(
    "plant", [one for one in PLANTS if one.name in QUICKLY_FOUND], ids=lambda plant: plant.name
)
def test_a_planted_bug_is_found(plant: Plant) -> None:
    found = find(plant)
    assert found.is_found, str(found)


def test_a_plant_leaves_nothing_behind() -> None:
    before = Simulation(3).run(40).digest
    with PLANTS[0].planted():
        pass
    assert Simulation(3).run(40).digest == before


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everything_holds_over_many_seeds() -> None:
    first = int(os.environ.get("TAPELINE_TEST_SEED", "1000"))
    for seed in range(first, first + LONG_SEEDS):
        print(f"\nseed {seed} ...", end=" ", flush=True)
        print(Simulation(seed, is_live=bool(seed % 2)).run(LONG_STEPS), flush=True)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nearly_every_planted_bug_is_found() -> None:
    found = find_all()
    missing = [str(one) for one in found if not one.is_found]
    assert len(found) >= PLANTS_MIN
    assert len(missing) <= FOUND_MISSING_MAX, "\n".join(missing)
