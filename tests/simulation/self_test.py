"""Does the simulation find what is planted? Run each plant until something breaks."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from .plants import PLANTS, Plant
from .simulation import Simulation

SEEDS, STEPS = 8, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How a plant was found, or that it was not."""

    plant: Plant
    seed: int = -1
    said: str = ""
    seconds: float = 0.0

    @property
    def is_found(self) -> bool:
        return self.seed >= 0

    def __str__(self) -> str:
        outcome = f"seed {self.seed}: {self.said}" if self.is_found else "NOT FOUND"
        return f"{self.plant.name:32} {self.plant.what}\n{'':32} {self.seconds:.1f} s, {outcome}"


def find(plant: Plant, seeds: int = SEEDS, steps: int = STEPS) -> Finding:
    """Runs seeds with the bug in until one fails; whatever it raises counts, for a sound core
    raises nothing."""
    started_s = perf_counter()
    for seed in range(seeds):
        try:
            with plant.planted():
                Simulation(seed).run(steps)
        except Exception as error:  # noqa: BLE001 - any failure of a run is a finding
            said = f"{type(error).__name__} {error}".splitlines()[0][:150]
            return Finding(plant=plant, seed=seed, said=said, seconds=perf_counter() - started_s)
    return Finding(plant=plant, seconds=perf_counter() - started_s)


def find_all() -> list[Finding]:
    """Every plant; prints as it goes."""
    found = []
    for plant in PLANTS:
        found.append(find(plant))
        print(found[-1], flush=True)
    count = sum(one.is_found for one in found)
    print(f"{count} of {len(found)} planted bugs found")
    return found
