"""An approval that comes again is sent once, however late, behind restarts and clocks set back.

Its id is forgotten a minute past its expiry; from then on the expiry alone refuses it, because the
session clock never goes back: the driver takes the later of the machine's clock and its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    approved,
    limit,
    order,
    outside,
    ready,
    says,
    sliced,
    trade,
    updates,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.contracts.orders import (
    ApprovedOrder,
    CommandKind,
    Mode,
    NotSent,
    ReportKind,
    VenueReport,
)

REJECTED = VenueReport(
    report_id="report",
    account_id="a1",
    venue="PAPER",
    kind=ReportKind.REJECTED,
    client_order_id="",
    venue_order_id="",
    trade_id="",
    currency="",
    reason="closed",
    ts_event_ns=T0,
    ts_init_ns=T0,
)
NOT_SENT = NotSent(
    report_id="not-sent",
    account_id="a1",
    venue="PAPER",
    client_order_id="",
    command_id="c",
    code="EXECUTION_VENUE_UNAVAILABLE",
    reason="closed",
    ts_event_ns=T0,
    ts_init_ns=T0,
)
MODES = (Mode.PAPER, Mode.SHADOW, Mode.LIVE)


def driver_of(mode: Mode) -> Driver:
    return ready() if mode is Mode.PAPER else outside(mode)


def ended(driver: Driver, name: str) -> None:
    """Lets an order end, in the way of the driver's mode."""
    if driver.core.context.mode == Mode.PAPER.value:
        driver.step(trade(driver.now_ns + 1, 80.0))
        return
    if driver.core.context.mode == Mode.SHADOW.value:
        driver.step(replace(NOT_SENT, client_order_id=name))
        return
    driver.step(replace(REJECTED, client_order_id=name))


def restarted(driver: Driver) -> None:
    driver.state = driver.core.load(driver.core.dump(driver.recovered()))


def sends(driver: Driver) -> Counter[tuple[str, int]]:
    """How often what was sent."""
    commands = [one.command for one in updates(driver.outputs) if one.command is not None]
    return Counter(
        (command.approved.approval.approval_id, command.child_index)
        for command in commands
        if command.kind is CommandKind.SUBMIT
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("later_ns", [120 * SECOND, 2 * 3600 * SECOND, 400 * DAY])
def test_what_is_forgotten_has_expired(mode: Mode, restarts: bool, later_ns: int) -> None:
    driver = driver_of(mode)
    record = approved(order("o1"))
    driver.step(record)
    ended(driver, "o1")
    driver.at(T0 + later_ns)
    driver.at(T0 + later_ns + DAY)
    assert not driver.state.used
    assert not driver.state.ended
    if restarts:
        restarted(driver)
    driver.beat()
    assert says(driver.step(record)) == ["approval-o1 DENIED EXECUTION_EXPIRED end"]
    assert sends(driver) == {("approval-o1", 0): 1}


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_schedule_that_comes_again_has_expired(mode: Mode) -> None:
    driver = driver_of(mode)
    record = sliced(limit("o1", "90"), [3, 3, 4])
    driver.step(record)
    for minute in range(60):
        driver.at(T0 + minute * 60 * SECOND)
        driver.beat()
        for name in list(driver.state.orders):
            ended(driver, name)
    driver.at(T0 + DAY)
    driver.at(T0 + 2 * DAY)
    assert not driver.state.parents
    driver.beat()
    before = sends(driver)
    assert says(driver.step(record)) == ["approval-o1 DENIED EXECUTION_EXPIRED end"]
    assert sends(driver) == before


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("approve"), st.sampled_from(["market", "limit", "unheard"])),
        st.tuples(st.just("again"), st.integers(0, 9)),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("clock"), st.sampled_from([1, 4, 5, 6, 55, 64, 70, 3600, 90_000])),
        st.tuples(st.just("clock"), st.sampled_from([-1, -10, -70, -3600, -90_000])),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(MODES), STEPS)
def test_nothing_is_sent_twice_whatever_the_machines_clock_says(
    mode: Mode, steps: list[tuple[str, Any]]
) -> None:
    driver = driver_of(mode)
    wall_ns, given_out, denied = T0, list[ApprovedOrder](), list[str]()
    for number, (step, what) in enumerate(steps):
        if step == "clock":
            wall_ns += what * SECOND
        elif step == "restart":
            restarted(driver)
        # What money_worker.py does: the later of both clocks.
        driver.at(max(wall_ns, driver.now_ns))
        if what == "unheard":
            # Denied for risk's silence; it must not be sent when risk speaks again.
            driver.at(driver.now_ns + 3 * SECOND)
        else:
            driver.beat()
        if step == "approve":
            name = f"o{number}"
            denied += [f"approval-{name}"] * (what == "unheard")
            wish = order(name) if what == "market" else limit(name, "90")
            given_out.append(approved(wish, now_ns=driver.now_ns))
            driver.step(given_out[-1])
        elif step == "again" and given_out:
            driver.step(given_out[what % len(given_out)])
        elif step == "end" and given_out:
            ended(driver, given_out[what % len(given_out)].order.client_order_id)
    driver.beat()
    for record in given_out:
        driver.step(record)
    names = [one.approval.approval_id for one in given_out]
    assert sends(driver) == {(name, 0): 1 for name in names if name not in denied}
