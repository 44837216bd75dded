"""The figures of a prompt: what a cycle says about an instrument, the market, the reports.

Everything comes from the cycle's opinions, so nothing is later than the cycle. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from tapeline.agents.group import Cycle
from tapeline.agents.llm.answers import AnalystAnswer
from tapeline.agents.llm.regime import RISK_MULTIPLIERS, regime_of
from tapeline.agents.triggers.market_regime import Regime
from tapeline.contracts.agents import Signal

FIGURES: Final = {
    "momentum": "return_20",
    "rsi": "rsi",
    "volatility": "volatility",
    "sma_distance": "sma_distance",
}
"""figure of a prompt: the feature of an opinion that it is taken from"""
REASONS_PASSED_ON: Final = 3
REASON_CHARACTERS_PASSED_ON: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """The whole market at a cycle."""

    vix: float | None
    momentum: float | None
    """of risk appetite, as a fraction"""

    @property
    def regime(self) -> Regime:
        """By the rule."""
        return regime_of(self.vix, self.momentum)

    @property
    def risk_multiplier(self) -> Decimal:
        """What every weight cap is multiplied by."""
        return RISK_MULTIPLIERS[self.regime]


def time_of(cycle: Cycle) -> str:
    """The cycle's time as prompts say it, to the second; the only time in a prompt."""
    moment = datetime.fromtimestamp(cycle.cycle_ns // 1_000_000_000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def opinions_on(cycle: Cycle, instrument_id: str) -> tuple[Signal, ...]:
    """What holds on an instrument ("": on the whole market), by trigger."""
    return tuple(signal for signal in cycle.opinions if signal.instrument_id == instrument_id)


def market_view(cycle: Cycle) -> MarketView:
    """VIX and momentum of the opinion on the whole market that has them."""
    market = opinions_on(cycle, "")
    return MarketView(vix=_feature(market, "vix"), momentum=_with_vix(market))


def analyst_figures(cycle: Cycle, instrument_id: str) -> dict[str, Any]:
    """What an analyst is given on an instrument."""
    opinions = opinions_on(cycle, instrument_id)
    return {
        "role": "analyst",
        "as_of": time_of(cycle),
        "instrument_id": instrument_id,
        "price": reference_price(opinions),
        "figures": {name: _feature(opinions, feature) for name, feature in FIGURES.items()},
        "signals": [_signal(signal) for signal in opinions],
    }


def economist_figures(cycle: Cycle, view: MarketView) -> dict[str, Any]:
    """What the economist is given; the regime is told, not asked."""
    return {
        "role": "economist",
        "as_of": time_of(cycle),
        "vix": view.vix,
        "momentum": view.momentum,
        "regime_by_rule": view.regime.value,
        "risk_multiplier_by_rule": float(view.risk_multiplier),
    }


def portfolio_figures(
    cycle: Cycle,
    view: MarketView,
    limits: tuple[Decimal, Decimal],
    reports: Sequence[AnalystAnswer],
) -> dict[str, Any]:
    """What the portfolio manager is given: limits, the weights so far, the analysts' reports."""
    return {
        "role": "portfolio_manager",
        "as_of": time_of(cycle),
        "regime": view.regime.value,
        "risk_multiplier": float(view.risk_multiplier),
        "weight_min": float(limits[0]),
        "weight_max": float(limits[1]),
        "analysts": [_report(cycle, report) for report in reports],
    }


def reference_price(opinions: Sequence[Signal]) -> float:
    """The price of the latest opinion that has one, else 0."""
    priced = [signal for signal in opinions if signal.price > 0]
    return max(priced, key=lambda signal: signal.ts_event_ns).price if priced else 0.0


def _feature(opinions: Sequence[Signal], name: str) -> float | None:
    """The value of the latest opinion that has the feature; the first in order among equals."""
    having = [signal for signal in opinions if name in signal.features]
    if not having:
        return None
    return max(having, key=lambda signal: signal.ts_event_ns).features[name]


def _with_vix(market: Sequence[Signal]) -> float | None:
    return _feature([signal for signal in market if "vix" in signal.features], "momentum")


def _signal(signal: Signal) -> dict[str, Any]:
    return {
        "trigger": signal.trigger,
        "direction": signal.direction.value,
        "confidence": signal.confidence,
        "expected_return": signal.expected_return,
        "reason": signal.reason,
        "features": {name: signal.features[name] for name in sorted(signal.features)},
    }


def _report(cycle: Cycle, report: AnalystAnswer) -> dict[str, Any]:
    reasons = report.reasons[:REASONS_PASSED_ON]
    return {
        "instrument_id": report.instrument_id,
        "stance": float(report.stance),
        "confidence": float(report.confidence),
        "weight_so_far": float(cycle.targets.get(report.instrument_id, Decimal(0))),
        "reasons": [reason[:REASON_CHARACTERS_PASSED_ON] for reason in reasons],
    }
