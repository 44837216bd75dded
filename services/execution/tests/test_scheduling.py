"""Slices and protective legs, computed by hand. Half spread 0.1 %, tick 0.01, lot 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from execution_samples import (
    SECOND,
    T0,
    Driver,
    approved,
    bracket,
    cancel,
    cancel_all,
    dec,
    fills,
    instrument,
    limit,
    order,
    ready,
    set_state,
    sliced,
    told,
    trade,
    updates,
)

from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    ChildRole,
    OrderType,
    OrderUpdate,
    Side,
)
from tapeline.contracts.risk import TradingState
from tapeline.execution import scheduling
from tapeline.execution.parents import next_due_ns

MINUTE = 60 * SECOND
HALTED, ACTIVE, REDUCING = TradingState.HALTED, TradingState.ACTIVE, TradingState.REDUCING


def at(driver: Driver, second: float, *, is_alive: bool = True) -> list[str]:
    """Moves the clock to a time behind the start, with risk alive, and says what was said."""
    now_ns = T0 + int(second * SECOND)
    before = len(driver.outputs)
    if is_alive:
        driver.now_ns = now_ns
        driver.beat()
    driver.at(now_ns)
    return told(driver.outputs[before:])


def tick(driver: Driver, second: float, price: float, size: float = 0.0) -> list[str]:
    said = at(driver, second)
    return said + told(driver.step(trade(driver.now_ns, price, size)))


def restarted(driver: Driver) -> None:
    """As after a crash: by evolve alone, and through the bytes of a snapshot."""
    state = driver.recovered()
    assert driver.core.dump(state) == driver.dumped()
    driver.state = driver.core.load(driver.core.dump(state))


# ---- slices


def test_twap_sends_each_slice_in_its_time_and_ends_when_all_is_filled() -> None:
    driver = ready()
    assert told(driver.step(sliced(order(quantity=dec(10)), [3, 3, 4]))) == [
        "whole SUBMITTED",
        "SLICE-0 SUBMITTED SUBMIT 3",
        "SLICE-0 ACCEPTED",
        "whole ACCEPTED",
    ]
    assert tick(driver, 1, 100.0) == [
        "SLICE fill 3 @ 100.1",
        "SLICE-0 FILLED",
        "whole PARTIALLY_FILLED",
    ]
    assert at(driver, 59.9) == []
    restarted(driver)
    assert at(driver, 60) == ["SLICE-1 SUBMITTED SUBMIT 3", "SLICE-1 ACCEPTED"]
    assert tick(driver, 61, 110.0) == [
        "SLICE fill 3 @ 110.11",
        "SLICE-1 FILLED",
        "whole PARTIALLY_FILLED",
    ]
    at(driver, 120)
    assert tick(driver, 121, 120.0) == [
        "SLICE fill 4 @ 120.12",
        "SLICE-2 FILLED",
        "whole FILLED end",
    ]
    last = updates(driver.outputs)[-1]
    # (3 x 100.1 + 3 x 110.11 + 4 x 120.12) / 10 = 1111.11 / 10
    assert (last.filled_quantity, last.average_price) == (10, dec("111.111"))
    assert driver.core.next_due_ns(driver.state) is not None, "housekeeping remains"
    assert at(driver, 100_000) == []
    assert not driver.state.parents


def test_all_that_is_said_of_an_order_belongs_to_its_workflow() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(4)), [2, 2]))
    first = driver.outputs[0].correlation_id
    at(driver, 60)
    tick(driver, 61, 100.0)
    said = [one for one in driver.outputs if isinstance(one.record, OrderUpdate)]
    assert {one.correlation_id for one in said} == {first}
    sent = [one for one in said if one.record.command is not None]
    assert [one.causation_id for one in sent][1:] == ["approval-o1"]


def test_vwap_is_the_same_with_other_sizes() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(10)), [6, 1, 3], algorithm=Algorithm.VWAP))
    at(driver, 60)
    at(driver, 120)
    sent = [one.command.quantity for one in updates(driver.outputs) if one.command]
    assert sent == [6, 1, 3]


def test_an_iceberg_shows_the_next_part_when_the_last_is_filled() -> None:
    driver = ready(participation_max=dec(1))
    approved = sliced(limit(quantity=dec(10), price="100"), [4, 4, 2], algorithm=Algorithm.ICEBERG)
    driver.step(approved)
    assert tick(driver, 1, 99.0, 3.0) == ["SLICE fill 3 @ 99.1", *PARTLY_OF_0]
    restarted(driver)
    assert tick(driver, 2, 99.0, 9.0) == [
        "SLICE fill 1 @ 99.1",
        "SLICE-0 FILLED",
        "whole PARTIALLY_FILLED",
        "SLICE-1 SUBMITTED SUBMIT 4",
        "SLICE-1 ACCEPTED",
    ]
    tick(driver, 3, 99.0, 9.0)
    assert tick(driver, 4, 99.0, 9.0) == [
        "SLICE fill 2 @ 99.1",
        "SLICE-2 FILLED",
        "whole FILLED end",
    ]


PARTLY_OF_0 = ["SLICE-0 PARTIALLY_FILLED", "whole PARTIALLY_FILLED"]


def test_at_the_end_what_still_works_is_canceled_and_the_whole_expires() -> None:
    driver = ready()
    driver.step(sliced(limit(quantity=dec(4), price="90"), [2, 2]))
    tick(driver, 1, 100.0)
    at(driver, 60)
    assert at(driver, 120) == [
        "SLICE-0 PENDING_CANCEL CANCEL 2",
        "SLICE-0 CANCELED",
        "SLICE-1 PENDING_CANCEL CANCEL 2",
        "SLICE-1 CANCELED",
        "whole EXPIRED end",
    ]


@pytest.mark.parametrize(
    ("state", "code"),
    [(HALTED, "EXECUTION_TRADING_HALTED"), (REDUCING, "EXECUTION_TRADING_REDUCING")],
)
def test_what_may_not_be_sent_in_its_time_is_given_up_not_caught_up(
    state: TradingState, code: str
) -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(8)), [2, 2, 2, 2]))
    tick(driver, 1, 100.0)
    driver.step(set_state(state))
    assert at(driver, 60) == []
    assert at(driver, 90) == []
    assert at(driver, 120) == [f"SLICE-1 DENIED {code}"]
    # Slice 2 has its time until slice 3 is due.
    assert told(driver.step(set_state(ACTIVE, 2))) == [
        "SLICE-2 SUBMITTED SUBMIT 2",
        "SLICE-2 ACCEPTED",
    ]
    tick(driver, 121, 100.0)
    tick(driver, 181, 100.0)
    assert tick(driver, 182, 100.0)[-1] == "whole EXPIRED end"
    assert sum(fill.quantity for fill in fills(driver.outputs)) == 6


def test_without_a_sign_of_life_of_risk_no_slice_goes_out() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(4)), [2, 2]))
    tick(driver, 1, 100.0)
    assert at(driver, 60, is_alive=False) == []
    assert at(driver, 61) == ["SLICE-1 SUBMITTED SUBMIT 2", "SLICE-1 ACCEPTED"]


def test_behind_the_signed_last_time_nothing_is_sent() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(4)), [2, 2]))
    tick(driver, 1, 100.0)
    assert at(driver, 3600, is_alive=False) == ["whole EXPIRED end"]
    assert sum(1 for one in updates(driver.outputs) if one.command) == 1


def test_a_slice_has_a_last_time_of_its_own() -> None:
    driver = ready()
    late = changed(sliced(order(quantity=dec(4)), [2, 2]), 1, last_send_ns=T0 + 70 * SECOND)
    driver.step(late)
    driver.step(set_state(HALTED))
    tick(driver, 60, 100.0)
    assert at(driver, 70) == []
    assert at(driver, 70.1)[0] == "SLICE-1 DENIED EXECUTION_SCHEDULE_OVER"


def test_a_late_clock_sends_all_that_is_due() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(6)), [1, 2, 3]))
    said = at(driver, 150)
    assert [line for line in said if "SUBMIT " in line] == [
        "SLICE-1 SUBMITTED SUBMIT 2",
        "SLICE-2 SUBMITTED SUBMIT 3",
    ]


def test_a_cancel_stops_the_slices_and_is_answered_when_they_ended() -> None:
    driver = ready()
    of = limit(quantity=dec(6), price="90")
    driver.step(sliced(of, [2, 2, 2]))
    assert told(driver.step(cancel(of))) == [
        "cancel PENDING_CANCEL",
        "SLICE-0 PENDING_CANCEL CANCEL 2",
        "SLICE-0 CANCELED",
        "whole CANCELED end",
        "cancel CANCELED end",
    ]
    assert at(driver, 60) == []


def test_a_cancel_between_two_slices_ends_the_order_at_once() -> None:
    driver = ready()
    of = order(quantity=dec(4))
    driver.step(sliced(of, [2, 2]))
    tick(driver, 1, 100.0)
    assert told(driver.step(cancel(of))) == [
        "cancel PENDING_CANCEL",
        "whole CANCELED end",
        "cancel CANCELED end",
    ]
    assert told(driver.step(cancel(of, approval_id="cancel-2"))) == ["cancel CANCELED end"]


def test_cancel_all_stops_slices_too() -> None:
    driver = ready()
    driver.step(sliced(limit(quantity=dec(4), price="90"), [2, 2]))
    driver.step(set_state(HALTED))
    assert told(driver.step(cancel_all())) == [
        "whole PENDING_CANCEL",
        "SLICE-0 PENDING_CANCEL CANCEL 2",
        "SLICE-0 CANCELED",
        "whole CANCELED end",
    ]
    assert at(driver, 200) == []


def test_slices_that_the_venue_rejects_reject_the_whole() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(3), is_reduce_only=True), [1, 2]))
    assert at(driver, 60)[-1] == "whole REJECTED end"


# ---- protective legs


def protected(**changes: Any) -> Driver:
    """10 bought, with a profit at 110 and a loss at 95; both legs work."""
    driver = ready(**changes)
    driver.step(bracket(order(), "110", "95"))
    tick(driver, 1, 100.0, 10.0)
    return driver


def test_legs_go_out_with_the_fill_and_one_cancels_the_other() -> None:
    driver = ready()
    assert told(driver.step(bracket(order(), "110", "95"))) == [
        "whole SUBMITTED SUBMIT 10",
        "whole ACCEPTED",
    ]
    assert tick(driver, 1, 100.0) == [
        "fill 10 @ 100.1",
        "whole FILLED",
        "TAKE_PROFIT-1 SUBMITTED SUBMIT 10",
        "TAKE_PROFIT-1 ACCEPTED",
        "STOP_LOSS-2 SUBMITTED SUBMIT 10",
        "STOP_LOSS-2 ACCEPTED",
    ]
    restarted(driver)
    assert tick(driver, 2, 111.0) == [
        "TAKE_PROFIT fill 10 @ 110",
        "TAKE_PROFIT-1 FILLED",
        "STOP_LOSS-2 CANCELED",
        "whole FILLED end",
    ]
    assert driver.state.paper.accounts["a1"].positions["SPY.ARCA"] == 0
    assert updates(driver.outputs)[-1].protective_filled_quantity == 10


def test_one_leg_cancels_the_other_also_where_more_is_held() -> None:
    driver = ready()
    driver.step(approved(order("other", quantity=dec(50))))
    driver.step(bracket(order(), "110", "95"))
    tick(driver, 1, 100.0)
    assert tick(driver, 2, 111.0)[1:] == [
        "TAKE_PROFIT-1 FILLED",
        "STOP_LOSS-2 PENDING_CANCEL CANCEL 10",
        "STOP_LOSS-2 CANCELED",
        "whole FILLED end",
    ]
    assert driver.state.paper.accounts["a1"].positions["SPY.ARCA"] == 50


def test_a_gap_through_the_stop_loss_fills_where_the_market_is() -> None:
    driver = protected()
    # 90 x 0.999 = 89.91; five below the stop.
    assert tick(driver, 2, 90.0)[:2] == ["STOP_LOSS fill 10 @ 89.91", "STOP_LOSS-2 FILLED"]
    assert fills(driver.outputs)[-1].slippage == dec("95") - dec("89.91")


def test_legs_follow_what_is_filled_and_shrink_with_each_other() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(bracket(limit(price="100", quantity=dec(10)), "110", "95"))
    assert tick(driver, 1, 99.0, 4.0) == [
        "fill 4 @ 99.1",
        "whole PARTIALLY_FILLED",
        "TAKE_PROFIT-1 SUBMITTED SUBMIT 4",
        "TAKE_PROFIT-1 ACCEPTED",
        "STOP_LOSS-2 SUBMITTED SUBMIT 4",
        "STOP_LOSS-2 ACCEPTED",
    ]
    restarted(driver)
    assert tick(driver, 2, 99.0, 6.0) == [
        "fill 6 @ 99.1",
        "whole FILLED",
        "TAKE_PROFIT-1 ACCEPTED AMEND 10",
        "TAKE_PROFIT-1 ACCEPTED AMENDED",
        "STOP_LOSS-2 ACCEPTED AMEND 10",
        "STOP_LOSS-2 ACCEPTED AMENDED",
    ]
    # Of the profit 7 are taken: the loss must close 3 at most.
    assert tick(driver, 3, 112.0, 7.0) == [
        "TAKE_PROFIT fill 7 @ 110",
        "TAKE_PROFIT-1 PARTIALLY_FILLED",
        "STOP_LOSS-2 ACCEPTED AMEND 3",
        "STOP_LOSS-2 ACCEPTED AMENDED",
    ]
    assert tick(driver, 4, 94.0, 50.0) == [
        "STOP_LOSS fill 3 @ 93.9",
        "STOP_LOSS-2 FILLED",
        "TAKE_PROFIT-1 PENDING_CANCEL CANCEL 10",
        "TAKE_PROFIT-1 CANCELED",
        "whole FILLED end",
    ]
    assert driver.state.paper.accounts["a1"].positions["SPY.ARCA"] == 0


def test_once_a_leg_closes_the_rest_of_the_entry_is_taken_back() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(bracket(limit(price="100", quantity=dec(10)), "", "95"))
    tick(driver, 1, 99.0, 4.0)
    said = tick(driver, 2, 94.0, 3.0)
    assert "STOP_LOSS fill 3 @ 93.9" in said
    assert "whole PENDING_CANCEL CANCEL 10" in said or "whole FILLED" in said


def test_legs_go_out_in_reducing_and_wait_while_halted() -> None:
    driver = ready()
    driver.step(bracket(limit(price="100"), "110", "95"))
    driver.step(set_state(HALTED))
    assert tick(driver, 1, 99.0)[1:] == ["whole FILLED"]
    assert told(driver.step(set_state(REDUCING, 2))) == [
        "TAKE_PROFIT-1 SUBMITTED SUBMIT 10",
        "TAKE_PROFIT-1 ACCEPTED",
        "STOP_LOSS-2 SUBMITTED SUBMIT 10",
        "STOP_LOSS-2 ACCEPTED",
    ]


def test_cancel_all_spares_protective_legs_unless_told_otherwise() -> None:
    driver = protected()
    driver.step(set_state(HALTED))
    assert told(driver.step(cancel_all())) == []
    assert told(driver.step(cancel_all(2, command_id="c2", spares_protective=False)))[-1] == (
        "whole FILLED end"
    )
    assert not driver.state.orders


def test_cancel_all_without_mercy_also_stops_legs_that_were_not_sent_yet() -> None:
    driver = ready()
    driver.step(bracket(limit(price="100"), "110", "95"))
    driver.step(set_state(HALTED))
    tick(driver, 1, 99.0)
    said = told(driver.step(cancel_all(spares_protective=False)))
    assert said == ["whole FILLED end"]
    assert told(driver.step(set_state(ACTIVE, 2))) == []


def test_a_cancel_of_the_entry_leaves_what_is_filled_protected() -> None:
    driver = ready(participation_max=dec(1))
    of = limit(price="100", quantity=dec(10))
    driver.step(bracket(of, "110", "95"))
    tick(driver, 1, 99.0, 4.0)
    assert told(driver.step(cancel(of))) == [
        "cancel PENDING_CANCEL CANCEL 10",
        "whole CANCELED",
        "cancel CANCELED end",
    ]
    assert len(driver.state.orders) == 2
    # A second cancel, behind the end of the entry, takes the protection off.
    assert told(driver.step(cancel(of, approval_id="cancel-2"))) == [
        "cancel CANCELED",
        "TAKE_PROFIT-1 PENDING_CANCEL CANCEL 4",
        "TAKE_PROFIT-1 CANCELED",
        "STOP_LOSS-2 PENDING_CANCEL CANCEL 4",
        "STOP_LOSS-2 CANCELED",
        "whole CANCELED end",
        "cancel CANCELED end",
    ]


def test_an_entry_that_ends_without_a_fill_ends_all_of_it() -> None:
    driver = ready()
    of = limit(price="90")
    driver.step(bracket(of, "110", "80"))
    assert told(driver.step(cancel(of))) == [
        "cancel PENDING_CANCEL CANCEL 10",
        "whole CANCELED",
        "cancel CANCELED end",
        "whole CANCELED end",
    ]


def test_a_short_is_protected_on_the_other_sides() -> None:
    driver = ready()
    driver.step(bracket(order(side=Side.SELL), "90", "105"))
    tick(driver, 1, 100.0)
    legs = [one for one in driver.state.orders.values() if one.role is not ChildRole.WHOLE]
    assert [(leg.order.side, leg.order.is_reduce_only) for leg in legs] == [(Side.BUY, True)] * 2
    # 106 x 1.001 = 106.106: a buyer pays the tick above.
    assert tick(driver, 2, 106.0)[0] == "STOP_LOSS fill 10 @ 106.11"


def test_a_flip_is_protected_for_what_it_opens_only() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order("before", quantity=dec(4), side=Side.SELL)))
    tick(driver, 1, 100.0, 4.0)
    flip = changed(bracket(limit(price="101", quantity=dec(10)), "", "95"), 1, quantity=dec(6))
    driver.step(flip)
    assert tick(driver, 2, 100.0, 4.0) == ["fill 4 @ 100.1", "whole PARTIALLY_FILLED"]
    assert tick(driver, 3, 100.0, 1.0)[2:] == [
        "STOP_LOSS-1 SUBMITTED SUBMIT 1",
        "STOP_LOSS-1 ACCEPTED",
    ]
    assert tick(driver, 4, 100.0, 5.0)[2:] == [
        "STOP_LOSS-1 ACCEPTED AMEND 6",
        "STOP_LOSS-1 ACCEPTED AMENDED",
    ]


# ---- what does not hold together


def changed(approved: ApprovedOrder, index: int, **changes: Any) -> ApprovedOrder:
    schedule = approved.approval.schedule
    assert schedule is not None
    children = list(schedule.children)
    children[index] = replace(children[index], **changes)
    return rescheduled(approved, children)


def rescheduled(approved: ApprovedOrder, children: Sequence[Any]) -> ApprovedOrder:
    schedule = approved.approval.schedule
    assert schedule is not None
    schedule = replace(schedule, children=tuple(children))
    approval = replace(approved.approval, schedule=schedule, child_count=len(children))
    return replace(approved, approval=approval)


TWAP = sliced(order(quantity=dec(4)), [2, 2])
BRACKET = bracket(order(), "110", "95")
SCHEDULE = TWAP.approval.schedule
assert SCHEDULE is not None


@pytest.mark.parametrize(
    "broken",
    [
        sliced(order(quantity=dec(4)), [2, 2], child_count=3),
        sliced(order(quantity=dec(4)), [2, 2], schedule=None),
        sliced(order(quantity=dec(4)), []),
        sliced(order(quantity=dec(101)), [1] * 101),
        sliced(order(quantity=dec(3)), [2, 2]),
        sliced(order(quantity=dec(5)), [2, 2]),
        sliced(order(quantity=dec(2)), [2, 0]),
        sliced(order(quantity=dec(2)), [3, -1]),
        sliced(order(quantity=dec(4)), [2, 2], algorithm=Algorithm.UNKNOWN),
        changed(TWAP, 1, role=ChildRole.TAKE_PROFIT),
        changed(TWAP, 1, role=ChildRole.UNKNOWN),
        changed(TWAP, 1, order_type=OrderType.LIMIT, limit_price=dec(1)),
        changed(TWAP, 1, send_ns=T0 - 1),
        changed(TWAP, 0, send_ns=T0 - 1),
        changed(TWAP, 1, last_send_ns=T0 + 10 * MINUTE),
        changed(BRACKET, 0, quantity=dec(9)),
        changed(BRACKET, 0, order_type=OrderType.LIMIT, limit_price=dec(1)),
        changed(BRACKET, 0, role=ChildRole.SLICE),
        changed(BRACKET, 1, quantity=dec(11)),
        changed(BRACKET, 1, role=ChildRole.STOP_LOSS),
        changed(BRACKET, 1, order_type=OrderType.MARKET),
        changed(BRACKET, 2, order_type=OrderType.LIMIT),
        rescheduled(BRACKET, BRACKET.approval.schedule.children[:1]),  # type: ignore[union-attr]
    ],
)
def test_a_schedule_that_does_not_hold_together_is_refused(broken: ApprovedOrder) -> None:
    driver = ready()
    assert told(driver.step(broken)) == ["whole DENIED EXECUTION_SCHEDULE end"]
    assert not driver.state.parents


def test_a_scheduled_approval_that_comes_again_sends_nothing() -> None:
    driver = ready()
    driver.step(TWAP)
    assert told(driver.step(TWAP)) == ["incident EXECUTION_REUSED"]
    at(driver, 3600 * 5)
    assert told(driver.step(TWAP))[0] in (
        "incident EXECUTION_REUSED",
        "whole DENIED EXECUTION_EXPIRED end",
    )
    assert sum((fill.quantity for fill in fills(driver.outputs)), Decimal(0)) <= 4


def test_an_iceberg_whose_part_is_rejected_is_over() -> None:
    driver = ready()
    # The venue takes no part below its minimum; risk knows the minimum of the whole.
    driver.step(instrument(quantity_min=dec(3), version=2))
    parts = sliced(limit(quantity=dec(4)), [2, 2], algorithm=Algorithm.ICEBERG)
    assert told(driver.step(parts))[-2:] == ["SLICE-0 REJECTED", "whole REJECTED end"]
    restarted(driver)


def test_slices_without_an_end_need_the_clock_for_their_times_alone() -> None:
    plain = sliced(order(quantity=dec(4)), [2, 2])
    schedule = plain.approval.schedule
    assert schedule is not None
    endless = replace(plain.approval, schedule=replace(schedule, end_ns=None))
    driver = ready()
    driver.step(replace(plain, approval=endless))
    tick(driver, 1, 100.0)
    assert next_due_ns(driver.state) == T0 + MINUTE
    assert at(driver, 60)[0] == "SLICE-1 SUBMITTED SUBMIT 2"
    assert tick(driver, 61, 100.0)[-1] == "whole FILLED end"
    assert next_due_ns(driver.state) is None


def test_work_that_does_not_end_is_a_bug_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "STEPS_MAX", 0)
    with pytest.raises(AssertionError, match="order o1 is worked without end"):
        ready().step(bracket(order(), "110"))
