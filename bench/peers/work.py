"""What every peer does: read the same columns, run, print what came of it."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FAST, SLOW, BAND = 10, 30, 1e-6
CASH, FEE, QUANTITY = 1_000_000.0, 0.001, 1.0
MINUTE_NS = 60_000_000_000


class Came(NamedTuple):
    """What came of a run; seconds of the engine alone."""

    seconds: float
    orders: int
    equity: float
    warm_up_seconds: float = 0.0
    """compiling what the run then uses; no part of seconds"""


Columns = Mapping[str, Any]


def main(ticks: Callable[[Columns], Came] | None, bars: Callable[[Columns], Came] | None) -> None:
    """Runs the work that was asked for."""
    path, work = sys.argv[1:3]
    run = {"T": ticks, "B": bars}[work]
    assert run is not None, f"no work {work}"
    began = time.perf_counter()
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    came = run(columns)
    facts = {
        **came._asdict(),
        "whole_seconds": time.perf_counter() - began,
        "peak_rss_mb": peak_rss_mb(),
    }
    print(json.dumps(facts), flush=True)


def peak_rss_mb() -> float:
    """Of this process alone; getrusage counts in what the parent had when it made this one."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


class Flip:
    """The side of the averages, one close at a time; the first found turns nothing."""

    def __init__(self) -> None:
        self.closes: list[float] = []
        self.side = 0

    def change(self, close: float) -> int:
        """Units to trade now: 0, or from the position held to the new side."""
        closes = self.closes
        closes.append(close)
        if len(closes) > SLOW:
            del closes[0]
        if len(closes) < SLOW:
            return 0
        difference = sum(closes[-FAST:]) / FAST - sum(closes) / SLOW
        side = 1 if difference > BAND else -1 if difference < -BAND else self.side
        return self._turned(side)

    def _turned(self, side: int) -> int:
        before, self.side = self.side, side
        if side == before or not before:
            return 0
        if not hasattr(self, "is_in"):
            self.is_in = True
            return side
        return 2 * side
