"""Works orders that have a schedule: sends what is due, protects what is filled, ends what is over.

`work` is called behind every input that may matter, and acts until nothing is left to do. It keeps
no memory of its own: what was sent, given up or filled is in the state, so a restart goes on from
there. Every send is looked at again: trading state, risk's sign of life, the signed last time.

    slices     one after the other, TWAP and VWAP by time, ICEBERG when the last one is filled. What
               cannot be sent while its time lasts is given up, not caught up.
    legs       once anything is filled, each leg for what is filled and not closed by the other.
               Fills of one make the other smaller, so that never more is closed than was opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ZERO, divide_rounded, fixed
from tapeline.contracts.frozen import quick, replace
from tapeline.contracts.orders import (
    Algorithm,
    CommandKind,
    OrderStatus,
    OrderUpdate,
    ScheduledChild,
    VenueCommand,
)
from tapeline.execution import admission, amendments, life_cycle
from tapeline.execution.admission import Code, Question, Refusal, Rules
from tapeline.execution.order_table import Trigger, next_status
from tapeline.execution.state import LiveOrder, ParentOrder
from tapeline.execution.transcript import Transcript
from tapeline.execution.venues.order_view import PROTECTIVE, order_of
from tapeline.runtime.core import Context
from tapeline.runtime.ids import derive_id

STEPS_MAX: Final = 1000
"""Far more than an input can cause; a bug must not spin."""
CANCELABLE: Final = (OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
AMENDABLE: Final = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
Send = Callable[[Transcript, OrderUpdate, VenueCommand], None]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What working an order needs of the core."""

    context: Context
    rules: Rules
    send: Send


def child_id(context: Context, parent: ParentOrder, child_index: int) -> str:
    """Our id of a send; the entry of a protected order has that of the whole."""
    if child_index == 0 and not parent.is_sliced:
        return parent.name
    return derive_id(
        context.run_id, context.instance, parent.approval_id, "Order/child", child_index
    )


def work(talk: Transcript, desk: Desk) -> None:
    """Does for every order with a schedule what can be done now."""
    for name in sorted(talk.state.parents):
        for _ in range(STEPS_MAX):
            parent = talk.state.parents[name]
            if parent.is_over:
                break
            step = _slice_step if parent.is_sliced else _protect_step
            if not step(talk, desk, parent):
                break
        else:
            raise AssertionError(f"order {name} is worked without end")


def send_child(
    talk: Transcript, desk: Desk, parent: ParentOrder, child_index: int, quantity: Decimal
) -> None:
    """Sends a child; that it may be sent is the caller's check."""
    command = _command(talk, desk, parent, child_index, quantity)
    status = next_status(OrderStatus.APPROVED, Trigger.SUBMIT)
    assert status is not None
    order = LiveOrder(
        approved=parent.approved,
        order=order_of(command),
        child_index=child_index,
        correlation_id=parent.correlation_id,
        status=OrderStatus.APPROVED,
    )
    desk.send(talk, life_cycle.update_of(order, status, talk.session_ns), command)


def told(parent: ParentOrder, status: OrderStatus, session_ns: int) -> OrderUpdate:
    """A step of the whole order, under its approval."""
    order, approval = parent.approved.order, parent.approved.approval
    average = None
    if parent.filled_quantity:
        average = divide_rounded(parent.filled_value, parent.filled_quantity)
    return OrderUpdate(
        client_order_id=order.client_order_id,
        venue_order_id="",
        account_id=order.account_id,
        group_id=order.group_id,
        instrument_id=order.instrument_id,
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        status=status,
        previous_status=parent.status,
        is_terminal=False,
        code="",
        reason="",
        quantity=order.quantity,
        filled_quantity=parent.filled_quantity,
        average_price=average,
        ts_event_ns=session_ns,
        ts_init_ns=session_ns,
        protective_filled_quantity=None if parent.is_sliced else parent.protective_filled,
    )


def cancel(talk: Transcript, desk: Desk, order: LiveOrder, reason: str) -> bool:
    """Asks for the cancel of a child, under its own approval; False where that makes no sense."""
    status = next_status(order.status, Trigger.REQUEST_CANCEL)
    if order.status not in CANCELABLE or status is None:
        return False
    update = replace(life_cycle.update_of(order, status, talk.session_ns), reason=reason)
    command = VenueCommand(
        command_id=talk.derived("VenueCommand"),
        kind=CommandKind.CANCEL,
        venue=order.order.venue,
        child_index=order.child_index,
        client_order_id=order.name,
        quantity=order.order.quantity,
        approved=order.approved,
        ts_event_ns=talk.session_ns,
    )
    desk.send(talk, update, command)
    return True


def _command(
    talk: Transcript, desk: Desk, parent: ParentOrder, child_index: int, quantity: Decimal
) -> VenueCommand:
    return VenueCommand(
        command_id=talk.derived("VenueCommand"),
        kind=CommandKind.SUBMIT,
        venue=parent.approved.order.venue,
        child_index=child_index,
        client_order_id=child_id(desk.context, parent, child_index),
        quantity=fixed(quantity),
        approved=parent.approved,
        ts_event_ns=talk.session_ns,
    )


def _refusal(
    talk: Transcript, desk: Desk, parent: ParentOrder, child_index: int, quantity: Decimal
) -> Refusal | None:
    """Why a child cannot be sent now, or None. It is asked about as an order of its own: a
    protective leg reduces, and so passes in REDUCING."""
    schedule = parent.schedule
    child = schedule.children[child_index]
    if talk.session_ns > child.last_send_ns:
        late_ns = talk.session_ns - child.last_send_ns
        return Refusal(code=Code.SCHEDULE_OVER, reason=f"Its last time was {late_ns} ns ago.")
    probe = VenueCommand(
        command_id="",
        kind=CommandKind.SUBMIT,
        venue=parent.approved.order.venue,
        child_index=child_index,
        client_order_id="",
        quantity=fixed(quantity),
        approved=parent.approved,
        ts_event_ns=talk.session_ns,
    )
    subject = replace(parent.approved, order=order_of(probe))
    return admission.refusal_of_send(
        Question(
            state=talk.state,
            event=talk.event,
            context=desk.context,
            rules=desk.rules,
            subject=subject,
        )
    )


# ---- slices


def _slice_step(talk: Transcript, desk: Desk, parent: ParentOrder) -> bool:
    """One step of a sliced order; False when there is nothing to do."""
    live = [talk.state.orders[name] for name in parent.sent if name in talk.state.orders]
    if _tell_progress(talk, parent, live):
        return True
    end_ns = parent.schedule.end_ns
    is_ending = end_ns is not None and talk.session_ns >= end_ns
    if is_ending or parent.status is OrderStatus.PENDING_CANCEL:
        reason = "the schedule is over" if is_ending else "the order is to be canceled"
        if any(cancel(talk, desk, child, reason) for child in live):
            return True
    elif _next_slice(talk, desk, parent, live):
        return True
    elif not _is_exhausted(parent):
        return False
    if live:
        return False
    _finish(talk, parent, _trigger_of_end(parent, is_ending=is_ending))
    return True


def _is_exhausted(parent: ParentOrder) -> bool:
    is_iceberg = parent.schedule.algorithm is Algorithm.ICEBERG
    if is_iceberg and parent.stopped_by is not None:
        return True
    return parent.next_slice >= len(parent.schedule.children)


def _tell_progress(talk: Transcript, parent: ParentOrder, live: list[LiveOrder]) -> bool:
    """What its slices have reached, said of the whole; its end is said by `_finish`."""
    is_partly = ZERO < parent.filled_quantity < parent.approved.order.quantity
    if is_partly and parent.filled_quantity != parent.told_quantity:
        trigger = Trigger.FILLED_PARTLY
    elif parent.status is OrderStatus.SUBMITTED and any(
        child.status in AMENDABLE for child in live
    ):
        trigger = Trigger.ACCEPTED
    else:
        return False
    status = next_status(parent.status, trigger)
    assert status is not None, "a whole is submitted, accepted, partly filled or to be canceled"
    update = told(parent, status, talk.session_ns)
    talk.update(update, parent.correlation_id, parent.approval_id)
    return True


def _next_slice(talk: Transcript, desk: Desk, parent: ParentOrder, live: list[LiveOrder]) -> bool:
    schedule, index = parent.schedule, parent.next_slice
    is_iceberg = schedule.algorithm is Algorithm.ICEBERG
    if index >= len(schedule.children) or (is_iceberg and (live or parent.stopped_by)):
        return False
    child = schedule.children[index]
    if child.send_ns > talk.session_ns:
        return False
    refusal = _refusal(talk, desk, parent, index, child.quantity)
    if refusal is None:
        send_child(talk, desk, parent, index, child.quantity)
        return True
    following = schedule.children[index + 1 : index + 2]
    has_passed = not is_iceberg and any(one.send_ns <= talk.session_ns for one in following)
    if refusal.code != Code.SCHEDULE_OVER and not has_passed:
        return False
    _give_up(talk, desk, parent, refusal)
    return True


def _give_up(talk: Transcript, desk: Desk, parent: ParentOrder, refusal: Refusal) -> None:
    """Says that a slice will not be sent."""
    index = parent.next_slice
    child = parent.schedule.children[index]
    status = next_status(OrderStatus.APPROVED, Trigger.DENY)
    assert status is not None
    update = replace(
        told(parent, status, talk.session_ns),
        client_order_id=child_id(desk.context, parent, index),
        parent_order_id=parent.name,
        previous_status=OrderStatus.APPROVED,
        child_index=index,
        role=child.role,
        code=refusal.code,
        reason=refusal.reason,
        quantity=child.quantity,
        filled_quantity=ZERO,
        average_price=None,
    )
    talk.update(update, parent.correlation_id, parent.approval_id)


def _trigger_of_end(parent: ParentOrder, *, is_ending: bool) -> Trigger:
    if parent.filled_quantity >= parent.approved.order.quantity:
        return Trigger.FILLED
    if parent.status is OrderStatus.PENDING_CANCEL:
        return Trigger.CANCELED
    is_untouched = not parent.filled_quantity and parent.status is not OrderStatus.UNKNOWN
    if is_untouched and parent.stopped_by is OrderStatus.REJECTED:
        return Trigger.REJECTED
    is_canceled = parent.stopped_by is OrderStatus.CANCELED and not is_ending
    return Trigger.CANCELED if is_canceled else Trigger.EXPIRED


def _finish(talk: Transcript, parent: ParentOrder, trigger: Trigger | None) -> None:
    """The terminal update of the approval, and of the cancels that waited for it."""
    status = parent.status if trigger is None else next_status(parent.status, trigger)
    assert status is not None, f"{parent.status} cannot end by {trigger}"
    cancels = parent.cancels
    update = replace(told(parent, status, talk.session_ns), is_terminal=True)
    talk.update(update, parent.correlation_id, parent.approval_id)
    for waiting in cancels:
        used = talk.state.used.get(waiting.approval_id)
        answer = replace(
            update,
            approval_id=waiting.approval_id,
            decision_id=waiting.decision_id,
            previous_status=status,
        )
        talk.update(answer, parent.correlation_id if used is None else used.correlation_id)


# ---- protective legs


def _protect_step(talk: Transcript, desk: Desk, parent: ParentOrder) -> bool:
    """One step of an order with protective legs; False when there is nothing to do."""
    is_waiting = False
    for index, child in enumerate(parent.schedule.children):
        if child.role not in PROTECTIVE:
            continue
        name = child_id(desk.context, parent, index)
        others = sum((filled for leg, filled in parent.legs_filled.items() if leg != name), ZERO)
        wanted = fixed(_opened(parent, child) - others)
        leg = talk.state.orders.get(name)
        if leg is not None:
            is_waiting = True
            if _adjust(talk, desk, parent, leg, wanted):
                return True
        elif name not in parent.sent and wanted > 0 and parent.is_protected:
            is_waiting = True
            if _refusal(talk, desk, parent, index, wanted) is None:
                send_child(talk, desk, parent, index, wanted)
                return True
    entry = talk.state.orders.get(parent.name)
    if entry is not None:
        is_closed = parent.protective_filled > 0
        return is_closed and cancel(talk, desk, entry, "its position is being closed")
    if is_waiting:
        return False
    _finish(talk, parent, None)
    return True


def _opened(parent: ParentOrder, child: ScheduledChild) -> Decimal:
    """How much of what was filled a leg protects: an order that flips a position closes first."""
    closing = parent.approved.order.quantity - child.quantity
    return min(max(parent.filled_quantity - closing, ZERO), child.quantity)


def _adjust(
    talk: Transcript, desk: Desk, parent: ParentOrder, leg: LiveOrder, wanted: Decimal
) -> bool:
    """Gives a working leg the quantity that is wanted of it, or takes it back."""
    if not parent.is_protected:
        return cancel(talk, desk, leg, "protection was taken off")
    if wanted <= leg.filled_quantity:
        return cancel(talk, desk, leg, "nothing is left to protect")
    is_free = leg.amendment is None and not leg.is_fixed and leg.status in AMENDABLE
    if not is_free or leg.order.quantity == wanted:
        return False
    update, command = amendments.asked(talk, leg, parent.approved, wanted)
    desk.send(talk, update, command)
    return True
