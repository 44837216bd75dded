"""State of the execution core: what was configured, switched, approved, sent and filled."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from tapeline.accounting.numbers import ZERO, divide_rounded
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.orders import ApprovedOrder, OrderStatus
from tapeline.execution.external_state import ExternalState
from tapeline.execution.switchboard import Switchboard
from tapeline.execution.venues.paper_state import PaperState

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedApproval:
    """An approval that has been answered or is being carried out."""

    until_ns: int
    """kept until then, session time; afterwards its expiry alone refuses it"""
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCancel:
    """An approved cancel that waits for its order to end."""

    approval_id: str
    decision_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOrder:
    """One order that was sent."""

    approved: ApprovedOrder
    correlation_id: str
    status: OrderStatus
    venue_order_id: str = ""
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO
    """sum of quantity x price of its fills, without multiplier"""
    trade_ids: tuple[str, ...] = ()
    """fills that were booked, by the venue's id"""
    cancels: tuple[PendingCancel, ...] = ()
    forget_ns: int = 0
    """once it has ended: kept until then, session time"""

    @property
    def approval_id(self) -> str:
        """The approval it was sent under."""
        return self.approved.approval.approval_id

    @property
    def average_price(self) -> Decimal | None:
        """Of what is filled, rounded to 18 decimals; None before the first fill."""
        if not self.filled_quantity:
            return None
        return divide_rounded(self.filled_value, self.filled_quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskHeartbeat:
    """The last sign of life of risk on approved-orders."""

    ts_event_ns: int = 0
    is_paced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionState:
    """Frozen, but for the last ticks inside `paper` (see PaperState)."""

    accounts: dict[str, Account] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    venues: dict[str, Venue] = field(default_factory=dict)
    switchboard: Switchboard = field(default_factory=Switchboard)
    heartbeat: RiskHeartbeat = field(default_factory=RiskHeartbeat)
    used: dict[str, UsedApproval] = field(default_factory=dict)
    """by approval_id"""
    orders: dict[str, LiveOrder] = field(default_factory=dict)
    """that have not ended, by client_order_id"""
    ended: dict[str, LiveOrder] = field(default_factory=dict)
    """that ended a short while ago, for what a venue still says about them"""
    housekeeping_ns: int | None = None
    """when something in `used` or `ended` may be forgotten"""
    paper: PaperState = field(default_factory=PaperState)
    external: ExternalState = field(default_factory=ExternalState)

    def known_order(self, client_order_id: str) -> LiveOrder | None:
        """An order that is open or ended a short while ago."""
        return self.orders.get(client_order_id) or self.ended.get(client_order_id)


def dump(state: Any) -> bytes:
    """Canonical JSON: equal states give equal bytes, whatever order their maps were filled in."""
    return _ENCODER.encode(state)


def load(data: bytes) -> ExecutionState:
    """Inverse of `dump`."""
    return msgspec.json.decode(data, type=ExecutionState)
