"""How large a group's line in an instrument may become, by the rule its configuration chooses.

A rule reduces what is asked for, and never raises it: it bounds the line, it does not set it.

    AS_ASKED           what is asked for
    FIXED              a share of NAV, or a number of units
    VOLATILITY_TARGET  target / volatility a year of the instrument's returns (history.py)
    KELLY              kelly_fraction x f*, f* = (p b - q) / b: p the decision's confidence,
                       q = 1 - p, b the gain of a win for one unit lost, by the protective
                       levels or payoff_ratio (J. L. Kelly, A New Interpretation of Information
                       Rate, 1956)
    CONFIDENCE         what is asked for x confidence

`weight_max` caps every one of them.
"""

from __future__ import annotations

from decimal import Decimal

from tapeline.accounting.exposure import Unit
from tapeline.accounting.numbers import (
    ONE,
    ZERO,
    bounded,
    converted,
    decimal_from_float,
    divide_rounded,
    quantize_money,
)
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import Sizing, SizingMethod
from tapeline.contracts.risk import DenialCode
from tapeline.risk.bound import Bound
from tapeline.risk.question import Question, Refusal, Wish
from tapeline.risk.sizing import order_price
from tapeline.risk.worth import Worth


def size_bounds(question: Question, wish: Wish, worth: Worth) -> tuple[Bound, ...] | Refusal:
    """Bounds of the group's line; a refusal where the rule cannot be worked out."""
    sizing = None if question.group is None else question.group.sizing
    if sizing is None:
        return ()
    weight = _weight(question, wish, sizing)
    if isinstance(weight, Refusal):
        return weight
    caps = [cap for cap in (weight, sizing.weight_max) if cap is not None]
    unit = question.unit
    assert unit is not None, "guarded by mark_fresh and rate_known"
    found = [_of_weight(question, wish, worth, unit, min(caps))] if caps else []
    if sizing.method is SizingMethod.FIXED and sizing.fixed_quantity is not None:
        found.append(_of_quantity(sizing.fixed_quantity, _line(question, wish)))
    if sizing.method is SizingMethod.CONFIDENCE and _is_order(question):
        confidence = decimal_from_float(question.decision.confidence)
        found.append(_of_quantity(converted(wish.opening, confidence), ZERO))
    return tuple(found)


def _weight(question: Question, wish: Wish, sizing: Sizing) -> Decimal | Refusal | None:
    """The rule's share of NAV; None where it has none."""
    match sizing.method:
        case SizingMethod.AS_ASKED:
            return None
        case SizingMethod.FIXED:
            return sizing.fixed_weight
        case SizingMethod.CONFIDENCE:
            return _by_confidence(question)
        case SizingMethod.VOLATILITY_TARGET:
            return _by_volatility(question, sizing)
        case SizingMethod.KELLY:
            return _by_kelly(question, wish, sizing)
    return _unknown(f"Sizing by {sizing.method.value} is not known.")


def _unknown(reason: str) -> Refusal:
    return Refusal(code=DenialCode.SIZING, reason=reason)


def _is_order(question: Question) -> bool:
    return question.decision.kind is DecisionKind.ORDER


def _by_confidence(question: Question) -> Decimal | None:
    weight = question.decision.target_weight
    if _is_order(question) or weight is None:
        return None
    return converted(abs(weight), decimal_from_float(question.decision.confidence))


def _by_volatility(question: Question, sizing: Sizing) -> Decimal | Refusal:
    history = question.state.histories.get(question.decision.instrument_id)
    volatility = None if history is None else history.volatility()
    if volatility is None:
        return _unknown("The instrument's volatility is not known: too few bars, or none moved.")
    assert sizing.volatility_target is not None
    measured = quantize_money(decimal_from_float(volatility))
    if not measured:
        return _unknown("The instrument's volatility is too small to be a figure.")
    return divide_rounded(sizing.volatility_target, measured)


def _by_kelly(question: Question, wish: Wish, sizing: Sizing) -> Decimal | Refusal:
    payoff = _payoff(question, wish) or sizing.payoff_ratio
    if not payoff:
        return _unknown("Kelly's rule needs protective levels on both sides, or a payoff ratio.")
    win = quantize_money(decimal_from_float(question.decision.confidence))
    edge = divide_rounded(converted(payoff, win) - (ONE - win), payoff)
    assert sizing.kelly_fraction is not None
    return min(max(converted(edge, sizing.kelly_fraction), ZERO), ONE)


def _payoff(question: Question, wish: Wish) -> Decimal | None:
    """Gain at the take profit for one unit lost at the stop loss."""
    decision, entry = question.decision, order_price(question, wish)
    if decision.take_profit_price is None or decision.stop_loss_price is None:
        return None
    loss = abs(entry - decision.stop_loss_price)
    return divide_rounded(abs(decision.take_profit_price - entry), loss) if loss else None


def _line(question: Question, wish: Wish) -> Decimal:
    """Units on the order's side before it opens anything: the group's position, its open orders of
    that side and what this order closes."""
    decision, account = question.decision, question.account
    assert account is not None
    pending = account.reserve(decision.group_id, decision.instrument_id)
    return question.position * wish.sign + pending.on(wish.side) + wish.closing


def _of_weight(question: Question, wish: Wish, worth: Worth, unit: Unit, weight: Decimal) -> Bound:
    return Bound(
        code=DenialCode.SIZING,
        reason="The group's line in the instrument, as a share of NAV, by its sizing.",
        used=unit.value(_line(question, wish)),
        allowed=converted(weight, worth.nav),
        cost=unit.value(ONE),
        limit=bounded(weight),
        scale=worth.nav,
    )


def _of_quantity(quantity: Decimal, used: Decimal) -> Bound:
    return Bound(
        code=DenialCode.SIZING,
        reason="The units that the group's sizing allows.",
        used=used,
        allowed=quantity,
        cost=ONE,
        limit=quantity,
    )
