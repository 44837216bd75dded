"""An operator's orders and halts in a run that is played in one process, without Kafka."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from proving.operating import DAY_NS, EXECUTION, FIRST_NS, RISK, at, halt, order, played

from tapeline.backtest.paced.interventions import Pull, Word
from tapeline.backtest.paced.run import PacedRun
from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.control import LocalTrip, ScopeKind, SwitchLevel
from tapeline.contracts.market import BookLevel, BookSnapshot
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import DenialCode, TradingState
from tapeline.runtime.core import Input

FIRST_TICK = "venue.US.participation_max=0"
"""orders fill at their first tick"""
SHORT: dict[str, Any] = {"groups": ("trend",), "end": "2014-01-20"}


def by_hand(run: PacedRun) -> list[str]:
    """How the operator's orders ended, or why they were denied."""
    orders = run.tables["orders"].filter(pl.col("group_id") == "MANUAL").sort("ts_decided_ns")
    return [row["code"] or row["status"] for row in orders.to_dicts()]


def test_a_close_at_the_next_bar_knows_the_fill_before_it_only_where_slices_settle() -> None:
    said = (order(0, Side.BUY), order(1, Side.SELL, is_reduce_only=True))
    more: dict[str, Any] = {**SHORT, "settings": (FIRST_TICK,)}
    assert by_hand(played(*said, **more)) == ["FILLED", DenialCode.REDUCE_ONLY.value]
    assert by_hand(played(*said, settles=True, **more)) == ["FILLED", "FILLED"]


def test_slices_that_settle_leave_bars_and_signals_as_they_are() -> None:
    plain, settled = (played(settles=settles, groups=("trend",)) for settles in (False, True))
    assert settled.tables["bars"].equals(plain.tables["bars"])
    assert settled.counts["signals"] == plain.counts["signals"]
    assert settled.tables["fills"].height > 0


@pytest.mark.parametrize("instance", [RISK, EXECUTION])
def test_a_halt_holds_from_its_slice_until_it_is_resumed(instance: str) -> None:
    first, last = 20, 60
    said = (
        at(first, halt(TradingState.HALTED, 1), instance),
        at(last, halt(TradingState.ACTIVE, 2), instance),
    )
    orders = played(*said, groups=("trend",)).tables["orders"]
    code = DenialCode.TRADING_HALTED if instance == RISK else "EXECUTION_TRADING_HALTED"
    is_within = pl.col("ts_decided_ns").is_between(
        FIRST_NS + first * DAY_NS, FIRST_NS + (last - 1) * DAY_NS
    )
    within, beside = orders.filter(is_within), orders.filter(~is_within)
    assert code in set(within["code"])
    assert "FILLED" not in set(within["status"])
    assert code not in set(beside["code"])
    assert (beside["status"] == "FILLED").sum() > 10


def test_a_trip_by_file_stands_before_the_slice_behind_it() -> None:
    trip = LocalTrip(
        trip_id="t",
        origin="file halt",
        scope=ScopeKind.ALL,
        scope_id="",
        level=SwitchLevel.CANCEL_ALL,
        spares_protective=False,
        reason="",
        sequence=1,
        expires_ns=0,
    )
    pulled_ns = FIRST_NS + 20 * DAY_NS
    pulls = [
        Pull(instance=instance, heard_ns=pulled_ns, trips=(trip,), verdicts=("",))
        for instance in (RISK, EXECUTION)
    ]
    orders = played(*pulls, groups=("trend",)).tables["orders"]
    behind = orders.filter(pl.col("ts_decided_ns") > pulled_ns)
    assert behind.height > 0
    assert set(behind["code"]) == {DenialCode.TRADING_HALTED.value}
    assert "TRADING_HALTED" not in set(orders.filter(pl.col("ts_decided_ns") < pulled_ns)["code"])


def test_a_badly_signed_order_is_denied_again() -> None:
    said = order(0, Side.BUY)
    badly = replace(said, event=replace(said.event, verdict="AUTHOR_BAD_MAC"))
    assert by_hand(played(badly, **SHORT)) == [DenialCode.AUTHOR_UNVERIFIED.value]


def test_a_cancel_of_an_order_that_is_not_there_is_told() -> None:
    asked = order(0, Side.BUY)
    canceled = replace(asked.event.record, kind=DecisionKind.CANCEL, client_order_id="gone")
    run = played(replace(asked, event=replace(asked.event, record=canceled)), **SHORT)
    (warning,) = run.tables.description.warnings
    assert "The CANCEL that MANUAL asked for in account PAPER-1 found nothing to be done" in warning
    assert "gone" in warning


def test_a_recorded_book_is_what_an_order_meets() -> None:
    tick_ns = 1_388_755_800 * 10**9
    book = BookSnapshot(
        instrument_id="SP500.US",
        feed="recorded",
        feed_sequence=1,
        bids=(BookLevel(price=1800.0, size=1e9),),
        asks=(BookLevel(price=1850.0, size=1e9),),
        ts_event_ns=tick_ns - 10**9,
        ts_init_ns=tick_ns - 10**9,
    )
    event = Input(record=book, topic=topics.BOOKS, partition=0, offset=0)
    end_ns = FIRST_NS + DAY_NS
    heard = Word(instance=EXECUTION, heard_ns=end_ns - 1, session_ns=end_ns, event=event)
    more: dict[str, Any] = {**SHORT, "settings": (FIRST_TICK,)}
    prices = [
        played(order(0, Side.BUY), *said, **more).tables["fills"]["price"][0]
        for said in ((), (heard,))
    ]
    assert prices[0] == pytest.approx(1833, rel=0.01)
    assert prices[1] == 1850.0
