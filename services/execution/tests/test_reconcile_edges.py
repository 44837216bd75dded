"""Books at external venues, by hand: signs, multipliers, and what is said of a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from execution_samples import (
    Driver,
    account,
    approved,
    cancel,
    dec,
    fills,
    incidents,
    instrument,
    live_switch,
    order,
    outside,
    updates,
)
from test_external import UNKNOWN, accept, fill, sent, statement, step_all

from tapeline.contracts.accounts import CashAdjustment, PositionCorrection, VenueDrift
from tapeline.contracts.orders import Mode, OrderStatus, ReportKind, Side
from tapeline.runtime.core import Output

POSITION = "position/SPY.ARCA"


def of(outputs: Sequence[Output], kind: type[Any]) -> list[Any]:
    return [one.record for one in outputs if isinstance(one.record, kind)]


def drifted(driver: Driver, subject: str, **seen: Any) -> VenueDrift:
    """The venue says so until it counts as a difference in that."""
    for _ in range(20):
        driver.step(statement(**seen))
        drifts = of(driver.outputs, VenueDrift)
        found = [one for one in drifts if one.is_open and one.subject == subject]
        if found:
            drift: VenueDrift = found[-1]
            return drift
    raise AssertionError("no difference was noticed")


@pytest.mark.parametrize(("side", "held", "moved"), [(Side.BUY, 4, -4000), (Side.SELL, -4, 4000)])
def test_a_fill_moves_position_and_cash_by_side_and_multiplier(
    side: Side, held: int, moved: int
) -> None:
    driver = outside()
    driver.step(instrument(multiplier=dec(10), version=2))
    driver.step(approved(order(side=side)))
    step_all(driver, fill("t1", "4"))
    ledger = driver.state.external.books["a1"].ledger
    assert ledger.net_quantity("SPY.ARCA") == held
    assert ledger.cash["USD"] == 100_000 + moved - Decimal("0.5")


def test_a_position_is_corrected_by_the_difference_and_in_the_instruments_currency() -> None:
    driver = outside()
    driver.step(instrument(multiplier=dec(10), currency="EUR", version=2))
    driver.step(approved(order()))
    driver.step(fill("t1", "4", currency="EUR"))
    before = driver.state.external.books["a1"].ledger.cash["EUR"]
    drift = drifted(driver, POSITION, held="7")
    assert (drift.ours, drift.theirs) == (4, 7)
    said = driver.step(accept(drift.drift_id))
    [correction] = of(said, PositionCorrection)
    assert (correction.quantity, correction.price) == (3, 101)
    ledger = driver.state.external.books["a1"].ledger
    assert ledger.net_quantity("SPY.ARCA") == 7
    # What the venue holds in cash it holds with the position in it.
    [back] = of(said, CashAdjustment)
    assert (back.currency, back.amount) == ("EUR", 3 * 101 * 10)
    assert ledger.cash == {"EUR": before, "USD": 100_000}


def test_a_difference_is_told_with_its_figures_and_its_end_without() -> None:
    driver = sent()
    drift = drifted(driver, POSITION, held="3")
    assert drift.reason == "position/SPY.ARCA: we have 0, PAPER has 3"
    [told] = [one for one in incidents(driver.outputs) if one.code == "VENUE_DRIFT"]
    assert "; SPY.ARCA only reduces." in told.reason
    before = len(driver.outputs)
    driver.step(statement())
    [settled] = of(driver.outputs[before:], VenueDrift)
    assert (settled.is_open, settled.reason) == (False, "position/SPY.ARCA: agreed")


def test_a_difference_of_cash_concerns_the_whole_account() -> None:
    driver = sent()
    drifted(driver, "cash/USD", cash="99000")
    [told] = [one for one in incidents(driver.outputs) if one.code == "VENUE_DRIFT"]
    assert "; the whole account only reduces." in told.reason


@pytest.mark.parametrize(
    ("wanted", "named"), [((), "accepted nothing known,"), (("d1", "d2"), "accepted d1, d2,")]
)
def test_what_is_accepted_of_an_account_without_books_is_named(
    wanted: tuple[str, ...], named: str
) -> None:
    driver = outside()
    driver.step(account(account_id="a2", mode=Mode.PAPER, venue="NOWHERE"))
    [told] = incidents(driver.step(accept(*wanted, scope_id="a2")))
    assert told.code == "VENUE_TRUTH_CHANGED"
    assert named in told.reason


# ---- reports


def test_an_overfill_is_told_with_what_was_too_much() -> None:
    driver = sent()
    [told] = incidents(driver.step(fill("t1", "12")))
    assert "filled 2 of o1 more than was ordered" in told.reason


def test_a_fill_has_the_venues_order_id_of_its_own_report() -> None:
    driver = sent()
    driver.step(replace(UNKNOWN, kind=ReportKind.ACCEPTED, venue_order_id="v1"))
    driver.step(fill("t1", "4", venue_order_id="v2"))
    driver.step(fill("t2", "4", venue_order_id=""))
    assert [one.venue_order_id for one in fills(driver.outputs)] == ["v2", "v2"]


@pytest.mark.parametrize(
    ("filled", "status"),
    [("1", OrderStatus.PARTIALLY_FILLED), ("0.5", OrderStatus.PARTIALLY_FILLED)],
)
def test_an_order_is_partly_filled_from_the_smallest_part_on(
    filled: str, status: OrderStatus
) -> None:
    driver = sent()
    driver.step(fill("t1", filled))
    driver.step(UNKNOWN)
    said = updates(driver.step(replace(UNKNOWN, kind=ReportKind.ACCEPTED)))
    assert said[-1].status is status


def test_the_end_of_a_cancel_belongs_to_the_cancels_workflow() -> None:
    driver = sent()
    driver.step(live_switch(True, 2))
    driver.step(cancel(order()))
    asked = driver.outputs[-1].correlation_id
    said = driver.step(replace(UNKNOWN, kind=ReportKind.CANCELED))
    ends = {
        one.record.approval_id: one.correlation_id
        for one in said
        if getattr(one.record, "is_terminal", False)
    }
    assert ends["cancel-o1"] == asked
    assert ends["cancel-o1"] != ends["approval-o1"]
