"""What a venue's report means for an order: fills, order updates, incidents.

It sees VenueReports alone and cannot tell the paper venue from an external one. It expects of a
venue what venues do: fills before the acknowledgement, behind a cancel, and twice.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Final

from tapeline.accounting.numbers import ZERO, fixed
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    ApprovedOrder,
    Fill,
    LiquiditySide,
    OrderStatus,
    OrderUpdate,
    ReportKind,
    ReportNotice,
    Side,
    VenueReport,
)
from tapeline.execution.order_table import TERMINAL, Trigger, next_status
from tapeline.execution.state import LiveOrder, PendingCancel
from tapeline.execution.transcript import Transcript
from tapeline.runtime.ids import derive_id

CANCEL_REJECTED = "EXECUTION_CANCEL_REJECTED"
AMEND_REJECTED = "EXECUTION_AMEND_REJECTED"


class Oddity(StrEnum):
    """What a venue may say that a person should know."""

    UNKNOWN_ORDER = "VENUE_REPORTS_UNKNOWN_ORDER"
    INCOMPLETE_FILL = "VENUE_REPORTS_INCOMPLETE_FILL"
    LATE_FILL = "VENUE_REPORTS_LATE_FILL"
    OVERFILL = "VENUE_REPORTS_OVERFILL"
    UNEXPECTED = "VENUE_REPORTS_UNEXPECTED"


def hear(talk: Transcript, report: VenueReport, causation_id: str | None) -> None:
    """Carries out one report: its fill, then the order's next step, then the end of its cancels."""
    order = talk.state.known_order(report.client_order_id)
    if order is None or order.order.account_id != report.account_id:
        talk.incident(
            Oddity.UNKNOWN_ORDER,
            f"{report.venue} reports {report.kind.value} of {report.client_order_id}, which is "
            "not known here; look at the venue's orders.",
            "critical" if report.kind is ReportKind.FILLED else "warning",
        )
        return
    if report.kind is ReportKind.FILLED and not _book(talk, order, report, causation_id):
        return
    order = talk.state.known_order(report.client_order_id)
    assert order is not None
    if order.status not in TERMINAL:
        _step(talk, order, report, causation_id)


def _book(
    talk: Transcript, order: LiveOrder, report: VenueReport, causation_id: str | None
) -> bool:
    """Books a fill; False when there is nothing to book."""
    if report.trade_id in order.trade_ids:
        return False
    if report.quantity is None or report.price is None or report.quantity <= 0:
        talk.incident(
            Oddity.INCOMPLETE_FILL,
            f"{report.venue} reports a fill of {report.client_order_id} without quantity or price.",
            "critical",
        )
        return False
    if order.status in TERMINAL:
        talk.incident(
            Oddity.LATE_FILL,
            f"{report.venue} filled {report.client_order_id}, which is {order.status.value} here; "
            "the fill is booked.",
        )
    leaves = fixed(order.quantity_max - order.filled_quantity - report.quantity)
    if leaves < 0:
        talk.incident(
            Oddity.OVERFILL,
            f"{report.venue} filled {-leaves.normalize():f} of {report.client_order_id} more than "
            "was ordered; the fill is booked.",
            "critical",
        )
    fill = fill_of(order, report, max(leaves, ZERO), talk)
    talk.fill(fill, order.correlation_id, causation_id)
    return True


def fill_of(order: LiveOrder, report: VenueReport, leaves: Decimal, talk: Transcript) -> Fill:
    """The fill that a report says."""
    assert report.quantity is not None
    assert report.price is not None
    sent, approval = order.order, order.approved.approval
    # Dearer than on arrival is a loss for a buyer, cheaper for a seller.
    slippage = report.price - sent.arrival_price
    return Fill(
        fill_id=derive_id(
            talk.context.run_id, report.venue, report.trade_id, f"Fill/{report.client_order_id}"
        ),
        trade_id=report.trade_id,
        client_order_id=report.client_order_id,
        venue_order_id=report.venue_order_id or order.venue_order_id,
        account_id=sent.account_id,
        group_id=sent.group_id,
        instrument_id=sent.instrument_id,
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        venue=report.venue,
        side=sent.side,
        quantity=report.quantity,
        price=report.price,
        commission=ZERO if report.commission is None else report.commission,
        currency=report.currency,
        # Where the venue does not say, we took: the dearer side.
        liquidity_side=report.liquidity_side or LiquiditySide.TAKER,
        arrival_price=sent.arrival_price,
        leaves_quantity=leaves,
        ts_event_ns=report.ts_event_ns,
        ts_init_ns=talk.session_ns,
        parent_order_id=order.parent_id,
        role=order.role,
        slippage=fixed(slippage if sent.side is Side.BUY else -slippage),
    )


def _step(
    talk: Transcript, order: LiveOrder, report: VenueReport, causation_id: str | None
) -> None:
    trigger = trigger_of(report.kind, order)
    status = next_status(order.status, trigger)
    if status is None:
        talk.incident(
            Oddity.UNEXPECTED,
            f"{report.venue} reports {report.kind.value} of {report.client_order_id}, which is "
            f"{order.status.value}; it stays so.",
        )
        return
    cancels = order.cancels
    venue_order_id = report.venue_order_id or order.venue_order_id
    is_news = status is not order.status or venue_order_id != order.venue_order_id
    if is_news or report.kind is ReportKind.FILLED:
        talk.update(
            replace(
                update_of(order, status, talk.session_ns),
                venue_order_id=venue_order_id,
                reason=report.reason,
                ts_event_ns=report.ts_event_ns,
            ),
            order.correlation_id,
            causation_id,
        )
    if status in TERMINAL:
        end_cancels(talk, order, cancels, causation_id)
        reason = f"The order is {status.value}."
        end_amendment(talk, order, causation_id, ReportNotice.AMEND_REJECTED, reason)
    elif report.kind is ReportKind.CANCEL_REJECTED:
        end_cancels(talk, order, cancels, causation_id, CANCEL_REJECTED, report.reason)


_PLAIN: Final = {
    ReportKind.REJECTED: Trigger.REJECTED,
    ReportKind.CANCELED: Trigger.CANCELED,
    ReportKind.EXPIRED: Trigger.EXPIRED,
    ReportKind.TIMEOUT: Trigger.TIMEOUT,
    ReportKind.NOT_FOUND: Trigger.NOT_FOUND,
}
"""Reports that mean the same whatever is filled."""


def trigger_of(kind: ReportKind, order: LiveOrder) -> Trigger:
    """What a report is to an order, its fill already booked."""
    is_partly = order.filled_quantity > 0
    match kind:
        case ReportKind.ACCEPTED:
            return Trigger.ACCEPTED_PARTLY if is_partly else Trigger.ACCEPTED
        case ReportKind.FILLED:
            is_whole = order.filled_quantity >= order.quantity_max
            return Trigger.FILLED if is_whole else Trigger.FILLED_PARTLY
        case ReportKind.CANCEL_REJECTED:
            return Trigger.CANCEL_REJECTED_PARTLY if is_partly else Trigger.CANCEL_REJECTED
    return _PLAIN[kind]


def end_cancels(
    talk: Transcript,
    order: LiveOrder,
    cancels: tuple[PendingCancel, ...],
    causation_id: str | None,
    code: str = "",
    reason: str = "",
) -> None:
    """Ends the approvals of cancels that waited for an order."""
    for cancel in cancels:
        now = talk.state.known_order(order.name)
        assert now is not None
        used = talk.state.used.get(cancel.approval_id)
        update = replace(cancel_update(now, cancel, talk.session_ns), code=code, reason=reason)
        correlation_id = order.correlation_id if used is None else used.correlation_id
        talk.update(update, correlation_id, causation_id)


def end_amendment(
    talk: Transcript,
    order: LiveOrder,
    causation_id: str | None,
    notice: ReportNotice,
    reason: str,
) -> None:
    """Ends the approval of an amendment that `order` has waited for; nothing without one."""
    pending = order.amendment
    if pending is None or not pending.approval_id:
        return
    now = talk.state.known_order(order.name)
    assert now is not None
    used = talk.state.used.get(pending.approval_id)
    update = replace(
        update_of(now, now.status, talk.session_ns),
        approval_id=pending.approval_id,
        decision_id=pending.decision_id,
        is_terminal=True,
        notice=notice,
        code="" if notice is ReportNotice.AMENDED else AMEND_REJECTED,
        reason=reason,
    )
    talk.update(update, order.correlation_id if used is None else used.correlation_id, causation_id)


def update_of(order: LiveOrder, status: OrderStatus, session_ns: int) -> OrderUpdate:
    """A step of a sent order, under the approval it was sent with."""
    sent, approval = order.order, order.approved.approval
    return OrderUpdate(
        client_order_id=sent.client_order_id,
        venue_order_id=order.venue_order_id,
        account_id=sent.account_id,
        group_id=sent.group_id,
        instrument_id=sent.instrument_id,
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        status=status,
        previous_status=order.status,
        # Behind the end of a part, the whole still follows.
        is_terminal=status in TERMINAL and approval.schedule is None,
        code="",
        reason="",
        quantity=sent.quantity,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        ts_event_ns=session_ns,
        ts_init_ns=session_ns,
        parent_order_id=order.parent_id,
        child_index=order.child_index,
        role=order.role,
    )


def cancel_update(order: LiveOrder, cancel: PendingCancel, session_ns: int) -> OrderUpdate:
    """The terminal answer to the approval of a cancel: what has become of its order."""
    return replace(
        update_of(order, order.status, session_ns),
        approval_id=cancel.approval_id,
        decision_id=cancel.decision_id,
        is_terminal=True,
    )


def denied(approved: ApprovedOrder, code: str, reason: str, now_ns: int) -> OrderUpdate:
    """The terminal answer to an approval that execution refuses."""
    order, approval = approved.order, approved.approval
    status = next_status(OrderStatus.APPROVED, Trigger.DENY)
    assert status is not None
    return OrderUpdate(
        client_order_id=order.client_order_id,
        venue_order_id="",
        account_id=order.account_id,
        group_id=order.group_id,
        instrument_id=order.instrument_id,
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        status=status,
        previous_status=OrderStatus.APPROVED,
        is_terminal=True,
        code=code,
        reason=reason,
        quantity=order.quantity,
        filled_quantity=ZERO,
        ts_event_ns=now_ns,
        ts_init_ns=now_ns,
    )


def answering(
    update: OrderUpdate, cancel: PendingCancel, *, is_terminal: bool = False
) -> OrderUpdate:
    """An update in answer to the approval of a cancel."""
    return replace(
        update,
        approval_id=cancel.approval_id,
        decision_id=cancel.decision_id,
        is_terminal=is_terminal,
    )
