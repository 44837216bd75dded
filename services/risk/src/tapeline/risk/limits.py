"""Limits that make an order smaller: exposure, cash, capital, volume, size.

Each limit is linear in what opens (bound.py), in the account's base currency or in units, and with
every open order counted at its worst, those of unknown fate included: they are reserved until they
end. The quantity is cut to the tightest; it is never raised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import DenialCode
from tapeline.risk.bound import Bound
from tapeline.risk.market_guards import average_volume
from tapeline.risk.question import Question, Refusal, Wish
from tapeline.risk.size_rules import size_bounds
from tapeline.risk.sizing import order_price, unit_for
from tapeline.risk.state import NOTHING
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


def bounds(question: Question, wish: Wish, worth: Worth) -> tuple[Bound, ...]:
    """The limits in order of precedence; of two that leave the same the first is named."""
    unit = unit_for(question)
    own = _own_side(question, wish, unit)
    paid = _paid(question, wish, unit)
    found = (
        _position(question, worth, own, unit),
        _sector(question, wish, worth, own, unit),
        _gross(question, wish, worth, own, unit),
        _net(question, wish, worth, unit),
        _leverage(question, worth, unit),
        _cash(question, worth, paid),
        _buying_power(question, worth, paid),
        _capital(question, worth, paid),
        _volume(question, wish),
        *_size(question, wish, unit),
    )
    return tuple(bound for bound in found if bound is not None)


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
    limit = question.required("position_weight_max")
    return Bound(
        code=DenialCode.POSITION_LIMIT,
        reason="The position in the instrument, as a share of NAV.",
        used=own,
        allowed=limit * worth.nav,
        cost=unit.value(ONE),
        limit=limit,
        scale=worth.nav,
    )


def _sector(question: Question, wish: Wish, worth: Worth, own: Decimal, unit: Unit) -> Bound | None:
    limit = question.limit("sector_weight_max")
    if limit is None:
        return None
    assert question.instrument is not None
    instruments, sector = question.state.instruments, question.instrument.sector
    others = sum(
        (
            value
            for name, value in worth.worst_gross.items()
            if name != question.decision.instrument_id and instruments[name].sector == sector
        ),
        ZERO,
    )
    allowed = limit * worth.nav
    return Bound(
        code=DenialCode.SECTOR_LIMIT,
        reason=f"Exposure in the sector {sector} with all open orders, as a share of NAV.",
        used=_with_worse_side(question, wish, unit, (own, others, allowed)),
        allowed=allowed,
        cost=unit.value(ONE),
        limit=limit,
        scale=worth.nav,
    )


def _gross(question: Question, wish: Wish, worth: Worth, own: Decimal, unit: Unit) -> Bound:
    limit = question.required("gross_exposure_max")
    instrument_id = question.decision.instrument_id
    others = worth.worst_gross_sum - worth.worst_gross.get(instrument_id, ZERO)
    allowed = limit * worth.nav
    return Bound(
        code=DenialCode.GROSS_EXPOSURE,
        reason="Gross exposure with all open orders, as a multiple of NAV.",
        used=_with_worse_side(question, wish, unit, (own, others, allowed)),
        allowed=allowed,
        cost=unit.value(ONE),
        limit=limit,
        scale=worth.nav,
    )


def _with_worse_side(
    question: Question, wish: Wish, unit: Unit, figures: tuple[Decimal, Decimal, Decimal]
) -> Decimal:
    """What is used of a gross limit: the instrument counts with the worse of its two sides; the
    other side stands as it is, and matters only where it alone is above the limit."""
    own, others, allowed = figures
    other_side = _other_side(question, wish, unit)
    return others + (own if others + other_side <= allowed else max(own, other_side))


def _other_side(question: Question, wish: Wish, unit: Unit) -> Decimal:
    account, instrument_id = question.account, question.decision.instrument_id
    assert account is not None
    reserves = account.reserves.get(instrument_id)
    pending = NOTHING if reserves is None else combined(reserves)
    held = account.ledger.net_quantity(instrument_id) * wish.sign
    opposite = Side.SELL if wish.side is Side.BUY else Side.BUY
    return abs(unit.value(held - pending.on(opposite)))


def _net(question: Question, wish: Wish, worth: Worth, unit: Unit) -> Bound | None:
    limit = question.limit("net_exposure_max")
    if limit is None:
        return None
    worst = worth.worst_long if wish.side is Side.BUY else worth.worst_short
    return Bound(
        code=DenialCode.NET_EXPOSURE,
        reason="Net exposure if all open orders of this side are filled, as a multiple of NAV.",
        used=worst + unit.value(wish.closing),
        allowed=limit * worth.nav,
        cost=unit.value(ONE),
        limit=limit,
        scale=worth.nav,
    )


def _leverage(question: Question, worth: Worth, unit: Unit) -> Bound:
    limit = question.required("leverage_max")
    return Bound(
        code=DenialCode.LEVERAGE,
        reason="All lines and what open orders may open, nothing netted, as a multiple of NAV.",
        used=worth.gross_of_lines + worth.opening_value,
        allowed=limit * worth.nav,
        cost=unit.value(ONE),
        limit=limit,
        scale=worth.nav,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paid:
    """What an order costs, base currency."""

    unit_cost: Decimal
    """of one unit at the worse of mark and limit price, with the taker's fee"""
    fee_rate: Decimal


def _paid(question: Question, wish: Wish, unit: Unit) -> _Paid:
    account, instrument = question.account, question.instrument
    assert account is not None
    assert instrument is not None
    price = max(unit.price, order_price(question, wish))
    cost = converted(notional(ONE, price, instrument.multiplier), unit.rate)
    venue = question.state.venues.get(account.account.venue)
    rate = ZERO if venue is None else max(venue.taker_fee_rate, ZERO)
    return _Paid(unit_cost=converted(cost, ONE + rate) if rate else cost, fee_rate=rate)


def _cash(question: Question, worth: Worth, paid: _Paid) -> Bound:
    """Free cash is NAV less what positions and open orders tie up; shorts are held in full."""
    limit = question.required("cash_reserve_min")
    return Bound(
        code=DenialCode.CASH_RESERVE,
        reason="Cash left after the order and all open ones, as a share of NAV.",
        used=worth.gross + worth.opening_cost,
        allowed=worth.nav - limit * worth.nav,
        cost=paid.unit_cost,
        limit=limit,
        scale=worth.nav,
        is_floor=True,
    )


def _tied_up(worth: Worth, paid: _Paid) -> Decimal:
    """Positions, and what open orders may cost at the prices they were reserved at, fees too."""
    return worth.gross + converted(worth.opening_cost, ONE + paid.fee_rate)


def _buying_power(question: Question, worth: Worth, paid: _Paid) -> Bound | None:
    limit = question.limit("buying_power_max")
    if limit is None:
        return None
    return Bound(
        code=DenialCode.BUYING_POWER,
        reason="What positions and open orders tie up, fees included, as a multiple of NAV.",
        used=_tied_up(worth, paid),
        allowed=limit * worth.nav,
        cost=paid.unit_cost,
        limit=limit,
        scale=worth.nav,
    )


def _capital(question: Question, worth: Worth, paid: _Paid) -> Bound | None:
    limit = question.limit("capital_max")
    if limit is None:
        return None
    return Bound(
        code=DenialCode.CAPITAL,
        reason="What positions and open orders tie up, fees included, base currency.",
        used=_tied_up(worth, paid),
        allowed=limit,
        cost=paid.unit_cost,
        limit=limit,
    )


def _volume(question: Question, wish: Wish) -> Bound | None:
    limit = question.limit("volume_share_max")
    if limit is None:
        return None
    average = average_volume(question)
    assert average is not None, "guarded by volume_known"
    volume = quantize_money(decimal_from_float(average))
    return Bound(
        code=DenialCode.VOLUME_SHARE,
        reason="The order with all open ones of its side, as a share of the average volume.",
        used=_pending(question, wish) + wish.closing,
        allowed=converted(volume, limit),
        cost=ONE,
        limit=limit,
        scale=volume or ONE,
    )


def _pending(question: Question, wish: Wish) -> Decimal:
    """Open orders of the account on the order's side of the instrument."""
    assert question.account is not None
    reserves = question.account.reserves.get(question.decision.instrument_id)
    return ZERO if reserves is None else combined(reserves).on(wish.side)


def _size(question: Question, wish: Wish, unit: Unit) -> tuple[Bound | None, ...]:
    """A target is reached in orders of the largest size; an explicit order was refused before."""
    quantity, value = question.limit("order_quantity_max"), question.limit("order_notional_max")
    return (
        None
        if quantity is None
        else Bound(
            code=DenialCode.QUANTITY_MAX,
            reason="The size of the order, in units.",
            used=wish.closing,
            allowed=quantity,
            cost=ONE,
            limit=quantity,
        ),
        None
        if value is None
        else Bound(
            code=DenialCode.NOTIONAL_MAX,
            reason="The value of the order, base currency.",
            used=unit.value(wish.closing),
            allowed=value,
            cost=unit.value(ONE),
            limit=value,
        ),
    )
