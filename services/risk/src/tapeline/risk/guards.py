"""The guard ladder: the first guard that says no answers the decision.

Each guard is a pure function of the question and returns a Refusal or None. DECISION guards come
first and hold for every order. Then the decision is sized (sizing.py) and split into a part that
closes and a part that opens or enlarges. ENTRY guards hold for the second part alone: whatever is
broken, a position can be closed, unless trading is halted. ORDER guards hold for what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeAlias

from tapeline.accounting.numbers import (
    ZERO,
    bounded,
    divide_rounded,
    is_multiple,
    price_from_float,
)
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import GroupKind
from tapeline.contracts.orders import Mode, OrderType, TimeInForce
from tapeline.contracts.risk import DenialCode, TradingState
from tapeline.risk import venue_trust
from tapeline.risk.entry_guards import mark_fresh
from tapeline.risk.pace_guards import order_rate
from tapeline.risk.question import Question, Refusal, Wish, seconds
from tapeline.risk.routes import venue_symbol
from tapeline.risk.state import MANUAL
from tapeline.risk.worth import FUTURE_TOLERANCE_NS

DecisionGuard: TypeAlias = Callable[[Question], Refusal | None]
OrderGuard: TypeAlias = Callable[[Question, Wish], Refusal | None]
AUTHOR_PREFIX: Final = "AUTHOR_"
"""Verdicts about a decision's signature begin with it; others are about our own keys."""


# ---- for every decision that asks for an order


def halted(question: Question) -> Refusal | None:
    """Nothing but cancels while trading is halted."""
    if question.trading_state() is TradingState.HALTED:
        return Refusal(
            code=DenialCode.TRADING_HALTED, reason="Trading is halted for a scope of this order."
        )
    return None


def account_known(question: Question) -> Refusal | None:
    """The account must be configured, and live on this shard."""
    account_id, context = question.decision.account_id, question.context
    route = question.state.routes.get(account_id)
    if route is None:
        return Refusal(
            code=DenialCode.ACCOUNT_UNKNOWN, reason=f"Account {account_id} is not configured."
        )
    if route.shard != context.shard:
        return Refusal(
            code=DenialCode.WRONG_SHARD,
            reason=f"Account {account_id} lives on shard {route.shard}, not {context.shard}.",
            measured=Decimal(context.shard),
            limit=Decimal(route.shard),
        )
    if context.mode == Mode.LIVE and route.mode is not Mode.LIVE:
        return Refusal(
            code=DenialCode.ACCOUNT_UNKNOWN,
            reason=f"Account {account_id} is for {route.mode.value}; this run is live.",
        )
    if venue_trust.is_live_withheld(question.state, context.mode, account_id):
        return Refusal(
            code=DenialCode.LIVE_NOT_PERMITTED,
            reason=f"Account {account_id} is not switched on for live trading.",
        )
    return None


def mandate_given(question: Question) -> Refusal | None:
    """Without a mandate nothing is approved."""
    if question.mandate is None:
        return Refusal(
            code=DenialCode.MANDATE_MISSING,
            reason=f"Account {question.decision.account_id} has no mandate.",
        )
    return None


def group_known(question: Question) -> Refusal | None:
    """The group must be configured for this account; operators' orders need no record."""
    decision, group = question.decision, question.group
    if decision.group_id == MANUAL:
        return None
    if group is None or group.account_id != decision.account_id:
        return Refusal(
            code=DenialCode.GROUP_UNKNOWN,
            reason=f"Group {decision.group_id} is not configured for {decision.account_id}.",
        )
    return None


def author_verified(question: Question) -> Refusal | None:
    """An external group signs what it decides, for this run; and no signature may be wrong.

    The shell has verified the signature with the group's key and gives a verdict; here it counts
    whether there had to be one.
    """
    decision, group = question.decision, question.group
    fault = ""
    if question.verdict.startswith(AUTHOR_PREFIX):
        fault = question.verdict
    elif decision.mac and decision.run_id != question.context.run_id:
        fault = f"it is signed for run {decision.run_id or '(none)'}"
    elif group is not None and group.kind is GroupKind.EXTERNAL and not decision.mac:
        fault = "it is not signed"
    if fault:
        return Refusal(
            code=DenialCode.AUTHOR_UNVERIFIED,
            reason=f"The author of the decision is not verified: {fault}.",
        )
    return None


def instrument_known(question: Question) -> Refusal | None:
    """The instrument must be configured."""
    if question.instrument is None:
        return Refusal(
            code=DenialCode.INSTRUMENT_UNKNOWN,
            reason=f"Instrument {question.decision.instrument_id} is not configured.",
        )
    return None


def key_present(question: Question) -> Refusal | None:
    """What cannot be signed is not approved."""
    if question.verdict and not question.verdict.startswith(AUTHOR_PREFIX):
        return Refusal(
            code=DenialCode.KEY_MISSING,
            reason=f"Approvals cannot be signed: {question.verdict}.",
        )
    return None


def route_known(question: Question) -> Refusal | None:
    """The instrument must be traded at the account's venue, by configuration."""
    account, instrument = question.account, question.instrument
    assert account is not None
    assert instrument is not None
    if venue_symbol(question.state, account.account, instrument):
        return None
    return Refusal(
        code=DenialCode.ROUTE_UNKNOWN,
        reason=f"Nothing says that {instrument.instrument_id} is traded at "
        f"{account.account.venue}.",
    )


def well_formed(question: Question) -> Refusal | None:
    """What the kind of decision needs must be there."""
    lacking = _lacking(question.decision, question.now_ns)
    return Refusal(code=DenialCode.MALFORMED, reason=lacking) if lacking else None


def _lacking(decision: Decision, now_ns: int) -> str:
    if decision.kind is DecisionKind.TARGET_WEIGHT and decision.target_weight is None:
        return "A target weight is missing."
    if decision.kind is DecisionKind.ORDER and None in (decision.side, decision.quantity):
        return "An order needs side and quantity."
    if decision.order_type is OrderType.LIMIT and decision.limit_price is None:
        return "A limit order needs a limit price."
    if not 0.0 <= decision.confidence <= 1.0:
        return f"Confidence {decision.confidence} is not between 0 and 1."
    if decision.time_in_force is TimeInForce.GTD and (decision.expire_time_ns or 0) <= now_ns:
        return "An order good till a date needs one that is to come."
    if decision.is_post_only and (
        decision.order_type is OrderType.MARKET
        or decision.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
    ):
        return "A post-only order cannot be a market order, IOC or FOK."
    return ""


def type_permitted(question: Question) -> Refusal | None:
    """Market and limit orders; amendments and stops are not carried out."""
    decision = question.decision
    if decision.kind is DecisionKind.AMEND:
        return Refusal(
            code=DenialCode.ORDER_TYPE_NOT_PERMITTED,
            reason="Amending is not supported; cancel and order anew.",
        )
    if decision.order_type not in (OrderType.MARKET, OrderType.LIMIT):
        return Refusal(
            code=DenialCode.ORDER_TYPE_NOT_PERMITTED,
            reason=f"{decision.order_type.value} orders are not supported.",
        )
    return None


def numbers_positive(question: Question) -> Refusal | None:
    """Quantities and prices are above zero."""
    decision = question.decision
    is_limit = decision.order_type is OrderType.LIMIT
    is_order = decision.kind is DecisionKind.ORDER
    checked = {
        "quantity": decision.quantity if is_order else None,
        "limit_price": decision.limit_price if is_limit else None,
        "take_profit_price": decision.take_profit_price,
        "stop_loss_price": decision.stop_loss_price,
    }
    for name, value in checked.items():
        if value is not None and value <= 0:
            return Refusal(
                code=DenialCode.NOT_POSITIVE,
                reason=f"{name} {value:f} is not positive.",
                measured=value,
                limit=ZERO,
            )
    return None


def decision_fresh(question: Question) -> Refusal | None:
    """Neither too old nor from the future, by the session clock."""
    decision, age_max_ns = question.decision, question.required("decision_age_max_ns")
    ahead_ns = max(decision.ts_event_ns, decision.cycle_ns) - question.now_ns
    if ahead_ns > FUTURE_TOLERANCE_NS:
        return Refusal(
            code=DenialCode.DECISION_FROM_FUTURE,
            reason="The decision is ahead of the session clock, in seconds.",
            measured=seconds(ahead_ns),
            limit=seconds(FUTURE_TOLERANCE_NS),
        )
    age_ns = question.now_ns - decision.ts_event_ns
    if age_ns > age_max_ns:
        return Refusal(
            code=DenialCode.DECISION_STALE,
            reason="The decision is too old, in seconds.",
            measured=seconds(age_ns),
            limit=seconds(age_max_ns),
        )
    return None


DECISION_GUARDS: Final[tuple[DecisionGuard, ...]] = (
    order_rate,
    halted,
    account_known,
    mandate_given,
    group_known,
    author_verified,
    instrument_known,
    key_present,
    route_known,
    type_permitted,
    well_formed,
    numbers_positive,
    decision_fresh,
)


# ---- for what is left of the order


def inside_collar(question: Question, wish: Wish) -> Refusal | None:
    """A limit price near our own mark, which must be fresh for that."""
    if wish.limit_price is None:
        return None
    stale = mark_fresh(question, wish, None)
    if stale is not None:
        return stale
    mark = question.mark
    assert mark is not None
    price = price_from_float(mark.price)
    collar = question.required("price_collar")
    distance = abs(wish.limit_price - price)
    if distance > collar * price:
        return Refusal(
            code=DenialCode.PRICE_COLLAR,
            reason="The limit price is too far from the mark, as a fraction of it.",
            measured=bounded(divide_rounded(distance, price)),
            limit=collar,
        )
    return None


def on_tick(question: Question, wish: Wish) -> Refusal | None:
    """A limit price that the venue can quote."""
    assert question.instrument is not None
    tick_size = question.instrument.tick_size
    if wish.limit_price is not None and not is_multiple(wish.limit_price, tick_size):
        return Refusal(
            code=DenialCode.TICK_SIZE,
            reason="The limit price is not a multiple of the tick.",
            measured=wish.limit_price,
            limit=tick_size,
        )
    return None


ORDER_GUARDS: Final[tuple[OrderGuard, ...]] = (inside_collar, on_tick)
