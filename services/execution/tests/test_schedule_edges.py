"""Edges of slices and protective legs that a small change of the code would move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    SECOND,
    T0,
    Driver,
    OutsideDriver,
    account,
    bracket,
    cancel,
    dec,
    instrument,
    limit,
    order,
    outside,
    ready,
    set_state,
    sliced,
    told,
    trade,
    updates,
    venue,
)

from tapeline.contracts.orders import (
    Algorithm,
    ChildRole,
    CommandKind,
    OrderStatus,
    OrderUpdate,
    ReportKind,
    ReportNotice,
    VenueReport,
)
from tapeline.contracts.risk import TradingState
from tapeline.execution.bookkeeping import config_fault


def clock(driver: Driver, second: float) -> list[OrderUpdate]:
    """What is said when the clock comes there, with risk alive."""
    before = len(driver.outputs)
    driver.now_ns = T0 + int(second * SECOND)
    driver.beat()
    driver.at(driver.now_ns)
    return updates(driver.outputs[before:])


def test_a_slice_that_is_given_up_says_how_late_it_is() -> None:
    driver = ready()
    plain = sliced(order(quantity=dec(4)), [2, 2])
    schedule = plain.approval.schedule
    assert schedule is not None
    late = replace(schedule.children[1], last_send_ns=T0 + 70 * SECOND)
    schedule = replace(schedule, children=(schedule.children[0], late))
    driver.step(replace(plain, approval=replace(plain.approval, schedule=schedule)))
    driver.step(set_state(TradingState.HALTED))
    given_up = clock(driver, 70.25)[0]
    assert given_up.role is ChildRole.SLICE
    assert given_up.reason == "Its last time was 250000000 ns ago."


def test_a_slice_is_canceled_for_the_reason_that_holds() -> None:
    driver = ready()
    driver.step(sliced(limit(quantity=dec(4), price="90"), [2, 2]))
    over = [one for one in clock(driver, 120) if one.command is not None]
    assert {one.reason for one in over} == {"the schedule is over"}
    driver = ready()
    of = limit(quantity=dec(4), price="90")
    driver.step(sliced(of, [2, 2]))
    asked = [one for one in updates(driver.step(cancel(of))) if one.command is not None]
    assert {one.reason for one in asked} == {"the order is to be canceled"}


def test_a_part_that_is_rejected_behind_a_fill_does_not_reject_what_was_filled() -> None:
    driver = ready()
    driver.step(instrument(quantity_min=dec(3), version=2))
    parts = sliced(limit(quantity=dec(4), price="100"), [3, 1], algorithm=Algorithm.ICEBERG)
    said = told(driver.step(parts))
    driver.now_ns = T0 + SECOND
    driver.beat()
    said += told(driver.step(trade(driver.now_ns, 99.0, 3.0)))
    assert "SLICE-1 REJECTED" in said
    assert said[-1] == "whole EXPIRED end"


def test_the_smallest_fill_of_a_leg_takes_the_rest_of_the_entry_back() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(bracket(limit(price="100", quantity=dec(10)), "", "95"))
    for second, price, size in ((1, 99.0, 4.0), (2, 94.0, 1.0)):
        clock(driver, second)
        said = told(driver.step(trade(driver.now_ns, price, size)))
    assert "STOP_LOSS fill 1 @ 93.9" in said
    assert "whole PENDING_CANCEL CANCEL 10" in said


def test_both_answers_of_a_cancel_belong_to_the_workflow_of_the_cancel() -> None:
    driver = ready()
    of = limit(quantity=dec(4), price="90")
    driver.step(sliced(of, [2, 2]))
    driver.step(cancel(of))
    answers = [
        (output.record.approval_id, output.correlation_id)
        for output in driver.outputs
        if isinstance(output.record, OrderUpdate) and output.record.approval_id.startswith("cancel")
    ]
    assert len(answers) == 2
    assert answers[0] == answers[1]


# ---- a leg at an external venue that refuses to change it


def says(driver: Driver, of: OrderUpdate, kind: ReportKind, number: int, **changes: Any) -> Any:
    """The venue's word of an order."""
    report = VenueReport(
        report_id=f"r{number}",
        account_id="a1",
        venue="PAPER",
        kind=kind,
        client_order_id=of.client_order_id,
        venue_order_id=f"v-{of.client_order_id}",
        trade_id="",
        currency="USD",
        reason="",
        ts_event_ns=driver.now_ns,
        ts_init_ns=driver.now_ns,
    )
    return driver.step(replace(report, **changes))


def sold(trade_id: str, quantity: str) -> dict[str, Any]:
    """A fill, as a report names it."""
    figures = {"price": dec(100), "quantity": dec(quantity), "commission": dec(0)}
    return {"trade_id": trade_id, **figures}


def sent(driver: Driver, role: ChildRole) -> list[OrderUpdate]:
    """Commands for an order of that role, oldest first."""
    return [one for one in updates(driver.outputs) if one.command is not None and one.role is role]


def with_leg() -> tuple[OutsideDriver, OrderUpdate, OrderUpdate]:
    """4 of 10 are bought, and the stop loss for 4 works."""
    driver = outside()
    driver.step(bracket(limit(price="100", quantity=dec(10)), "", "95"))
    [entry] = sent(driver, ChildRole.WHOLE)
    says(driver, entry, ReportKind.ACCEPTED, 1)
    says(driver, entry, ReportKind.FILLED, 2, **sold("t1", "4"))
    [leg] = sent(driver, ChildRole.STOP_LOSS)
    says(driver, leg, ReportKind.ACCEPTED, 3)
    return driver, entry, leg


def test_a_leg_is_not_changed_again_while_the_answer_is_out() -> None:
    driver, entry, leg = with_leg()
    says(driver, entry, ReportKind.FILLED, 4, **sold("t2", "2"))
    assert told_of(driver) == ["SUBMIT 4", "AMEND 6"]
    says(driver, entry, ReportKind.FILLED, 5, **sold("t3", "3"))
    assert told_of(driver) == ["SUBMIT 4", "AMEND 6"]
    says(driver, leg, ReportKind.ACCEPTED, 6, notice=ReportNotice.AMENDED)
    assert told_of(driver) == ["SUBMIT 4", "AMEND 6", "AMEND 9"]


def test_a_leg_that_the_venue_does_not_change_is_not_asked_again() -> None:
    driver, entry, leg = with_leg()
    says(driver, entry, ReportKind.FILLED, 4, **sold("t2", "2"))
    says(driver, leg, ReportKind.ACCEPTED, 5, notice=ReportNotice.AMEND_REJECTED)
    says(driver, entry, ReportKind.FILLED, 6, **sold("t3", "3"))
    clock(driver, 2)
    assert told_of(driver) == ["SUBMIT 4", "AMEND 6"]


def told_of(driver: Driver) -> list[str]:
    """Commands for the stop loss."""
    found = []
    for one in sent(driver, ChildRole.STOP_LOSS):
        assert one.command is not None
        kind = "AMEND" if one.command.is_amendment else one.command.kind.value
        found.append(f"{kind} {one.command.quantity.normalize():f}")
    return found


# ---- versions of config


@pytest.mark.parametrize(("version", "is_taken"), [(1, False), (2, True), (3, True)])
def test_a_record_is_taken_at_its_version_and_above(version: int, is_taken: bool) -> None:
    driver = ready()
    for make in (instrument, account, venue):
        driver.step(make(version=2))
        assert (config_fault(driver.state, make(version=version)) == "") is is_taken


def test_silence_of_the_venue_leaves_a_leg_alone() -> None:
    driver, entry, leg = with_leg()
    says(driver, leg, ReportKind.TIMEOUT, 4)
    said = updates(says(driver, entry, ReportKind.FILLED, 5, **sold("t2", "2")))
    assert OrderStatus.UNKNOWN not in {one.status for one in said}
    assert not [
        one for one in said if one.command is not None and one.command.kind is CommandKind.CANCEL
    ]
