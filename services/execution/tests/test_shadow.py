"""A shadow run: everything but the request, and the paper venue's fills in place of the venue's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    amend,
    approved,
    bracket,
    cancel,
    cancel_all,
    dec,
    limit,
    order,
    outside,
    quote,
    ready,
    says,
    sliced,
    trade,
    updates,
    venue,
)

from tapeline.contracts.accounts import CashAdjustment
from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    Mode,
    NotSent,
    Side,
    VenueReport,
)
from tapeline.execution.external_state import SHADOW


def ready_to_leave(name: str, code: str = SHADOW) -> NotSent:
    """What the sender of a shadow run says where it would have sent."""
    return NotSent(
        report_id=f"n-{name}",
        account_id="a1",
        venue="PAPER",
        client_order_id=name,
        command_id=f"c-{name}",
        code=code,
        reason="A shadow run does everything but the send.",
        ts_event_ns=T0,
        ts_init_ns=T0,
    )


def shadow(**venue_changes: Any) -> Driver:
    driver = outside(Mode.SHADOW)
    if venue_changes:
        driver.step(venue(adapter="elsewhere", version=2, **venue_changes))
    return driver


def left(driver: Driver) -> list[str]:
    """Lets the sender follow: what was submitted is said to have been ready to leave."""
    said: list[str] = []
    for name in sorted(driver.state.orders):
        if driver.state.orders[name].status.value == "SUBMITTED":
            said += says(driver.step(ready_to_leave(name)))
    return said


def whole(driver: Driver) -> None:
    """Recovery and the dump give the same state."""
    assert driver.core.dump(driver.recovered()) == driver.dumped()
    assert driver.core.dump(driver.core.load(driver.dumped())) == driver.dumped()


def test_an_order_that_was_ready_to_leave_fills_by_the_rules_of_paper() -> None:
    driver, paper = shadow(), ready()
    assert says(driver.step(approved(order()))) == ["approval-o1 SUBMITTED SUBMIT"]
    assert not driver.state.paper.orders
    assert left(driver) == ["report ACCEPTED", "approval-o1 ACCEPTED"]
    paper.step(approved(order()))
    ticks = [quote(T0 + 1, 99.5, 100.5, 4.0), trade(T0 + 2, 100.4, 30.0)]
    shown = [says(driver.step(tick)) for tick in ticks]
    assert shown == [says(paper.step(tick)) for tick in ticks]
    assert shown[0][-1] == "approval-o1 FILLED end"
    whole(driver)


def test_what_was_imitated_is_in_the_books() -> None:
    driver = shadow()
    driver.step(approved(order()))
    left(driver)
    driver.step(trade(T0 + 1, 100.0))
    book = driver.state.external.books["a1"]
    assert book.ledger.net_quantity("SPY.ARCA") == 10
    assert book.cash("USD") == driver.state.paper.accounts["a1"].cash["USD"]
    assert book.cash("USD") < dec(100_000)


def test_the_venues_latency_counts_from_when_it_would_have_left() -> None:
    driver = shadow(latency_ns=SECOND)
    driver.step(approved(order()))
    driver.now_ns = T0 + 2 * SECOND
    assert left(driver) == []
    assert says(driver.step(trade(T0 + 3 * SECOND, 100.0))) == []
    driver.now_ns = T0 + 4 * SECOND
    assert says(driver.step(trade(T0 + 3 * SECOND + 1, 100.0)))[-1] == "approval-o1 FILLED end"


@pytest.mark.parametrize("code", ["EXECUTION_EXPIRED", "EXECUTION_TRADING_HALTED"])
def test_what_would_not_have_left_is_denied(code: str) -> None:
    driver = shadow()
    driver.step(approved(order()))
    assert says(driver.step(ready_to_leave("o1", code))) == [f"approval-o1 DENIED {code} end"]
    assert says(driver.step(trade(T0 + 1, 100.0))) == []
    whole(driver)


@pytest.mark.parametrize("code", [SHADOW, "EXECUTION_EXPIRED"])
def test_a_sender_that_says_it_again_changes_nothing(code: str) -> None:
    driver = shadow()
    driver.step(approved(limit("o1", "90")))
    left(driver)
    before = driver.state
    assert says(driver.step(ready_to_leave("o1", code))) == []
    assert driver.state == before
    driver.step(trade(T0 + 1, 80.0))
    assert says(driver.step(ready_to_leave("o1", code))) == []
    whole(driver)


def test_its_own_reports_come_back_unheard() -> None:
    driver = shadow()
    driver.step(approved(limit("o1", "90")))
    left(driver)
    driver.step(amend(limit("o1", "91")))
    driver.step(approved(limit("o2", "90")))
    driver.step(trade(T0 + 1, 80.0))
    own = [one.record for one in driver.outputs if isinstance(one.record, VenueReport)]
    assert [one.kind.value for one in own] == ["ACCEPTED", "ACCEPTED", "FILLED"]
    own.append(replace(own[0], client_order_id="o2"))
    before = driver.state
    for report in own:
        assert says(driver.step(report)) == []
    assert driver.state == before


def test_an_imitated_order_is_canceled_and_amended_by_paper() -> None:
    driver = shadow()
    driver.step(approved(limit("o1", "90")))
    left(driver)
    said = says(driver.step(amend(limit("o1", "91"))))
    assert said[0].startswith("amend-o1 ACCEPTED")
    assert said[-1] == "amend-o1 ACCEPTED end"
    assert driver.state.paper.orders["o1"].order.limit_price == 91
    assert says(driver.step(cancel(limit("o1", "91")))) == [
        "cancel-o1 PENDING_CANCEL CANCEL",
        "report CANCELED",
        "approval-o1 CANCELED end",
        "cancel-o1 CANCELED end",
    ]
    whole(driver)


def test_the_kill_switch_cancels_what_is_imitated() -> None:
    driver = shadow()
    driver.step(approved(limit("o1", "90")))
    left(driver)
    assert says(driver.step(cancel_all()))[-1] == "approval-o1 CANCELED end"
    assert not driver.state.paper.orders


def test_a_cancel_in_front_of_the_send_lets_nothing_be_imitated() -> None:
    driver = shadow()
    driver.step(approved(limit("o1", "90")))
    driver.step(cancel(limit("o1", "90")))
    assert says(driver.step(ready_to_leave("o1"))) == [
        f"approval-o1 DENIED {SHADOW} end",
        "cancel-o1 DENIED end",
    ]
    assert not driver.state.paper.orders
    whole(driver)


@pytest.mark.parametrize(
    "record",
    [
        bracket(order(), "110", "90"),
        sliced(order(), [3, 3, 4]),
    ],
)
def test_every_send_of_a_schedule_takes_the_whole_way(record: ApprovedOrder) -> None:
    driver = shadow()
    driver.step(record)
    for second in range(1, 300, 5):
        left(driver)
        driver.at(T0 + second * SECOND)
        driver.beat()
        price = 100.0 if second < 200 else 120.0
        driver.step(trade(driver.now_ns, price))
    submits = [
        one.command.child_index
        for one in updates(driver.outputs)
        if one.command is not None and one.command.kind is CommandKind.SUBMIT
    ]
    assert sorted(submits) == [0, 1, 2]
    assert not driver.state.orders
    assert [one.status.value for one in updates(driver.outputs) if one.is_terminal] == ["FILLED"]
    whole(driver)


def test_a_live_run_imitates_nothing() -> None:
    driver = outside(Mode.LIVE)
    driver.step(approved(order()))
    said = says(driver.step(ready_to_leave("o1")))
    assert said == [f"approval-o1 DENIED {SHADOW} end"]
    assert not driver.state.paper.orders


def test_the_order_keeps_its_place_in_a_recovered_state() -> None:
    driver = shadow()
    driver.step(approved(limit("o1", "90")))
    left(driver)
    driver.state = driver.core.load(driver.core.dump(driver.recovered()))
    assert driver.state.orders["o1"].is_imitated
    assert says(driver.step(trade(T0 + 1, 80.0)))[-1] == "approval-o1 FILLED end"
    assert replace(driver.state.ended["o1"], is_imitated=False).status.value == "FILLED"


def test_what_an_imitated_position_would_owe_is_not_booked() -> None:
    """The account's book is that of its real venue, where nothing is held."""
    driver = shadow(borrow_rate=dec("36.5"))
    driver.step(approved(order(side=Side.SELL)))
    left(driver)
    driver.step(trade(T0 + 1, 100.0))
    cash = driver.state.external.books["a1"].cash("USD")
    # On paper 10 x 100 x 36.5 / 365 = 100 for the night.
    driver.at((T0 // DAY + 1) * DAY)
    assert driver.state.paper.accrual_ns == (T0 // DAY + 2) * DAY
    assert not [one for one in driver.outputs if isinstance(one.record, CashAdjustment)]
    assert driver.state.external.books["a1"].cash("USD") == cash
    whole(driver)
