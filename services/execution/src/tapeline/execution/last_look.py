"""The last look at what leaves: every command is verified again from its own content.

Errors:
    UnapprovedCommand   a command that must never leave; the process ends before it does
"""

from __future__ import annotations

from typing import Any, Final

from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    OrderAction,
    OrderUpdate,
    VenueCommand,
)
from tapeline.runtime.exits import Failure
from tapeline.runtime.signing import KeyRing, seal_verdict

_OUTDATED: Final = ("REVOKED_KEY", "UNKNOWN_KEY")


class UnapprovedCommand(Failure):
    """A command that must never leave."""


class LastLook:
    """Checks outputs just before they are produced."""

    def __init__(self, seals: KeyRing) -> None:
        self._seals = seals

    def check(self, record: Any) -> None:
        """Raises UnapprovedCommand for an OrderUpdate whose command its approval does not cover."""
        if not isinstance(record, OrderUpdate) or record.command is None:
            return
        fault = self._mac_fault(record.command) or difference(record, record.command)
        if fault:
            raise UnapprovedCommand(
                f"Command {record.command.command_id} for order {record.client_order_id} was "
                f"stopped: {fault}.",
                "Start again; if it repeats, halt trading and compare the order with its approval.",
            )

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
    pairs = (
        ("client_order_id", command.client_order_id, order.client_order_id),
        ("client_order_id of the update", update.client_order_id, order.client_order_id),
        ("quantity", command.quantity, order.quantity),
        ("venue", command.venue, order.venue),
        ("account", update.account_id, approval.account_id),
        ("account of the order", order.account_id, approval.account_id),
        ("instrument", update.instrument_id, order.instrument_id),
    )
    for name, sent, permitted in pairs:
        if sent != permitted:
            return f"{name} is {sent}, approved is {permitted}"
    if command.kind is CommandKind.SUBMIT:
        if approved.action is OrderAction.CANCEL:
            return "the approval is for a cancel"
        if update.approval_id != approval.approval_id:
            return f"it answers {update.approval_id}, not {approval.approval_id}"
        if not 0 <= command.child_index < approval.child_count:
            return f"send {command.child_index} is not among the {approval.child_count} approved"
    return ""
