"""Ends a process that no longer gets on, from a thread that needs no event loop for it.

The clients' lock-ups of the past all looked alike from outside: a partition with work and no
progress. Ending the process is safe at any moment, so that is what is done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Final, Self

from tapeline.runtime import exits
from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.health import Health
from tapeline.runtime.telemetry import get_logger

STALL_S: Final = 10.0
CHECK_S: Final = 0.5
log = get_logger(__name__)


class Progress:
    """How far each partition of one stage is; written by its loop, read by the watchdog."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock = Lock()
        self._positions: dict[str, tuple[int, float]] = {}
        self._ends: dict[str, int] = {}
        self._excused_until_s = float("-inf")

    def at(self, place: str, position: int) -> None:
        """A partition stands at a position."""
        with self._lock:
            if self._positions.get(place, (-1, 0.0))[0] != position:
                self._positions[place] = (position, self._clock.monotonic_s())

    def ends_at(self, place: str, end: int) -> None:
        """A partition ends there; work that has just come up has waited for no time."""
        with self._lock:
            position, _ = self._positions.get(place, (-1, 0.0))
            if position >= self._ends.get(place, -1) and end > position >= 0:
                self._positions[place] = (position, self._clock.monotonic_s())
            self._ends[place] = end

    def touch(self) -> None:
        """Something got on that moves no position, such as restoring a state."""
        now = self._clock.monotonic_s()
        with self._lock:
            self._positions = {place: (at, now) for place, (at, _) in self._positions.items()}

    def excuse(self, seconds: float) -> None:
        """A single step may take that long from now on."""
        self._excused_until_s = self._clock.monotonic_s() + seconds

    def clear(self) -> None:
        """Nothing is assigned."""
        with self._lock:
            self._positions.clear()
            self._ends.clear()

    def lags(self) -> dict[str, int]:
        """Records behind, by partition."""
        with self._lock:
            return {
                place: max(0, self._ends.get(place, position) - position)
                for place, (position, _) in self._positions.items()
            }

    def stalled(self, stall_s: float = STALL_S) -> str:
        """The partition that has work and made no progress for too long, or empty."""
        now = self._clock.monotonic_s()
        if now < self._excused_until_s:
            return ""
        with self._lock:
            for place, (position, since) in self._positions.items():
                since = max(since, self._excused_until_s)
                if self._ends.get(place, -1) > position and now - since > stall_s:
                    return f"{place} stands at {position} for {now - since:.0f} s"
        return ""


class Watchdog:
    """Checks while the block lasts; `end` takes the exit code and does not return."""

    def __init__(
        self,
        health: Health,
        end: Callable[[int], object] = os._exit,
        check_s: float = CHECK_S,
    ) -> None:
        self._health = health
        self._end = end
        self._check_s = check_s
        self._watched: dict[str, Callable[[], str]] = {}
        self._over = Event()
        self._thread = Thread(target=self._run, name="watchdog", daemon=True)

    def watch(self, name: str, complaint: Callable[[], str]) -> None:
        """Adds a check: it returns what is wrong, or nothing. It runs in the watchdog's thread."""
        self._watched[name] = complaint

    def complaint(self) -> str:
        """What is wrong now, or empty."""
        if not self._health.is_alive():
            return f"the loop is stuck for {self._health.beat_age_s():.0f} s"
        for name, complaint in tuple(self._watched.items()):
            problem = complaint()
            if problem:
                return f"{name}: {problem}"
        return ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._check_s):
            problem = self.complaint()
            if problem:
                log.critical("no_progress", problem=problem, remedy="the process starts over")
                sys.stderr.flush()
                self._end(exits.WATCHDOG)
                return
