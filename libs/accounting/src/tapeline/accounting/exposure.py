"""What an account is worth and how much of it is at stake, in its base currency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from tapeline.accounting.ledger import Ledger
from tapeline.accounting.numbers import ONE, ZERO, converted, divide_rounded, exact, notional
from tapeline.contracts.frozen import acyclic


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one unit of an instrument is worth."""

    price: Decimal
    """mark, in the instrument's currency"""
    multiplier: Decimal = ONE
    rate: Decimal = ONE
    """base currency for one of the instrument's currency"""

    def value(self, quantity: Decimal) -> Decimal:
        """Signed value of a quantity in the base currency, rounded to 18 decimals."""
        return converted(notional(quantity, self.price, self.multiplier), self.rate)


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """An account at its marks, base currency."""

    cash: Decimal
    nav: Decimal
    """cash plus the signed values of all positions"""
    gross: Decimal
    """sum of absolute values, netted over groups within an instrument"""
    net: Decimal
    """sum of signed values"""
    gross_of_lines: Decimal
    """sum of absolute values of the groups' lines, not netted"""

    def leverage(self) -> Decimal:
        """Gross exposure as a multiple of NAV, rounded to 18 decimals; NAV must not be 0."""
        return divide_rounded(self.gross, self.nav)


@exact
def valuation(ledger: Ledger, units: Mapping[str, Unit], rates: Mapping[str, Decimal]) -> Valuation:
    """Values a ledger: `units` by instrument held, `rates` by currency of cash.

    Raises KeyError where a price or a rate is missing: what it is worth must not be guessed.
    """
    cash = ZERO
    for currency, amount in ledger.cash.items():
        cash += converted(amount, rates[currency])
    gross = net = gross_of_lines = ZERO
    for instrument_id, lines in ledger.lines.items():
        held = signed = ZERO
        for line in lines.values():
            signed += line.quantity
            held += abs(line.quantity)
        if held:
            unit = units[instrument_id]
            value = unit.value(signed)
            net += value
            gross += abs(value)
            gross_of_lines += abs(value) if held == abs(signed) else unit.value(held)
    return Valuation(cash=cash, nav=cash + net, gross=gross, net=net, gross_of_lines=gross_of_lines)
