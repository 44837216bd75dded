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
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import GroupKind
from tapeline.contracts.orders import Mode
from tapeline.contracts.risk import DenialCode, TradingState
from tapeline.risk import order_terms, venue_trust
from tapeline.risk.entry_guards import mark_fresh
from tapeline.risk.question import Question, Refusal, Wish, seconds
from tapeline.risk.routes import venue_symbol
from tapeline.risk.state import MANUAL
from tapeline.risk.worth import FUTURE_TOLERANCE_NS

DecisionGuard: TypeAlias = Callable[[Question], Refusal | None]
OrderGuard: TypeAlias = Callable[[Question, Wish], Refusal | None]
AUTHOR_PREFIX: Final = "AUTHOR_"
OUR_KINDS: Final = (GroupKind.ALGORITHMIC, GroupKind.LLM)
"""Groups that run beside risk, with the rights to write decisions; what they say is not signed."""
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
    """An external group signs what it decides, and an operator what is live or demanded; for this
    run; and no signature may be wrong.

    The shell has verified the signature with the group's key and gives a verdict; here it counts
    whether there had to be one.
    """
    decision = question.decision
    fault = ""
    if question.verdict.startswith(AUTHOR_PREFIX):
        fault = question.verdict
    elif decision.mac and decision.run_id != question.context.run_id:
        fault = f"it is signed for run {decision.run_id or '(none)'}"
    elif not decision.mac and _is_signature_due(question):
        fault = "it is not signed"
    if fault:
        return Refusal(
            code=DenialCode.AUTHOR_UNVERIFIED,
            reason=f"The author of the decision is not verified: {fault}.",
        )
    return None


def _is_signature_due(question: Question) -> bool:
    group, mandate = question.group, question.mandate
    kind = None if group is None else group.kind
    if question.decision.group_id == MANUAL or kind is GroupKind.MANUAL:
        is_live = question.context.mode == Mode.LIVE
        return is_live or (mandate is not None and mandate.requires_authors)
    # A kind that this build does not know is somebody else's.
    return kind is not None and kind not in OUR_KINDS


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
    lacking = order_terms.lacking(question.decision, question.now_ns)
    return Refusal(code=DenialCode.MALFORMED, reason=lacking) if lacking else None


def numbers_positive(question: Question) -> Refusal | None:
    """Quantities and prices are above zero."""
    decision = question.decision
    order_type, is_order = decision.order_type, decision.kind is DecisionKind.ORDER
    checked = (
        ("quantity", decision.quantity if is_order else None),
        ("limit_price", decision.limit_price if order_type in order_terms.LIMITED else None),
        ("stop_price", decision.stop_price if order_type in order_terms.STOPS else None),
        ("visible_quantity", decision.visible_quantity),
        ("take_profit_price", decision.take_profit_price),
        ("stop_loss_price", decision.stop_loss_price),
    )
    for name, value in checked:
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
    halted,
    account_known,
    mandate_given,
    group_known,
    author_verified,
    instrument_known,
    key_present,
    route_known,
    order_terms.type_permitted,
    well_formed,
    numbers_positive,
    decision_fresh,
)


# ---- for what is left of the order


def inside_collar(question: Question, wish: Wish) -> Refusal | None:
    """A limit price near our own, fresh mark; that of a stop order near its stop."""
    if wish.limit_price is None:
        return None
    stale = mark_fresh(question, wish, None)
    if stale is not None:
        return stale
    mark = question.mark
    assert mark is not None
    price = price_from_float(mark.price) if wish.stop_price is None else wish.stop_price
    collar = question.required("price_collar")
    distance = abs(wish.limit_price - price)
    if distance > collar * price:
        return Refusal(
            code=DenialCode.PRICE_COLLAR,
            reason="The limit price is too far from the mark or the stop, as a fraction of it.",
            measured=bounded(divide_rounded(distance, price)),
            limit=collar,
        )
    return None


def stop_sane(question: Question, wish: Wish) -> Refusal | None:
    """A stop that the market has yet to reach, and not absurdly far away. What opens is held to the
    price collar, what only closes to the largest distance of a protective level."""
    if wish.stop_price is None:
        return None
    stale = mark_fresh(question, wish, None)
    if stale is not None:
        return stale
    mark = question.mark
    assert mark is not None
    price = price_from_float(mark.price)
    distance = (wish.stop_price - price) * wish.sign
    if distance <= 0:
        return Refusal(
            code=DenialCode.STOP_PRICE,
            reason="The market has passed the stop price already.",
            measured=wish.stop_price,
            limit=price,
        )
    farthest = question.required("price_collar" if wish.opening else "protective_distance_max")
    if distance > farthest * price:
        return Refusal(
            code=DenialCode.STOP_PRICE,
            reason="The stop price is too far from the mark, as a fraction of it.",
            measured=bounded(divide_rounded(distance, price)),
            limit=farthest,
        )
    return None


def on_tick(question: Question, wish: Wish) -> Refusal | None:
    """Prices that the venue can quote."""
    assert question.instrument is not None
    decision, tick_size = question.decision, question.instrument.tick_size
    prices = [("limit price", wish.limit_price), ("stop price", wish.stop_price)]
    if wish.opening:
        prices.append(("take profit", decision.take_profit_price))
        prices.append(("stop loss", decision.stop_loss_price))
    for name, price in prices:
        if price is not None and not is_multiple(price, tick_size):
            return Refusal(
                code=DenialCode.TICK_SIZE,
                reason=f"The {name} is not a multiple of the tick.",
                measured=price,
                limit=tick_size,
            )
    return None


ORDER_GUARDS: Final[tuple[OrderGuard, ...]] = (stop_sane, inside_collar, on_tick)
