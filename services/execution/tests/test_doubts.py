"""What does not verify is never carried out, and never in the way of what does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    approved,
    bracket,
    cancel,
    dec,
    limit,
    order,
    ready,
    says,
    trade,
    updates,
)

VERDICTS = ("BAD_MAC", "UNKNOWN_KEY", "REVOKED_KEY", "UNSIGNED", "KEY_MISSING")
HOLD = 60 * SECOND
"""How long the genuine one is waited for."""


def waited(driver: Driver, now_ns: int = T0 + HOLD + 10 * SECOND) -> list[str]:
    """What is said once nobody waits any more."""
    return says(driver.at(now_ns))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_forgery_does_not_stand_in_the_way_of_the_genuine_approval(verdict: str) -> None:
    driver = ready()
    genuine = approved(limit("o1", "90"))
    forged = replace(genuine, order=replace(genuine.order, quantity=dec(1000)))
    assert says(driver.step(forged, verdict)) == [f"incident EXECUTION_{verdict}"]
    assert says(driver.step(forged, verdict)) == [f"incident EXECUTION_{verdict}"]
    assert says(driver.step(genuine)) == [
        "approval-o1 SUBMITTED SUBMIT",
        "report ACCEPTED",
        "approval-o1 ACCEPTED",
    ]
    assert says(driver.step(genuine)) == ["incident EXECUTION_REUSED"]
    assert says(driver.step(forged, verdict)) == ["incident EXECUTION_REUSED"]
    assert not waited(driver)
    assert driver.state.orders["o1"].order == genuine.order


@pytest.mark.parametrize("verdict", VERDICTS)
def test_what_never_verifies_is_denied_when_nobody_waits_any_more(verdict: str) -> None:
    driver = ready()
    record = approved(order("o1"), run_id="run-2", expires_ns=2**62)
    driver.step(record, verdict)
    assert not driver.at(T0 + HOLD - 1)
    assert waited(driver) == [f"approval-o1 DENIED EXECUTION_{verdict} end"]
    update = updates(driver.outputs)[-1]
    assert (update.decision_id, update.quantity) == ("decision-o1", 10)
    assert verdict in update.reason
    assert not waited(driver, T0 + 10 * HOLD)
    assert not driver.state.doubts
    assert driver.core.next_due_ns(driver.state) is None


def test_a_denial_keeps_the_workflow_that_brought_it() -> None:
    driver = ready()
    driver.step(approved(order("o1")), "UNKNOWN_KEY")
    correlation_id = driver.outputs[-1].correlation_id
    waited(driver)
    assert driver.outputs[-1].correlation_id == correlation_id


def test_what_was_denied_in_doubt_is_denied_once_more_when_it_turns_out_genuine() -> None:
    driver = ready()
    record = approved(order("o1"), expires_ns=T0 + DAY)
    driver.step(record, "UNKNOWN_KEY")
    waited(driver)
    driver.beat()
    assert says(driver.step(record)) == ["approval-o1 DENIED EXECUTION_REUSED end"]
    assert says(driver.step(record)) == ["incident EXECUTION_REUSED"]
    assert not driver.state.doubts


@pytest.mark.parametrize("is_late", [False, True])
def test_a_forgery_in_the_name_of_a_living_order_ends_nothing(is_late: bool) -> None:
    driver = ready()
    driver.step(approved(limit("o1", "70"), approval_id="plain"))
    driver.step(bracket(limit("o2", "90"), "110", "80", approval_id="parent"))
    driver.step(trade(T0 + 1, 89.0, 3.0))
    if is_late:
        driver.at(T0 + 3600 * SECOND)
        assert not driver.state.used
    for name in ("plain", "parent"):
        forged = approved(limit("elsewhere", "90"), approval_id=name)
        assert says(driver.step(forged, "BAD_MAC")) == ["incident EXECUTION_REUSED"]
    assert not driver.state.doubts


def test_a_forgery_in_the_name_of_a_cancel_on_its_way_ends_nothing() -> None:
    driver = ready(latency_ns=2 * HOLD)
    driver.step(approved(limit("o1", "90")))
    driver.step(cancel(limit("o1", "90")))
    driver.at(T0 + HOLD + 30 * SECOND)
    assert not driver.state.used
    forged = approved(limit("elsewhere", "90"), approval_id="cancel-o1")
    assert says(driver.step(forged, "BAD_MAC")) == ["incident EXECUTION_REUSED"]


def test_a_doubt_outlives_a_restart() -> None:
    driver = ready()
    driver.step(approved(order("o1")), "BAD_MAC")
    driver.state = driver.core.load(driver.core.dump(driver.recovered()))
    assert waited(driver) == ["approval-o1 DENIED EXECUTION_BAD_MAC end"]
    assert driver.core.dump(driver.recovered()) == driver.dumped()
