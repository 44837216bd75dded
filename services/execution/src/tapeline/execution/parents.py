"""Orders with a schedule: how their state follows from what was said, and when they need the clock.

A parent is sliced (TWAP, VWAP, ICEBERG) or an entry with protective legs. Its children are orders
like any other; what of them concerns the whole is kept here, so that it outlives them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tapeline.accounting.numbers import ZERO, fixed, notional
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import ChildRole, Fill, OrderStatus, OrderUpdate
from tapeline.execution.state import ExecutionState, LiveOrder, ParentOrder, PendingCancel
from tapeline.execution.venues.arrival import earliest
from tapeline.execution.venues.order_view import PROTECTIVE


def parent_of(state: ExecutionState, order: LiveOrder) -> ParentOrder | None:
    """The parent of an order, or None for a plain one."""
    if order.approved.approval.schedule is None:
        return None
    return state.parents.get(order.approved.order.client_order_id)


def is_about_parent(state: ExecutionState, update: OrderUpdate) -> bool:
    """Whether an update speaks of a whole order with a schedule. An entry has the same id as the
    whole: the end of the approval, and cancels behind the entry's end, are the whole's."""
    parent = state.parents.get(update.client_order_id)
    if parent is None:
        given_up = state.parents.get(update.parent_order_id)
        return given_up is not None and update.client_order_id not in given_up.sent
    if parent.is_sliced:
        return True
    is_own = update.approval_id == parent.approval_id
    return update.is_terminal if is_own else update.client_order_id not in state.orders


def updated(state: ExecutionState, update: OrderUpdate, forget_ns: int) -> ExecutionState:
    """After an update about a parent, or about a slice that is not sent."""
    parent = state.parents.get(update.client_order_id)
    if parent is None:
        parent = state.parents[update.parent_order_id]
        return _with(state, replace(parent, next_slice=update.child_index + 1))
    if update.approval_id != parent.approval_id:
        status = update.status if parent.is_sliced and not update.is_terminal else parent.status
        is_protected = parent.is_protected and (parent.is_sliced or update.is_terminal)
        cancels = cancels_after(parent.cancels, update)
        parent = replace(parent, cancels=cancels, status=status, is_protected=is_protected)
        return _with(state, parent)
    parent = replace(parent, status=update.status, told_quantity=fixed(update.filled_quantity))
    if not update.is_terminal:
        return _with(state, parent)
    parent = replace(parent, is_over=True, forget_ns=forget_ns)
    state = replace(state, housekeeping_ns=earliest(state.housekeeping_ns, forget_ns))
    return _with(state, parent)


def cancels_after(
    cancels: tuple[PendingCancel, ...], update: OrderUpdate
) -> tuple[PendingCancel, ...]:
    """The cancels that wait, after an update that answers one of them."""
    cancel = PendingCancel(approval_id=update.approval_id, decision_id=update.decision_id)
    if update.is_terminal:
        return tuple(held for held in cancels if held != cancel)
    return (*cancels, cancel)


def child_sent(state: ExecutionState, order: LiveOrder) -> ExecutionState:
    """After a send under an approval with a schedule."""
    if order.approved.approval.schedule is None:
        return state
    parent = parent_of(state, order) or ParentOrder(
        approved=order.approved,
        correlation_id=order.correlation_id,
        status=OrderStatus.SUBMITTED,
    )
    parent = replace(parent, sent=(*parent.sent, order.name))
    if order.role not in PROTECTIVE:
        parent = replace(parent, next_slice=order.child_index + 1)
    return _with(state, parent)


def child_filled(state: ExecutionState, order: LiveOrder, fill: Fill) -> ExecutionState:
    """After a fill of a child."""
    parent = parent_of(state, order)
    if parent is None:
        return state
    if order.role in PROTECTIVE:
        filled = fixed(parent.legs_filled.get(order.name, ZERO) + fill.quantity)
        return _with(state, replace(parent, legs_filled={**parent.legs_filled, order.name: filled}))
    parent = replace(
        parent,
        filled_quantity=fixed(parent.filled_quantity + fill.quantity),
        filled_value=fixed(parent.filled_value + notional(fill.quantity, fill.price)),
    )
    return _with(state, parent)


def child_ended(state: ExecutionState, order: LiveOrder) -> ExecutionState:
    """After the end of a child."""
    parent = parent_of(state, order)
    if parent is None:
        return state
    if order.role is ChildRole.WHOLE:
        return _with(state, replace(parent, status=order.status))
    if order.role is ChildRole.SLICE and order.status is not OrderStatus.FILLED:
        return _with(state, replace(parent, stopped_by=order.status))
    return state


def unprotected(state: ExecutionState, names: Iterator[str]) -> ExecutionState:
    """After an operator's CancelAll that spares no protective order."""
    stripped = {name: replace(state.parents[name], is_protected=False) for name in names}
    return replace(state, parents={**state.parents, **stripped})


def next_due_ns(state: ExecutionState) -> int | None:
    """When a parent needs the clock: a slice is due or too late, or the schedule ends."""
    times = (
        time
        for parent in state.parents.values()
        if not parent.is_over
        for time in _times(parent)
        if time > state.looked_ns
    )
    return min(times, default=None)


def _times(parent: ParentOrder) -> Iterator[int]:
    if not parent.is_sliced:
        return
    schedule = parent.schedule
    yield from (child.send_ns for child in schedule.children[parent.next_slice :])
    yield from (child.last_send_ns + 1 for child in schedule.children[parent.next_slice :])
    if schedule.end_ns is not None:
        yield schedule.end_ns


def _with(state: ExecutionState, parent: ParentOrder) -> ExecutionState:
    return replace(state, parents={**state.parents, parent.name: parent})
