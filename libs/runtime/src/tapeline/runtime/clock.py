"""The one place from which shells get the time; cores get it from their inputs."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What a shell asks for the time; a test passes one that it moves by hand."""

    def wall_ns(self) -> int:
        """Nanoseconds UTC; may jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of an arbitrary origin; never goes back. For ages, limits and pauses."""
        ...


class SystemClock:
    """The machine's clock."""

    def wall_ns(self) -> int:
        """Nanoseconds UTC; may jump."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds of an arbitrary origin; never goes back."""
        return time.monotonic()


SYSTEM: Clock = SystemClock()


def wall_ns() -> int:
    """Nanoseconds UTC of the machine's clock."""
    return SYSTEM.wall_ns()


def monotonic_s() -> float:
    """Seconds of the machine's monotonic clock."""
    return SYSTEM.monotonic_s()
