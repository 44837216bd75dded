"""Plain books beside the cores: cash, positions, what may still be filled; and the kill switch.

Written apart from the cores and simpler: fractions instead of rounding rules, one dict a fact. What
the cores hold must equal these after every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from typing import Any

from tapeline.contracts.config import Instrument
from tapeline.contracts.control import CancelAll, Flatten, SetTradingState
from tapeline.contracts.orders import Fill, Order, Side
from tapeline.contracts.risk import TradingState
from tapeline.runtime.core import Input

from . import world
from .faults import require

ZERO = Decimal(0)
STEP = Decimal("1E-18")
EXACT = Context(prec=120)
STRICTNESS = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED)


def signed(side: Side, quantity: Decimal) -> Decimal:
    return quantity if side is Side.BUY else -quantity


@dataclass
class Book:
    """One account."""

    cash: dict[str, Decimal] = field(default_factory=dict)
    held: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """by (group, instrument)"""

    def move(self, currency: str, amount: Decimal) -> None:
        with localcontext(EXACT):
            self.cash[currency] = self.cash.get(currency, ZERO) + amount

    def trade(
        self, place: tuple[str, str], quantity: Decimal, price: Decimal, instrument: Instrument
    ) -> None:
        """`quantity` is signed; what it costs is rounded to 18 decimals, half to even."""
        with localcontext(EXACT):
            self.held[place] = self.held.get(place, ZERO) + quantity
            paid = (quantity * price * instrument.multiplier).quantize(STEP)
            self.move(instrument.currency, -paid)

    def fill(self, record: Fill, instrument: Instrument) -> None:
        quantity = signed(record.side, record.quantity)
        self.trade((record.group_id, record.instrument_id), quantity, record.price, instrument)
        self.move(record.currency, -record.commission)

    def net(self, instrument_id: str) -> Decimal:
        return sum((held for (_, name), held in self.held.items() if name == instrument_id), ZERO)


@dataclass
class Open:
    """An approved order: what may still be filled of it."""

    order: Order
    left: Decimal
    filled: Decimal = ZERO
    has_ended: bool = False


@dataclass
class Switches:
    """The kill switch by its rules: per scope and type the numbers ascend; nothing else counts."""

    states: dict[str, TradingState] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    flattens: dict[str, int] = field(default_factory=dict)

    def hear(self, event: Input) -> bool:
        """Takes a control record; False when it must not count."""
        record: SetTradingState | CancelAll | Flatten = event.record
        scope = f"{record.scope.value}/{record.scope_id}"
        name = f"{type(record).__name__}/{scope}"
        if event.event_id.startswith(world.FORGED) or record.sequence <= self.numbers.get(name, -1):
            return False
        if not isinstance(record, SetTradingState) and event.session_ns >= record.expires_ns:
            return False
        self.numbers[name] = record.sequence
        if isinstance(record, SetTradingState):
            self.states[scope] = record.state
        elif isinstance(record, Flatten):
            self.flattens[record.command_id] = record.expires_ns
        return True

    def halt(self, scope: str, number: int) -> None:
        """Takes an automatic halt, which latches like an operator's."""
        self.states[scope] = TradingState.HALTED
        name = f"SetTradingState/{scope}"
        self.numbers[name] = max(number, self.numbers.get(name, -1))

    def strictest(self, order: Any) -> TradingState:
        scopes = world.scopes_of(order.account_id, order.group_id, order.instrument_id, world.PAPER)
        found = [self.states.get(scope, TradingState.ACTIVE) for scope in scopes]
        return max(found, key=STRICTNESS.index)


def same_figures(name: str, ours: dict[Any, Decimal], theirs: dict[Any, Decimal]) -> None:
    """Two maps of figures are equal; what is zero may be absent."""
    if ours == theirs:
        return
    for key in ours.keys() | theirs.keys():
        mine, other = ours.get(key, ZERO), theirs.get(key, ZERO)
        require(mine == other, name, f"{key}: plain books {mine}, core {other}")
