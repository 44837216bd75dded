"""State of the execution core: what was configured, switched, approved, sent and filled."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from tapeline.accounting.numbers import ZERO, divide_rounded
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    ChildRole,
    Order,
    OrderStatus,
    Schedule,
)
from tapeline.execution.external_state import ExternalState
from tapeline.execution.switchboard import Switchboard
from tapeline.execution.venues.order_view import role_of
from tapeline.execution.venues.paper_state import PaperState

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class UsedApproval:
    """An approval that has been answered or is being carried out."""

    until_ns: int
    """kept until then, session time; afterwards its expiry alone refuses it"""
    correlation_id: str


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An approval that did not verify: forged, or genuine and sealed with a key that is gone."""

    approved: ApprovedOrder
    verdict: str
    """what the shell has found"""
    correlation_id: str
    until_ns: int
    """session time: denied then if no genuine one has come; once it is denied, forgotten then"""
    is_denied: bool = False


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCancel:
    """An approved cancel that waits for its order to end."""

    approval_id: str
    decision_id: str


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAmendment:
    """New terms that the venue has been asked for."""

    approval_id: str
    """of the amendment; empty where it is covered by the order's own (a protective leg)"""
    decision_id: str
    order: Order
    """as it is to be"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOrder:
    """One order that was sent."""

    approved: ApprovedOrder
    """what it was sent under; the terms that hold now are those of `order`"""
    order: Order
    """as the venue has it"""
    child_index: int = 0
    """number of its send under the approval"""
    correlation_id: str
    status: OrderStatus
    venue_order_id: str = ""
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO
    """sum of quantity x price of its fills, without multiplier"""
    trade_ids: tuple[str, ...] = ()
    """fills that were booked, by the venue's id"""
    cancels: tuple[PendingCancel, ...] = ()
    amendment: PendingAmendment | None = None
    is_fixed: bool = False
    """the venue has rejected an amendment of it"""
    is_imitated: bool = False
    """it lives at the paper venue in place of its own (shadow.py)"""
    forget_ns: int = 0
    """once it has ended: kept until then, session time"""

    @property
    def name(self) -> str:
        """Our id, as the venue knows it."""
        return self.order.client_order_id

    @property
    def role(self) -> ChildRole:
        """What it is under its approval."""
        return role_of(self.approved, self.child_index)

    @property
    def parent_id(self) -> str:
        """The order it is a part of, or empty."""
        parent_id = self.approved.order.client_order_id
        return "" if parent_id == self.name else parent_id

    @property
    def quantity_max(self) -> Decimal:
        """The most that may fill: until the venue has answered, an amendment may hold or not."""
        if self.amendment is None:
            return self.order.quantity
        return max(self.order.quantity, self.amendment.order.quantity)

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


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class ParentOrder:
    """An order with a schedule, from its first send until its approval is over."""

    approved: ApprovedOrder
    correlation_id: str
    status: OrderStatus
    """of the whole; with protective legs that of the entry"""
    next_slice: int = 0
    """child index of the first slice that was neither sent nor given up"""
    sent: tuple[str, ...] = ()
    """client order ids of what was sent, in the order of sending"""
    stopped_by: OrderStatus | None = None
    """how the last slice ended that was not filled"""
    filled_quantity: Decimal = ZERO
    """of the order itself, without protective legs"""
    filled_value: Decimal = ZERO
    told_quantity: Decimal = ZERO
    """filled quantity of the last update about it"""
    legs_filled: dict[str, Decimal] = field(default_factory=dict)
    """by client order id of the protective leg"""
    cancels: tuple[PendingCancel, ...] = ()
    is_protected: bool = True
    """False: its protective legs are not wanted any more"""
    is_over: bool = False
    """the terminal update of its approval was said"""
    forget_ns: int = 0

    @property
    def name(self) -> str:
        """Our id of the whole."""
        return self.approved.order.client_order_id

    @property
    def approval_id(self) -> str:
        """The approval that covers all of it."""
        return self.approved.approval.approval_id

    @property
    def schedule(self) -> Schedule:
        """What may be sent, and when."""
        schedule = self.approved.approval.schedule
        assert schedule is not None, "a plain order has no parent"
        return schedule

    @property
    def is_sliced(self) -> bool:
        """Whether it is worked in slices; else it is an entry with protective legs."""
        return self.schedule.algorithm is not Algorithm.NONE

    @property
    def protective_filled(self) -> Decimal:
        """What the protective legs have closed."""
        return sum(self.legs_filled.values(), ZERO)


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class RiskHeartbeat:
    """The last sign of life of risk on approved-orders."""

    ts_event_ns: int = 0


@acyclic
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
    doubts: dict[str, Doubt] = field(default_factory=dict)
    """by approval_id; an id is used only by an approval that verifies"""
    orders: dict[str, LiveOrder] = field(default_factory=dict)
    """that have not ended, by client_order_id"""
    ended: dict[str, LiveOrder] = field(default_factory=dict)
    """that ended a short while ago, for what a venue still says about them"""
    parents: dict[str, ParentOrder] = field(default_factory=dict)
    """by client_order_id; those that are over are kept a short while"""
    looked_ns: int = 0
    """when the timer last looked at them, session time"""
    housekeeping_ns: int | None = None
    """when something in `used` or `ended` may be forgotten, or a doubt ends"""
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
