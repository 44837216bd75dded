"""How inputs and the core's own outputs move its state. Recovery runs this alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tapeline.accounting.numbers import fixed, notional
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.orders import ApprovedOrder, CommandKind, Fill, OrderUpdate
from tapeline.execution.admission import SECOND_NS, Rules
from tapeline.execution.order_table import TERMINAL
from tapeline.execution.state import ExecutionState, LiveOrder, PendingCancel, UsedApproval
from tapeline.execution.venues.arrival import earliest, has_increments
from tapeline.runtime.core import Input

HOUSEKEEPING_NS: Final = 10 * SECOND_NS
"""Things are forgotten at multiples of that, many at a time."""


def _round_time(time_ns: int) -> int:
    return -(-time_ns // HOUSEKEEPING_NS) * HOUSEKEEPING_NS


def config_fault(state: ExecutionState, record: object) -> str:
    """Why a config record is not taken, or empty."""
    known: Instrument | Account | Venue | None = None
    if isinstance(record, Instrument):
        if not has_increments(record):
            return f"{record.instrument_id}: tick_size and lot_size must be positive"
        known = state.instruments.get(record.instrument_id)
    elif isinstance(record, Account):
        known = state.accounts.get(record.account_id)
    elif isinstance(record, Venue):
        known = state.venues.get(record.venue)
    else:
        return ""
    if known is not None and record.version < known.version:
        return f"version {record.version} is older than {known.version}"
    return ""


def configured(state: ExecutionState, record: Instrument | Account | Venue) -> ExecutionState:
    """After a config record that has no fault."""
    if isinstance(record, Instrument):
        return replace(state, instruments={**state.instruments, record.instrument_id: record})
    if isinstance(record, Account):
        return replace(state, accounts={**state.accounts, record.account_id: record})
    return replace(state, venues={**state.venues, record.venue: record})


def approval_seen(state: ExecutionState, event: Input, rules: Rules) -> ExecutionState:
    """After an approval, whatever becomes of it: its id is used."""
    approved: ApprovedOrder = event.record
    approval = approved.approval
    if approval.approval_id in state.used:
        return state
    # What does not verify is refused whenever it comes; its expiry is nobody's word.
    is_genuine = not event.verdict
    ends_ns = max(approval.expires_ns, event.session_ns) if is_genuine else event.session_ns
    used = UsedApproval(
        until_ns=_round_time(ends_ns + rules.approval_kept_ns),
        correlation_id=event.correlation_id or event.event_id.partition("@")[0],
    )
    return replace(
        state,
        used={**state.used, approval.approval_id: used},
        housekeeping_ns=earliest(state.housekeeping_ns, used.until_ns),
    )


def updated(state: ExecutionState, update: OrderUpdate, rules: Rules) -> ExecutionState:
    """After a step of an order's life, said by ourselves."""
    command = update.command
    if command is not None and command.kind is CommandKind.SUBMIT:
        used = state.used.get(update.approval_id)
        sent = LiveOrder(
            approved=command.approved,
            correlation_id="" if used is None else used.correlation_id,
            status=update.status,
        )
        return replace(state, orders={**state.orders, update.client_order_id: sent})
    order = state.orders.get(update.client_order_id)
    if order is None:
        return state
    if update.approval_id != order.approval_id:
        return _with_cancel(state, order, update)
    order = replace(order, status=update.status, venue_order_id=update.venue_order_id)
    if update.status in TERMINAL:
        is_outside = update.account_id in state.external.books
        kept_ns = rules.external_order_kept_ns if is_outside else rules.ended_order_kept_ns
        return _ended(state, order, update.ts_init_ns + kept_ns)
    return replace(state, orders={**state.orders, update.client_order_id: order})


def _with_cancel(state: ExecutionState, order: LiveOrder, update: OrderUpdate) -> ExecutionState:
    """After an update that answers another approval than the order's: that of a cancel."""
    cancel = PendingCancel(approval_id=update.approval_id, decision_id=update.decision_id)
    if update.is_terminal:
        left = tuple(held for held in order.cancels if held != cancel)
        order = replace(order, cancels=left)
    else:
        order = replace(order, cancels=(*order.cancels, cancel), status=update.status)
    return replace(state, orders={**state.orders, update.client_order_id: order})


def _ended(state: ExecutionState, order: LiveOrder, forget_ns: int) -> ExecutionState:
    order_id = order.approved.order.client_order_id
    order = replace(order, cancels=(), forget_ns=_round_time(forget_ns))
    orders = dict(state.orders)
    del orders[order_id]
    return replace(
        state,
        orders=orders,
        ended={**state.ended, order_id: order},
        housekeeping_ns=earliest(state.housekeeping_ns, order.forget_ns),
    )


def filled(state: ExecutionState, fill: Fill) -> ExecutionState:
    """After a fill, said by ourselves."""
    order = state.known_order(fill.client_order_id)
    if order is None:
        return state
    order = replace(
        order,
        filled_quantity=fixed(order.filled_quantity + fill.quantity),
        filled_value=fixed(order.filled_value + notional(fill.quantity, fill.price)),
        trade_ids=(*order.trade_ids, fill.trade_id),
    )
    if fill.client_order_id in state.orders:
        return replace(state, orders={**state.orders, fill.client_order_id: order})
    return replace(state, ended={**state.ended, fill.client_order_id: order})


def housekept(state: ExecutionState, now_ns: int) -> ExecutionState:
    """After a timer: what is past its time is forgotten."""
    if state.housekeeping_ns is None or state.housekeeping_ns > now_ns:
        return state
    used = {key: item for key, item in state.used.items() if item.until_ns > now_ns}
    ended = {key: order for key, order in state.ended.items() if order.forget_ns > now_ns}
    times = (
        *(item.until_ns for item in used.values()),
        *(order.forget_ns for order in ended.values()),
    )
    return replace(state, used=used, ended=ended, housekeeping_ns=min(times, default=None))
