"""The last look at what leaves: every command is verified again from its own content.

Errors:
    UnapprovedCommand   a command that must never leave; the process ends before it does
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from tapeline.accounting.numbers import ZERO
from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    OrderAction,
    OrderUpdate,
    VenueCommand,
)
from tapeline.execution import schedules
from tapeline.execution.venues.order_view import PROTECTIVE, child_of, role_of
from tapeline.runtime.exits import Failure
from tapeline.runtime.signing import KeyRing, seal_verdict

REMEMBERED_MAX: Final = 100_000
_OUTDATED: Final = ("REVOKED_KEY", "UNKNOWN_KEY")


class UnapprovedCommand(Failure):
    """A command that must never leave."""


class LastLook:
    """Checks outputs just before they are produced.

    It remembers what this process has sent, so that it does not depend on the core's own count: no
    send twice, and the slices of an order together never more than was approved.
    """

    def __init__(self, seals: KeyRing) -> None:
        self._seals = seals
        self._sent: dict[str, dict[int, Decimal]] = {}

    def check(self, record: Any) -> None:
        """Raises UnapprovedCommand for an OrderUpdate whose command its approval does not cover."""
        if not isinstance(record, OrderUpdate) or record.command is None:
            return
        command = record.command
        fault = (
            self._mac_fault(command) or difference(record, command) or self._excess(record, command)
        )
        if fault:
            raise UnapprovedCommand(
                f"Command {record.command.command_id} for order {record.client_order_id} was "
                f"stopped: {fault}.",
                "Start again; if it repeats, halt trading and compare the order with its approval.",
            )

    def _excess(self, update: OrderUpdate, command: VenueCommand) -> str:
        """What is wrong with a send beside those before it, or empty; it counts from here on."""
        if command.kind is not CommandKind.SUBMIT:
            return ""
        sent = self._sent.pop(update.approval_id, {})
        if command.child_index in sent:
            return f"send {command.child_index} of its approval was made before"
        sent = {**sent, command.child_index: command.quantity}
        own = (
            quantity
            for index, quantity in sent.items()
            if role_of(command.approved, index) not in PROTECTIVE
        )
        total = sum(own, ZERO)
        if total > command.approved.order.quantity:
            return f"{total} were sent in all, approved is {command.approved.order.quantity}"
        # The approvals that were used last are at the end.
        self._sent[update.approval_id] = sent
        if len(self._sent) > REMEMBERED_MAX:
            del self._sent[next(iter(self._sent))]
        return ""

    def _mac_fault(self, command: VenueCommand) -> str:
        verdict = seal_verdict(command.approved, self._seals)
        if command.kind is not CommandKind.SUBMIT and verdict in _OUTDATED:
            # The kill switch cancels under the approval of the order, whose key may be gone by now.
            return ""
        return verdict and f"its approval does not verify ({verdict})"


def difference(update: OrderUpdate, command: VenueCommand) -> str:
    """What a command has that its approval has not, or empty."""
    approved: ApprovedOrder = command.approved
    order, approval = approved.order, approved.approval
    is_part = bool(update.parent_order_id)
    pairs = (
        ("client_order_id of the update", update.client_order_id, command.client_order_id),
        (
            "client_order_id of the whole",
            update.parent_order_id if is_part else command.client_order_id,
            order.client_order_id,
        ),
        ("venue", command.venue, order.venue),
        ("account", update.account_id, approval.account_id),
        ("account of the order", order.account_id, approval.account_id),
        ("instrument", update.instrument_id, order.instrument_id),
    )
    for name, sent, permitted in pairs:
        if sent != permitted:
            return f"{name} is {sent}, approved is {permitted}"
    fault = _schedule_fault(update, command)
    if fault or command.kind is CommandKind.CANCEL:
        return fault
    if approved.action is OrderAction.CANCEL:
        return "the approval is for a cancel"
    if update.approval_id != approval.approval_id:
        return f"it answers {update.approval_id}, not {approval.approval_id}"
    if command.kind is CommandKind.SUBMIT:
        if approved.action is OrderAction.AMEND:
            return "the approval is for an amendment"
        return _late(command)
    return ""


def _schedule_fault(update: OrderUpdate, command: VenueCommand) -> str:
    """Whether the command is one of the sends that the approval lists, and not for more."""
    approved = command.approved
    child = child_of(approved, command.child_index)
    if child is None:
        if approved.approval.schedule is not None or command.child_index or update.parent_order_id:
            return f"send {command.child_index} is not among those approved"
        limit, is_exact = approved.order.quantity, True
    else:
        limit = child.quantity
        # The kill switch cancels amended orders under the approval that they were sent with.
        is_exact = child.role not in PROTECTIVE and command.kind is not CommandKind.CANCEL
    is_amended = command.kind is CommandKind.CANCEL and child is None
    if not is_amended and (command.quantity > limit or (is_exact and command.quantity != limit)):
        return f"quantity is {command.quantity}, approved is {limit}"
    if command.quantity <= 0:
        return f"quantity {command.quantity} is not positive"
    return schedules.fault(approved)


def _late(command: VenueCommand) -> str:
    child = child_of(command.approved, command.child_index)
    now_ns, approval = command.ts_event_ns, command.approved.approval
    if child is None:
        return "" if now_ns < approval.expires_ns else "the approval has expired"
    if not child.send_ns <= now_ns <= child.last_send_ns:
        return "it is sent outside of the time that was approved"
    return ""


def is_send(record: Any) -> bool:
    """Whether an output sends an order that a halt would have stopped."""
    command = record.command if isinstance(record, OrderUpdate) else None
    if command is None or command.kind is not CommandKind.SUBMIT:
        return False
    return not command.approved.order.is_reduce_only
