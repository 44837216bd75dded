"""The written rules of the offline model: figures in, an answer of the same role out.

In:  the figures of a prompt, a JSON object whose `role` says who is asked.
Out: a JSON object in the form that the prompt of the role asks for.
Invariant: a function of the figures alone; the same figures give the same answer.

Analyst. Each figure that is given votes between -1 and 1; the stance is the weighted mean.
    momentum      weight 0.5   momentum / 5 %
    sma_distance  weight 0.3   distance to the moving average / 5 %
    rsi           weight 0.2   0 within 30..70; above, falling to -1 at 100; below, rising to 1 at 0
    volatility    above 3 % a bar halves the stance
The confidence is the weight of the votes that point the way of the stance, over that of all votes
that point anywhere.

Economist. The regime rule of tapeline.agents.llm.regime.

Portfolio manager. Target weight = largest weight allowed x stance, none below a confidence of 0.5
or a stance of 0.1, and never below the smallest weight allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from math import isfinite
from typing import Any, Final

from tapeline.agents.llm.regime import RISK_MULTIPLIERS, regime_of

SAYS: Final = "Offline model (written rules, no language model): "
VOTE_WEIGHTS: Final = {"momentum": 0.5, "sma_distance": 0.3, "rsi": 0.2}
FULL_VOTE: Final = 0.05
RSI_HIGH: Final = 70.0
RSI_LOW: Final = 30.0
VOLATILITY_HIGH: Final = 0.03
CONFIDENCE_MIN: Final = 0.5
STANCE_MIN: Final = 0.1
WEIGHT_STEP: Final = Decimal("0.000001")


class NoRule(ValueError):
    """The figures are not those of a known role."""


def answer(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the role that the figures name; raises NoRule."""
    role = figures.get("role")
    if role == "analyst":
        return analyst(figures)
    if role == "economist":
        return economist(figures)
    if role == "portfolio_manager":
        return portfolio_manager(figures)
    raise NoRule(f"no rule for the role {role!r}; known: analyst, economist, portfolio_manager")


def analyst(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A stance on one instrument, -1 to 1, with its reasons."""
    given = _mapping(figures, "figures")
    votes = {name: vote for name in VOTE_WEIGHTS if (vote := _vote(given, name)) is not None}
    weight = sum(VOTE_WEIGHTS[name] for name in votes)
    stance = sum(VOTE_WEIGHTS[name] * vote for name, vote in votes.items())
    stance = stance / weight if weight else 0.0
    reasons = [f"{name} {given[name]:.6g} votes {vote:+.2f}" for name, vote in votes.items()]
    volatility = _number(given, "volatility")
    if volatility is not None and volatility > VOLATILITY_HIGH:
        stance /= 2
        reasons.append(f"volatility {volatility:.6g} is above {VOLATILITY_HIGH}: halved")
    return {
        "instrument_id": str(figures.get("instrument_id", "")),
        "stance": round(stance, 4) + 0.0,
        "confidence": round(_agreement(votes, stance), 4),
        "reasons": [SAYS + (reasons[0] if reasons else "no figures given"), *reasons[1:]],
        "is_offline_model": True,
    }


def economist(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The regime by the VIX rule, and a comment."""
    vix, momentum = _number(figures, "vix"), _number(figures, "momentum")
    regime = regime_of(vix, momentum)
    return {
        "regime": regime.value,
        "risk_multiplier": float(RISK_MULTIPLIERS[regime]),
        "comment": f"{SAYS}VIX {_said(vix)} and momentum {_said(momentum)} make {regime.value}.",
        "is_offline_model": True,
    }


def portfolio_manager(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A target weight for every instrument that an analyst reported on."""
    low, high = _limit(figures, "weight_min"), _limit(figures, "weight_max")
    reports = figures.get("analysts")
    if not isinstance(reports, list):
        raise NoRule("analysts is not a list")
    weights = [_weight(report, low, high) for report in reports]
    held = sum(1 for weight in weights if weight["target_weight"] != 0)
    return {
        "weights": weights,
        "comment": f"{SAYS}{held} of {len(weights)} instruments get a weight.",
        "is_offline_model": True,
    }


def _weight(report: Any, low: Decimal, high: Decimal) -> dict[str, Any]:
    if not isinstance(report, Mapping):
        raise NoRule("a report is not an object")
    stance, confidence = _number(report, "stance"), _number(report, "confidence")
    if stance is None or confidence is None:
        raise NoRule("a report lacks stance or confidence")
    is_strong = confidence >= CONFIDENCE_MIN and abs(stance) >= STANCE_MIN
    wanted = high * Decimal(repr(stance)) if is_strong else Decimal(0)
    weight = min(max(wanted, low), high).quantize(WEIGHT_STEP, ROUND_DOWN)
    return {
        "instrument_id": str(report.get("instrument_id", "")),
        "target_weight": float(weight) + 0.0,
        "confidence": confidence,
        "reason": f"{SAYS}stance {stance:+.4f} at confidence {confidence:.2f}"
        + ("" if is_strong else ", too weak to hold"),
    }


def _vote(given: Mapping[str, Any], name: str) -> float | None:
    value = _number(given, name)
    if value is None:
        return None
    if name != "rsi":
        return max(-1.0, min(1.0, value / FULL_VOTE))
    if value > RSI_HIGH:
        return max(-1.0, (RSI_HIGH - value) / RSI_LOW)
    return min(1.0, max(0.0, (RSI_LOW - value) / RSI_LOW))


def _agreement(votes: Mapping[str, float], stance: float) -> float:
    pointing = sum(VOTE_WEIGHTS[name] for name, vote in votes.items() if vote != 0)
    agreeing = sum(VOTE_WEIGHTS[name] for name, vote in votes.items() if vote * stance > 0)
    return agreeing / pointing if pointing else 0.0


def _mapping(figures: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = figures.get(name)
    if not isinstance(value, Mapping):
        raise NoRule(f"{name} is not an object")
    return value


def _number(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)


def _limit(figures: Mapping[str, Any], name: str) -> Decimal:
    value = _number(figures, name)
    if value is None or not -1 <= value <= 1:
        raise NoRule(f"{name} is not a number from -1 to 1")
    return Decimal(repr(value))


def _said(value: float | None) -> str:
    return "not known" if value is None else f"{value:.6g}"
