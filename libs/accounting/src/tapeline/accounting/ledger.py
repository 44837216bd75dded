"""An account's books: cash by currency, and a line for each instrument and group.

The account's position in an instrument is the sum of its groups' lines. A ledger is a value;
each booking gives the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from tapeline.accounting.numbers import ONE, ZERO, exact, fixed, notional, quantize_money
from tapeline.accounting.position import Position
from tapeline.contracts.frozen import acyclic, replace

FLAT = Position()


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """One movement of a position against cash."""

    group_id: str
    instrument_id: str
    quantity: Decimal
    """signed, positive for bought"""
    price: Decimal
    currency: str
    """of price and commission"""
    multiplier: Decimal = ONE
    commission: Decimal = ZERO
    """negative is a rebate"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Cash and positions of one account."""

    cash: dict[str, Decimal] = field(default_factory=dict)
    """by currency"""
    lines: dict[str, dict[str, Position]] = field(default_factory=dict)
    """by instrument, then group"""

    @exact
    def deposit(self, currency: str, amount: Decimal) -> Ledger:
        """After cash was moved by other than a fill; `amount` is signed."""
        balance = fixed(self.cash.get(currency, ZERO) + amount)
        return replace(self, cash={**self.cash, currency: balance})

    @exact
    def book(self, entry: Booking) -> Ledger:
        """After a fill or a correction: the line moves, cash pays for it."""
        line = self.line(entry.group_id, entry.instrument_id).apply(
            entry.quantity,
            entry.price,
            multiplier=entry.multiplier,
            commission=entry.commission,
        )
        paid = notional(entry.quantity, entry.price, entry.multiplier) + entry.commission
        return self._with_line(entry.group_id, entry.instrument_id, line).deposit(
            entry.currency, -paid
        )

    @exact
    def corporate_action(
        self, instrument_id: str, *, split_ratio: Decimal, dividend: Decimal, currency: str
    ) -> Ledger:
        """After a dividend per unit held before the split, and the split; shorts pay it."""
        held = self.net_quantity(instrument_id)
        split = {group: line.split(split_ratio) for group, line in self._groups(instrument_id)}
        after = self if not split else replace(self, lines={**self.lines, instrument_id: split})
        return after.deposit(currency, quantize_money(held * dividend)) if dividend else after

    def line(self, group_id: str, instrument_id: str) -> Position:
        """A group's position; flat where there is none."""
        return self.lines.get(instrument_id, {}).get(group_id, FLAT)

    @exact
    def net_quantity(self, instrument_id: str) -> Decimal:
        """The account's position in an instrument: the sum over its groups."""
        return sum((line.quantity for _, line in self._groups(instrument_id)), ZERO)

    def _groups(self, instrument_id: str) -> list[tuple[str, Position]]:
        return list(self.lines.get(instrument_id, {}).items())

    def _with_line(self, group_id: str, instrument_id: str, line: Position) -> Ledger:
        groups = {**self.lines.get(instrument_id, {}), group_id: line}
        return replace(self, lines={**self.lines, instrument_id: groups})
