"""What execution keeps of external venues: the live switches, and a book for each account.

The book is the fold of fills and account-events; the venue's statements are compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from tapeline.accounting.ledger import Ledger
from tapeline.accounting.numbers import ZERO
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.orders import Mode

PAPER_ADAPTER: Final = "paper"
SHADOW: Final = "EXECUTION_SHADOW"
"""Code with which the sender of a shadow run says that an order was ready to leave."""
OUTSIDE_MODES: Final = (Mode.SHADOW.value, Mode.LIVE.value)
"""Modes in which a venue with another adapter is not imitated."""


def is_external(mode: str, adapter: str) -> bool:
    """Whether orders for a venue leave this process."""
    return mode in OUTSIDE_MODES and adapter != PAPER_ADAPTER


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A figure that we and the venue do not agree on."""

    subject: str
    """position/BTCUSD.X, cash/USD or order/<client_order_id>"""
    instrument_id: str
    """empty where it concerns the whole account"""
    ours: Decimal
    theirs: Decimal
    price: Decimal | None = None
    """of one unit by the venue, for a position"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A difference that may be on its way to being settled."""

    difference: Difference
    bookings: int
    """of the book when it was seen last"""
    same: int = 1
    """statements in a row with the same figures and nothing booked between them"""
    seen: int = 1
    """statements in a row with any difference"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A difference that has lasted: the instrument, or the account, only reduces."""

    drift_id: str
    difference: Difference


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalBook:
    """One account at its venue, as we have it."""

    ledger: Ledger = field(default_factory=Ledger)
    bookings: int = 0
    """fills and account-events so far"""
    prices: dict[str, Decimal] = field(default_factory=dict)
    """by instrument: of the last fill, or what the venue valued a drifting position at"""
    entries: dict[str, int] = field(default_factory=dict)
    """entries of the venue that are booked, and when they may be forgotten, session time"""
    busted: dict[str, int] = field(default_factory=dict)
    """trade ids of busted fills, and when they may be forgotten, session time"""
    suspicions: dict[str, Suspicion] = field(default_factory=dict)
    """by subject"""
    drifts: dict[str, Drift] = field(default_factory=dict)
    """by subject"""

    def cash(self, currency: str) -> Decimal:
        """Balance of a currency."""
        return self.ledger.cash.get(currency, ZERO)


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalState:
    """Everything of this module; empty in a run on paper."""

    live_switches: dict[str, bool] = field(default_factory=dict)
    """by account; an account without entry may not trade live"""
    books: dict[str, ExternalBook] = field(default_factory=dict)
    """by account"""
