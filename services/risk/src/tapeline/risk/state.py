"""What risk knows: configuration, books, reservations, marks, switches.

`RiskState` is changed in place by `evolve`, because marks and open orders come by the thousand;
but for paces, everything in its maps is a value. A driver never keeps an older state, and `decide`
changes nothing. Decimals are kept with exactly 18 places, so that equal states have equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from tapeline.accounting.drawdown import EquityCurve
from tapeline.accounting.ledger import Ledger
from tapeline.accounting.numbers import ZERO
from tapeline.contracts.config import (
    Account,
    Budget,
    Instrument,
    Mandate,
    RiskOverlay,
    TradingGroup,
    Venue,
)
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import Order, Side
from tapeline.contracts.risk import TradingState
from tapeline.risk.history import History

MANUAL: Final = "MANUAL"
"""The group of operators; it needs no record and trades every account."""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What open orders of one line may still do; all unsigned."""

    buying: Decimal = ZERO
    selling: Decimal = ZERO
    opening_buying: Decimal = ZERO
    """part of `buying` that opens or enlarges"""
    opening_selling: Decimal = ZERO
    opening_cost: Decimal = ZERO
    """notional of both opening parts at the prices they were reserved at, instrument's currency"""

    @property
    def net(self) -> Decimal:
        """Signed quantity if all of it is filled."""
        return self.buying - self.selling

    def on(self, side: Side) -> Decimal:
        """Quantity open on a side."""
        return self.buying if side is Side.BUY else self.selling

    def closing(self, side: Side) -> Decimal:
        """Part of a side that closes."""
        if side is Side.BUY:
            return self.buying - self.opening_buying
        return self.selling - self.opening_selling


NOTHING: Final = Reserve()


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """New terms that were approved and not yet answered by the venue."""

    approval_id: str
    order: Order


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An approved order that has not ended."""

    order: Order
    remaining: Decimal
    """still reserved"""
    opening: Decimal
    """part of `remaining` that opens or enlarges"""
    price: Decimal = ZERO
    """that the opening part is reserved at"""
    filled: Decimal = ZERO
    """of the order itself"""
    protective_filled: Decimal = ZERO
    """by its protective legs, which close what it opened and reserve nothing"""
    protective_left: Decimal = ZERO
    """once it has ended: fills of legs that it announced and that are still to come"""
    is_scheduled: bool = False
    """it is worked in slices, or has protective legs"""
    amendment: Amendment | None = None
    has_ended: bool = False
    """its terminal update came; only fills it announced are still to come"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What has been said of one limit of an account."""

    is_warned: bool = False
    has_tripped: bool = False


NO_BREAKER: Final = Breaker()


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """One account of this shard."""

    account: Account
    ledger: Ledger
    curve: EquityCurve
    reserves: dict[str, dict[str, Reserve]] = field(default_factory=dict)
    """by instrument, then group; lines without open orders are absent"""
    open_order_count: int = 0
    approved_count: int = 0
    denied_count: int = 0
    is_changed: bool = True
    """since the last PortfolioSnapshot"""
    snapshot_ns: int = 0
    """session time of the last PortfolioSnapshot"""
    due_ns: int | None = None
    """when to look at its worth again, session time"""
    breakers: dict[str, Breaker] = field(default_factory=dict)
    """by limit; those of which nothing has been said are absent"""
    watched_mark_ns: int = 0
    """event time of the newest mark at which its losses were measured"""

    def reserve(self, group_id: str, instrument_id: str) -> Reserve:
        """Open orders of one line."""
        return self.reserves.get(instrument_id, {}).get(group_id, NOTHING)


@dataclass(slots=True, kw_only=True)
class Pace:
    """How fast an account, a group of it, or the account in one instrument has been. Changed in
    place: thousands of decisions a second go through it."""

    looked_at: list[tuple[int, int]] = field(default_factory=list)
    """(session time, number) of the decisions looked at in the second before the last one"""
    looked_at_count: int = 0
    """their sum"""
    entry_ns: int | None = None
    """session time of the last entry approved"""
    day: int = 0
    """UTC day of that, counted from 1970"""
    entry_count: int = 0
    """entries on that day"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Flattening:
    """A Flatten that is being carried out: what its scope holds is closed, until it expires."""

    scope: str
    expires_ns: int
    look_ns: int
    """when to look again at what is left, session time"""
    approved_count: int = 0
    """orders approved in its name so far"""


@dataclass(slots=True, kw_only=True)
class Rush:
    """Decisions of a group that came above its rate, and have not been answered."""

    account_id: str
    group_id: str
    first_ns: int
    """session time of the first that waits"""
    instrument_id: str = ""
    """of the first that waits"""
    waiting: list[str] = field(default_factory=list)
    """decision ids, in their order"""
    waiting_bytes: int = 0
    """what they take in a record"""
    measured: Decimal = ZERO
    limit: Decimal = ZERO
    window: int = 0
    """the fifth of a second in which the last one came"""
    window_count: int = 0
    """how many came in it"""
    hot_windows: int = 0
    """windows in a row, up to the one before, that brought too many"""


@dataclass(slots=True, kw_only=True)
class RiskState:
    """Everything."""

    instruments: dict[str, Instrument] = field(default_factory=dict)
    venues: dict[str, Venue] = field(default_factory=dict)
    groups: dict[str, TradingGroup] = field(default_factory=dict)
    mandates: dict[str, Mandate] = field(default_factory=dict)
    overlays: dict[str, RiskOverlay] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    config_count: int = 0
    """config records taken so far"""
    routes: dict[str, Account] = field(default_factory=dict)
    """every account of every shard"""
    accounts: dict[str, AccountState] = field(default_factory=dict)
    """those of this shard"""
    currency_pairs: dict[str, str] = field(default_factory=dict)
    """EUR/USD -> the instrument whose mark is that rate"""
    marks: dict[str, MarkPrice] = field(default_factory=dict)
    fill_prices: dict[str, Decimal] = field(default_factory=dict)
    """last price each instrument was filled at; values a position that has no mark"""
    open_orders: dict[str, OpenOrder] = field(default_factory=dict)
    """by approval_id"""
    approval_ids: dict[str, str] = field(default_factory=dict)
    """client_order_id -> approval_id"""
    trading_states: dict[str, TradingState] = field(default_factory=dict)
    """by scope, such as ACCOUNT/PAPER-1; a scope without entry is ACTIVE"""
    unknown_orders: dict[str, tuple[str, str]] = field(default_factory=dict)
    """client_order_id -> (account, instrument) of orders that are UNKNOWN at their venue"""
    drifts: dict[str, dict[str, str]] = field(default_factory=dict)
    """by account: what its venue and our books differ in -> instrument, empty for all of them"""
    live_switches: dict[str, bool] = field(default_factory=dict)
    """by account; an account without entry may not trade live"""
    sequences: dict[str, int] = field(default_factory=dict)
    """last number accepted, by record type and scope"""
    trips: dict[str, int] = field(default_factory=dict)
    """number that supersedes must be above, by trip_id, latest last"""
    flattening: dict[str, Flattening] = field(default_factory=dict)
    """commands that close positions and are still in force, by command_id"""
    mark_windows: dict[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    """by instrument: (event time, price) of the last distinct marks"""
    watch_ns: int | None = None
    """when to look at the accounts' limits again, session time"""
    rushes: dict[str, Rush] = field(default_factory=dict)
    """by account/group"""
    last_decisions: dict[str, tuple[int, int]] = field(default_factory=dict)
    """last (cycle_ns, index) answered, by account/group"""
    refused_from_future: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """latest decisions refused as from the future, by account/group: they do not move the above"""
    histories: dict[str, History] = field(default_factory=dict)
    """the last bars, by instrument; only of those whose record names an interval"""
    paces: dict[str, Pace] = field(default_factory=dict)
    """by account, account/group, and account//instrument"""
    asked: tuple[str, str] = ("", "")
    """(decision_id, what it orders) of the last explicit order that was asked for"""
    recent_orders: dict[str, dict[str, int]] = field(default_factory=dict)
    """by account/group/instrument: explicit orders approved in the duplicate window, and when"""


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_DECODER: Final = msgspec.json.Decoder(RiskState)


def dump(state: RiskState) -> bytes:
    """Canonical JSON: equal states give equal bytes, whatever order their maps were filled in."""
    return _ENCODER.encode(state)


def load(data: bytes) -> RiskState:
    """Inverse of `dump`."""
    return _DECODER.decode(data)
