"""What risk keeps of an instrument's bars: the last closes and volumes of one interval.

From them come the average volume, the volatility and the correlation of returns. A window holds
at most BARS_MAX bars. With fewer than BARS_MIN (for correlation: common ones) nothing is known,
and what needs it is denied.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, sqrt
from typing import Final

from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.market import Bar

BARS_MAX: Final = 61
"""60 returns"""
BARS_MIN: Final = 21
"""20 returns"""
YEAR_NS: Final = 31_557_600_000_000_000
"""365.25 days"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The last bars of one instrument and interval, oldest first."""

    interval_ns: int
    ends_ns: tuple[int, ...] = ()
    closes: tuple[float, ...] = ()
    volumes: tuple[float, ...] = ()

    def followed_by(self, bar: Bar) -> History:
        """With one more bar; the same where the bar does not follow."""
        if self.ends_ns and bar.ts_event_ns <= self.ends_ns[-1]:
            return self
        return replace(
            self,
            ends_ns=(*self.ends_ns, bar.ts_event_ns)[-BARS_MAX:],
            closes=(*self.closes, bar.close)[-BARS_MAX:],
            volumes=(*self.volumes, bar.volume)[-BARS_MAX:],
        )

    def average_volume(self) -> float | None:
        """Mean volume of a bar; None when too few are known, or nothing was traded."""
        if len(self.volumes) < BARS_MIN:
            return None
        return fsum(self.volumes) / len(self.volumes) or None

    def volatility(self) -> float | None:
        """Standard deviation of the return over a year; None when unknown or nothing moved.

        Variance a year = sum of squared deviations of the returns / the time they took, so gaps
        between sessions count as what they are.
        """
        if len(self.closes) < BARS_MIN:
            return None
        deviations = _deviations(_returns(self.closes))
        elapsed_years = (self.ends_ns[-1] - self.ends_ns[0]) / YEAR_NS
        return sqrt(fsum(item * item for item in deviations) / elapsed_years) or None


def correlation(one: History, other: History) -> float | None:
    """Pearson's correlation of the returns between the instants at which both have a close.

    None when too few are common, or when one of them did not move.
    """
    first, second = _common(one, other)
    if len(first) < BARS_MIN:
        return None
    left, right = _deviations(_returns(first)), _deviations(_returns(second))
    norm = sqrt(fsum(item * item for item in left) * fsum(item * item for item in right))
    if not norm:
        return None
    together = fsum(a * b for a, b in zip(left, right, strict=True)) / norm
    return max(-1.0, min(1.0, together))


def _common(one: History, other: History) -> tuple[Sequence[float], Sequence[float]]:
    """Closes of both at the instants they share."""
    if one.ends_ns == other.ends_ns:
        return one.closes, other.closes
    first, second = [], []
    for end_ns, close in zip(one.ends_ns, one.closes, strict=True):
        place = bisect_left(other.ends_ns, end_ns)
        if place < len(other.ends_ns) and other.ends_ns[place] == end_ns:
            first.append(close)
            second.append(other.closes[place])
    return first, second


def _returns(closes: Sequence[float]) -> list[float]:
    return [after / before - 1.0 for before, after in pairwise(closes)]


def _deviations(values: Sequence[float]) -> list[float]:
    mean = fsum(values) / len(values)
    return [value - mean for value in values]
