"""Figures for analysts: no opinion of its own, but what a model needs to form one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tapeline.agents.indicators import WilderRsi, Window, mean, realized_volatility
from tapeline.agents.trigger import JsonState, Opinion, Reading, require
from tapeline.contracts.agents import Direction
from tapeline.contracts.market import Bar

RETURN_BAR_COUNTS = (1, 5, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSummaryState:
    """The closes of the longest window, and the index."""

    closes: Window
    rsi: WilderRsi


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSummary(JsonState[MarketSummaryState]):
    """Neutral signals whose features are returns, volatility, RSI and distances."""

    name: str
    interval_ns: int
    sma: int = 20
    """bars of the average that the close is compared with"""
    rsi: int = 14
    """bars"""
    volatility: int = 20
    """returns behind the realized volatility"""
    horizon_bar_count: int = 1
    state_type: ClassVar[type] = MarketSummaryState

    def __post_init__(self) -> None:
        require(1 <= self.sma <= 1000, "sma must be 1 to 1000")
        require(2 <= self.rsi <= 1000, "rsi must be 2 to 1000")
        require(2 <= self.volatility <= 1000, "volatility must be 2 to 1000")
        require(self.horizon_bar_count > 0, "horizon_bar_count must be above 0")

    def initial(self) -> MarketSummaryState:
        """No closes."""
        size = max(self.sma, self.volatility + 1, self.rsi + 1, max(RETURN_BAR_COUNTS) + 1)
        return MarketSummaryState(closes=Window(size=size), rsi=WilderRsi(period=self.rsi))

    def is_warm(self, state: MarketSummaryState) -> bool:
        """When every figure has its window."""
        return state.closes.is_full

    def step(
        self, state: MarketSummaryState, reading: Reading
    ) -> tuple[MarketSummaryState, Opinion | None]:
        """FLAT with the figures, on every bar once warm."""
        if not isinstance(reading, Bar):
            return state, None
        after = MarketSummaryState(
            closes=state.closes.push(reading.close), rsi=state.rsi.push(reading.close)
        )
        if not after.closes.is_full:
            return after, None
        features = self._features(after)
        return after, Opinion(
            direction=Direction.FLAT,
            confidence=0.0,
            horizon_ns=self.horizon_bar_count * self.interval_ns,
            reason=f"{features['return_1']:+.2%} in 1 bar, {features['return_20']:+.2%} in 20, "
            f"RSI {features['rsi']:.1f}.",
            features=features,
        )

    def _features(self, state: MarketSummaryState) -> dict[str, float]:
        closes, rsi = state.closes.values, state.rsi.value
        assert rsi is not None, "the window of closes is longer than the index's"
        average = mean(state.closes.last(self.sma))
        window = state.closes.last(self.volatility + 1)
        return {
            **{f"return_{n}": closes[-1] / closes[-1 - n] - 1.0 for n in RETURN_BAR_COUNTS},
            "close": closes[-1],
            "volatility": realized_volatility(window),
            "rsi": rsi,
            "sma": average,
            "sma_distance": closes[-1] / average - 1.0,
            "drawdown": closes[-1] / max(closes) - 1.0,
        }
