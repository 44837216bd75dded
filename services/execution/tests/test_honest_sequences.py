"""Whatever the paper venue assumes, and whatever comes: nothing is filled that was not there, and
every cent is in a fill, a payment or an adjustment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from execution_invariants import (
    evolve_alone_and_the_dump_give_the_same_state,
    no_approval_ends_twice,
    no_order_fills_beyond_its_quantity,
    one_send_for_each_approval_and_child,
    the_two_cores_hold_the_same_open_orders,
)
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    approved,
    dec,
    fills,
    instrument,
    limit,
    order,
    quote,
    ready,
    trade,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_honest_paper import HOURS_8, TIERS, book, rate

from tapeline.accounting.ledger import Booking, Ledger
from tapeline.accounting.numbers import ZERO, price_from_float
from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.config import AssetClass, MissingInputRule, QueueRule
from tapeline.contracts.market import BookSnapshot, Quote, Trade
from tapeline.contracts.orders import Fill, LiquiditySide, OrderType, Side
from tapeline.execution.venues.matching import quote_of
from tapeline.runtime.core import Input

PRICES = st.sampled_from([99.0, 99.5, 100.0, 100.5, 101.0])
SIZES = st.sampled_from([0.0, 1.0, 7.0, 40.0])
ORDERS = st.tuples(
    st.sampled_from(list(Side)),
    st.integers(1, 30),
    st.sampled_from(["market", "limit", "stop"]),
    PRICES,
)
STEPS = st.one_of(
    st.tuples(st.just("order"), ORDERS, st.sampled_from(["g1", "g2"])),
    st.tuples(st.just("trade"), PRICES, SIZES),
    st.tuples(st.just("quote"), PRICES, SIZES),
    st.tuples(st.just("book"), PRICES, st.sampled_from([2.0, 9.0])),
    st.tuples(st.just("crossed"), PRICES, st.sampled_from([2.0, 9.0])),
    st.tuples(st.just("rate"), st.sampled_from([-0.001, 0.0001, 0.1]), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([1, 3600, 86_400, 3 * 86_400]), st.just(0)),
)
PLANS = st.lists(STEPS, min_size=5, max_size=50)
VENUES = st.fixed_dictionaries(
    {
        "latency_ns": st.sampled_from([0, SECOND // 2]),
        "latency_jitter_ns": st.sampled_from([0, SECOND]),
        "participation_max": st.sampled_from([dec(0), dec("0.3"), dec(1)]),
        "queue_rule": st.sampled_from(list(QueueRule)),
        "is_own_size_consumed": st.booleans(),
        "is_stop_gapped": st.booleans(),
        "impact_rate": st.sampled_from([None, dec("0.003")]),
        "fee_tiers": st.sampled_from([(), TIERS]),
        "borrow_rate": st.sampled_from([None, dec(0), dec("0.07")]),
        "missing_input_rule": st.sampled_from(list(MissingInputRule)),
    }
)
KINDS = st.sampled_from([AssetClass.EQUITY, AssetClass.CRYPTO_PERPETUAL])


def play(plan: Sequence[Any], venue_changes: dict[str, Any], kind: AssetClass) -> Driver:
    """Runs a plan, one step a tenth of a second, with risk alive and timers as they come due."""
    driver = ready(**venue_changes)
    driver.step(instrument(asset_class=kind, version=2))
    driver.step(rate(T0 - HOURS_8, 0.0))
    for number, (step, what, more) in enumerate(plan):
        driver.at(driver.now_ns + SECOND // 10)
        driver.beat()
        now_ns = driver.now_ns
        if step == "order":
            side, quantity, form, price = what
            terms: dict[str, Any] = {"side": side, "quantity": dec(quantity), "group_id": more}
            of = order(f"o{number}", **terms)
            if form == "limit":
                of = limit(f"o{number}", str(price), **terms)
            elif form == "stop":
                of = replace(of, order_type=OrderType.STOP_MARKET, stop_price=dec(str(price)))
            driver.step(approved(of, now_ns=now_ns))
        elif step == "trade":
            driver.step(trade(now_ns, what, more))
        elif step == "quote":
            driver.step(quote(now_ns, what - 0.5, what + 0.5, more))
        elif step in ("book", "crossed"):
            half = 0.5 if step == "book" else -0.75
            bids = [(what - half, more), (what - half - 0.5, 8.0)]
            asks = [(what + half, more), (what + half + 0.5, 8.0)]
            driver.step(book(now_ns, bids, asks))
        elif step == "rate":
            driver.step(rate(now_ns, what))
        else:
            driver.at(now_ns + what * SECOND)
    return driver


@settings(max_examples=300, deadline=None)
@given(PLANS, VENUES, KINDS)
def test_what_holds_whatever_is_assumed(
    plan: list[Any], venue_changes: dict[str, Any], kind: AssetClass
) -> None:
    driver = play(plan, venue_changes, kind)
    no_order_fills_beyond_its_quantity(driver)
    one_send_for_each_approval_and_child(driver)
    no_approval_ends_twice(driver)
    the_two_cores_hold_the_same_open_orders(driver)
    evolve_alone_and_the_dump_give_the_same_state(driver)
    the_venues_cash_is_the_fold_of_fills_and_account_events(driver)
    nothing_is_filled_that_was_not_there(driver, venue_changes)
    if venue_changes["is_stop_gapped"]:
        no_taker_gets_better_than_the_worse_side(driver)


@settings(max_examples=60, deadline=None)
@given(PLANS, VENUES, KINDS, st.integers(0, 60))
def test_a_restart_anywhere_and_a_replay_say_the_same(
    plan: list[Any], venue_changes: dict[str, Any], kind: AssetClass, cut: int
) -> None:
    whole = play(plan, venue_changes, kind)
    inputs = [event for event in whole.history if isinstance(event, Input)]
    again = Driver(core=whole.core)
    for number, event in enumerate(inputs):
        if number == cut:
            again.state = again.core.load(again.core.dump(again.recovered()))
        again.take(event)
    assert again.outputs == whole.outputs
    assert again.dumped() == whole.dumped()


def the_venues_cash_is_the_fold_of_fills_and_account_events(driver: Driver) -> None:
    """By the ledger that risk keeps its books with."""
    ledger = Ledger().deposit("USD", dec(100_000))
    lines: dict[str, Decimal] = {"g1": ZERO, "g2": ZERO}
    for output in driver.outputs:
        record = output.record
        if isinstance(record, Fill):
            signed = record.quantity if record.side is Side.BUY else -record.quantity
            lines[record.group_id] += signed
            booking = Booking(
                group_id=record.group_id,
                instrument_id=record.instrument_id,
                quantity=signed,
                price=record.price,
                currency=record.currency,
                commission=record.commission,
            )
            ledger = ledger.book(booking)
        elif isinstance(record, FundingPayment | CashAdjustment):
            ledger = ledger.deposit(record.currency, record.amount)
    account = driver.state.paper.accounts["a1"]
    assert account.cash["USD"] == ledger.cash["USD"]
    assert account.positions.get("SPY.ARCA", ZERO) == ledger.net_quantity("SPY.ARCA")
    for group, held in account.lines.get("SPY.ARCA", {}).items():
        assert held == lines[group]


def nothing_is_filled_that_was_not_there(driver: Driver, venue: dict[str, Any]) -> None:
    """Of each tick at most its size, of each order its share, of a display nothing twice."""
    share = venue["participation_max"]
    if not share:
        return
    shown: dict[Side, dict[float, tuple[Decimal, Decimal]]] = {Side.BUY: {}, Side.SELL: {}}
    for tick, said in steps_of(driver):
        for side in Side:
            size = size_of(tick, side)
            mine = [fill for fill in fills(said) if fill.side is side]
            total = sum((fill.quantity for fill in mine), ZERO)
            if size is not None:
                assert total <= size
                # A trade at its own price reaches the orders in the queue whole, under TOUCH too.
                if not isinstance(tick, BookSnapshot):
                    assert all(fill.quantity <= size * share for fill in mine)
            if isinstance(tick, Quote) and venue["is_own_size_consumed"] and size is not None:
                price = tick.ask_price if side is Side.BUY else tick.bid_price
                before, left = shown[side].get(price, (ZERO, ZERO))
                left = max(left + size - before, ZERO)
                assert total <= left
                shown[side] = {price: (size, left - total)}
            elif not isinstance(tick, Trade):
                shown[side] = {}


def no_taker_gets_better_than_the_worse_side(driver: Driver) -> None:
    for tick, said in steps_of(driver):
        if isinstance(tick, Trade):
            continue
        best = quote_of(tick) if isinstance(tick, BookSnapshot) else tick
        both = (price_from_float(best.bid_price), price_from_float(best.ask_price))
        for fill in fills(said):
            if fill.liquidity_side is LiquiditySide.TAKER:
                is_buying = fill.side is Side.BUY
                assert fill.price >= max(both) if is_buying else fill.price <= min(both)


def steps_of(driver: Driver) -> list[tuple[Trade | Quote | BookSnapshot, list[Any]]]:
    """Each tick and what was said to it."""
    found: list[tuple[Any, list[Any]]] = []
    for event in driver.history:
        if isinstance(event, Input):
            found.append((event.record, []))
        else:
            found[-1][1].append(event)
    return [one for one in found if isinstance(one[0], Trade | Quote | BookSnapshot)]


def size_of(tick: Trade | Quote | BookSnapshot, side: Side) -> Decimal | None:
    if isinstance(tick, Trade):
        size = tick.size
    elif isinstance(tick, Quote):
        size = tick.ask_size if side is Side.BUY else tick.bid_size
    else:
        size = sum(level.size for level in (tick.asks if side is Side.BUY else tick.bids))
    return price_from_float(size) if size > 0 else None


def test_a_plan_that_uses_every_rule_is_among_them() -> None:
    plan = [
        ("order", (Side.SELL, 20, "market", 100.0), "g1"),
        ("quote", 100.0, 7.0),
        ("quote", 100.0, 40.0),
        ("order", (Side.BUY, 10, "limit", 99.5), "g2"),
        ("trade", 99.5, 40.0),
        ("rate", 0.1, 0),
        ("wait", 3 * 86_400, 0),
        ("book", 100.0, 9.0),
    ]
    assumed = {
        "participation_max": dec(1),
        "queue_rule": QueueRule.AHEAD,
        "borrow_rate": dec("0.07"),
        "fee_tiers": TIERS,
    }
    for kind, record in (
        (AssetClass.EQUITY, CashAdjustment),
        (AssetClass.CRYPTO_PERPETUAL, FundingPayment),
    ):
        driver = play(plan, assumed, kind)
        assert [one for one in driver.outputs if isinstance(one.record, record)]
        assert driver.now_ns > T0 + 3 * DAY
        the_venues_cash_is_the_fold_of_fills_and_account_events(driver)
        nothing_is_filled_that_was_not_there(driver, {**assumed, "is_own_size_consumed": True})
