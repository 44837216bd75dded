"""Transcripts of the life cycle: what goes in, what is said. Reports of an external venue are fed
in as inputs, as they will be once venue-reports is subscribed to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    CONTEXT,
    T0,
    Driver,
    account,
    approved,
    cancel,
    dec,
    fills,
    incidents,
    instrument,
    limit,
    order,
    outside,
    ready,
    reports,
    says,
    trade,
    updates,
    venue,
)

from tapeline.contracts import topics
from tapeline.contracts.config import Trigger
from tapeline.contracts.orders import Mode, OrderStatus, ReportKind, VenueReport
from tapeline.execution import doubts
from tapeline.execution.core import ExecutionCore
from tapeline.runtime.core import Input, Pacing, Undecodable


def waiting() -> Driver:
    """An order that is on its way to a venue from which only the test reports."""
    driver = outside()
    driver.step(approved(limit("o1", "90")))
    return driver


def report(
    kind: ReportKind, trade_id: str = "", quantity: str = "0", **changes: Any
) -> VenueReport:
    is_fill = kind is ReportKind.FILLED
    plain = VenueReport(
        report_id=f"{kind}-{trade_id}",
        account_id="a1",
        venue="PAPER",
        kind=kind,
        client_order_id="o1",
        venue_order_id="v1",
        trade_id=trade_id,
        price=dec("89.5") if is_fill else None,
        quantity=dec(quantity) if is_fill else None,
        commission=dec("0.1") if is_fill else None,
        currency="USD" if is_fill else "",
        reason="",
        ts_event_ns=T0 + 5,
        ts_init_ns=T0 + 5,
    )
    return replace(plain, **changes)


def hear(driver: Driver, *said: VenueReport) -> list[str]:
    lines: list[str] = []
    for one in said:
        lines += says(driver.step(one))
    return [line.removeprefix("approval-o1 ") for line in lines]


ACCEPTED = report(ReportKind.ACCEPTED)
CANCELED = report(ReportKind.CANCELED)
REJECTED = report(ReportKind.REJECTED)
TIMEOUT = report(ReportKind.TIMEOUT)
NOT_FOUND = report(ReportKind.NOT_FOUND)
FILL_4 = report(ReportKind.FILLED, "t1", "4")
FILL_6 = report(ReportKind.FILLED, "t2", "6")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([ACCEPTED, ACCEPTED], ["ACCEPTED"]),
        ([REJECTED, REJECTED], ["REJECTED end"]),
        (
            [ACCEPTED, FILL_4, FILL_6],
            [
                "ACCEPTED",
                "fill 4 @ 89.5 taker",
                "PARTIALLY_FILLED",
                "fill 6 @ 89.5 taker",
                "FILLED end",
            ],
        ),
        # Fills before the acknowledgement, which then changes nothing.
        (
            [FILL_4, ACCEPTED, FILL_6, ACCEPTED],
            ["fill 4 @ 89.5 taker", "PARTIALLY_FILLED", "fill 6 @ 89.5 taker", "FILLED end"],
        ),
        # The same trade twice, in any place.
        (
            [FILL_4, FILL_4, FILL_6, FILL_4, FILL_6],
            ["fill 4 @ 89.5 taker", "PARTIALLY_FILLED", "fill 6 @ 89.5 taker", "FILLED end"],
        ),
        # A fill behind the cancel is booked; the order stays canceled and ends once.
        (
            [FILL_4, CANCELED, FILL_6, FILL_6, CANCELED],
            [
                "fill 4 @ 89.5 taker",
                "PARTIALLY_FILLED",
                "CANCELED end",
                "incident VENUE_REPORTS_LATE_FILL",
                "fill 6 @ 89.5 taker",
            ],
        ),
        (
            [REJECTED, FILL_4],
            ["REJECTED end", "incident VENUE_REPORTS_LATE_FILL", "fill 4 @ 89.5 taker"],
        ),
        # Silence is not an answer.
        (
            [TIMEOUT, NOT_FOUND, NOT_FOUND, FILL_4, TIMEOUT, ACCEPTED],
            ["UNKNOWN", "fill 4 @ 89.5 taker", "PARTIALLY_FILLED", "UNKNOWN", "PARTIALLY_FILLED"],
        ),
        ([TIMEOUT, REJECTED], ["UNKNOWN", "REJECTED end"]),
        ([TIMEOUT, ACCEPTED], ["UNKNOWN", "ACCEPTED"]),
        # What cannot happen is reported and changes nothing.
        (
            [report(ReportKind.CANCEL_REJECTED), ACCEPTED],
            ["incident VENUE_REPORTS_UNEXPECTED", "ACCEPTED"],
        ),
        (
            [FILL_4, REJECTED],
            ["fill 4 @ 89.5 taker", "PARTIALLY_FILLED", "incident VENUE_REPORTS_UNEXPECTED"],
        ),
        # More than was ordered: money has moved, so it is booked, and someone is called.
        (
            [FILL_4, report(ReportKind.FILLED, "t3", "7")],
            [
                "fill 4 @ 89.5 taker",
                "PARTIALLY_FILLED",
                "incident VENUE_REPORTS_OVERFILL",
                "fill 7 @ 89.5 taker",
                "FILLED end",
            ],
        ),
        (
            [report(ReportKind.FILLED, "t1", "4", price=None)],
            ["incident VENUE_REPORTS_INCOMPLETE_FILL"],
        ),
        ([report(ReportKind.FILLED, "t1", "0")], ["incident VENUE_REPORTS_INCOMPLETE_FILL"]),
        ([report(ReportKind.FILLED, "t1", "-4")], ["incident VENUE_REPORTS_INCOMPLETE_FILL"]),
        (
            [report(ReportKind.ACCEPTED, client_order_id="nobody")],
            ["incident VENUE_REPORTS_UNKNOWN_ORDER"],
        ),
        (
            [report(ReportKind.FILLED, "t1", "4", account_id="a2")],
            ["incident VENUE_REPORTS_UNKNOWN_ORDER"],
        ),
    ],
)
def test_what_venues_say(said: list[VenueReport], expected: list[str]) -> None:
    driver = waiting()
    assert hear(driver, *said) == expected
    assert driver.dumped() == driver.core.dump(driver.recovered())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([CANCELED], ["CANCELED end", "cancel-o1 CANCELED end"]),
        (
            [FILL_4, CANCELED],
            ["fill 4 @ 89.5 taker", "PENDING_CANCEL", "CANCELED end", "cancel-o1 CANCELED end"],
        ),
        # The acknowledgement behind the cancel tells the venue's id, once.
        (
            [ACCEPTED, ACCEPTED, CANCELED],
            ["PENDING_CANCEL", "CANCELED end", "cancel-o1 CANCELED end"],
        ),
        (
            [FILL_4, FILL_6, CANCELED],
            [
                "fill 4 @ 89.5 taker",
                "PENDING_CANCEL",
                "fill 6 @ 89.5 taker",
                "FILLED end",
                "cancel-o1 FILLED end",
            ],
        ),
        (
            [report(ReportKind.CANCEL_REJECTED), FILL_4],
            [
                "ACCEPTED",
                "cancel-o1 ACCEPTED EXECUTION_CANCEL_REJECTED end",
                "fill 4 @ 89.5 taker",
                "PARTIALLY_FILLED",
            ],
        ),
        (
            [FILL_4, report(ReportKind.CANCEL_REJECTED)],
            [
                "fill 4 @ 89.5 taker",
                "PENDING_CANCEL",
                "PARTIALLY_FILLED",
                "cancel-o1 PARTIALLY_FILLED EXECUTION_CANCEL_REJECTED end",
            ],
        ),
        ([TIMEOUT, CANCELED], ["UNKNOWN", "CANCELED end", "cancel-o1 CANCELED end"]),
        ([REJECTED], ["REJECTED end", "cancel-o1 REJECTED end"]),
    ],
)
def test_a_cancel_ends_when_its_order_does(said: list[VenueReport], expected: list[str]) -> None:
    driver = waiting()
    assert says(driver.step(cancel(limit("o1", "90")))) == ["cancel-o1 PENDING_CANCEL CANCEL"]
    assert hear(driver, *said) == expected
    assert driver.dumped() == driver.core.dump(driver.recovered())


def test_a_cancel_of_an_order_that_has_ended_says_how() -> None:
    driver = ready()
    driver.step(approved(order("o1")))
    driver.step(trade(T0 + 1, 100.0))
    said = driver.step(cancel(order("o1")))
    assert says(said) == ["cancel-o1 FILLED end"]
    assert updates(said)[0].filled_quantity == 10
    assert not [one for one in updates(said) if one.command is not None]


def test_every_update_tells_quantity_filled_and_average_price() -> None:
    driver = waiting()
    said = driver.step(FILL_4)
    driver.step(report(ReportKind.FILLED, "t2", "6", price=dec(80)))
    first, last = updates(said)[0], updates(driver.outputs)[-1]
    assert (first.quantity, first.filled_quantity, first.average_price) == (10, 4, dec("89.5"))
    # (4 x 89.5 + 6 x 80) / 10
    assert (last.filled_quantity, last.average_price) == (10, dec("83.8"))
    assert (first.previous_status, first.status) == (
        OrderStatus.SUBMITTED,
        OrderStatus.PARTIALLY_FILLED,
    )
    assert first.venue_order_id == last.venue_order_id == "v1"
    assert [fill.leaves_quantity for fill in fills(driver.outputs)] == [6, 0]


def test_the_command_carries_what_was_approved_and_nothing_else() -> None:
    driver = ready()
    record = approved(limit("o1", "90"))
    first = updates(driver.step(record))[0]
    assert first.command is not None
    assert first.command.approved == record
    assert (first.command.client_order_id, first.command.quantity) == ("o1", 10)
    assert (first.command.child_index, first.command.venue) == (0, "PAPER")
    assert (first.previous_status, first.status) == (OrderStatus.APPROVED, OrderStatus.SUBMITTED)


def test_outputs_name_their_cause_and_the_workflow_of_the_order() -> None:
    driver = ready()
    said = [*driver.step(approved(order("o1"))), *driver.step(trade(T0 + 1, 100.0))]
    assert {one.correlation_id for one in said} == {"workflow-5"}
    submitted, accepted, update, filled, fill, ended = said
    assert submitted.causation_id is None
    assert accepted.causation_id == submitted.event_id
    assert update.causation_id == accepted.event_id
    assert filled.causation_id is None
    assert fill.causation_id == ended.causation_id == filled.event_id
    assert fill.event_id == fill.record.fill_id
    assert filled.event_id == filled.record.report_id
    assert {one.key for one in said} == {"a1"}


def test_a_tick_without_an_order_says_nothing_and_keeps_the_state() -> None:
    driver = ready()
    driver.step(approved(limit("o1", "90")))
    before = driver.state
    assert driver.step(trade(T0 + 1, 50.0, instrument_id="QQQ.ARCA")) == ()
    assert driver.state is before
    assert driver.state.paper.trades["QQQ.ARCA"].price == 50.0


def test_deciding_changes_nothing() -> None:
    driver = ready()
    driver.step(approved(limit("o1", "90")))
    before = driver.dumped()
    event = Input(
        record=trade(T0 + 1, 50.0), topic=topics.TICKS, event_id="e", session_ns=driver.now_ns
    )
    first = driver.core.decide(driver.state, event)
    assert first
    assert driver.core.decide(driver.state, event) == first
    assert driver.dumped() == before


def test_an_undecodable_tick_is_passed_over() -> None:
    driver = ready()
    assert driver.step(Undecodable(key="k", code="TRUNCATED", reason="r")) == []


def test_the_dump_is_canonical_and_loads_back() -> None:
    driver = ready(latency_ns=7)
    driver.step(trade(T0, 100.5, 3.25))
    for name in ("z", "a", "m"):
        driver.step(approved(limit(name, "95")))
    driver.step(trade(T0 + 8, 90.0))
    data = driver.dumped()
    loaded = driver.core.load(data)
    assert loaded == driver.state
    assert driver.core.dump(loaded) == data


def test_a_loaded_state_goes_on_in_the_same_time_priority() -> None:
    def said(is_loaded: bool) -> list[str]:
        driver = ready(participation_max=dec(1))
        for name in ("z", "a", "m"):
            driver.step(approved(order(name)))
        if is_loaded:
            driver.state = driver.core.load(driver.dumped())
        return [fill.client_order_id for fill in fills(driver.step(trade(T0 + 1, 100.0, 30.0)))]

    assert said(False) == said(True) == ["z", "a", "m"]


@pytest.mark.parametrize(
    ("mode", "adapter", "heard"),
    [
        (Mode.PAPER, "paper", 1),
        (Mode.PAPER, "elsewhere", 1),
        (Mode.BACKTEST, "elsewhere", 1),
        (Mode.SHADOW, "paper", 1),
        (Mode.SHADOW, "elsewhere", 0),
    ],
)
def test_only_outside_of_paper_do_orders_leave_the_core(
    mode: Mode, adapter: str, heard: int
) -> None:
    driver = Driver(core=ExecutionCore(replace(CONTEXT, mode=mode.value)))
    for record in (account(), instrument(), venue(adapter=adapter)):
        driver.step(record)
    driver.beat()
    said = driver.step(approved(order(), mode=mode))
    assert updates(said)[0].status is OrderStatus.SUBMITTED
    assert len(reports(said)) == heard


def test_the_inputs_come_in_the_order_that_ties_are_broken_by() -> None:
    inputs = ExecutionCore(CONTEXT).inputs
    assert [(one.topic, one.is_own, one.pacing) for one in inputs] == [
        (topics.CONTROL, False, Pacing.UNPACED),
        (topics.CONFIG, False, Pacing.UNPACED),
        (topics.APPROVED_ORDERS, True, Pacing.CURRENT),
        (topics.TICKS, False, Pacing.CURRENT),
        (topics.BOOKS, False, Pacing.CURRENT),
        (topics.FUNDING_RATES, False, Pacing.CURRENT),
    ]
    assert [one.is_critical for one in inputs] == [True, True, True, False, False, False]
    assert [one.is_first for one in inputs] == [True, False, False, False, False, False]


def test_outside_of_paper_the_reports_of_the_venues_are_heard_last() -> None:
    inputs = outside().core.inputs
    assert inputs[:-1] == ExecutionCore(CONTEXT).inputs
    assert (inputs[-1].topic, inputs[-1].is_own) == (topics.VENUE_REPORTS, True)
    assert inputs[-1].is_critical


def test_incidents_name_the_record_they_are_about() -> None:
    driver = ready()
    record = approved(limit("o1", "90"))
    driver.step(record)
    incident = incidents(driver.step(record))[0]
    assert (incident.topic, incident.offset) == (topics.APPROVED_ORDERS, driver.count)
    assert (incident.service, incident.severity) == ("execution", "warning")


def test_an_order_that_nobody_cancels_and_nobody_trades_rests() -> None:
    driver = ready()
    driver.step(approved(limit("o1", "90")))
    for number in range(1, 50):
        assert driver.step(trade(T0 + number, 95.0)) == []
    assert reports(driver.outputs)[-1].kind is ReportKind.ACCEPTED


def test_both_sides_of_one_trade_are_two_fills() -> None:
    driver = waiting()
    driver.step(approved(limit("o2", "90")))
    driver.step(FILL_4)
    driver.step(replace(FILL_4, client_order_id="o2"))
    both = fills(driver.outputs)
    assert [fill.trade_id for fill in both] == ["t1", "t1"]
    assert len({fill.fill_id for fill in both}) == 2


def test_configuration_that_is_not_for_execution_is_passed_over() -> None:
    driver = ready()
    before = driver.dumped()
    trigger = Trigger(
        trigger="sma",
        implementation="sma_cross",
        universe="all",
        instruments=("SPY.ARCA",),
        interval_ns=60,
        parameters={},
        is_enabled=True,
        version=1,
    )
    assert driver.step(trigger) == []
    assert driver.dumped() == before


def test_a_used_approval_is_held_when_its_order_is_long_forgotten() -> None:
    driver = ready()
    driver.step(approved(order()))
    state = replace(driver.state, orders={}, ended={}, parents={})
    assert doubts.is_held(state, "approval-o1")
    assert not doubts.is_held(replace(state, used={}), "approval-o1")
    assert not doubts.is_held(state, "approval-o2")
