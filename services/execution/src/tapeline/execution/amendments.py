"""Amendments: new quantity and prices of an order that is open.

Risk approves them like an order. Until the venue answers, both the old and the new terms may hold;
then exactly one does, and the approval of the amendment ends.
"""

from __future__ import annotations

from decimal import Decimal

from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    OrderUpdate,
    ReportNotice,
    VenueCommand,
    VenueReport,
)
from tapeline.execution import bookkeeping, life_cycle
from tapeline.execution.order_table import TERMINAL, Trigger, next_status
from tapeline.execution.state import LiveOrder
from tapeline.execution.transcript import Transcript


def asked(
    talk: Transcript, order: LiveOrder, approved: ApprovedOrder, quantity: Decimal
) -> tuple[OrderUpdate, VenueCommand]:
    """The step and the command that ask the venue for new terms: those of `approved`."""
    status = next_status(order.status, Trigger.REQUEST_AMENDMENT)
    assert status is not None, "looked at by admission"
    update = replace(
        life_cycle.update_of(order, status, talk.session_ns),
        approval_id=approved.approval.approval_id,
        decision_id=approved.approval.decision_id,
        is_terminal=False,
    )
    command = VenueCommand(
        command_id=talk.derived("VenueCommand"),
        # A reader that knows no amendments asks, and changes nothing.
        kind=CommandKind.QUERY,
        is_amendment=True,
        venue=order.order.venue,
        child_index=order.child_index,
        client_order_id=order.name,
        quantity=quantity,
        approved=approved,
        ts_event_ns=talk.session_ns,
    )
    return update, command


def answered(
    talk: Transcript, order: LiveOrder, report: VenueReport, causation_id: str | None
) -> None:
    """Carries out the venue's answer."""
    pending = order.amendment
    if pending is None:
        if order.status not in TERMINAL:
            talk.incident(
                life_cycle.Oddity.UNEXPECTED,
                f"{report.venue} answers an amendment of {order.name} that was not asked for.",
            )
        return
    after = bookkeeping.amended(order, report.notice)
    is_whole = after.filled_quantity >= after.order.quantity
    trigger = Trigger.FILLED if is_whole else Trigger.AMENDMENT_ANSWERED
    status = next_status(order.status, trigger)
    assert status is not None, "an order with a pending amendment is open"
    update = replace(
        life_cycle.update_of(after, status, talk.session_ns),
        venue_order_id=report.venue_order_id or order.venue_order_id,
        reason=report.reason,
        notice=report.notice,
        ts_event_ns=report.ts_event_ns,
    )
    talk.update(update, order.correlation_id, causation_id)
    life_cycle.end_amendment(talk, order, causation_id, report.notice, report.reason)
    if status in TERMINAL:
        life_cycle.end_cancels(talk, order, order.cancels, causation_id)


def is_answer(report: VenueReport) -> bool:
    """Whether a report answers an amendment."""
    return report.notice in (ReportNotice.AMENDED, ReportNotice.AMEND_REJECTED)
