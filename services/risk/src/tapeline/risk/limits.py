"""Limits that make an order smaller: position, gross exposure, leverage, cash reserve.

Each limit is linear in what opens: used + quantity x cost <= allowed, all in the account's base
currency and with every open order counted at its worst. The quantity is cut to the tightest; it is
never raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tapeline.accounting.exposure import Unit
from tapeline.accounting.numbers import (
    ONE,
    ZERO,
    bounded,
    converted,
    divide_down,
    divide_rounded,
    notional,
    round_down_to_lot,
)
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import DenialCode
from tapeline.risk import config_book
from tapeline.risk.question import Question, Refusal, Wish
from tapeline.risk.sizing import order_price, unit_for
from tapeline.risk.state import NOTHING
from tapeline.risk.worth import Worth, combined


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One limit, as a budget for this order's opening part."""

    code: DenialCode
    reason: str
    used: Decimal
    allowed: Decimal
    cost: Decimal
    """of one unit"""
    limit: Decimal
    """as the mandate says it"""
    is_floor: bool = False
    """True: what is left is measured, not what is used"""

    def room(self) -> Decimal:
        """Largest quantity inside the limit."""
        return max(divide_down(self.allowed - self.used, self.cost), ZERO)

    def refusal(self, quantity: Decimal, nav: Decimal) -> Refusal:
        """What the whole quantity would have come to."""
        used = self.used + converted(quantity, self.cost)
        share = divide_rounded(used, nav)
        return Refusal(
            code=self.code,
            reason=self.reason,
            measured=bounded(ONE - share if self.is_floor else share),
            limit=self.limit,
        )


def fitted(question: Question, wish: Wish, worth: Worth) -> tuple[Wish, Refusal | None]:
    """The wish with its opening part cut to all limits, and the one that binds, if any."""
    assert question.instrument is not None
    opening, binding = wish.opening, None
    for bound in bounds(question, wish, worth):
        room = bound.room()
        if room < opening:
            opening, binding = room, bound
    if binding is None:
        return wish, None
    # In lots for the whole order: what closes may be an odd lot.
    total = round_down_to_lot(wish.closing + opening, question.instrument.lot_size)
    cut = Wish(
        side=wish.side,
        closing=wish.closing,
        opening=max(total - wish.closing, ZERO),
        order_type=wish.order_type,
        limit_price=wish.limit_price,
        is_full_close=wish.is_full_close,
    )
    return cut, binding.refusal(wish.opening, worth.nav)


def bounds(question: Question, wish: Wish, worth: Worth) -> tuple[Bound, ...]:
    """The limits in order of precedence."""
    unit = unit_for(question)
    own = _own_side(question, wish, unit)
    return (
        _position(question, worth, own, unit),
        _gross(question, wish, worth, own, unit),
        _leverage(question, worth, unit),
        _cash(question, wish, worth, unit),
    )


def _limit(question: Question, name: str) -> Decimal:
    assert question.mandate is not None
    return config_book.limit(question.state, question.mandate, name, question.now_ns)


def _own_side(question: Question, wish: Wish, unit: Unit) -> Decimal:
    """Value on the order's side before it opens anything: the account's position, all open orders
    of that side and what this order closes; negative while the account is on the other side."""
    account, instrument_id = question.account, question.decision.instrument_id
    assert account is not None
    reserves = account.reserves.get(instrument_id)
    pending = NOTHING if reserves is None else combined(reserves)
    held = account.ledger.net_quantity(instrument_id) * wish.sign
    return unit.value(held + pending.on(wish.side) + wish.closing)


def _position(question: Question, worth: Worth, own: Decimal, unit: Unit) -> Bound:
    limit = _limit(question, "position_weight_max")
    return Bound(
        code=DenialCode.POSITION_LIMIT,
        reason="The position in the instrument, as a share of NAV.",
        used=own,
        allowed=limit * worth.nav,
        cost=unit.value(ONE),
        limit=limit,
    )


def _gross(question: Question, wish: Wish, worth: Worth, own: Decimal, unit: Unit) -> Bound:
    limit = _limit(question, "gross_exposure_max")
    instrument_id = question.decision.instrument_id
    others = sum(
        (value for name, value in worth.worst_gross.items() if name != instrument_id), ZERO
    )
    # The instrument counts with the worse of its two sides; the other side stands as it is.
    other_side = _other_side(question, wish, unit)
    allowed = limit * worth.nav
    return Bound(
        code=DenialCode.GROSS_EXPOSURE,
        reason="Gross exposure with all open orders, as a multiple of NAV.",
        used=others + (own if others + other_side <= allowed else max(own, other_side)),
        allowed=allowed,
        cost=unit.value(ONE),
        limit=limit,
    )


def _other_side(question: Question, wish: Wish, unit: Unit) -> Decimal:
    account, instrument_id = question.account, question.decision.instrument_id
    assert account is not None
    reserves = account.reserves.get(instrument_id)
    pending = NOTHING if reserves is None else combined(reserves)
    held = account.ledger.net_quantity(instrument_id) * wish.sign
    opposite = Side.SELL if wish.side is Side.BUY else Side.BUY
    return abs(unit.value(held - pending.on(opposite)))


def _leverage(question: Question, worth: Worth, unit: Unit) -> Bound:
    limit = _limit(question, "leverage_max")
    return Bound(
        code=DenialCode.LEVERAGE,
        reason="All lines and what open orders may open, nothing netted, as a multiple of NAV.",
        used=worth.gross_of_lines + worth.opening_value,
        allowed=limit * worth.nav,
        cost=unit.value(ONE),
        limit=limit,
    )


def _cash(question: Question, wish: Wish, worth: Worth, unit: Unit) -> Bound:
    """Free cash is NAV less what positions and open orders tie up; shorts are held in full."""
    account, instrument = question.account, question.instrument
    assert account is not None
    assert instrument is not None
    limit = _limit(question, "cash_reserve_min")
    price = max(unit.price, order_price(question, wish))
    cost = converted(notional(ONE, price, instrument.multiplier), unit.rate)
    venue = question.state.venues.get(account.account.venue)
    if venue is not None and venue.taker_fee_rate > 0:
        cost = converted(cost, ONE + venue.taker_fee_rate)
    return Bound(
        code=DenialCode.CASH_RESERVE,
        reason="Cash left after the order and all open ones, as a share of NAV.",
        used=worth.gross + worth.opening_cost,
        allowed=worth.nav - limit * worth.nav,
        cost=cost,
        limit=limit,
        is_floor=True,
    )
