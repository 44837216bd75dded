"""How inputs and the core's own outputs move its state. Recovery runs this alone."""

from __future__ import annotations

from typing import Final

from tapeline.accounting.numbers import fixed, notional
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    Fill,
    OrderUpdate,
    ReportNotice,
    VenueCommand,
)
from tapeline.execution import admission, doubts, parents
from tapeline.execution.admission import SECOND_NS, Rules
from tapeline.execution.order_table import TERMINAL
from tapeline.execution.state import (
    Doubt,
    ExecutionState,
    LiveOrder,
    PendingAmendment,
    UsedApproval,
)
from tapeline.execution.venues.arrival import earliest, has_increments
from tapeline.execution.venues.order_view import order_of
from tapeline.runtime.core import Input

HOUSEKEEPING_NS: Final = 10 * SECOND_NS
"""Things are forgotten at multiples of that, many at a time."""


def _round_time(time_ns: int) -> int:
    return -(-time_ns // HOUSEKEEPING_NS) * HOUSEKEEPING_NS


def config_fault(state: ExecutionState, record: Instrument | Account | Venue) -> str:
    """Why a config record is not taken, or empty."""
    known: Instrument | Account | Venue | None = None
    if isinstance(record, Instrument):
        if not has_increments(record):
            return f"{record.instrument_id}: tick_size and lot_size must be positive"
        known = state.instruments.get(record.instrument_id)
    elif isinstance(record, Account):
        known = state.accounts.get(record.account_id)
    else:
        known = state.venues.get(record.venue)
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
    """After an approval: if it verifies its id is used, whatever becomes of it."""
    approved: ApprovedOrder = event.record
    approval = approved.approval
    if approval.approval_id in state.used:
        return state
    correlation_id = event.correlation_id or event.event_id.partition("@")[0]
    if not admission.is_verified(event):
        # Its expiry is nobody's word.
        doubt = Doubt(
            approved=approved,
            verdict=event.verdict,
            correlation_id=correlation_id,
            until_ns=_round_time(event.session_ns + rules.approval_kept_ns),
        )
        return doubts.after_approval(state, doubt)
    ends_ns = max(approval.expires_ns, event.session_ns)
    used = UsedApproval(
        until_ns=_round_time(ends_ns + rules.approval_kept_ns), correlation_id=correlation_id
    )
    return replace(
        doubts.settled(state, approval.approval_id),
        used={**state.used, approval.approval_id: used},
        housekeeping_ns=earliest(state.housekeeping_ns, used.until_ns),
    )


def updated(state: ExecutionState, update: OrderUpdate, rules: Rules) -> ExecutionState:
    """After a step of an order's life, said by ourselves."""
    if state.doubts:
        forget_ns = _round_time(update.ts_init_ns + rules.approval_kept_ns)
        state = doubts.updated(state, update, forget_ns)
    command = update.command
    if command is not None and command.kind is CommandKind.SUBMIT:
        return _submitted(state, update, command)
    if parents.is_about_parent(state, update):
        return parents.updated(state, update, _round_time(_kept_until(state, update, rules)))
    order = state.orders.get(update.client_order_id)
    if order is None:
        return state
    if update.approval_id != order.approval_id:
        return _with_other_approval(state, order, update)
    if command is not None and command.is_amendment:
        return _with_order(state, asked(order, update))
    order = replace(order, status=update.status, venue_order_id=update.venue_order_id)
    order = amended(order, update.notice)
    if update.status in TERMINAL:
        ended = _ended(state, order, _kept_until(state, update, rules))
        return parents.child_ended(ended, order)
    return _with_order(state, order)


def _kept_until(state: ExecutionState, update: OrderUpdate, rules: Rules) -> int:
    is_outside = update.account_id in state.external.books
    kept_ns = rules.external_order_kept_ns if is_outside else rules.ended_order_kept_ns
    return update.ts_init_ns + kept_ns


def _submitted(state: ExecutionState, update: OrderUpdate, command: VenueCommand) -> ExecutionState:
    used = state.used.get(update.approval_id)
    correlation_id = "" if used is None else used.correlation_id
    parent = state.parents.get(command.approved.order.client_order_id)
    sent = LiveOrder(
        approved=command.approved,
        order=order_of(command),
        child_index=command.child_index,
        correlation_id=correlation_id if parent is None else parent.correlation_id,
        status=update.status,
    )
    return parents.child_sent(_with_order(state, sent), sent)


def _with_order(state: ExecutionState, order: LiveOrder) -> ExecutionState:
    return replace(state, orders={**state.orders, order.name: order})


def asked(order: LiveOrder, update: OrderUpdate) -> LiveOrder:
    """An order whose new terms were asked of the venue."""
    assert update.command is not None
    is_own = update.approval_id == order.approval_id
    pending = PendingAmendment(
        approval_id="" if is_own else update.approval_id,
        decision_id=update.decision_id,
        order=order_of(update.command),
    )
    return replace(order, amendment=pending, status=update.status)


def amended(order: LiveOrder, notice: ReportNotice) -> LiveOrder:
    """An order after the answer to its amendment, if it was one."""
    if order.amendment is None or notice is ReportNotice.NONE:
        return order
    if notice is ReportNotice.AMENDED:
        return replace(order, order=order.amendment.order, amendment=None)
    return replace(order, amendment=None, is_fixed=True)


def _with_other_approval(
    state: ExecutionState, order: LiveOrder, update: OrderUpdate
) -> ExecutionState:
    """After an update that answers another approval than the order's: a cancel or an amendment."""
    if update.command is not None and update.command.is_amendment:
        return _with_order(state, asked(order, update))
    cancels, status = parents.cancels_after(order.cancels, update), order.status
    if not update.is_terminal:
        status = update.status
    return _with_order(state, replace(order, cancels=cancels, status=status))


def _ended(state: ExecutionState, order: LiveOrder, forget_ns: int) -> ExecutionState:
    order = replace(order, cancels=(), amendment=None, forget_ns=_round_time(forget_ns))
    orders = dict(state.orders)
    del orders[order.name]
    return replace(
        state,
        orders=orders,
        ended={**state.ended, order.name: order},
        housekeeping_ns=earliest(state.housekeeping_ns, order.forget_ns),
    )


def filled(state: ExecutionState, fill: Fill) -> ExecutionState:
    """After a fill, said by ourselves."""
    order = state.known_order(fill.client_order_id)
    assert order is not None, "a fill of ours is said of an order that is known"
    order = replace(
        order,
        filled_quantity=fixed(order.filled_quantity + fill.quantity),
        filled_value=fixed(order.filled_value + notional(fill.quantity, fill.price)),
        trade_ids=(*order.trade_ids, fill.trade_id),
    )
    state = parents.child_filled(state, order, fill)
    if fill.client_order_id in state.orders:
        return _with_order(state, order)
    return replace(state, ended={**state.ended, fill.client_order_id: order})


def is_quiet(state: ExecutionState, now_ns: int) -> bool:
    """Whether a timer makes nothing be said: housekeeping, which it is for, is silent."""
    due_ns = state.paper.due_ns
    return not state.doubts and not state.parents and (due_ns is None or due_ns > now_ns)


def housekept(state: ExecutionState, now_ns: int) -> ExecutionState:
    """After a timer: what is past its time is forgotten."""
    if state.housekeeping_ns is None or state.housekeeping_ns > now_ns:
        return state
    used = {key: item for key, item in state.used.items() if item.until_ns > now_ns}
    ended = {key: order for key, order in state.ended.items() if order.forget_ns > now_ns}
    kept = {
        key: item
        for key, item in state.parents.items()
        if not item.is_over or item.forget_ns > now_ns
    }
    doubted = doubts.kept(state, now_ns)
    times = (
        *(item.until_ns for item in used.values()),
        # Those that are denied now are kept as long again from here on.
        *(max(item.until_ns, _round_time(now_ns + 1)) for item in doubted.values()),
        *(order.forget_ns for order in ended.values()),
        *(item.forget_ns for item in kept.values() if item.is_over),
    )
    return replace(
        state,
        used=used,
        ended=ended,
        parents=kept,
        doubts=doubted,
        housekeeping_ns=min(times, default=None),
    )
