"""The life cycle of an order, all of it: one table of (status, trigger) -> status.

Everything that decides what an order becomes stands in this file; the diagram in
docs/order-life-cycle.md is drawn from it. Denied is our own no, rejected the venue's. Terminal
states absorb whatever still arrives: a fill behind a cancel is booked, but the order stays
canceled.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from tapeline.contracts.orders import OrderStatus


class Trigger(StrEnum):
    """What can happen to an order. The *_PARTLY forms say that some of it is filled already."""

    APPROVE = "approve"
    """risk's permission arrived"""
    DENY = "deny"
    """execution refused it"""
    SUBMIT = "submit"
    """the command left for the venue"""
    REQUEST_CANCEL = "request cancel"
    """the cancel left for the venue"""
    ACCEPTED = "accepted"
    ACCEPTED_PARTLY = "accepted, partly filled"
    REJECTED = "rejected"
    FILLED_PARTLY = "filled partly"
    FILLED = "filled"
    CANCELED = "canceled"
    CANCEL_REJECTED = "cancel rejected"
    CANCEL_REJECTED_PARTLY = "cancel rejected, partly filled"
    EXPIRED = "expired"
    TIMEOUT = "timeout"
    """no answer: the venue may or may not hold the order"""
    REQUEST_AMENDMENT = "request amendment"
    """new terms were asked of the venue; the old ones hold until it answers"""
    AMENDMENT_ANSWERED = "amendment answered"
    """the venue has said which terms hold"""
    NOT_FOUND = "not found"
    """the venue does not know it now; it may still arrive"""
    NOT_SENT = "not sent"
    """it never left, or came too late to count: it does not live at the venue"""


_S: Final = OrderStatus
_T: Final = Trigger
_Row = dict[Trigger, OrderStatus]

# What a venue can say of any order that was sent and has not ended.
_ENDS: Final[_Row] = {
    _T.FILLED: _S.FILLED,
    _T.CANCELED: _S.CANCELED,
    _T.EXPIRED: _S.EXPIRED,
    _T.TIMEOUT: _S.UNKNOWN,
    _T.NOT_FOUND: _S.UNKNOWN,
}
# Where the venue has not spoken yet, the sender may find out that it never will.
_UNSENT: Final[_Row] = {_T.NOT_SENT: _S.DENIED}
_ROWS: Final[dict[OrderStatus, _Row]] = {
    _S.PENDING: {_T.APPROVE: _S.APPROVED, _T.DENY: _S.DENIED},
    _S.APPROVED: {_T.SUBMIT: _S.SUBMITTED, _T.DENY: _S.DENIED},
    _S.SUBMITTED: {
        **_ENDS,
        **_UNSENT,
        _T.ACCEPTED: _S.ACCEPTED,
        _T.REJECTED: _S.REJECTED,
        # The stream of fills may overtake the answer to the command.
        _T.FILLED_PARTLY: _S.PARTIALLY_FILLED,
        _T.REQUEST_CANCEL: _S.PENDING_CANCEL,
    },
    _S.ACCEPTED: {
        **_ENDS,
        _T.ACCEPTED: _S.ACCEPTED,
        # Some venues acknowledge first and look closer afterwards.
        _T.REJECTED: _S.REJECTED,
        _T.FILLED_PARTLY: _S.PARTIALLY_FILLED,
        _T.REQUEST_CANCEL: _S.PENDING_CANCEL,
        _T.REQUEST_AMENDMENT: _S.ACCEPTED,
        _T.AMENDMENT_ANSWERED: _S.ACCEPTED,
    },
    _S.PARTIALLY_FILLED: {
        **_ENDS,
        _T.ACCEPTED_PARTLY: _S.PARTIALLY_FILLED,
        _T.FILLED_PARTLY: _S.PARTIALLY_FILLED,
        _T.REQUEST_CANCEL: _S.PENDING_CANCEL,
        _T.REQUEST_AMENDMENT: _S.PARTIALLY_FILLED,
        _T.AMENDMENT_ANSWERED: _S.PARTIALLY_FILLED,
    },
    _S.PENDING_CANCEL: {
        **_ENDS,
        **_UNSENT,
        _T.ACCEPTED: _S.PENDING_CANCEL,
        _T.ACCEPTED_PARTLY: _S.PENDING_CANCEL,
        _T.REJECTED: _S.REJECTED,
        _T.FILLED_PARTLY: _S.PENDING_CANCEL,
        _T.REQUEST_CANCEL: _S.PENDING_CANCEL,
        _T.AMENDMENT_ANSWERED: _S.PENDING_CANCEL,
        _T.CANCEL_REJECTED: _S.ACCEPTED,
        _T.CANCEL_REJECTED_PARTLY: _S.PARTIALLY_FILLED,
    },
    # Nothing is concluded from silence: only the venue's own word leads out of UNKNOWN.
    _S.UNKNOWN: {
        **_ENDS,
        **_UNSENT,
        _T.ACCEPTED: _S.ACCEPTED,
        _T.ACCEPTED_PARTLY: _S.PARTIALLY_FILLED,
        _T.REJECTED: _S.REJECTED,
        _T.FILLED_PARTLY: _S.PARTIALLY_FILLED,
        _T.REQUEST_CANCEL: _S.UNKNOWN,
        _T.AMENDMENT_ANSWERED: _S.UNKNOWN,
        _T.CANCEL_REJECTED: _S.UNKNOWN,
        _T.CANCEL_REJECTED_PARTLY: _S.UNKNOWN,
    },
}

TERMINAL: Final = (_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.DENIED, _S.REJECTED)
"""Statuses that absorb."""

TRANSITIONS: Final[dict[tuple[OrderStatus, Trigger], OrderStatus]] = {
    **{(before, on): after for before, row in _ROWS.items() for on, after in row.items()},
    **{(status, trigger): status for status in TERMINAL for trigger in Trigger},
}


def next_status(status: OrderStatus, trigger: Trigger) -> OrderStatus | None:
    """Status after a trigger; None where it cannot happen, which leaves the order as it is."""
    return TRANSITIONS.get((status, trigger))


def diagram() -> str:
    """The table as a Mermaid state diagram; loops are left out."""
    arrows: dict[tuple[OrderStatus, OrderStatus], list[str]] = {}
    for (before, on), after in TRANSITIONS.items():
        if before is not after:
            arrows.setdefault((before, after), []).append(on.value)
    lines = ["stateDiagram-v2", f"    [*] --> {_S.PENDING.value}"]
    lines += [
        f"    {before.value} --> {after.value}: {' / '.join(labels)}"
        for (before, after), labels in arrows.items()
    ]
    lines += [f"    {status.value} --> [*]" for status in TERMINAL]
    return "\n".join(lines)
