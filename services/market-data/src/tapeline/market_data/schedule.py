"""When a recorded or synthetic feed played in real time sends each record: pure arithmetic."""

from __future__ import annotations

from tapeline.market_data.durations import SECOND_NS


class Schedule:
    """Send times that never go back.

    Either `rate` records a second, evenly spaced, or the feed's own spacing divided by `speed`.
    Latency is measured from these times, not from when a busy sender got round to it.
    """

    def __init__(self, start_ns: int, rate: float, speed: float) -> None:
        assert rate > 0 or speed > 0
        self._start_ns = start_ns
        self._rate = rate
        self._speed = speed
        self._count = 0
        self._first_event_ns: int | None = None
        self._last_ns = start_ns

    def due_ns(self, ts_event_ns: int) -> int:
        """When the next record is to be sent."""
        if self._rate > 0:
            due_ns = self._start_ns + int(self._count * SECOND_NS / self._rate)
        else:
            if self._first_event_ns is None:
                self._first_event_ns = ts_event_ns
            due_ns = self._start_ns + int((ts_event_ns - self._first_event_ns) / self._speed)
        self._count += 1
        self._last_ns = max(self._last_ns, due_ns)
        return self._last_ns
