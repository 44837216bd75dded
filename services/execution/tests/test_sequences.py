"""Whatever comes, in whatever order: what must hold for every sequence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from execution_invariants import (
    evolve_alone_and_the_dump_give_the_same_state,
    no_approval_ends_twice,
    no_order_fills_beyond_its_quantity,
    one_send_for_each_approval_and_child,
    the_two_cores_hold_the_same_open_orders,
    the_venues_ledger_is_the_fold_of_the_fills,
)
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    approved,
    cancel,
    dec,
    limit,
    order,
    quote,
    ready,
    trade,
    updates,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.contracts.orders import ApprovedOrder, Order, Side, TimeInForce
from tapeline.runtime.core import Input

PRICES = st.sampled_from(["98", "99.5", "100", "100.5", "102"])


@st.composite
def orders(draw: Any) -> Order:
    terms: dict[str, Any] = {
        "side": draw(st.sampled_from(list(Side))),
        "quantity": dec(draw(st.integers(1, 30))),
        "time_in_force": draw(st.sampled_from(list(TimeInForce))),
        "is_reduce_only": draw(st.booleans()),
    }
    if terms["time_in_force"] is TimeInForce.GTD:
        terms["expire_time_ns"] = T0 + draw(st.integers(0, 60)) * SECOND
    if draw(st.booleans()):
        return order(**terms)
    return limit(price=draw(PRICES), is_post_only=draw(st.booleans()), **terms)


SIZES = st.sampled_from([0.0, 1.0, 7.0, 40.0])
STEPS = st.one_of(
    st.tuples(st.just("approve"), orders(), st.sampled_from(["", "", "", "BAD_MAC"])),
    st.tuples(st.just("replay"), st.integers(0, 20), st.just("")),
    st.tuples(st.just("cancel"), st.integers(0, 20), st.just("")),
    st.tuples(st.just("trade"), PRICES, SIZES),
    st.tuples(st.just("quote"), PRICES, SIZES),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 20, 3600, 86_400]), st.just("")),
)
PLANS = st.lists(STEPS, max_size=40)
VENUES = st.fixed_dictionaries(
    {
        "latency_ns": st.sampled_from([0, SECOND // 2, 7 * SECOND]),
        "participation_max": st.sampled_from([dec(0), dec("0.3"), dec(1)]),
    }
)


def play(plan: list[Any], venue_changes: dict[str, Any]) -> Driver:
    """Runs a plan, one tick a tenth of a second, with risk alive and timers as they come due."""
    driver = ready(**venue_changes)
    sent: list[ApprovedOrder] = []
    for number, (step, what, more) in enumerate(plan):
        driver.at(driver.now_ns + SECOND // 10)
        driver.beat()
        if step == "approve":
            what = replace(what, client_order_id=f"o{number}")
            record = approved(what, now_ns=driver.now_ns, approval_id=f"a{number}")
            sent.append(record)
            driver.step(record, more)
        elif step == "replay" and sent:
            driver.step(sent[what % len(sent)])
        elif step == "cancel":
            target = sent[what % len(sent)].order if sent else order("nobody")
            record = cancel(target, now_ns=driver.now_ns, approval_id=f"c{number}")
            sent.append(record)
            driver.step(record)
        elif step == "trade":
            driver.step(trade(driver.now_ns, float(what), more))
        elif step == "quote":
            driver.step(quote(driver.now_ns, float(what) - 0.05, float(what) + 0.05, more))
        elif step == "wait":
            driver.at(driver.now_ns + what * SECOND)
    return driver


@settings(max_examples=150, deadline=None)
@given(PLANS, VENUES)
def test_what_holds_for_every_sequence(plan: list[Any], venue_changes: dict[str, Any]) -> None:
    driver = play(plan, venue_changes)
    no_order_fills_beyond_its_quantity(driver)
    one_send_for_each_approval_and_child(driver)
    no_approval_ends_twice(driver)
    the_venues_ledger_is_the_fold_of_the_fills(driver)
    the_two_cores_hold_the_same_open_orders(driver)
    evolve_alone_and_the_dump_give_the_same_state(driver)


@settings(max_examples=60, deadline=None)
@given(PLANS, VENUES)
def test_every_approval_ends_once_when_ticks_flow(
    plan: list[Any], venue_changes: dict[str, Any]
) -> None:
    mortal = [
        (step, replace(what, time_in_force=TimeInForce.DAY), more)
        if step == "approve" and what.limit_price is not None
        else (step, what, more)
        for step, what, more in plan
    ]
    driver = play(mortal, venue_changes)
    for _ in range(60):
        driver.at(driver.now_ns + 10 * SECOND)
        driver.step(trade(driver.now_ns, 100.0, 200.0))
    driver.at(driver.now_ns + 2 * DAY)
    asked = {
        event.record.approval.approval_id
        for event in driver.history
        if isinstance(event.record, ApprovedOrder)
    }
    ended = Counter(one.approval_id for one in updates(driver.outputs) if one.is_terminal)
    assert set(ended) == asked
    assert not driver.state.orders
    assert not driver.state.paper.orders
    assert not driver.state.paper.by_instrument


@settings(max_examples=40, deadline=None)
@given(PLANS, VENUES, st.integers(0, 40))
def test_a_restart_anywhere_changes_nothing_that_is_said(
    plan: list[Any], venue_changes: dict[str, Any], cut: int
) -> None:
    whole = play(plan, venue_changes)
    inputs = [event for event in whole.history if isinstance(event, Input)]
    cut = min(cut, len(inputs))
    again = Driver(core=whole.core)
    for number, event in enumerate(inputs):
        if number == cut:
            again.state = again.core.load(again.core.dump(again.recovered()))
        again.take(event)
    assert again.outputs == whole.outputs
    assert again.dumped() == whole.dumped()
