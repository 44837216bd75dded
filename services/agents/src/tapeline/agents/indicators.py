"""Streaming indicators as small frozen values: what a step needs, and nothing else.

Each is its own state, so dumping and loading it is exact and a restored one goes on bit by bit as
if nothing had happened. Windowed figures are computed from the window itself with exact sums
(math.fsum), never by adding the new and taking off the old value, so no rounding builds up and a
figure depends on its window alone. (talipp keeps its whole input and can only be restored by
feeding that again or by reaching into its internals; the tests check our figures against it and
against TA-Lib.)

Input: finite prices above 0. Output: float, or None until there are enough values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum, log, sqrt


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The last `size` values, oldest first."""

    size: int
    values: tuple[float, ...] = ()

    def push(self, value: float) -> Window:
        """With one more value; the oldest leaves a full window."""
        return replace(self, values=(*self.values, value)[-self.size :])

    @property
    def is_full(self) -> bool:
        """True once `size` values have come."""
        return len(self.values) == self.size

    def last(self, count: int) -> tuple[float, ...]:
        """The newest `count` values, oldest first; needs that many."""
        assert 0 < count <= len(self.values), (count, len(self.values))
        return self.values[-count:]


@dataclass(frozen=True, slots=True, kw_only=True)
class WilderRsi:
    """Relative strength index with Wilder's smoothing (New Concepts in Technical Trading, 1978).

    The first averages are plain means of the first `period` changes.
    """

    period: int
    count: int = 0
    """changes seen, at most `period`"""
    previous: float | None = None
    gain: float = 0.0
    """average gain; before warm, the sum of gains"""
    loss: float = 0.0
    """average loss, positive; before warm, the sum of losses"""

    def push(self, value: float) -> WilderRsi:
        """With one more price."""
        if self.previous is None:
            return replace(self, previous=value)
        gain = max(value - self.previous, 0.0)
        loss = max(self.previous - value, 0.0)
        if self.count < self.period:
            return self._seeded(value, gain, loss)
        return replace(
            self,
            previous=value,
            gain=(self.gain * (self.period - 1) + gain) / self.period,
            loss=(self.loss * (self.period - 1) + loss) / self.period,
        )

    def _seeded(self, value: float, gain: float, loss: float) -> WilderRsi:
        count = self.count + 1
        divisor = self.period if count == self.period else 1
        return replace(
            self,
            count=count,
            previous=value,
            gain=(self.gain + gain) / divisor,
            loss=(self.loss + loss) / divisor,
        )

    @property
    def value(self) -> float | None:
        """0 to 100; 50 where the price has not moved at all (TA-Lib says 0 there)."""
        if self.count < self.period:
            return None
        moved = self.gain + self.loss
        return 50.0 if moved == 0.0 else 100.0 * self.gain / moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Ema:
    """Exponential average, weight 2 / (period + 1), seeded with the mean of the first values."""

    period: int
    count: int = 0
    value_or_sum: float = 0.0

    def push(self, value: float) -> Ema:
        """With one more value."""
        if self.count < self.period:
            count = self.count + 1
            divisor = self.period if count == self.period else 1
            return replace(self, count=count, value_or_sum=(self.value_or_sum + value) / divisor)
        weight = 2.0 / (self.period + 1)
        return replace(self, value_or_sum=self.value_or_sum + weight * (value - self.value_or_sum))

    @property
    def value(self) -> float | None:
        """The average."""
        return self.value_or_sum if self.count == self.period else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Donchian:
    """Highest high and lowest low of the last bars."""

    highs: Window
    lows: Window

    @classmethod
    def of(cls, period: int) -> Donchian:
        """An empty channel over `period` bars."""
        return cls(highs=Window(size=period), lows=Window(size=period))

    def push(self, high: float, low: float) -> Donchian:
        """With one more bar."""
        return Donchian(highs=self.highs.push(high), lows=self.lows.push(low))

    def channel(self, period: int) -> tuple[float, float] | None:
        """(upper, lower) over the newest `period` bars, at most the window's size."""
        if len(self.highs.values) < period:
            return None
        return max(self.highs.last(period)), min(self.lows.last(period))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value, correctly rounded sum."""
    return fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (divisor n - 1) of at least two values."""
    center = mean(values)
    return sqrt(fsum((value - center) ** 2 for value in values) / (len(values) - 1))


def log_returns(prices: Sequence[float]) -> tuple[float, ...]:
    """Logarithmic returns of consecutive prices; one fewer than prices."""
    return tuple(log(after / before) for before, after in pairwise(prices))


def realized_volatility(prices: Sequence[float]) -> float:
    """Sample standard deviation of the log returns, per bar; needs at least three prices."""
    return standard_deviation(log_returns(prices))
