"""State of the paper venue: its orders, its ledger, and the market as it last saw it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from tapeline.accounting.numbers import ZERO
from tapeline.contracts.config import Instrument, Venue
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.market import BookSnapshot, Quote, Trade
from tapeline.contracts.orders import Order


class Stance(StrEnum):
    """How an order stands to the market."""

    ARRIVING = "ARRIVING"
    """no tick since it arrived"""
    TAKING = "TAKING"
    """marketable since it arrived: takes liquidity, at its limit or better"""
    WAITING = "WAITING"
    """a stop that no tick has reached"""
    RESTING = "RESTING"
    """in the book: is traded with at its limit"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class PaperAmendment:
    """New terms of an order, on their way to the venue."""

    command_id: str
    arrival_ns: int
    order: Order
    """as it is to be"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class PaperOrder:
    """An order that the venue holds, or that is on its way to it."""

    order: Order
    venue_order_id: str
    sequence: int
    """time priority among the venue's orders"""
    arrival_ns: int
    """when it reaches the venue; only later ticks fill it"""
    expires_ns: int | None
    """first instant at which it no longer works; None for good"""
    is_accepted: bool = False
    stance: Stance = Stance.ARRIVING
    filled_quantity: Decimal = ZERO
    fill_count: int = 0
    cancel_ns: int | None = None
    """when a cancel reaches the venue"""
    amendment: PaperAmendment | None = None
    ahead: Decimal | None = None
    """size displayed at its price that must trade first (queue rule AHEAD); None: not known"""

    @property
    def leaves_quantity(self) -> Decimal:
        """Still open."""
        return self.order.quantity - self.filled_quantity


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class PaperAccount:
    """The venue's own books for one account."""

    cash: dict[str, Decimal] = field(default_factory=dict)
    """by currency"""
    positions: dict[str, Decimal] = field(default_factory=dict)
    """signed quantity by instrument_id"""
    venue: str = ""
    """where its orders go"""
    base_currency: str = ""
    lines: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    """signed quantity of perpetual contracts, by instrument_id and group: who pays funding"""
    traded: dict[str, Decimal] = field(default_factory=dict)
    """notional by UTC day (days since 1970), base currency; kept where fees have tiers"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSeen:
    """The last funding rate of a perpetual contract."""

    ts_event_ns: int
    interval_ns: int


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class PaperState:
    """Frozen, but for `quotes`, `trades` and `books`: those maps are changed in place, because a
    copy for each tick would cost more than everything else a tick causes."""

    instruments: dict[str, Instrument] = field(default_factory=dict)
    venues: dict[str, Venue] = field(default_factory=dict)
    accounts: dict[str, PaperAccount] = field(default_factory=dict)
    orders: dict[str, PaperOrder] = field(default_factory=dict)
    """open orders by client_order_id"""
    by_instrument: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """open orders of an instrument in time priority"""
    sequence: int = 0
    """of the last order"""
    due_ns: int | None = None
    """no order needs the clock before that; it may be too early, never too late"""
    quotes: dict[str, Quote] = field(default_factory=dict)
    """last by instrument"""
    trades: dict[str, Trade] = field(default_factory=dict)
    """last by instrument"""
    books: dict[str, BookSnapshot] = field(default_factory=dict)
    """last by instrument; its best levels are the last quote too"""
    consumed: dict[str, dict[str, dict[str, Decimal]]] = field(default_factory=dict)
    """what our orders took of sizes that are still displayed: instrument, side of ours, price"""
    funding: dict[str, FundingSeen] = field(default_factory=dict)
    """by instrument_id"""
    told: dict[str, bool] = field(default_factory=dict)
    """missing inputs that an incident has named; a name is told once"""
    accrual_ns: int | None = None
    """next midnight UTC at which something is owed for what is held"""
