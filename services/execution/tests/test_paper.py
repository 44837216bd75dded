"""Fills, fees and ends of the paper venue, computed by hand. Half spread 0.1 %, maker fee 0.01 %,
taker fee 0.05 %, tick 0.01, lot 1."""

from __future__ import annotations

from typing import Any

import pytest
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    account,
    approved,
    cancel,
    dec,
    fills,
    instrument,
    limit,
    order,
    quote,
    ready,
    reports,
    says,
    trade,
    updates,
)

from tapeline.contracts.market import Quote, Trade
from tapeline.contracts.orders import Order, OrderType, ReportKind, Side, TimeInForce
from tapeline.execution.venues import arrival, paper_books
from tapeline.execution.venues.paper_state import PaperOrder

SELL = {"side": Side.SELL}
IOC, FOK = TimeInForce.IOC, TimeInForce.FOK
MIDNIGHT = (T0 // DAY + 1) * DAY


def course(driver: Driver, of: Order, *ticks: Trade | Quote) -> list[str]:
    """What is said of an order, in short, without the venue's reports and its acceptance."""
    lines = says(driver.step(approved(of)))
    for tick in ticks:
        lines += says(driver.step(tick))
    name = f"approval-{of.client_order_id} "
    return [line.removeprefix(name) for line in lines if not line.startswith("report")][2:]


@pytest.mark.parametrize(
    ("of", "ticks", "expected"),
    [
        # A trade at the instant of arrival is too early; the next one fills, half a spread worse.
        (order(), [trade(T0, 100.0)], []),
        (order(), [trade(T0 + 1, 100.0)], ["fill 10 @ 100.1 taker", "FILLED end"]),
        (order(**SELL), [trade(T0 + 1, 100.0)], ["fill 10 @ 99.9 taker", "FILLED end"]),
        # 100.03 x 1.001 = 100.13003: a buyer pays the tick above, a seller gets the one below.
        (order(), [trade(T0 + 1, 100.03)], ["fill 10 @ 100.14 taker", "FILLED end"]),
        (order(**SELL), [trade(T0 + 1, 100.03)], ["fill 10 @ 99.92 taker", "FILLED end"]),
        # Quotes: ask for a buyer, bid for a seller, rounded against them.
        (order(), [quote(T0 + 1, 99.9, 100.005)], ["fill 10 @ 100.01 taker", "FILLED end"]),
        (order(**SELL), [quote(T0 + 1, 99.905, 100.1)], ["fill 10 @ 99.9 taker", "FILLED end"]),
        # A crossed quote gives nobody an advantage.
        (order(), [quote(T0 + 1, 101.0, 99.0)], ["fill 10 @ 101 taker", "FILLED end"]),
        # A side that is not quoted, and prices that are none, fill nobody.
        (order(), [quote(T0 + 1, 99.0, 0.0)], []),
        (order(), [trade(T0 + 1, 0.0)], []),
        (order(), [trade(T0 + 1, -5.0)], []),
        # A trade behind a quote: the quote's side, never better than the trade.
        (
            order(),
            [quote(T0, 99.9, 100.05), trade(T0 + 1, 100.0)],
            ["fill 10 @ 100.05 taker", "FILLED end"],
        ),
        (
            order(),
            [quote(T0, 99.9, 100.05), trade(T0 + 1, 100.2)],
            ["fill 10 @ 100.2 taker", "FILLED end"],
        ),
        # Five seconds later the quote still counts, a nanosecond more and it does not.
        (
            order(),
            [quote(T0, 99.9, 100.05), trade(T0 + 5 * SECOND, 100.0)],
            ["fill 10 @ 100.05 taker", "FILLED end"],
        ),
        (
            order(),
            [quote(T0, 99.9, 100.05), trade(T0 + 5 * SECOND + 1, 100.0)],
            ["fill 10 @ 100.1 taker", "FILLED end"],
        ),
    ],
)
def test_market_orders(of: Order, ticks: list[Trade | Quote], expected: list[str]) -> None:
    assert course(ready(), of, *ticks) == expected


@pytest.mark.parametrize(
    ("of", "ticks", "expected"),
    [
        # Marketable on arrival: like a market order, never worse than the limit.
        (limit(price="101"), [trade(T0 + 1, 100.0)], ["fill 10 @ 100.1 taker", "FILLED end"]),
        (limit(price="100.1"), [trade(T0 + 1, 100.0)], ["fill 10 @ 100.1 taker", "FILLED end"]),
        (
            limit(price="99", **SELL),
            [quote(T0 + 1, 99.5, 100.0)],
            ["fill 10 @ 99.5 taker", "FILLED end"],
        ),
        # 100.09 is less than the 100.10 a taker pays: it rests, and trades through it fill it.
        (limit(price="100.09"), [trade(T0 + 1, 100.09)], []),
        (
            limit(price="100.09"),
            [trade(T0 + 1, 100.09), trade(T0 + 2, 100.08)],
            ["fill 10 @ 100.09 maker", "FILLED end"],
        ),
        # At the limit itself others stand in front.
        (limit(price="95"), [trade(T0 + 1, 96.0), trade(T0 + 2, 95.0)], []),
        (
            limit(price="95"),
            [trade(T0 + 1, 96.0), trade(T0 + 2, 90.0)],
            ["fill 10 @ 95 maker", "FILLED end"],
        ),
        (
            limit(price="105", **SELL),
            [trade(T0 + 1, 104.0), trade(T0 + 2, 105.01)],
            ["fill 10 @ 105 maker", "FILLED end"],
        ),
        # A quote that reaches the limit fills it.
        (
            limit(price="95"),
            [quote(T0 + 1, 95.0, 95.01), quote(T0 + 2, 94.9, 95.0)],
            ["fill 10 @ 95 maker", "FILLED end"],
        ),
        # It arrived in a market at 100 and rested; a gap through it fills at its limit.
        (
            limit(price="95"),
            [trade(T0, 100.0), trade(T0 + 1, 90.0)],
            ["fill 10 @ 95 maker", "FILLED end"],
        ),
        # It arrived in a market where it was marketable, and the market ran away: it rests.
        (limit(price="101"), [trade(T0, 100.0), trade(T0 + 1, 102.0)], []),
        (
            limit(price="101"),
            [trade(T0, 100.0), trade(T0 + 1, 102.0), trade(T0 + 2, 100.0)],
            ["fill 10 @ 101 maker", "FILLED end"],
        ),
    ],
)
def test_limit_orders(of: Order, ticks: list[Trade | Quote], expected: list[str]) -> None:
    driver = ready()
    early = [tick for tick in ticks if tick.ts_event_ns <= T0]
    for tick in early:
        driver.step(tick)
    assert course(driver, of, *ticks[len(early) :]) == expected


@pytest.mark.parametrize(
    ("of", "sizes", "expected"),
    [
        # A quarter of each tick's size, in whole lots; the rest waits.
        (order(), [100.0], ["fill 10 @ 100.1 taker", "FILLED end"]),
        (
            order(),
            [16.0, 30.0],
            [
                "fill 4 @ 100.1 taker",
                "PARTIALLY_FILLED",
                "fill 6 @ 100.1 taker",
                "FILLED end",
            ],
        ),
        (order(), [3.9, 4.0], ["fill 1 @ 100.1 taker", "PARTIALLY_FILLED"]),
        # Where the feed does not say how much there was, it does not limit, and that is said.
        (
            order(),
            [0.0],
            ["incident PAPER_SIZE_MISSING", "fill 10 @ 100.1 taker", "FILLED end"],
        ),
        (
            order(time_in_force=IOC),
            [16.0],
            ["fill 4 @ 100.1 taker", "PARTIALLY_FILLED", "CANCELED end"],
        ),
        (order(time_in_force=IOC), [3.0, 100.0], ["CANCELED end"]),
        (order(time_in_force=FOK), [39.0, 100.0], ["CANCELED end"]),
        (order(time_in_force=FOK), [40.0], ["fill 10 @ 100.1 taker", "FILLED end"]),
        (limit(price="99", time_in_force=IOC), [100.0], ["CANCELED end"]),
        (limit(price="99", time_in_force=FOK), [100.0], ["CANCELED end"]),
        (
            limit(price="100.1", time_in_force=IOC),
            [16.0],
            ["fill 4 @ 100.1 taker", "PARTIALLY_FILLED", "CANCELED end"],
        ),
        (limit(price="100.1", time_in_force=FOK), [39.0], ["CANCELED end"]),
        (limit(price="100.1", time_in_force=FOK), [40.0], ["fill 10 @ 100.1 taker", "FILLED end"]),
    ],
)
def test_partial_fills_and_immediate_orders(
    of: Order, sizes: list[float], expected: list[str]
) -> None:
    ticks = [trade(T0 + 1 + number, 100.0, size) for number, size in enumerate(sizes)]
    assert course(ready(participation_max=dec("0.25")), of, *ticks) == expected


def test_the_size_at_the_ask_limits_a_buyer_and_at_the_bid_a_seller() -> None:
    for of, quantity in ((order(), 3), (order(**SELL), 3)):
        driver = ready(participation_max=dec(1))
        driver.step(approved(of))
        said = driver.step(quote(T0 + 1, 99.0, 101.0, size=3.0))
        assert [fill.quantity for fill in fills(said)] == [quantity]


def test_our_orders_share_one_ticks_size_in_time_priority() -> None:
    driver = ready(participation_max=dec(1))
    for name in ("z1", "m2", "a3"):
        driver.step(approved(order(name)))
    said = driver.step(trade(T0 + 1, 100.0, 15.0))
    assert [(fill.client_order_id, fill.quantity) for fill in fills(said)] == [
        ("z1", 10),
        ("m2", 5),
    ]
    assert [fill.leaves_quantity for fill in fills(said)] == [0, 5]


def test_the_rest_of_a_taker_goes_on_taking_while_the_market_lets_it() -> None:
    driver = ready(participation_max=dec(1))
    ticks = [
        trade(T0 + 1, 100.0, 4.0),
        trade(T0 + 2, 99.0, 2.0),
        trade(T0 + 3, 103.0, 9.0),
        trade(T0 + 4, 99.0, 9.0),
    ]
    assert course(driver, limit(price="101"), *ticks) == [
        "fill 4 @ 100.1 taker",
        "PARTIALLY_FILLED",
        "fill 2 @ 99.1 taker",
        "PARTIALLY_FILLED",
        "fill 4 @ 101 maker",
        "FILLED end",
    ]


def test_a_resting_order_goes_on_resting_behind_a_gap() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(trade(T0, 100.0, 50.0))
    ticks = [trade(T0 + number, 90.0, 4.0) for number in range(1, 4)]
    assert course(driver, limit(price="95"), *ticks) == [
        "fill 4 @ 95 maker",
        "PARTIALLY_FILLED",
        "fill 4 @ 95 maker",
        "PARTIALLY_FILLED",
        "fill 2 @ 95 maker",
        "FILLED end",
    ]


def test_fees_by_liquidity_side_and_multiplier() -> None:
    driver = ready()
    driver.step(instrument(multiplier=dec(50), version=2))
    driver.step(approved(order("t")))
    driver.step(approved(limit("m", "95")))
    taken = fills(driver.step(trade(T0 + 1, 100.0)))[0]
    made = fills(driver.step(trade(T0 + 2, 94.0)))[0]
    # 10 x 100.10 x 50 x 0.0005 and 10 x 95 x 50 x 0.0001
    assert (taken.commission, taken.currency) == (dec("25.025"), "USD")
    assert (made.commission, made.currency) == (dec("4.75"), "USD")


def test_a_negative_maker_fee_is_a_rebate() -> None:
    driver = ready(maker_fee_rate=dec("-0.0001"))
    driver.step(approved(limit("m", "95")))
    driver.step(trade(T0 + 1, 96.0))
    assert fills(driver.step(trade(T0 + 2, 94.0)))[0].commission == dec("-0.095")


def test_the_ledger_holds_cash_and_positions() -> None:
    driver = ready()
    driver.step(approved(order("b")))
    driver.step(trade(T0 + 1, 100.0))
    driver.step(approved(order("s", quantity=dec(4), **SELL)))
    driver.step(trade(T0 + 2, 110.0))
    ledger = driver.state.paper.accounts["a1"]
    # bought 10 at 100.10, fee 0.5005; sold 4 at 109.89, fee 0.21978
    assert ledger.positions == {"SPY.ARCA": 6}
    assert ledger.cash == {"USD": dec("99437.83972")}


def test_a_second_account_record_pays_nothing_in() -> None:
    driver = ready()
    driver.step(account(version=2, initial_cash=dec(5)))
    assert driver.state.paper.accounts["a1"].cash == {"USD": 100_000}


# ---- time


@pytest.mark.parametrize(
    ("of", "ticks", "expected"),
    [
        (
            limit(price="95", time_in_force=TimeInForce.DAY),
            [trade(T0 + 1, 96.0), trade(MIDNIGHT - 1, 90.0)],
            ["fill 10 @ 95 maker", "FILLED end"],
        ),
        (
            limit(price="95", time_in_force=TimeInForce.DAY),
            [trade(T0 + 1, 96.0), trade(MIDNIGHT, 90.0)],
            ["EXPIRED end"],
        ),
        (
            limit(price="95", time_in_force=TimeInForce.GTD, expire_time_ns=T0 + 10),
            [trade(T0 + 1, 96.0), trade(T0 + 9, 90.0)],
            ["fill 10 @ 95 maker", "FILLED end"],
        ),
        (
            limit(price="95", time_in_force=TimeInForce.GTD, expire_time_ns=T0 + 10),
            [trade(T0 + 1, 96.0), trade(T0 + 10, 90.0)],
            ["EXPIRED end"],
        ),
        (
            limit(price="95", time_in_force=TimeInForce.GTC),
            [trade(T0 + 1, 96.0), trade(T0 + 400 * DAY, 90.0)],
            ["fill 10 @ 95 maker", "FILLED end"],
        ),
    ],
)
def test_orders_work_until_their_time_is_over(
    of: Order, ticks: list[Trade], expected: list[str]
) -> None:
    assert course(ready(), of, *ticks) == expected


def test_without_ticks_the_clock_ends_an_order() -> None:
    driver = ready()
    driver.step(approved(limit(price="95", time_in_force=TimeInForce.DAY)))
    assert driver.core.next_due_ns(driver.state) is not None
    driver.at(T0 + 3600 * SECOND)
    assert driver.core.next_due_ns(driver.state) == MIDNIGHT
    assert not driver.at(MIDNIGHT - 1)
    said = driver.at(MIDNIGHT)
    assert says(said) == ["report EXPIRED", "approval-o1 EXPIRED end"]
    assert updates(said)[0].ts_event_ns == MIDNIGHT


def test_with_latency_orders_and_cancels_arrive_later() -> None:
    driver = ready(latency_ns=10)
    of = limit(price="95")
    assert says(driver.step(approved(of))) == ["approval-o1 SUBMITTED SUBMIT"]
    assert driver.core.next_due_ns(driver.state) == T0 + 10
    assert says(driver.step(trade(T0 + 10, 96.0))) == []
    assert says(driver.step(trade(T0 + 11, 96.0))) == ["report ACCEPTED", "approval-o1 ACCEPTED"]
    assert reports(driver.outputs)[-1].ts_event_ns == T0 + 10
    driver.at(T0 + 20)
    assert says(driver.step(cancel(of, now_ns=T0 + 20))) == ["cancel-o1 PENDING_CANCEL CANCEL"]
    assert says(driver.step(trade(T0 + 30, 90.0))) == [
        "report FILLED",
        "fill 10 @ 95 maker",
        "approval-o1 FILLED end",
        "cancel-o1 FILLED end",
    ]


def test_the_first_cancel_to_arrive_before_the_tick_wins() -> None:
    driver = ready(latency_ns=10)
    of = limit(price="95")
    driver.step(approved(of))
    driver.step(trade(T0 + 11, 96.0))
    driver.step(cancel(of))
    driver.now_ns = T0 + 9
    driver.step(cancel(of, now_ns=T0 + 9, approval_id="again"))
    assert says(driver.step(trade(T0 + 15, 90.0))) == [
        "report CANCELED",
        "approval-o1 CANCELED end",
        "cancel-o1 CANCELED end",
        "again CANCELED end",
    ]


def test_the_clock_brings_commands_to_the_venue_too() -> None:
    driver = ready(latency_ns=10)
    of = limit(price="95")
    driver.step(approved(of))
    assert not driver.at(T0 + 9)
    assert says(driver.at(T0 + 10)) == ["report ACCEPTED", "approval-o1 ACCEPTED"]
    assert driver.state.paper.due_ns is None
    driver.step(cancel(of, now_ns=T0 + 10))
    assert says(driver.at(T0 + 20))[0] == "report CANCELED"


def test_an_order_and_its_cancel_can_arrive_with_one_look_at_the_clock() -> None:
    driver = ready(latency_ns=10)
    driver.step(approved(limit(price="95")))
    driver.step(cancel(limit(price="95")))
    assert says(driver.at(T0 + SECOND)) == [
        "report ACCEPTED",
        "approval-o1 PENDING_CANCEL",
        "report CANCELED",
        "approval-o1 CANCELED end",
        "cancel-o1 CANCELED end",
    ]


@pytest.mark.parametrize("is_loaded", [False, True])
def test_the_clock_ends_orders_in_time_priority(is_loaded: bool) -> None:
    driver = ready()
    for name in ("z", "a", "m"):
        driver.step(approved(limit(name, "95", time_in_force=TimeInForce.DAY)))
    driver.step(approved(limit("b", "95")))
    assert driver.state.paper.due_ns == MIDNIGHT
    if is_loaded:
        driver.state = driver.core.load(driver.dumped())
    ended = [update.client_order_id for update in updates(driver.at(MIDNIGHT))]
    assert ended == ["z", "a", "m"]
    assert list(driver.state.orders) == ["b"]


# ---- rejections


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (order(quantity=dec("10.5")), "lot"),
        (order(order_type=OrderType.STOP_MARKET), "stop price is not a positive multiple"),
        (order(order_type=OrderType.STOP_MARKET, stop_price=dec("90.001")), "multiple of the tick"),
        (limit(stop_price=dec(90)), "a limit order has no stop price"),
        (
            order(order_type=OrderType.STOP_LIMIT, stop_price=dec(90)),
            "limit price is not a positive multiple",
        ),
        (
            order(order_type=OrderType.STOP_MARKET, stop_price=dec(90), time_in_force=IOC),
            "a stop waits",
        ),
        (order(limit_price=dec(90)), "no limit price"),
        (order(order_type=OrderType.LIMIT), "tick"),
        (limit(price="95.001"), "tick"),
        (limit(price="0"), "tick"),
        (limit(price="-1"), "tick"),
        (order(is_post_only=True), "post only"),
        (limit(price="95", is_post_only=True, time_in_force=IOC), "post only"),
        (limit(price="100.1", is_post_only=True), "post only"),
        (limit(price="99.9", is_post_only=True, **SELL), "post only"),
        (limit(price="95", time_in_force=TimeInForce.GTD), "expiry"),
        (limit(price="95", time_in_force=TimeInForce.GTD, expire_time_ns=T0), "expiry"),
        (order(is_reduce_only=True), "reduce only"),
        (order(is_reduce_only=True, **SELL), "reduce only"),
    ],
)
def test_the_venue_rejects_what_it_cannot_take(of: Order, reason: str) -> None:
    driver = ready()
    driver.step(trade(T0, 100.0))
    said = driver.step(approved(of))
    assert says(said)[1:] == ["report REJECTED", "approval-o1 REJECTED end"]
    assert reason in updates(said)[-1].reason
    assert not driver.state.paper.orders


@pytest.mark.parametrize(
    "of",
    [
        order(quantity=dec(10)),
        limit(price="95.01"),
        limit(price="0.01"),
        limit(price="100.09", is_post_only=True),
        limit(price="99.91", is_post_only=True, **SELL),
        limit(price="95", time_in_force=TimeInForce.GTD, expire_time_ns=T0 + 1),
    ],
)
def test_the_neighbors_inside_the_limits_are_accepted(of: Order) -> None:
    driver = ready()
    driver.step(trade(T0, 100.0))
    assert says(driver.step(approved(of)))[-1] == "approval-o1 ACCEPTED"


def test_a_quantity_below_the_minimum_is_rejected() -> None:
    driver = ready()
    driver.step(instrument(quantity_min=dec(10), version=2))
    assert says(driver.step(approved(order("o1", quantity=dec(9)))))[-1].startswith(
        "approval-o1 REJECTED"
    )
    assert says(driver.step(approved(order("o2", quantity=dec(10)))))[-1] == "approval-o2 ACCEPTED"


def test_post_only_in_an_unknown_market_is_judged_by_the_first_tick() -> None:
    taking = limit(price="101", is_post_only=True)
    assert course(ready(), taking, trade(T0 + 1, 100.0)) == ["CANCELED end"]
    resting = limit(price="95", is_post_only=True)
    ticks = trade(T0 + 1, 96.0), trade(T0 + 2, 94.0)
    assert course(ready(), resting, *ticks) == ["fill 10 @ 95 maker", "FILLED end"]


def test_reduce_only_fills_up_to_the_position_and_no_further() -> None:
    driver = ready()
    driver.step(approved(order("b", quantity=dec(4))))
    driver.step(trade(T0 + 1, 100.0))
    of = order("s", is_reduce_only=True, **SELL)
    assert course(driver, of, trade(T0 + 2, 100.0)) == [
        "fill 4 @ 99.9 taker",
        "PARTIALLY_FILLED",
        "CANCELED end",
    ]
    assert driver.state.paper.accounts["a1"].positions["SPY.ARCA"] == 0


def test_two_reduce_only_orders_do_not_turn_the_position() -> None:
    driver = ready()
    driver.step(approved(order("b", quantity=dec(4))))
    driver.step(trade(T0 + 1, 100.0))
    for name in ("s1", "s2"):
        driver.step(approved(order(name, quantity=dec(3), is_reduce_only=True, **SELL)))
    said = driver.step(trade(T0 + 2, 100.0))
    assert [(fill.client_order_id, fill.quantity) for fill in fills(said)] == [("s1", 3), ("s2", 1)]
    assert not driver.state.orders


@pytest.mark.parametrize(("held", "kinds"), [(4, ["CANCELED"]), (10, ["FILLED"])])
def test_reduce_only_fill_or_kill_needs_the_whole_position(held: int, kinds: list[str]) -> None:
    driver = ready()
    driver.step(approved(order("b", quantity=dec(held))))
    driver.step(trade(T0 + 1, 100.0))
    driver.step(approved(order("s", is_reduce_only=True, time_in_force=FOK, **SELL)))
    said = reports(driver.step(trade(T0 + 2, 100.0)))
    assert [report.kind.value for report in said] == kinds


# ---- ids


def test_ids_are_the_same_in_a_second_run_and_others_in_another() -> None:
    def ids(run: Any) -> list[str]:
        driver = ready(participation_max=dec(1))
        driver.step(approved(order()))
        for number in range(1, 4):
            driver.step(trade(T0 + number, 100.0, 4.0))
        return [output.event_id for output in driver.outputs]

    assert ids(1) == ids(2)
    assert len(set(ids(1))) == len(ids(1))


def test_the_venues_ids_hold_one_order_together() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order()))
    for number in range(1, 4):
        driver.step(trade(T0 + number, 100.0, 4.0))
    said = reports(driver.outputs)
    assert len({report.venue_order_id for report in said}) == 1
    trades = [report.trade_id for report in said if report.kind is ReportKind.FILLED]
    assert len(set(trades)) == 3
    assert [fill.trade_id for fill in fills(driver.outputs)] == trades


def test_what_the_venue_does_not_know_it_does_not_take() -> None:
    driver = ready()
    known = driver.state.paper
    for of in (order(instrument_id="IVV.ARCA"), order(venue="ELSEWHERE")):
        held = PaperOrder(order=of, venue_order_id="v", sequence=1, arrival_ns=T0, expires_ns=None)
        assert arrival.fault(known, held) == "the instrument is not traded here"


def test_an_instrument_without_a_grid_is_not_taken() -> None:
    known = ready().state.paper
    for record in (instrument(tick_size=dec(0)), instrument(lot_size=dec(0))):
        assert paper_books.configured(known, record) == known


def test_a_quote_of_one_side_says_nothing_about_a_trade() -> None:
    for one_sided in (quote(T0 + 1, 0.0, 100.2), quote(T0 + 1, 99.8, 0.0)):
        assert course(ready(), limit(price="50"), one_sided) == []
        driver = ready()
        driver.step(one_sided)
        driver.now_ns = T0 + 2
        assert course(driver, order(), trade(T0 + 3, 100.0)) == [
            "fill 10 @ 100.1 taker",
            "FILLED end",
        ]


def test_the_side_that_nobody_offers_fills_and_triggers_nothing() -> None:
    no_ask = quote(T0 + 1, 99.8, 0.0)
    assert course(ready(), order(), no_ask) == []
    assert course(ready(), limit(price="200"), no_ask) == []
    assert (
        course(ready(), order(order_type=OrderType.STOP_MARKET, stop_price=dec(105)), no_ask) == []
    )


def test_a_config_record_makes_the_venue_say_nothing() -> None:
    driver = ready()
    assert driver.core.paper.decide(driver.state.paper, instrument(version=2), T0) == ()
