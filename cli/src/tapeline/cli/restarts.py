"""When a process that has ended is started again, and when that is given up.

Pure but for the clock it is handed. A process that ends again soon waits longer each time, so that
nothing spins while what it needs is away; one that keeps falling over by itself is given up, one
that says that something else is away never is.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from tapeline.runtime import exits

FIRST_S: Final = 0.5
LONGEST_S: Final = 10.0
WINDOW_S: Final = 120.0
FAILURES_MAX: Final = 8
"""of its own, within WINDOW_S"""


class Patience:
    """Counts the ends of several processes, by name."""

    def __init__(self) -> None:
        self._ends: dict[str, deque[float]] = {}
        self._failures: dict[str, deque[float]] = {}

    def delay_s(self, name: str, returncode: int, now_s: float) -> float | None:
        """Seconds until the next start; None: it is not started again."""
        ends = _recent(self._ends.setdefault(name, deque()), now_s)
        failures = _recent(self._failures.setdefault(name, deque()), now_s)
        ends.append(now_s)
        if returncode != exits.UNAVAILABLE:
            failures.append(now_s)
        if returncode == exits.USAGE or len(failures) > FAILURES_MAX:
            return None
        return float(min(LONGEST_S, FIRST_S * 2.0 ** (len(ends) - 1)))


def _recent(times: deque[float], now_s: float) -> deque[float]:
    while times and now_s - times[0] > WINDOW_S:
        times.popleft()
    return times
