"""Regime of the whole market from a volatility index (VIX): one signal for the universe.

Momentum is that of risk appetite: positive while the index falls.

    index      momentum > 0   momentum <= 0
    < 20       RISK_ON        TRANSITION
    20 to 30   NEUTRAL        NEUTRAL
    > 30       TRANSITION     RISK_OFF (momentum < 0)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from tapeline.agents.indicators import Window
from tapeline.agents.trigger import JsonState, Opinion, Reading, conviction, require
from tapeline.contracts.agents import Direction
from tapeline.contracts.market import MacroReading


class Regime(StrEnum):
    """How the market takes risk."""

    RISK_ON = "RISK_ON"
    RISK_OFF = "RISK_OFF"
    NEUTRAL = "NEUTRAL"
    TRANSITION = "TRANSITION"


REGIME_NUMBERS = {Regime.RISK_ON: 1.0, Regime.RISK_OFF: -1.0, Regime.NEUTRAL: 0.0}
"""feature `regime`; TRANSITION is 2"""
DIRECTIONS = {Regime.RISK_ON: Direction.LONG, Regime.RISK_OFF: Direction.SHORT}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRegimeState:
    """The readings of the momentum's window."""

    readings: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRegime(JsonState[MarketRegimeState]):
    """Its confidence grows with the distance of the index from the level that it has crossed."""

    name: str
    interval_ns: int = 0
    series: str = "VIX"
    calm_below: float = 20.0
    """index points"""
    stress_above: float = 30.0
    """index points"""
    momentum: int = 5
    """readings over which momentum is measured"""
    horizon_ns: int = 5 * 86_400_000_000_000
    """nanoseconds"""
    state_type: ClassVar[type] = MarketRegimeState

    def __post_init__(self) -> None:
        require(0 < self.calm_below <= self.stress_above, "needs 0 < calm_below <= stress_above")
        require(1 <= self.momentum <= 1000, "momentum must be 1 to 1000")
        require(self.horizon_ns > 0, "horizon_ns must be above 0")

    def initial(self) -> MarketRegimeState:
        """No readings."""
        return MarketRegimeState(readings=Window(size=self.momentum + 1))

    def is_warm(self, state: MarketRegimeState) -> bool:
        """With one reading more than the momentum spans."""
        return state.readings.is_full

    def step(
        self, state: MarketRegimeState, reading: Reading
    ) -> tuple[MarketRegimeState, Opinion | None]:
        """The regime on every reading of the series once warm."""
        if not isinstance(reading, MacroReading) or reading.series != self.series:
            return state, None
        after = MarketRegimeState(readings=state.readings.push(reading.value))
        if not after.readings.is_full:
            return after, None
        momentum = 1.0 - reading.value / after.readings.values[0]
        return after, self._opinion(reading.value, momentum)

    def regime(self, value: float, momentum: float) -> Regime:
        """By the table above."""
        if value < self.calm_below:
            return Regime.RISK_ON if momentum > 0.0 else Regime.TRANSITION
        if value > self.stress_above:
            return Regime.RISK_OFF if momentum < 0.0 else Regime.TRANSITION
        return Regime.NEUTRAL

    def _opinion(self, value: float, momentum: float) -> Opinion:
        regime = self.regime(value, momentum)
        level = self.calm_below if regime is Regime.RISK_ON else self.stress_above
        direction = DIRECTIONS.get(regime, Direction.FLAT)
        is_flat = direction is Direction.FLAT
        return Opinion(
            direction=direction,
            confidence=0.0 if is_flat else conviction(abs(value / level - 1.0)),
            horizon_ns=self.horizon_ns,
            reason=f"{regime}: {self.series} {value:.2f}, risk momentum {momentum:+.2%} "
            f"over {self.momentum} readings.",
            features={
                "vix": value,
                "momentum": momentum,
                "regime": REGIME_NUMBERS.get(regime, 2.0),
            },
        )
