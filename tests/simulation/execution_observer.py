"""What must hold of execution and its venue, checked at every input from books of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tapeline.contracts.accounts import CashAdjustment, FundingPayment, PositionCorrection
from tapeline.contracts.config import Account, Instrument
from tapeline.contracts.control import CancelAll, Flatten, SetTradingState
from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    Fill,
    OrderAction,
    OrderStatus,
    OrderUpdate,
    VenueCommand,
)
from tapeline.contracts.risk import TradingState
from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Input, Output

from . import world
from .books import ZERO, Book, Switches, same_figures
from .faults import require

HEARTBEAT_NS_MAX = 2 * world.SECOND
FORGET_NS = world.HOUR
ENDED = (
    OrderStatus.FILLED,
    OrderStatus.CANCELED,
    OrderStatus.EXPIRED,
    OrderStatus.DENIED,
    OrderStatus.REJECTED,
)


@dataclass
class Sent:
    """What has gone to the venue under one approval."""

    approved: ApprovedOrder
    children: dict[int, Decimal] = field(default_factory=dict)
    filled: Decimal = ZERO


@dataclass
class ExecutionObserver:
    """Plain books of one shard of execution."""

    config: dict[tuple[str, str], Any] = field(default_factory=dict)
    books: dict[str, Book] = field(default_factory=dict)
    sent: dict[str, Sent] = field(default_factory=dict)
    """by approval"""
    live: dict[str, Sent] = field(default_factory=dict)
    """of those, what has not ended"""
    switches: Switches = field(default_factory=Switches)
    heartbeat_ns: int | None = None
    mode: str = "PAPER"
    genuine: dict[str, ApprovedOrder] = field(default_factory=dict)
    """what risk wrote, by approval; forged copies are not in here"""
    copied: set[str] = field(default_factory=set)
    """approvals of which a stranger wrote a copy, altered or not"""
    ended: dict[str, int] = field(default_factory=dict)
    """approvals that had their terminal update, and when"""

    # ---- what is said

    def decided(self, event: Input, outputs: Sequence[Output]) -> None:
        """No send without an approval of risk's own, in time, in a state that lets it pass."""
        if isinstance(event.record, ApprovedOrder) and not event.event_id.startswith(world.FORGED):
            self.genuine.setdefault(event.record.approval.approval_id, event.record)
        for output in outputs:
            record = output.record
            if not isinstance(record, OrderUpdate) or record.command is None:
                continue
            command = record.command
            known = self.genuine.get(command.approved.approval.approval_id)
            require(command.approved == known, "send with approval", command)
            if command.kind is CommandKind.SUBMIT:
                self._may_send(record, command, event)

    def _may_send(self, update: OrderUpdate, command: VenueCommand, event: Input) -> None:
        approved, order = command.approved, command.approved.order
        approval = approved.approval
        require(not (isinstance(event.record, ApprovedOrder) and event.verdict), "verdict", event)
        require(approved.action is not OrderAction.CANCEL, "send with approval", "of a cancel")
        require(event.session_ns < approval.last_send_ns, "expiry", approval.approval_id)
        require(approval.run_id == world.RUN, "run", approval.run_id)
        require(update.approval_id == approval.approval_id, "send with approval", "another's id")
        same = command.client_order_id == order.client_order_id and command.venue == order.venue
        require(same, "send with approval", "another order or venue")
        sent = self.sent.get(approval.approval_id)
        children = {} if sent is None else sent.children
        require(command.child_index not in children, "one send", approval.approval_id)
        require(0 <= command.child_index < approval.child_count, "one send", command.child_index)
        total = sum(children.values(), ZERO) + command.quantity
        require(total <= order.quantity, "children within quantity", total)
        self._is_let_through(approved, event)

    def _is_let_through(self, approved: ApprovedOrder, event: Input) -> None:
        order, state = approved.order, self.switches.strictest(approved.order)
        if state is TradingState.HALTED:
            is_flatten = approved.approval.decision_id in self.switches.flattens
            require(is_flatten and order.is_reduce_only, "kill latched", "sent while halted")
        if state is TradingState.REDUCING:
            may = order.is_reduce_only or approved.action is OrderAction.CLOSE
            require(may, "kill latched", "an entry was sent while reducing")
        require(self.heartbeat_ns is not None, "risk is alive", "never heard of it")
        assert self.heartbeat_ns is not None
        age_ns = event.session_ns - self.heartbeat_ns
        require(age_ns <= HEARTBEAT_NS_MAX, "risk is alive", f"silent for {age_ns} ns")

    # ---- what happens

    def evolved(self, event: Input | Output) -> None:
        """Keeps the books."""
        record = event.record
        match record:
            case _ if isinstance(event, Output):
                self._said(record)
            case ApprovedOrder() if event.event_id.startswith(world.FORGED):
                self.copied.add(record.approval.approval_id)
            case ApprovedOrder():
                self.genuine.setdefault(record.approval.approval_id, record)
            case Watermark() if event.topic == "approved-orders" and record.source == "risk/0":
                self.heartbeat_ns = record.ts_event_ns
            case SetTradingState() | CancelAll() | Flatten():
                assert isinstance(event, Input)
                self.switches.hear(event)
            case Instrument():
                self._configure("Instrument", record.instrument_id, record)
            case Account():
                is_new = ("Account", record.account_id) not in self.config
                self._configure("Account", record.account_id, record)
                if is_new:
                    cash = {record.base_currency: record.initial_cash}
                    self.books[record.account_id] = Book(cash)

    def _said(self, record: Any) -> None:
        match record:
            case OrderUpdate():
                self._updated(record)
            case Fill():
                self._filled(record)
            case CashAdjustment() | FundingPayment():
                self.books[record.account_id].move(record.currency, record.amount)
            case PositionCorrection():
                instrument = self.config["Instrument", record.instrument_id]
                place = (record.group_id, record.instrument_id)
                book = self.books[record.account_id]
                book.trade(place, record.quantity, record.price, instrument)

    def _configure(self, kind: str, name: str, record: Any) -> None:
        known = self.config.get((kind, name))
        if known is None or record.version >= known.version:
            self.config[kind, name] = record

    def _updated(self, record: OrderUpdate) -> None:
        command = record.command
        if command is not None and command.kind is CommandKind.SUBMIT:
            sent = self.sent.setdefault(record.approval_id, Sent(command.approved))
            self.live[record.approval_id] = sent
            sent.children[command.child_index] = command.quantity
        if record.approval_id in self.ended and command is None:
            # An id is remembered for a minute past its expiry; a copy that comes later is denied.
            is_copy = record.approval_id in self.copied and record.status is OrderStatus.DENIED
            require(is_copy, "one end", record.approval_id)
        if record.is_terminal:
            # The approval of a cancel may end while its order goes on.
            is_over = record.status in ENDED or record.approval_id not in self.sent
            require(is_over, "one end", f"terminal {record.status}")
            self.live.pop(record.approval_id, None)
            self.ended[record.approval_id] = record.ts_init_ns
            self._forget(record.ts_init_ns - FORGET_NS)

    def _forget(self, before_ns: int) -> None:
        """What ended long ago; that ids are never used again is checked on the topics."""
        if len(self.ended) < 400:
            return
        for approval_id in [name for name, end_ns in self.ended.items() if end_ns < before_ns]:
            del self.ended[approval_id]
            self.sent.pop(approval_id, None)
            self.genuine.pop(approval_id, None)

    def _filled(self, record: Fill) -> None:
        sent = self.sent.get(record.approval_id)
        require(sent is not None, "fills of sent orders", record.fill_id)
        assert sent is not None
        order = sent.approved.order
        same = (order.account_id, order.instrument_id, order.side, order.client_order_id) == (
            record.account_id,
            record.instrument_id,
            record.side,
            record.client_order_id,
        )
        require(same, "fills of sent orders", f"{record.fill_id} is another's")
        require(record.quantity > 0, "fills of sent orders", f"{record.fill_id} of nothing")
        if order.limit_price is not None:
            better = order.limit_price - record.price
            is_kept = better * (1 if order.side.value == "BUY" else -1) >= 0
            require(is_kept, "limit price", f"{record.price} for {order.limit_price}")
        sent.filled += record.quantity
        require(sent.filled <= sum(sent.children.values(), ZERO), "fills within quantity", sent)
        left = max(order.quantity - sent.filled, ZERO)
        require(record.leaves_quantity == left, "fills within quantity", "what is left")
        instrument: Instrument = self.config["Instrument", record.instrument_id]
        self.books[record.account_id].fill(record, instrument)

    # ---- what the core holds

    def compare(self, state: Any) -> None:
        """The venue's ledger is the fold of the fills; both cores hold the orders that are open."""
        if self.mode == "LIVE":
            self._compare_outside(state)
        else:
            self._compare_paper(state)
        opened = {one.approved.order.client_order_id for one in self.live.values()}
        require(set(state.orders) == opened, "open orders", f"{set(state.orders) ^ opened}")
        filled = {one.approved.order.client_order_id: one.filled for one in self.live.values()}
        core = {name: order.filled_quantity for name, order in state.orders.items()}
        same_figures("filled quantities", filled, core)
        require(self.switches.states == state.switchboard.states, "kill latched", "states differ")

    def _compare_outside(self, state: Any) -> None:
        for account_id, external in state.external.books.items():
            book = self.books[account_id]
            same_figures(f"book's cash of {account_id}", book.cash, external.ledger.cash)
            held = {
                (group, name): line.quantity
                for name, lines in external.ledger.lines.items()
                for group, line in lines.items()
            }
            same_figures(f"book's positions of {account_id}", book.held, held)

    def _compare_paper(self, state: Any) -> None:
        for account_id, book in self.books.items():
            venue = state.paper.accounts[account_id]
            same_figures(f"venue's cash of {account_id}", book.cash, venue.cash)
            names = {name for _, name in book.held}
            held = {name: book.net(name) for name in names}
            same_figures(f"venue's positions of {account_id}", held, venue.positions)
        opened = {one.approved.order.client_order_id for one in self.live.values()}
        require(set(state.paper.orders) == opened, "venue's open orders", "others")
