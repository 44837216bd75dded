"""The parity of runs of the short plan in one process: what was put in between is in its bucket."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from proving.operating import RISK, at, halt, order, played

from tapeline.backtest.parity.alignment import Match
from tapeline.backtest.parity.attribution import Parity, parity
from tapeline.backtest.run_tables import RunTables
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import TradingState

PLAN: dict[str, Any] = {"groups": ("trend",), "end": "2014-04-01"}


@pytest.fixture(scope="module")
def plan() -> RunTables:
    return played(**PLAN).tables


def compared(plan: RunTables, other: RunTables) -> Parity:
    found = parity(plan, other)
    assert found.gap == sum(found.buckets.values())
    assert abs(found.untold) < Fraction(1, 10**4), "nothing that the tables do not tell"
    return found


def test_interest_on_what_is_borrowed_is_funding(plan: RunTables) -> None:
    dear = played(settings=("venue.US.borrow_rate=0.4",), **PLAN).tables
    found = compared(plan, dear)
    paid, before = (
        sum(run["cash"].filter(pl.col("kind") == "borrow")["amount"]) for run in (dear, plan)
    )
    assert paid < before <= 0
    assert float(found.buckets["funding"]) == pytest.approx(paid - before)
    assert abs(found.buckets["funding"]) > abs(found.gap) / 2


def test_an_order_that_one_run_was_denied_is_missing(plan: RunTables) -> None:
    said = (at(20, halt(TradingState.HALTED, 1), RISK), at(30, halt(TradingState.ACTIVE, 2), RISK))
    found = compared(plan, played(*said, **PLAN).tables)
    halted = [part for part in found.parts if part.pair.b and part.pair.b.code == "TRADING_HALTED"]
    assert halted
    assert all(set(_filled(part.buckets)) <= {"missing"} for part in halted)
    assert found.buckets["missing"]


def test_an_order_by_hand_that_the_other_has_not_is_missing(plan: RunTables) -> None:
    found = compared(plan, played(order(0, Side.BUY), **PLAN).tables)
    (part,) = (part for part in found.parts if part.pair.match is Match.ONLY_B)
    assert part.pair.known.group_id == "MANUAL"
    assert _filled(part.buckets) == {"missing": part.total}


def test_a_higher_fee_is_fee(plan: RunTables) -> None:
    dear = played(settings=("venue.US.taker_fee_rate=0.001",), **PLAN).tables
    found = compared(plan, dear)
    assert found.buckets["fee"] < 0
    assert abs(found.buckets["fee"]) > abs(found.gap) / 2


def _filled(buckets: Any) -> dict[str, Fraction]:
    return {name: value for name, value in buckets.items() if value}
