"""One line of a sub-ledger: netting, average price, realised profit."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tapeline.accounting.numbers import (
    ONE,
    ZERO,
    divide_rounded,
    exact,
    fixed,
    notional,
    quantize_money,
    share,
)
from tapeline.contracts.frozen import acyclic, replace


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What a group holds of an instrument, at its cost.

    The cost is kept, not the average price: dividing it would lose a fraction, and profit must
    add up to the last unit. Figures are in the instrument's currency.
    """

    quantity: Decimal = ZERO
    """signed"""
    cost: Decimal = ZERO
    """signed notional at which `quantity` was entered; 0 when flat"""
    realized_pnl: Decimal = ZERO
    """profit of what was closed, before commissions"""
    commission: Decimal = ZERO
    """paid so far; a rebate lowers it"""

    @exact
    def apply(
        self,
        quantity: Decimal,
        price: Decimal,
        *,
        multiplier: Decimal = ONE,
        commission: Decimal = ZERO,
    ) -> Position:
        """After a fill; `quantity` is signed, positive for bought.

        A fill against the position closes it first, at its average cost, and opens the other side
        with what is left at the fill's price.
        """
        value = notional(quantity, price, multiplier)
        closed = self._closed_by(quantity)
        paid = fixed(self.commission + commission)
        if not closed:
            return replace(
                self,
                quantity=fixed(self.quantity + quantity),
                cost=fixed(self.cost + value),
                commission=paid,
            )
        proceeds = _part(value, closed, quantity)
        released = _part(self.cost, closed, self.quantity)
        return replace(
            self,
            quantity=fixed(self.quantity + quantity),
            # What was released leaves the cost; what the fill opens enters it.
            cost=fixed((self.cost - released) + (value - proceeds)),
            realized_pnl=fixed(self.realized_pnl - proceeds - released),
            commission=paid,
        )

    @exact
    def split(self, ratio: Decimal) -> Position:
        """After a split: `ratio` new units for one old; the cost stays."""
        return replace(self, quantity=quantize_money(self.quantity * ratio))

    @exact
    def average_price(self, multiplier: Decimal = ONE) -> Decimal:
        """Cost of one unit, rounded to 18 decimals; 0 when flat."""
        if not self.quantity:
            return ZERO
        return divide_rounded(self.cost, self.quantity * multiplier)

    def market_value(self, price: Decimal, multiplier: Decimal = ONE) -> Decimal:
        """Signed notional at a price."""
        return notional(self.quantity, price, multiplier)

    @exact
    def unrealized_pnl(self, price: Decimal, multiplier: Decimal = ONE) -> Decimal:
        """Profit if it were closed at a price, before commissions."""
        return self.market_value(price, multiplier) - self.cost

    def is_empty(self) -> bool:
        """True for a line that never held anything."""
        return not (self.quantity or self.cost or self.realized_pnl or self.commission)

    def _closed_by(self, quantity: Decimal) -> Decimal:
        """Units, unsigned, that a signed quantity takes off this position."""
        if not self.quantity or (self.quantity > 0) == (quantity > 0):
            return ZERO
        return min(abs(self.quantity), abs(quantity))


def _part(amount: Decimal, units: Decimal, of_units: Decimal) -> Decimal:
    """The share of `amount` that falls on `units`; all of it for all units, exactly."""
    return amount if units == abs(of_units) else share(amount, units, abs(of_units))
