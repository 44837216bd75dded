"""Limits that make an order smaller: exposure, cash, capital, volume, size.

Each limit is linear in what opens (bound.py), in the account's base currency or in units, and with
every open order counted at its worst, those of unknown fate included: they are reserved until they
end. The quantity is cut to the tightest; it is never raised.

Most orders are inside of every limit, and each limit says so first; the room that is left is worked
out only where the whole order does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tapeline.accounting.exposure import Unit
from tapeline.accounting.numbers import (
    ONE,
    ZERO,
    converted,
    decimal_from_float,
    notional,
    quantize_money,
    round_down_to_lot,
)
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import DenialCode
from tapeline.risk.bound import Bound, holds
from tapeline.risk.market_guards import average_volume
from tapeline.risk.question import Question, Refusal, Wish
from tapeline.risk.size_rules import size_bounds
from tapeline.risk.sizing import order_price
from tapeline.risk.state import NOTHING, Reserve
from tapeline.risk.worth import Worth, combined


def fitted(question: Question, wish: Wish, worth: Worth) -> tuple[Wish, Refusal | None]:
    """The wish with its opening part cut to all limits, and the one that binds, if any."""
    assert question.instrument is not None
    by_size = size_bounds(question, wish, worth)
    if isinstance(by_size, Refusal):
        return wish.without_opening(), by_size
    opening, binding = wish.opening, None
    for bound in (*bounds(question, wish, worth), *by_size):
        room = bound.room()
        if room < opening:
            opening, binding = room, bound
    if binding is None:
        return wish, None
    # In lots for the whole order: what closes may be an odd lot.
    total = round_down_to_lot(wish.closing + opening, question.instrument.lot_size)
    cut = replace(wish, opening=max(total - wish.closing, ZERO))
    return cut, binding.refusal(wish.opening)


def bounds(question: Question, wish: Wish, worth: Worth) -> list[Bound]:
    """The limits that do not hold for the whole wish, in order of precedence; of two that leave the
    same the first is named."""
    asked = _asked(question, wish, worth)
    found = (
        _position(asked),
        _sector(asked),
        _gross(asked),
        _net(asked),
        _leverage(asked),
        _cash(asked),
        _buying_power(asked),
        _capital(asked),
        _volume(asked),
        _quantity(asked),
        _value(asked),
    )
    return [bound for bound in found if bound is not None]


@dataclass(slots=True, kw_only=True)
class _Asked:
    """An order and what its limits are measured by, base currency."""

    question: Question
    wish: Wish
    worth: Worth
    unit: Unit
    cost: Decimal
    """of one unit at our own price"""
    held: Decimal
    """the account's position, positive on the order's side"""
    pending: Reserve
    """all open orders of the account in the instrument"""
    own: Decimal
    """value on the order's side before it opens anything: the account's position, all open orders
    of that side and what this order closes; negative while the account is on the other side"""
    paid: Decimal
    """for one unit at the worse of our own price and its limit, with the taker's fee"""
    fee_rate: Decimal

    def limit(self, name: str) -> Decimal | None:
        """A limit, or None where none is set."""
        return self.question.limits.values.get(name)


def _asked(question: Question, wish: Wish, worth: Worth) -> _Asked:
    account, instrument, unit = question.account, question.instrument, question.unit
    assert account is not None
    assert instrument is not None
    assert unit is not None, "guarded by mark_fresh and rate_known"
    reserves = account.reserves.get(instrument.instrument_id)
    pending = NOTHING if reserves is None else combined(reserves)
    held = account.ledger.net_quantity(instrument.instrument_id) * wish.sign
    price, cost = max(unit.price, order_price(question, wish)), unit.value(ONE)
    paid = cost
    if price != unit.price:
        paid = converted(notional(ONE, price, instrument.multiplier), unit.rate)
    venue = question.state.venues.get(account.account.venue)
    fee_rate = ZERO if venue is None else max(venue.taker_fee_rate, ZERO)
    return _Asked(
        question=question,
        wish=wish,
        worth=worth,
        unit=unit,
        cost=cost,
        held=held,
        pending=pending,
        own=unit.value(held + pending.on(wish.side) + wish.closing),
        paid=converted(paid, ONE + fee_rate) if fee_rate else paid,
        fee_rate=fee_rate,
    )


def _position(asked: _Asked) -> Bound | None:
    limit = asked.question.required("position_weight_max")
    allowed = limit * asked.worth.nav
    if holds(asked.wish.opening, asked.cost, allowed - asked.own):
        return None
    return Bound(
        code=DenialCode.POSITION_LIMIT,
        reason="The position in the instrument, as a share of NAV.",
        used=asked.own,
        allowed=allowed,
        cost=asked.cost,
        limit=limit,
        scale=asked.worth.nav,
    )


def _sector(asked: _Asked) -> Bound | None:
    limit, instrument = asked.limit("sector_weight_max"), asked.question.instrument
    if limit is None:
        return None
    assert instrument is not None
    instruments, sector = asked.question.state.instruments, instrument.sector
    own_id, others = instrument.instrument_id, ZERO
    for name, value in asked.worth.worst_gross.items():
        if name != own_id and instruments[name].sector == sector:
            others += value
    allowed = limit * asked.worth.nav
    used = _with_worse_side(asked, others, allowed)
    if holds(asked.wish.opening, asked.cost, allowed - used):
        return None
    return Bound(
        code=DenialCode.SECTOR_LIMIT,
        reason=f"Exposure in the sector {sector} with all open orders, as a share of NAV.",
        used=used,
        allowed=allowed,
        cost=asked.cost,
        limit=limit,
        scale=asked.worth.nav,
    )


def _gross(asked: _Asked) -> Bound | None:
    limit, worth = asked.question.required("gross_exposure_max"), asked.worth
    own = worth.worst_gross.get(asked.question.decision.instrument_id, ZERO)
    allowed = limit * worth.nav
    used = _with_worse_side(asked, worth.worst_gross_sum - own, allowed)
    if holds(asked.wish.opening, asked.cost, allowed - used):
        return None
    return Bound(
        code=DenialCode.GROSS_EXPOSURE,
        reason="Gross exposure with all open orders, as a multiple of NAV.",
        used=used,
        allowed=allowed,
        cost=asked.cost,
        limit=limit,
        scale=worth.nav,
    )


def _with_worse_side(asked: _Asked, others: Decimal, allowed: Decimal) -> Decimal:
    """What is used of a gross limit: the instrument counts with the worse of its two sides; the
    other side stands as it is, and matters only where it alone is above the limit."""
    opposite = Side.SELL if asked.wish.side is Side.BUY else Side.BUY
    other_side = abs(asked.unit.value(asked.held - asked.pending.on(opposite)))
    return others + (asked.own if others + other_side <= allowed else max(asked.own, other_side))


def _net(asked: _Asked) -> Bound | None:
    limit, worth = asked.limit("net_exposure_max"), asked.worth
    if limit is None:
        return None
    used = worth.worst_long if asked.wish.side is Side.BUY else worth.worst_short
    if asked.wish.closing:
        used += asked.unit.value(asked.wish.closing)
    allowed = limit * worth.nav
    if holds(asked.wish.opening, asked.cost, allowed - used):
        return None
    return Bound(
        code=DenialCode.NET_EXPOSURE,
        reason="Net exposure if all open orders of this side are filled, as a multiple of NAV.",
        used=used,
        allowed=allowed,
        cost=asked.cost,
        limit=limit,
        scale=worth.nav,
    )


def _leverage(asked: _Asked) -> Bound | None:
    limit, worth = asked.question.required("leverage_max"), asked.worth
    used, allowed = worth.gross_of_lines + worth.opening_value, limit * worth.nav
    if holds(asked.wish.opening, asked.cost, allowed - used):
        return None
    return Bound(
        code=DenialCode.LEVERAGE,
        reason="All lines and what open orders may open, nothing netted, as a multiple of NAV.",
        used=used,
        allowed=allowed,
        cost=asked.cost,
        limit=limit,
        scale=worth.nav,
    )


def _cash(asked: _Asked) -> Bound | None:
    """Free cash is NAV less what positions and open orders tie up; shorts are held in full."""
    limit, worth = asked.question.required("cash_reserve_min"), asked.worth
    used, allowed = worth.gross + worth.opening_cost, worth.nav - limit * worth.nav
    if holds(asked.wish.opening, asked.paid, allowed - used):
        return None
    return Bound(
        code=DenialCode.CASH_RESERVE,
        reason="Cash left after the order and all open ones, as a share of NAV.",
        used=used,
        allowed=allowed,
        cost=asked.paid,
        limit=limit,
        scale=worth.nav,
        is_floor=True,
    )


def _tied_up(asked: _Asked) -> Decimal:
    """Positions, and what open orders may cost at the prices they were reserved at, fees too."""
    cost = asked.worth.opening_cost
    return asked.worth.gross + (converted(cost, ONE + asked.fee_rate) if asked.fee_rate else cost)


def _buying_power(asked: _Asked) -> Bound | None:
    limit, worth = asked.limit("buying_power_max"), asked.worth
    if limit is None:
        return None
    used, allowed = _tied_up(asked), limit * worth.nav
    if holds(asked.wish.opening, asked.paid, allowed - used):
        return None
    return Bound(
        code=DenialCode.BUYING_POWER,
        reason="What positions and open orders tie up, fees included, as a multiple of NAV.",
        used=used,
        allowed=allowed,
        cost=asked.paid,
        limit=limit,
        scale=worth.nav,
    )


def _capital(asked: _Asked) -> Bound | None:
    limit = asked.limit("capital_max")
    if limit is None:
        return None
    used = _tied_up(asked)
    if holds(asked.wish.opening, asked.paid, limit - used):
        return None
    return Bound(
        code=DenialCode.CAPITAL,
        reason="What positions and open orders tie up, fees included, base currency.",
        used=used,
        allowed=limit,
        cost=asked.paid,
        limit=limit,
    )


def _volume(asked: _Asked) -> Bound | None:
    limit = asked.limit("volume_share_max")
    if limit is None:
        return None
    average = average_volume(asked.question)
    assert average is not None, "guarded by volume_known"
    volume = quantize_money(decimal_from_float(average))
    used, allowed = asked.pending.on(asked.wish.side) + asked.wish.closing, converted(volume, limit)
    if holds(asked.wish.opening, ONE, allowed - used):
        return None
    return Bound(
        code=DenialCode.VOLUME_SHARE,
        reason="The order with all open ones of its side, as a share of the average volume.",
        used=used,
        allowed=allowed,
        cost=ONE,
        limit=limit,
        scale=volume or ONE,
    )


def _quantity(asked: _Asked) -> Bound | None:
    """A target is reached in orders of the largest size; an explicit order was refused before."""
    limit, closing = asked.limit("order_quantity_max"), asked.wish.closing
    if limit is None or holds(asked.wish.opening, ONE, limit - closing):
        return None
    return Bound(
        code=DenialCode.QUANTITY_MAX,
        reason="The size of the order, in units.",
        used=closing,
        allowed=limit,
        cost=ONE,
        limit=limit,
    )


def _value(asked: _Asked) -> Bound | None:
    """As for the quantity."""
    limit = asked.limit("order_notional_max")
    if limit is None:
        return None
    used = asked.unit.value(asked.wish.closing) if asked.wish.closing else ZERO
    if holds(asked.wish.opening, asked.cost, limit - used):
        return None
    return Bound(
        code=DenialCode.NOTIONAL_MAX,
        reason="The value of the order, base currency.",
        used=used,
        allowed=limit,
        cost=asked.cost,
        limit=limit,
    )
