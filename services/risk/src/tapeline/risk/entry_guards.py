"""Guards of the part of an order that opens or enlarges a position (see guards.py)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeAlias

from tapeline.accounting.numbers import (
    ZERO,
    bounded,
    converted,
    decimal_from_float,
    divide_rounded,
    notional,
    price_from_float,
)
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import TradingGroup
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import DenialCode, TradingState
from tapeline.risk.market_guards import MARKET_GUARDS
from tapeline.risk.pace_guards import PACE_GUARDS
from tapeline.risk.question import Question, Refusal, Wish, seconds
from tapeline.risk.worth import FUTURE_TOLERANCE_NS, Worth, rate_mark

EntryGuard: TypeAlias = Callable[[Question, Wish, Worth | None], Refusal | None]


def not_reducing(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """REDUCING lets nothing open or enlarge."""
    if question.trading_state() is TradingState.REDUCING:
        return Refusal(
            code=DenialCode.TRADING_REDUCING,
            reason="Only reducing orders pass for a scope of this order.",
        )
    return None


def instrument_permitted(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """The instrument, the mandate and the group must permit it."""
    instrument, mandate = question.instrument, question.mandate
    assert instrument is not None
    assert mandate is not None
    by = _withheld_by(question.group, instrument.instrument_id)
    if not instrument.is_permitted:
        by = "its own record"
    elif instrument.instrument_id not in mandate.instruments:
        by = "the mandate"
    if by:
        return Refusal(
            code=DenialCode.INSTRUMENT_NOT_PERMITTED,
            reason=f"{instrument.instrument_id} is not permitted by {by}.",
        )
    return None


def _withheld_by(group: TradingGroup | None, instrument_id: str) -> str:
    if group is None or instrument_id in group.instruments:
        return ""
    return f"group {group.group_id}"


def venue_permitted(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """The mandate may name venues; else the account's own is meant."""
    account, mandate = question.account, question.mandate
    assert account is not None
    assert mandate is not None
    venue = account.account.venue
    if mandate.venues is None or venue in mandate.venues:
        return None
    return Refusal(
        code=DenialCode.VENUE_NOT_PERMITTED,
        reason=f"The venue {venue} is not permitted by the mandate.",
    )


def side_permitted(question: Question, wish: Wish, _worth: Worth | None) -> Refusal | None:
    """The mandate may name sides: BUY opens long positions, SELL short ones."""
    mandate = question.mandate
    assert mandate is not None
    if mandate.sides is None or wish.side in mandate.sides:
        return None
    return Refusal(
        code=DenialCode.SIDE_NOT_PERMITTED,
        reason=f"The mandate permits no entry by {wish.side.value}.",
    )


def group_enabled(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """A silenced group opens nothing."""
    group = question.group
    if group is not None and not group.is_enabled:
        return Refusal(
            code=DenialCode.GROUP_UNKNOWN, reason=f"Group {group.group_id} is not enabled."
        )
    return None


def short_permitted(question: Question, wish: Wish, _worth: Worth | None) -> Refusal | None:
    """A sale that opens is a short position of its group."""
    mandate = question.mandate
    assert mandate is not None
    if wish.side is Side.SELL and not mandate.allows_short:
        return Refusal(
            code=DenialCode.POSITION_LIMIT,
            reason="The mandate allows no short positions.",
            measured=bounded(-wish.opening),
            limit=ZERO,
        )
    return None


def size_sane(question: Question, wish: Wish, _worth: Worth | None) -> Refusal | None:
    """An explicit order above the largest size is a mistake, and is not cut but refused."""
    if question.decision.kind is not DecisionKind.ORDER:
        return None
    quantity_max, value_max = (
        question.limit("order_quantity_max"),
        question.limit("order_notional_max"),
    )
    if quantity_max is not None and wish.quantity > quantity_max:
        return Refusal(
            code=DenialCode.QUANTITY_MAX,
            reason="The order is larger than any may be, in units.",
            measured=bounded(wish.quantity),
            limit=quantity_max,
        )
    if value_max is None:
        return None
    value = order_worth(question, wish)
    if value > value_max:
        return Refusal(
            code=DenialCode.NOTIONAL_MAX,
            reason="The order is worth more than any may be, base currency.",
            measured=bounded(value),
            limit=value_max,
        )
    return None


def order_worth(question: Question, wish: Wish) -> Decimal:
    """Value of an order at the dearest of our mark, its limit and its stop, base currency."""
    unit = question.unit
    assert unit is not None, "guarded by rate_known"
    price = max(unit.price, wish.limit_price or ZERO, wish.stop_price or ZERO)
    return converted(notional(wish.quantity, price, unit.multiplier), unit.rate)


def mark_fresh(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """Our own price must be there and recent."""
    mark, age_max_ns = question.mark, question.required("mark_age_max_ns")
    if mark is None:
        return Refusal(
            code=DenialCode.MARK_MISSING,
            reason=f"There is no mark for {question.decision.instrument_id}.",
        )
    age_ns = question.now_ns - mark.ts_event_ns
    if not -FUTURE_TOLERANCE_NS <= age_ns <= age_max_ns:
        return Refusal(
            code=DenialCode.MARK_STALE,
            reason="The mark is too old or from the future, in seconds.",
            measured=seconds(age_ns),
            limit=seconds(age_max_ns),
        )
    return None


def rate_known(question: Question, _wish: Wish, worth: Worth | None) -> Refusal | None:
    """Another currency needs a mark of its rate, as fresh as the instrument's own."""
    account, instrument = question.account, question.instrument
    assert account is not None
    assert instrument is not None
    age_max_ns = question.required("mark_age_max_ns")
    base = account.account.base_currency
    if worth is None or question.unit is None:
        return Refusal(
            code=DenialCode.FX_MISSING,
            reason=f"A mark is missing without which the account has no value in {base}.",
        )
    if instrument.currency == base:
        return None
    mark = rate_mark(question.state, instrument.currency, base)
    age_ns = None if mark is None else question.now_ns - mark.ts_event_ns
    if age_ns is None or age_ns > age_max_ns:
        return Refusal(
            code=DenialCode.FX_MISSING,
            reason=f"There is no fresh mark for {instrument.currency}/{base}, age in seconds.",
            measured=None if age_ns is None else seconds(age_ns),
            limit=seconds(age_max_ns),
        )
    return None


def equity_positive(_question: Question, _wish: Wish, worth: Worth | None) -> Refusal | None:
    """Shares of nothing mean nothing."""
    assert worth is not None
    if worth.nav <= 0:
        return Refusal(
            code=DenialCode.EQUITY_NOT_POSITIVE,
            reason="The account has no equity left.",
            measured=bounded(worth.nav),
            limit=ZERO,
        )
    return None


def levels_sane(question: Question, wish: Wish, _worth: Worth | None) -> Refusal | None:
    """Take profit beyond the price, stop loss before it, neither too far away."""
    decision, mark = question.decision, question.mark
    if decision.take_profit_price is None and decision.stop_loss_price is None:
        return None
    assert mark is not None
    price = price_from_float(mark.price)
    entry = wish.limit_price or wish.stop_price or price
    farthest = question.required("protective_distance_max")
    levels = (("take profit", decision.take_profit_price, wish.sign),)
    for name, level, side in (*levels, ("stop loss", decision.stop_loss_price, -wish.sign)):
        if level is None:
            continue
        if (level - entry) * side <= 0:
            return Refusal(
                code=DenialCode.PROTECTIVE_LEVEL,
                reason=f"The {name} is on the wrong side of the price.",
                measured=level,
                limit=entry,
            )
        if abs(level - price) > farthest * price:
            return Refusal(
                code=DenialCode.PROTECTIVE_LEVEL,
                reason=f"The {name} is too far from the mark, as a fraction of it.",
                measured=bounded(divide_rounded(abs(level - price), price)),
                limit=farthest,
            )
    return None


def confident(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """The group must be sure enough to enter."""
    confidence = decimal_from_float(question.decision.confidence)
    limit = question.required("confidence_min")
    if confidence < limit:
        return Refusal(
            code=DenialCode.CONFIDENCE_LOW,
            reason="The group is not confident enough.",
            measured=bounded(confidence),
            limit=bounded(limit),
        )
    return None


def day_not_lost(question: Question, _wish: Wish, worth: Worth | None) -> Refusal | None:
    """The loss since the start of the UTC day."""
    account = question.account
    assert account is not None
    assert worth is not None
    start = account.curve.day_start_at(question.now_ns)
    loss = account.curve.daily_loss(worth.nav, question.now_ns)
    limit, amount = question.required("daily_loss_max"), question.limit("loss_amount_max")
    if loss > max(limit * start, ZERO):
        return Refusal(
            code=DenialCode.DAILY_LOSS,
            reason="The day's loss, as a share of NAV at its start.",
            measured=_share(loss, start),
            limit=limit,
        )
    if amount is not None and loss > amount:
        return Refusal(
            code=DenialCode.DAILY_LOSS,
            reason="The day's loss, base currency.",
            measured=bounded(loss),
            limit=amount,
        )
    return None


def not_drawn_down(question: Question, _wish: Wish, worth: Worth | None) -> Refusal | None:
    """The loss from the peak."""
    account = question.account
    assert account is not None
    assert worth is not None
    loss = account.curve.drawdown(worth.nav)
    limit = question.required("drawdown_max")
    if loss > max(limit * account.curve.peak, ZERO):
        return Refusal(
            code=DenialCode.DRAWDOWN,
            reason="The loss from the peak, as a share of it.",
            measured=_share(loss, account.curve.peak),
            limit=limit,
        )
    return None


def _share(loss: Decimal, of: Decimal) -> Decimal:
    """`of` is above a loss, as equity is left (equity_positive)."""
    return bounded(divide_rounded(loss, of))


ENTRY_GUARDS: Final[tuple[EntryGuard, ...]] = (
    not_reducing,
    instrument_permitted,
    venue_permitted,
    side_permitted,
    group_enabled,
    short_permitted,
    *PACE_GUARDS,
    mark_fresh,
    rate_known,
    equity_positive,
    size_sane,
    levels_sane,
    confident,
    *MARKET_GUARDS,
    day_not_lost,
    not_drawn_down,
)
