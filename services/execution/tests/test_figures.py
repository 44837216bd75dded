"""Figures that the documentation and other services rely on, and both sides of those that bind."""

from __future__ import annotations

import pytest
from execution_samples import DAY, SECOND, T0, approved, dec, order, ready, sliced, trade

from tapeline.contracts import topics
from tapeline.execution import bookkeeping, last_look, schedules, venue_truth
from tapeline.execution.admission import Rules
from tapeline.runtime.core import Input


def test_the_rules_are_those_that_are_documented() -> None:
    rules = Rules()
    assert rules.risk_heartbeat_age_ns_max == 2 * SECOND
    assert rules.approval_kept_ns == 60 * SECOND
    assert rules.ended_order_kept_ns == 10 * SECOND
    assert rules.external_order_kept_ns == 3600 * SECOND
    assert bookkeeping.HOUSEKEEPING_NS == 10 * SECOND
    assert last_look.REMEMBERED_MAX == 100_000
    assert venue_truth.SAME_MIN == 2
    assert venue_truth.SEEN_MIN == 10
    assert venue_truth.ENTRY_KEPT_NS == DAY


@pytest.mark.parametrize(("count", "is_taken"), [(0, False), (1, True), (100, True), (101, False)])
def test_a_schedule_has_so_many_sends(count: int, is_taken: bool) -> None:
    approved = sliced(order(quantity=dec(count)), ["1"] * count)
    assert (schedules.fault(approved) == "") == is_taken


def test_what_is_past_its_time_is_forgotten_at_that_instant_and_not_before() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(2)), [1, 1], gap_ns=SECOND))
    for second in (1, 2, 3):
        driver.now_ns = T0 + second * SECOND
        driver.beat()
        driver.at(driver.now_ns)
        driver.step(trade(driver.now_ns + 1, 100.0))
    (parent,) = driver.state.parents.values()
    assert parent.is_over
    for item, times in (
        ("parents", [one.forget_ns for one in driver.state.parents.values()]),
        ("ended", [one.forget_ns for one in driver.state.ended.values()]),
        ("used", [one.until_ns for one in driver.state.used.values()]),
    ):
        at_ns = max(times)
        before = bookkeeping.housekept(driver.state, at_ns - 1)
        after = bookkeeping.housekept(driver.state, at_ns)
        assert len(getattr(before, item)) > 0
        assert len(getattr(after, item)) == 0, item
    first_ns = driver.state.housekeeping_ns
    assert first_ns is not None
    assert bookkeeping.housekept(driver.state, first_ns - 1) is driver.state
    assert bookkeeping.housekept(driver.state, first_ns) is not driver.state
    assert first_ns % bookkeeping.HOUSEKEEPING_NS == 0


def test_an_approval_without_a_workflow_is_one_of_its_own() -> None:
    driver = ready()
    event = Input(
        record=approved(order()),
        topic=topics.APPROVED_ORDERS,
        event_id="event-1@approved-orders/0/7",
        session_ns=T0,
    )
    driver.take(event)
    (used,) = driver.state.used.values()
    assert used.correlation_id == "event-1"
