"""What must never leave although the core said it: sends beside or beyond their schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    SECOND,
    T0,
    amend,
    approved,
    bracket,
    dec,
    limit,
    order,
    ready,
    sliced,
    trade,
    updates,
)

from tapeline.contracts.orders import ApprovedOrder, CommandKind, OrderAction, OrderUpdate
from tapeline.execution import last_look
from tapeline.execution.last_look import LastLook, UnapprovedCommand, is_send
from tapeline.execution.venues.order_view import child_of
from tapeline.runtime.signing import KeyRing, seal

RING = KeyRing.of({"k1": bytes(32)}, active="k1", revoked=frozenset())


def sealed(record: ApprovedOrder) -> ApprovedOrder:
    return seal(replace(record, approval=replace(record.approval, key_id="")), RING)


def commands(record: ApprovedOrder, seconds: int = 0) -> list[OrderUpdate]:
    """What the core sends for an approval, with a market at 100 and time passing."""
    driver = ready()
    driver.step(sealed(record))
    driver.now_ns += SECOND
    driver.step(trade(driver.now_ns, 99.0))
    for second in range(2, seconds):
        driver.now_ns = T0 + second * SECOND
        driver.beat()
        driver.at(driver.now_ns)
    return [
        update
        for update in updates(driver.outputs)
        if update.command is not None and update.command.kind is CommandKind.SUBMIT
    ]


SLICES = commands(sliced(order(quantity=dec(6)), [1, 2, 3], gap_ns=2 * SECOND), 8)
LEGS = commands(bracket(limit(), "110", "95"))
PLAIN = commands(approved(order()))[0]


def stopped(update: OrderUpdate, *before: OrderUpdate) -> None:
    look = LastLook(RING)
    for one in before:
        look.check(one)
    with pytest.raises(UnapprovedCommand):
        look.check(update)


def test_what_the_core_sends_passes() -> None:
    assert [one.child_index for one in SLICES] == [0, 1, 2]
    assert len(LEGS) == 3
    for sent in (SLICES, LEGS, [PLAIN]):
        look = LastLook(RING)
        for update in sent:
            look.check(update)


def with_command(update: OrderUpdate, **changes: Any) -> OrderUpdate:
    assert update.command is not None
    return replace(update, command=replace(update.command, **changes))


def test_no_send_leaves_twice() -> None:
    for update in (SLICES[1], LEGS[1], PLAIN):
        stopped(update, update)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: with_command(one, quantity=one.command.quantity + 1),
        lambda one: with_command(one, quantity=one.command.quantity - 1),
        lambda one: with_command(one, quantity=dec(0)),
        lambda one: with_command(one, quantity=dec(-1)),
        lambda one: with_command(one, child_index=3),
        lambda one: with_command(one, child_index=-1),
        lambda one: with_command(one, child_index=0),
        lambda one: with_command(one, ts_event_ns=T0),
        lambda one: with_command(one, ts_event_ns=T0 + 3600 * SECOND),
        lambda one: with_command(one, client_order_id="another"),
        lambda one: with_command(one, venue="another"),
        lambda one: replace(one, parent_order_id="another"),
        lambda one: replace(one, parent_order_id=""),
        lambda one: replace(one, approval_id="another"),
    ],
)
def test_a_slice_that_is_not_as_approved_is_stopped(
    change: Callable[[OrderUpdate], OrderUpdate],
) -> None:
    stopped(change(SLICES[1]))


def test_a_leg_may_be_smaller_than_approved_and_never_larger() -> None:
    LastLook(RING).check(with_command(LEGS[1], quantity=dec(3)))
    stopped(with_command(LEGS[1], quantity=dec(11)))


def test_slices_together_are_counted_here_too() -> None:
    # A schedule whose sum is wrong, genuinely signed: refused for itself, and by count.
    assert SLICES[2].command is not None
    genuine = SLICES[2].command.approved
    schedule = genuine.approval.schedule
    assert schedule is not None
    children = (*schedule.children, replace(schedule.children[2], quantity=dec(4)))
    wrong = replace(
        genuine,
        approval=replace(
            genuine.approval,
            child_count=4,
            schedule=replace(schedule, children=children),
            key_id="",
            mac=b"",
        ),
    )
    update = with_command(SLICES[2], approved=seal(wrong, RING), child_index=3, quantity=dec(4))
    stopped(update)
    assert LastLook(RING)._excess(update, update.command) == ""  # type: ignore[arg-type]
    look = LastLook(RING)
    for one in SLICES:
        look.check(one)
    assert update.command is not None
    assert look._excess(update, update.command).startswith("10")


def test_an_approval_of_an_amendment_submits_nothing() -> None:
    assert PLAIN.command is not None
    of = PLAIN.command.approved.order
    amendment = sealed(amend(of))
    update = replace(
        with_command(PLAIN, approved=amendment), approval_id=amendment.approval.approval_id
    )
    stopped(update)
    as_asked = with_command(update, is_amendment=True, kind=CommandKind.QUERY)
    LastLook(RING).check(as_asked)
    stopped(with_command(as_asked, quantity=of.quantity + 1))
    assert amendment.action is OrderAction.AMEND


def test_a_plain_order_leaves_before_its_approval_expires() -> None:
    assert PLAIN.command is not None
    expires_ns = PLAIN.command.approved.approval.expires_ns
    LastLook(RING).check(with_command(PLAIN, ts_event_ns=expires_ns - 1))
    stopped(with_command(PLAIN, ts_event_ns=expires_ns))


def test_a_slice_leaves_within_its_time_to_the_last_instant() -> None:
    assert SLICES[1].command is not None
    child = child_of(SLICES[1].command.approved, 1)
    assert child is not None
    for inside, outside in ((child.send_ns, -1), (child.last_send_ns, 1)):
        LastLook(RING).check(with_command(SLICES[1], ts_event_ns=inside))
        stopped(with_command(SLICES[1], ts_event_ns=inside + outside))


def test_a_send_submits_what_is_not_only_to_reduce() -> None:
    assert is_send(PLAIN)
    assert not is_send(with_command(PLAIN, kind=CommandKind.CANCEL))
    assert not is_send(replace(PLAIN, command=None))


def test_a_plain_order_leaves_as_large_as_it_was_approved() -> None:
    assert PLAIN.command is not None
    for change in (1, -1):
        stopped(with_command(PLAIN, quantity=PLAIN.command.quantity + change))


def test_a_cancel_of_a_plain_order_may_be_of_its_amended_size_and_that_of_a_slice_not() -> None:
    assert PLAIN.command is not None
    assert SLICES[1].command is not None
    for change in (1, -1):
        quantity = PLAIN.command.quantity + change
        LastLook(RING).check(with_command(PLAIN, kind=CommandKind.CANCEL, quantity=quantity))
    less = with_command(SLICES[1], kind=CommandKind.CANCEL, quantity=SLICES[1].command.quantity - 1)
    LastLook(RING).check(less)
    stopped(with_command(less, quantity=SLICES[1].command.quantity + 1))


def test_an_order_for_nothing_is_stopped() -> None:
    nothing = sealed(approved(order(quantity=dec(0))))
    for quantity in (dec(0), dec(-1)):
        stopped(with_command(PLAIN, approved=nothing, quantity=quantity))


def test_of_many_approvals_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_look, "REMEMBERED_MAX", 2)
    first, second, third = (commands(approved(order(f"o{number}")))[0] for number in range(3))
    look = LastLook(RING)
    for update in (first, second, third):
        look.check(update)
    for update in (second, third):
        with pytest.raises(UnapprovedCommand):
            look.check(update)
    look.check(first)
