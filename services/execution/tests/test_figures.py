"""Figures that the documentation and other services rely on, and both sides of those that bind."""

from __future__ import annotations

import pytest
from execution_samples import DAY, SECOND, dec, order, sliced

from tapeline.execution import bookkeeping, last_look, schedules, venue_truth
from tapeline.execution.admission import Rules


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


@pytest.mark.parametrize(("count", "is_taken"), [(1, True), (100, True), (101, False)])
def test_a_schedule_has_so_many_sends(count: int, is_taken: bool) -> None:
    approved = sliced(order(quantity=dec(count)), ["1"] * count)
    assert (schedules.fault(approved) == "") == is_taken
