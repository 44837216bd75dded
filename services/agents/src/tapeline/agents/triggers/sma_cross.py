"""Trend: the fast simple moving average above the slow one is long, below it short.

Averages that are as good as equal say nothing new: inside the dead band the side stays as it was,
so that the last bit of a sum never turns a position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tapeline.agents.indicators import Window, mean
from tapeline.agents.trigger import JsonState, Opinion, Reading, conviction, require
from tapeline.contracts.agents import Direction
from tapeline.contracts.market import Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class SmaCrossState:
    """The closes of the slow window, and how long the averages have stood as they stand."""

    closes: Window
    direction: Direction = Direction.FLAT
    bar_count_since_cross: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmaCross(JsonState[SmaCrossState]):
    """Its confidence grows with the distance of the two averages."""

    name: str
    interval_ns: int
    fast: int = 10
    """bars"""
    slow: int = 30
    """bars"""
    full_spread: float = 0.02
    """distance of the averages, fraction, at which confidence is 1"""
    horizon_bar_count: int = 5
    dead_band: float = 1e-6
    """price; averages no further apart than that leave the side as it was"""
    state_type: ClassVar[type] = SmaCrossState

    def __post_init__(self) -> None:
        require(0 < self.fast < self.slow <= 1000, "needs 0 < fast < slow <= 1000")
        require(self.full_spread > 0, "full_spread must be above 0")
        require(self.horizon_bar_count > 0, "horizon_bar_count must be above 0")
        require(self.dead_band >= 0, "dead_band must not be negative")

    def initial(self) -> SmaCrossState:
        """No closes."""
        return SmaCrossState(closes=Window(size=self.slow))

    def is_warm(self, state: SmaCrossState) -> bool:
        """With `slow` closes."""
        return state.closes.is_full

    def step(self, state: SmaCrossState, reading: Reading) -> tuple[SmaCrossState, Opinion | None]:
        """An opinion on every bar once warm; FLAT until the averages were first apart."""
        if not isinstance(reading, Bar):
            return state, None
        closes = state.closes.push(reading.close)
        if not closes.is_full:
            return SmaCrossState(closes=closes), None
        fast, slow = mean(closes.last(self.fast)), mean(closes.values)
        spread = fast / slow - 1.0
        direction = self.side(fast - slow, state.direction)
        is_cross = direction is not state.direction
        bar_count = 0 if is_cross else state.bar_count_since_cross + 1
        after = SmaCrossState(closes=closes, direction=direction, bar_count_since_cross=bar_count)
        return after, Opinion(
            direction=direction,
            confidence=0.0 if spread == 0.0 else conviction(abs(spread) / self.full_spread),
            expected_return=spread,
            horizon_ns=self.horizon_bar_count * self.interval_ns,
            reason=f"SMA {self.fast} is {spread:+.2%} from SMA {self.slow}, "
            f"{'crossed now' if is_cross else f'crossed {bar_count} bars ago'}.",
            features={
                "sma_fast": fast,
                "sma_slow": slow,
                "spread": spread,
                "bar_count_since_cross": float(bar_count),
            },
        )

    def side(self, difference: float, before: Direction) -> Direction:
        """The side after the averages are `difference` apart."""
        if difference > self.dead_band:
            return Direction.LONG
        return Direction.SHORT if difference < -self.dead_band else before
