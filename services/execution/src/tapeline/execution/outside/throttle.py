"""When a venue may be asked: its rate limit, its own word to wait, and a circuit breaker.

The rate is a sliding window: in no second more requests leave than allowed. What the venue says
(429 with Retry-After, 418) holds before everything else. After failures in a row the circuit opens;
when its time is over one request tries, and its outcome decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from tapeline.runtime.clock import monotonic_s

FAILURES_MAX: Final = 5
"""Failures in a row that open the circuit."""
OPEN_S: Final = 1.0
OPEN_S_MAX: Final = 30.0
"""The circuit stays open twice as long each time, up to that."""
WINDOW_S: Final = 1.0
PROBE_S: Final = 0.05
"""How soon to ask again while the one trying request is on its way."""


class Throttle:
    """One venue's; for one thread. `clock` gives monotonic seconds."""

    def __init__(self, requests_per_s: int, clock: Callable[[], float] = monotonic_s) -> None:
        self._clock = clock
        self._sent_s: deque[float] = deque(maxlen=max(requests_per_s, 1))
        self._held_until_s = float("-inf")
        self._failures = 0
        self._open_s = OPEN_S
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """Whether failures keep requests back."""
        return self._failures >= FAILURES_MAX

    def pause_s(self) -> float:
        """Seconds until a request may leave; 0 now."""
        now_s = self._clock()
        if now_s < self._held_until_s:
            return self._held_until_s - now_s
        if self.is_open and self._is_trying:
            return PROBE_S
        is_full = len(self._sent_s) == self._sent_s.maxlen
        return max(self._sent_s[0] + WINDOW_S - now_s, 0.0) if is_full else 0.0

    def took(self) -> bool:
        """A request leaves now; `pause_s` was 0. True: it is the one that tries the venue."""
        assert not self.pause_s(), "a request leaves too early"
        self._sent_s.append(self._clock())
        self._is_trying = self.is_open
        return self._is_trying

    def succeeded(self) -> None:
        """The venue answered."""
        self._failures = 0
        self._open_s = OPEN_S
        self._is_trying = False

    def failed(self, is_try: bool = False) -> None:
        """No answer, or none of any use; `is_try` as `took` said. What was on its way when the
        circuit opened says nothing new: only a failed try makes the next pause longer."""
        was_open = self.is_open
        self._failures += 1
        if is_try:
            self._is_trying = False
        if self.is_open and (is_try or not was_open):
            self._hold(self._open_s)
            self._open_s = min(self._open_s * 2, OPEN_S_MAX)

    def told_to_wait(self, seconds: float) -> None:
        """The venue wants no request for so long."""
        self._is_trying = False
        self._hold(seconds)

    def _hold(self, seconds: float) -> None:
        self._held_until_s = max(self._held_until_s, self._clock() + seconds)
