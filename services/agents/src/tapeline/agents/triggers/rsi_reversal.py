"""Mean reversion: an oversold RSI is long until it is in the middle, an overbought one short."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

from tapeline.agents.indicators import WilderRsi, Window, realized_volatility
from tapeline.agents.trigger import JsonState, Opinion, Reading, conviction, require
from tapeline.contracts.agents import Direction
from tapeline.contracts.market import Bar

MIDDLE = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RsiReversalState:
    """The index, closes for the volatility, and the opinion that stands."""

    rsi: WilderRsi
    closes: Window
    direction: Direction = Direction.FLAT


@dataclass(frozen=True, slots=True, kw_only=True)
class RsiReversal(JsonState[RsiReversalState]):
    """Its confidence grows with the distance of the index from the middle."""

    name: str
    interval_ns: int
    period: int = 14
    """bars"""
    oversold: float = 30.0
    """0 to 50; below it, long"""
    overbought: float = 70.0
    """50 to 100; above it, short"""
    horizon_bar_count: int = 5
    state_type: ClassVar[type] = RsiReversalState

    def __post_init__(self) -> None:
        require(2 <= self.period <= 1000, "period must be 2 to 1000")
        require(0 < self.oversold < MIDDLE, "oversold must be between 0 and 50")
        require(MIDDLE < self.overbought < 100, "overbought must be between 50 and 100")
        require(self.horizon_bar_count > 0, "horizon_bar_count must be above 0")

    def initial(self) -> RsiReversalState:
        """No closes."""
        return RsiReversalState(
            rsi=WilderRsi(period=self.period), closes=Window(size=self.period + 1)
        )

    def is_warm(self, state: RsiReversalState) -> bool:
        """After `period` changes of the close."""
        return state.rsi.value is not None

    def step(
        self, state: RsiReversalState, reading: Reading
    ) -> tuple[RsiReversalState, Opinion | None]:
        """An opinion on every bar once warm; FLAT while the index has no extreme behind it."""
        if not isinstance(reading, Bar):
            return state, None
        rsi, closes = state.rsi.push(reading.close), state.closes.push(reading.close)
        value = rsi.value
        if value is None:
            return RsiReversalState(rsi=rsi, closes=closes), None
        direction = self._direction(state.direction, value)
        after = RsiReversalState(rsi=rsi, closes=closes, direction=direction)
        return after, self._opinion(direction, value, realized_volatility(closes.values))

    def _direction(self, standing: Direction, value: float) -> Direction:
        if value < self.oversold:
            return Direction.LONG
        if value > self.overbought:
            return Direction.SHORT
        is_held = (standing is Direction.LONG and value < MIDDLE) or (
            standing is Direction.SHORT and value > MIDDLE
        )
        return standing if is_held else Direction.FLAT

    def _opinion(self, direction: Direction, value: float, volatility: float) -> Opinion:
        strength = abs(value - MIDDLE) / MIDDLE
        sign = {Direction.LONG: 1.0, Direction.SHORT: -1.0, Direction.FLAT: 0.0}[direction]
        # A move back by the usual size of a move over the horizon, as far as the index is away.
        expected = sign * strength * volatility * sqrt(self.horizon_bar_count)
        return Opinion(
            direction=direction,
            confidence=0.0 if direction is Direction.FLAT else conviction(strength),
            expected_return=expected,
            horizon_ns=self.horizon_bar_count * self.interval_ns,
            reason=f"RSI {self.period} is {value:.1f}.",
            features={"rsi": value, "volatility": volatility},
        )
