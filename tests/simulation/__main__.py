"""python -m tests.simulation --seeds 20 --steps 1000   runs seeds and prints what they came to
python -m tests.simulation --first-seed 7 --seeds 1    repeats one
python -m tests.simulation --live                      the same with a venue outside of execution
python -m tests.simulation --plants                    plants bugs and says which were found
"""

from __future__ import annotations

import argparse
import sys

from .self_test import find_all
from .simulation import Simulation

FOUND_MIN_SHARE = 0.95


def main() -> int:
    """Exit code 1 where something broke, or too little of what was planted was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--live", action="store_true", help="with a venue outside")
    parser.add_argument("--plants", action="store_true")
    options = parser.parse_args()
    if options.plants:
        found = find_all()
        return int(sum(one.is_found for one in found) < FOUND_MIN_SHARE * len(found))
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        print(f"seed {seed} ...", end="\r", flush=True)
        print(Simulation(seed, is_live=options.live).run(options.steps), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
