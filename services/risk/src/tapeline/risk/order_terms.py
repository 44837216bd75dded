"""What a decision says about its order: complete, consistent, and of a permitted type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.orders import Algorithm, OrderType, TimeInForce
from tapeline.contracts.risk import DenialCode
from tapeline.risk.question import Question, Refusal
from tapeline.risk.schedules import CHILDREN_MAX

STOPS: Final = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
LIMITED: Final = (OrderType.LIMIT, OrderType.STOP_LIMIT)
ALWAYS: Final = ("MARKET", "LIMIT")
"""Types that need no permission of their own."""
BRACKET: Final = "BRACKET"
_AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)
_LASTING: Final = (TimeInForce.GTC, TimeInForce.DAY)


def type_permitted(question: Question) -> Refusal | None:
    """Besides market and limit orders what the mandate lists; an amendment changes no type."""
    mandate = question.mandate
    assert mandate is not None
    for name in _names(question.decision):
        if name not in (*ALWAYS, *mandate.order_types):
            return Refusal(
                code=DenialCode.ORDER_TYPE_NOT_PERMITTED,
                reason=f"The mandate does not permit {name}.",
            )
    return None


def _names(decision: Decision) -> Iterator[str]:
    yield decision.order_type.value
    if decision.algorithm is not Algorithm.NONE:
        yield decision.algorithm.value
    if decision.take_profit_price is not None or decision.stop_loss_price is not None:
        yield BRACKET


def lacking(decision: Decision, now_ns: int) -> str:
    """What a decision that asks for an order lacks, or empty."""
    return _lacks_of_kind(decision, now_ns) or _lacks_of_type(decision) or _lacks_of_plan(decision)


def _lacks_of_kind(decision: Decision, now_ns: int) -> str:
    if decision.kind is DecisionKind.TARGET_WEIGHT and decision.target_weight is None:
        return "A target weight is missing."
    if decision.kind is DecisionKind.ORDER and None in (decision.side, decision.quantity):
        return "An order needs side and quantity."
    if not 0.0 <= decision.confidence <= 1.0:
        return f"Confidence {decision.confidence} is not between 0 and 1."
    if decision.time_in_force is TimeInForce.GTD and (decision.expire_time_ns or 0) <= now_ns:
        return "An order good till a date needs one that is to come."
    return ""


def _lacks_of_type(decision: Decision) -> str:
    is_stop, is_at_once = decision.order_type in STOPS, decision.time_in_force in _AT_ONCE
    if decision.order_type in LIMITED and decision.limit_price is None:
        return "A limit order needs a limit price."
    if is_stop and decision.stop_price is None:
        return "A stop order needs a stop price."
    if is_stop and (is_at_once or decision.is_post_only):
        return "A stop waits and then takes: it cannot be IOC, FOK or post only."
    if decision.is_post_only and (decision.order_type is OrderType.MARKET or is_at_once):
        return "A post-only order cannot be a market order, IOC or FOK."
    return ""


def _lacks_of_plan(decision: Decision) -> str:
    """What the algorithm needs, or has too much."""
    algorithm, slices = decision.algorithm, decision.slice_count or 0
    if algorithm is Algorithm.NONE:
        return ""
    if decision.take_profit_price is not None or decision.stop_loss_price is not None:
        return "An order is worked in slices or has protective levels, not both."
    if decision.order_type in STOPS or decision.time_in_force not in _LASTING:
        return f"{algorithm.value} works market and limit orders, GTC or DAY."
    if decision.duration_ns is not None and decision.duration_ns <= 0:
        return "The duration is not positive."
    if algorithm is Algorithm.ICEBERG:
        is_complete = decision.visible_quantity is not None
        is_limit = decision.order_type is OrderType.LIMIT
        return "" if is_complete and is_limit else "ICEBERG needs a limit and a visible quantity."
    if decision.duration_ns is None:
        return f"{algorithm.value} needs a duration."
    if algorithm is Algorithm.TWAP:
        return "" if 2 <= slices <= CHILDREN_MAX else f"TWAP needs 2 to {CHILDREN_MAX} slices."
    profile = decision.volume_profile
    if not 2 <= len(profile) <= CHILDREN_MAX or min(profile) < 0 or not sum(profile):
        return f"VWAP needs a volume profile of 2 to {CHILDREN_MAX} slices, none below 0."
    return ""
