from __future__ import annotations

from pathlib import Path

import pytest

from tapeline.contracts.orders import OrderStatus as S
from tapeline.execution.life_cycle_page import page
from tapeline.execution.order_table import TERMINAL, TRANSITIONS, Trigger, next_status
from tapeline.execution.order_table import Trigger as T


@pytest.mark.parametrize(
    ("before", "trigger", "after"),
    [
        (S.PENDING, T.APPROVE, S.APPROVED),
        (S.PENDING, T.DENY, S.DENIED),
        (S.APPROVED, T.SUBMIT, S.SUBMITTED),
        (S.APPROVED, T.DENY, S.DENIED),
        (S.APPROVED, T.FILLED, None),
        (S.SUBMITTED, T.ACCEPTED, S.ACCEPTED),
        (S.SUBMITTED, T.REJECTED, S.REJECTED),
        (S.SUBMITTED, T.FILLED_PARTLY, S.PARTIALLY_FILLED),
        (S.SUBMITTED, T.FILLED, S.FILLED),
        (S.SUBMITTED, T.REQUEST_CANCEL, S.PENDING_CANCEL),
        (S.SUBMITTED, T.TIMEOUT, S.UNKNOWN),
        (S.SUBMITTED, T.CANCEL_REJECTED, None),
        (S.ACCEPTED, T.ACCEPTED, S.ACCEPTED),
        (S.ACCEPTED, T.EXPIRED, S.EXPIRED),
        (S.ACCEPTED, T.REJECTED, S.REJECTED),
        (S.ACCEPTED, T.SUBMIT, None),
        (S.PARTIALLY_FILLED, T.ACCEPTED_PARTLY, S.PARTIALLY_FILLED),
        (S.PARTIALLY_FILLED, T.FILLED_PARTLY, S.PARTIALLY_FILLED),
        (S.PARTIALLY_FILLED, T.FILLED, S.FILLED),
        (S.PARTIALLY_FILLED, T.CANCELED, S.CANCELED),
        (S.PARTIALLY_FILLED, T.REJECTED, None),
        (S.PENDING_CANCEL, T.CANCELED, S.CANCELED),
        (S.PENDING_CANCEL, T.FILLED, S.FILLED),
        (S.PENDING_CANCEL, T.FILLED_PARTLY, S.PENDING_CANCEL),
        (S.PENDING_CANCEL, T.CANCEL_REJECTED, S.ACCEPTED),
        (S.PENDING_CANCEL, T.CANCEL_REJECTED_PARTLY, S.PARTIALLY_FILLED),
        (S.PENDING_CANCEL, T.TIMEOUT, S.UNKNOWN),
        (S.UNKNOWN, T.NOT_FOUND, S.UNKNOWN),
        (S.UNKNOWN, T.REQUEST_CANCEL, S.UNKNOWN),
        (S.UNKNOWN, T.ACCEPTED, S.ACCEPTED),
        (S.UNKNOWN, T.FILLED, S.FILLED),
        (S.UNKNOWN, T.SUBMIT, None),
    ],
)
def test_a_trigger_leads_where_the_table_says(before: S, trigger: T, after: S | None) -> None:
    assert next_status(before, trigger) is after


# Every pair, by hand: what a trigger makes of a status; a dot is what cannot happen.
SHORT = {
    "AP": S.APPROVED,
    "SU": S.SUBMITTED,
    "AC": S.ACCEPTED,
    "PF": S.PARTIALLY_FILLED,
    "FI": S.FILLED,
    "PC": S.PENDING_CANCEL,
    "CA": S.CANCELED,
    "EX": S.EXPIRED,
    "DE": S.DENIED,
    "RE": S.REJECTED,
    "UN": S.UNKNOWN,
}
BEFORE = (
    S.PENDING,
    S.APPROVED,
    S.SUBMITTED,
    S.ACCEPTED,
    S.PARTIALLY_FILLED,
    S.PENDING_CANCEL,
    S.UNKNOWN,
)
MATRIX = {
    # trigger                  PENDING, APPROVED, SUBMITTED, ACCEPTED, PARTIALLY, P_CANCEL, UNKNOWN
    T.APPROVE: "                AP       .         .          .         .          .         .",
    T.DENY: "                   DE       DE        .          .         .          .         .",
    T.SUBMIT: "                 .        SU        .          .         .          .         .",
    T.REQUEST_CANCEL: "         .        .         PC         PC        PC         PC        UN",
    T.REQUEST_AMENDMENT: "      .        .         .          AC        PF         .         .",
    T.AMENDMENT_ANSWERED: "     .        .         .          AC        PF         PC        UN",
    T.ACCEPTED: "               .        .         AC         AC        .          PC        AC",
    T.ACCEPTED_PARTLY: "        .        .         .          .         PF         PC        PF",
    T.REJECTED: "               .        .         RE         RE        .          RE        RE",
    T.FILLED_PARTLY: "          .        .         PF         PF        PF         PC        PF",
    T.FILLED: "                 .        .         FI         FI        FI         FI        FI",
    T.CANCELED: "               .        .         CA         CA        CA         CA        CA",
    T.CANCEL_REJECTED: "        .        .         .          .         .          AC        UN",
    T.CANCEL_REJECTED_PARTLY: " .        .         .          .         .          PF        UN",
    T.EXPIRED: "                .        .         EX         EX        EX         EX        EX",
    T.TIMEOUT: "                .        .         UN         UN        UN         UN        UN",
    T.NOT_FOUND: "              .        .         UN         UN        UN         UN        UN",
    T.NOT_SENT: "               .        .         DE         .         .          DE        DE",
}


@pytest.mark.parametrize("trigger", Trigger)
def test_every_transition_and_everything_that_cannot_happen(trigger: T) -> None:
    row = [None if name == "." else SHORT[name] for name in MATRIX[trigger].split()]
    assert [next_status(before, trigger) for before in BEFORE] == row


@pytest.mark.parametrize("status", TERMINAL)
@pytest.mark.parametrize("trigger", Trigger)
def test_terminal_states_absorb(status: S, trigger: Trigger) -> None:
    assert next_status(status, trigger) is status


def test_nothing_leads_back_to_before_the_send() -> None:
    sent = set(S) - {S.PENDING, S.APPROVED}
    for (before, _), after in TRANSITIONS.items():
        if before in sent:
            assert after in sent


def test_silence_never_ends_an_order() -> None:
    for status in (S.SUBMITTED, S.ACCEPTED, S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.UNKNOWN):
        for trigger in (T.TIMEOUT, T.NOT_FOUND):
            assert next_status(status, trigger) is S.UNKNOWN


def test_the_page_in_docs_is_fresh() -> None:
    written = Path(__file__).parents[3] / "docs" / "order-life-cycle.md"
    assert written.read_text(encoding="utf-8") == page()
