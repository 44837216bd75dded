"""From a decision to a side and a quantity, split into what closes and what opens."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import (
    ZERO,
    bounded,
    divide_down,
    fixed,
    is_multiple,
    notional,
    round_down_to_lot,
)
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import OrderAction, OrderType, Side
from tapeline.contracts.risk import DenialCode
from tapeline.risk import books, entry_guards
from tapeline.risk.order_terms import LIMITED, STOPS
from tapeline.risk.question import Question, Refusal, Wish
from tapeline.risk.worth import Worth, price_of

# Any wish will do where only the question and the worth are looked at.
_NO_WISH: Final = Wish(
    side=Side.BUY, closing=ZERO, opening=ZERO, order_type=OrderType.MARKET, limit_price=None
)


def wish_of(question: Question, worth: Worth | None) -> Wish | Refusal:
    """What the decision asks for, before any limit."""
    decision, instrument, account = question.decision, question.instrument, question.account
    assert instrument is not None
    assert account is not None
    wanted = _wanted(question, worth)
    if isinstance(wanted, Refusal):
        return wanted
    side = Side.BUY if wanted > 0 else Side.SELL
    quantity = abs(wanted)
    closable = books.closable(account, decision.group_id, decision.instrument_id, side)
    closing = min(quantity, closable)
    opening = ZERO if decision.is_reduce_only else quantity - closing
    if decision.is_reduce_only and not closing:
        return Refusal(
            code=DenialCode.REDUCE_ONLY,
            reason=f"There is nothing left that this order could reduce.{_unheard(question, side)}",
            measured=question.position,
            limit=ZERO,
        )
    return Wish(
        side=side,
        closing=closing,
        opening=opening,
        order_type=decision.order_type,
        limit_price=decision.limit_price if decision.order_type in LIMITED else None,
        stop_price=decision.stop_price if decision.order_type in STOPS else None,
        is_full_close=closing == closable and closing > 0,
    )


def _unheard(question: Question, side: Side) -> str:
    """What risk may not have heard yet of orders that would have given something to reduce."""
    assert question.account is not None
    decision, other = question.decision, Side.SELL if side is Side.BUY else Side.BUY
    pending = question.account.reserve(decision.group_id, decision.instrument_id).on(other)
    if not pending:
        return ""
    told = f" Of {pending.normalize():f} under way on the other side no fill has been heard"
    if not question.context.is_paced:
        return f"{told}."
    return (
        f"{told}: a paced run tells of fills a slice later. Shorter slices, or slices that settle, "
        "tell in time."
    )


def _wanted(question: Question, worth: Worth | None) -> Decimal | Refusal:
    """Signed quantity."""
    decision = question.decision
    if decision.kind is DecisionKind.ORDER:
        assert decision.quantity is not None
        return decision.quantity if decision.side is Side.BUY else -decision.quantity
    assert decision.target_weight is not None
    target = _target_quantity(question, worth, decision.target_weight)
    if isinstance(target, Refusal):
        return target
    assert question.account is not None
    assert question.instrument is not None
    pending = question.account.reserve(decision.group_id, decision.instrument_id).net
    delta = target - question.position - pending
    lot_size = question.instrument.lot_size
    if abs(delta) < lot_size:
        return Refusal(
            code=DenialCode.NO_CHANGE,
            reason="The target differs from what is held and on order by less than a lot.",
            measured=abs(delta),
            limit=lot_size,
        )
    return delta


def _target_quantity(question: Question, worth: Worth | None, weight: Decimal) -> Decimal | Refusal:
    """The signed position that has a weight; to hold nothing needs no price."""
    if not weight:
        return ZERO
    for guard in (
        entry_guards.mark_fresh,
        entry_guards.rate_known,
        entry_guards.equity_positive,
    ):
        refusal = guard(question, _NO_WISH, worth)
        if refusal is not None:
            return refusal
    assert worth is not None
    assert question.instrument is not None
    assert question.unit is not None, "guarded by mark_fresh and rate_known"
    return round_down_to_lot(
        divide_down(fixed(weight) * worth.nav, question.unit.value(Decimal(1))),
        question.instrument.lot_size,
    )


def own_price(question: Question) -> Decimal:
    """Our mark, else the last fill: what is held was filled, what is opened has a mark."""
    price = price_of(question.state, question.decision.instrument_id)
    assert price is not None, "guarded by mark_fresh"
    return price


def order_price(question: Question, wish: Wish) -> Decimal:
    """The limit, else the stop, else our own price."""
    if wish.limit_price is not None:
        return wish.limit_price
    return own_price(question) if wish.stop_price is None else wish.stop_price


def order_value(question: Question, wish: Wish) -> Decimal:
    """Notional in the instrument's currency, to show."""
    assert question.instrument is not None
    multiplier = question.instrument.multiplier
    return bounded(notional(wish.quantity, order_price(question, wish), multiplier))


def increments(question: Question, wish: Wish) -> Refusal | None:
    """What remains must be an order that the venue takes: lot, minimum quantity and value.

    The minima do not hold for what closes all that is left: it must be possible to get out.
    """
    instrument = question.instrument
    assert instrument is not None
    least = instrument.lot_size
    if not wish.is_full_close:
        least = max(least, instrument.quantity_min)
    if wish.quantity < least:
        return Refusal(
            code=DenialCode.BELOW_LOT,
            reason="The quantity is below what can be ordered.",
            measured=wish.quantity,
            limit=least,
        )
    value = order_value(question, wish)
    if value < instrument.notional_min and not wish.is_full_close:
        return Refusal(
            code=DenialCode.BELOW_NOTIONAL_MIN,
            reason="The order's value is below the instrument's minimum.",
            measured=value,
            limit=instrument.notional_min,
        )
    return None


def opening_too_small(question: Question, wish: Wish) -> Refusal | None:
    """What opens anything is worth while, or left out."""
    if not wish.opening:
        return None
    least = question.limit("order_quantity_min")
    if least is not None and wish.quantity < least:
        return Refusal(
            code=DenialCode.BELOW_LOT,
            reason="The order is smaller than one that opens anything may be, in units.",
            measured=bounded(wish.quantity),
            limit=least,
        )
    least = question.limit("order_notional_min")
    if least is not None and (value := entry_guards.order_worth(question, wish)) < least:
        return Refusal(
            code=DenialCode.BELOW_NOTIONAL_MIN,
            reason="The order is worth less than one that opens anything may be, base currency.",
            measured=bounded(value),
            limit=least,
        )
    return None


def to_lot(question: Question, wish: Wish) -> Wish:
    """The wish rounded down to whole lots; what opens gives way first."""
    assert question.instrument is not None
    if is_multiple(wish.quantity, question.instrument.lot_size):
        return wish
    quantity = round_down_to_lot(wish.quantity, question.instrument.lot_size)
    closing = min(wish.closing, quantity)
    return replace(wish, closing=closing, opening=quantity - closing)


def action_of(question: Question, wish: Wish) -> OrderAction:
    """What the order does to the group's position."""
    if not wish.opening:
        return OrderAction.CLOSE if wish.is_full_close else OrderAction.UPDATE
    if wish.closing:
        return OrderAction.FLIP
    return OrderAction.UPDATE if question.position else OrderAction.OPEN
