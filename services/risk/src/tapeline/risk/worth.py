"""What an account is worth at our own marks, and what its open orders may make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.exposure import Unit
from tapeline.accounting.numbers import ONE, divide_rounded, price_from_float
from tapeline.contracts.config import AssetClass, Instrument
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.market import MarkPrice
from tapeline.risk.state import NOTHING, Reserve, RiskState

FUTURE_TOLERANCE_NS: Final = 1_000_000_000
"""Clocks of different machines differ; what is further ahead of the session is not believed."""
MARK_PRICE_MIN: Final = 1e-9
MARK_PRICE_MAX: Final = 1e15
"""Beyond any price; keeps a broken feed's numbers out of the arithmetic."""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """An account in its base currency, its open orders counted at their worst."""

    cash: Decimal
    nav: Decimal
    """cash plus the signed values of all positions"""
    gross: Decimal
    """sum of absolute values, netted over groups within an instrument"""
    net: Decimal
    """sum of signed values"""
    gross_of_lines: Decimal
    """sum of absolute values of the groups' lines, not netted"""
    worst_gross: dict[str, Decimal]
    """by instrument: largest absolute value that fills of open orders can lead to"""
    worst_gross_sum: Decimal
    worst_long: Decimal
    """sum of signed values if all open purchases are filled"""
    worst_short: Decimal
    """the same for all open sales, its sign turned"""
    opening_value: Decimal
    """what open orders may still open, at marks"""
    opening_cost: Decimal
    """the same at the prices it was reserved at"""
    pending_value: Decimal
    """all that open orders may still do, at marks"""


def believable(mark: MarkPrice) -> bool:
    """Whether a mark is a price at all."""
    return MARK_PRICE_MIN <= mark.price <= MARK_PRICE_MAX


def price_of(state: RiskState, instrument_id: str) -> Decimal | None:
    """The mark, whatever its age, else the price of the last fill."""
    mark = state.marks.get(instrument_id)
    if mark is not None:
        return price_from_float(mark.price)
    return state.fill_prices.get(instrument_id)


def rate_of(state: RiskState, currency: str, base: str) -> Decimal | None:
    """Base currency for one of `currency`, from the mark of either pair; None without one."""
    if currency == base:
        return ONE
    direct = state.marks.get(state.currency_pairs.get(f"{currency}/{base}", ""))
    if direct is not None:
        return price_from_float(direct.price)
    inverse = state.marks.get(state.currency_pairs.get(f"{base}/{currency}", ""))
    return None if inverse is None else divide_rounded(ONE, price_from_float(inverse.price))


def rate_mark(state: RiskState, currency: str, base: str) -> MarkPrice | None:
    """The mark that `rate_of` uses."""
    for pair in (f"{currency}/{base}", f"{base}/{currency}"):
        mark = state.marks.get(state.currency_pairs.get(pair, ""))
        if mark is not None:
            return mark
    return None


def pair_of(instrument: Instrument) -> str:
    """EUR/USD for an FX instrument whose symbol says so (EURUSD, EUR-USD), else empty."""
    if instrument.asset_class is not AssetClass.FX:
        return ""
    letters = "".join(character for character in instrument.symbol if character.isalnum())
    base = letters.removesuffix(instrument.currency)
    return f"{base}/{instrument.currency}" if base and base != letters else ""


def unit_of(state: RiskState, instrument_id: str, base: str) -> Unit | None:
    """What one unit is worth in `base`; None where a price or a rate is missing."""
    instrument, price = state.instruments.get(instrument_id), price_of(state, instrument_id)
    if instrument is None or price is None:
        return None
    rate = rate_of(state, instrument.currency, base)
    if rate is None:
        return None
    unit = Unit(price=price, multiplier=instrument.multiplier, rate=rate)
    # Small factors together may round to nothing, and nothing can be divided by that.
    is_plain = rate is ONE and instrument.multiplier == 1
    return unit if is_plain or unit.value(ONE) else None


def combined(reserves: Mapping[str, Reserve]) -> Reserve:
    """The open orders of all groups of an instrument together."""
    if len(reserves) == 1:
        (only,) = reserves.values()
        return only
    total = NOTHING
    for part in reserves.values():
        total = Reserve(
            buying=total.buying + part.buying,
            selling=total.selling + part.selling,
            opening_buying=total.opening_buying + part.opening_buying,
            opening_selling=total.opening_selling + part.opening_selling,
            opening_cost=total.opening_cost + part.opening_cost,
        )
    return total
