"""How fast a loop went, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, process_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Of one loop over a topic."""

    per_second: float
    cpu_us: float
    """processor time of our process for a record, all threads: much the same on a busy machine"""


class Meter:
    """Rate from the first batch to the last, the first batch itself left out."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = 0
        self._first = 0
        self._started = 0.0
        self._cpu_s = 0.0
        self.rate = Rate(per_second=0.0, cpu_us=0.0)

    def add(self, number: int) -> bool:
        """True when everything has been seen."""
        if not self._started:
            self._first, self._started, self._cpu_s = number, perf_counter(), process_time()
        self._seen += number
        if self._seen < self._count:
            return False
        counted = self._seen - self._first
        self.rate = Rate(
            per_second=counted / (perf_counter() - self._started),
            cpu_us=(process_time() - self._cpu_s) / counted * 1e6,
        )
        return True
