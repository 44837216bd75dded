"""What the paper venue assumes, rule by rule, with answers computed by hand. Half spread 0.1 %,
maker fee 0.01 %, taker fee 0.05 %, tick 0.01, lot 1, unless said otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    approved,
    cancel,
    dec,
    fills,
    incidents,
    instrument,
    limit,
    order,
    quote,
    ready,
    reports,
    says,
    trade,
)

from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.config import AssetClass, FeeTier, MissingInputRule, QueueRule
from tapeline.contracts.market import BookLevel, BookSnapshot, FundingRate, Quote, Trade
from tapeline.contracts.orders import Order, OrderType, Side
from tapeline.execution.venues import arrival
from tapeline.runtime.core import Output

SELL = {"side": Side.SELL}
MIDNIGHT = (T0 // DAY + 1) * DAY
HOURS_8 = 8 * 3600 * SECOND
AHEAD, TOUCH = QueueRule.AHEAD, QueueRule.TOUCH
Levels = Sequence[tuple[float, float]]


def book(ts_ns: int, bids: Levels, asks: Levels) -> BookSnapshot:
    return BookSnapshot(
        instrument_id="SPY.ARCA",
        feed="test",
        feed_sequence=ts_ns,
        bids=tuple(BookLevel(price=price, size=size) for price, size in bids),
        asks=tuple(BookLevel(price=price, size=size) for price, size in asks),
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def rate(ts_ns: int, value: float) -> FundingRate:
    return FundingRate(
        instrument_id="SPY.ARCA",
        feed="test",
        rate=value,
        interval_ns=HOURS_8,
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def filled(outputs: Sequence[Output]) -> list[str]:
    return [line for line in says(outputs) if line.startswith("fill")]


def course(driver: Driver, of: Order, *ticks: Trade | Quote | BookSnapshot) -> list[str]:
    """The fills of an order that meets ticks."""
    driver.step(approved(of))
    return [line for tick in ticks for line in filled(driver.step(tick))]


def cash(driver: Driver) -> Decimal:
    return driver.state.paper.accounts["a1"].cash["USD"]


# ---- latency


def test_jitter_is_even_bounded_and_the_same_for_the_same_command() -> None:
    drawn = [arrival.jitter_ns(f"command-{number}", 99) for number in range(10_000)]
    assert drawn == [arrival.jitter_ns(f"command-{number}", 99) for number in range(10_000)]
    counts = [drawn.count(value) for value in range(100)]
    # 100 each, standard deviation 10.
    assert sum(counts) == 10_000
    assert min(counts) > 50
    assert max(counts) < 150


def test_an_order_arrives_after_latency_and_its_own_jitter() -> None:
    driver = ready(latency_ns=1_000, latency_jitter_ns=10_000)
    driver.step(approved(order()))
    held = driver.state.paper.orders["o1"]
    command = next(one.record.command for one in driver.outputs if hasattr(one.record, "command"))
    late = arrival.jitter_ns(command.command_id, 10_000)
    assert held.arrival_ns == T0 + 1_000 + late
    assert filled(driver.step(trade(held.arrival_ns, 100.0))) == []
    assert filled(driver.step(trade(held.arrival_ns + 1, 100.0))) == ["fill 10 @ 100.1 taker"]


# ---- depth


BOOK = book(T0 + 1, [(99.9, 5.0), (99.8, 50.0)], [(100.1, 4.0), (100.2, 4.0), (100.5, 50.0)])


@pytest.mark.parametrize(
    ("of", "share", "expected"),
    [
        # Through the levels: 4 at 100.1, 4 at 100.2, 2 at 100.5.
        (
            order(),
            "1",
            ["fill 4 @ 100.1 taker", "fill 4 @ 100.2 taker", "fill 2 @ 100.5 taker"],
        ),
        (order(**SELL), "1", ["fill 5 @ 99.9 taker", "fill 5 @ 99.8 taker"]),
        # Half of each level.
        (
            order(),
            "0.5",
            ["fill 2 @ 100.1 taker", "fill 2 @ 100.2 taker", "fill 6 @ 100.5 taker"],
        ),
        # As far as the limit; the rest stays.
        (limit(price="100.3"), "1", ["fill 4 @ 100.1 taker", "fill 4 @ 100.2 taker"]),
        # Without a limit on participation the best level gives all.
        (order(), "0", ["fill 10 @ 100.1 taker"]),
    ],
)
def test_a_taker_goes_through_the_levels_of_a_book(
    of: Order, share: str, expected: list[str]
) -> None:
    assert course(ready(participation_max=dec(share)), of, BOOK) == expected


def test_orders_of_ours_share_each_level() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order("a", quantity=dec(6))))
    driver.step(approved(order("b", quantity=dec(6))))
    assert filled(driver.step(BOOK)) == [
        "fill 4 @ 100.1 taker",
        "fill 2 @ 100.2 taker",
        "fill 2 @ 100.2 taker",
        "fill 4 @ 100.5 taker",
    ]


def test_a_book_is_a_quote_for_the_trades_behind_it() -> None:
    driver = ready()
    driver.step(book(T0, [(99.9, 5.0)], [(100.05, 5.0)]))
    assert course(driver, order(), trade(T0 + 1, 100.0)) == ["fill 10 @ 100.05 taker"]


# ---- own size


@pytest.mark.parametrize(
    ("sizes", "is_counted", "expected"),
    [
        # The same 4 displayed again are the 4 that we took.
        ([4.0, 4.0], True, [4]),
        ([4.0, 4.0], False, [4, 4]),
        # 3 more are displayed: those are new.
        ([4.0, 7.0], True, [4, 3]),
        # Others took 3, so that at most 1 of what is left is what we took; then 2 more came.
        ([4.0, 1.0, 3.0], True, [4, 2]),
        # The last of the order's 10.
        ([4.0, 8.0, 10.0], True, [4, 4, 2]),
    ],
)
def test_what_we_took_of_a_displayed_size_is_gone(
    sizes: list[float], is_counted: bool, expected: list[int]
) -> None:
    driver = ready(participation_max=dec(1), is_own_size_consumed=is_counted)
    driver.step(approved(order()))
    said = [driver.step(quote(T0 + 1 + n, 99.0, 100.0, size)) for n, size in enumerate(sizes)]
    assert [int(fill.quantity) for one in said for fill in fills(one)] == expected


def test_what_we_took_is_forgotten_when_the_price_moves_on() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order()))
    assert filled(driver.step(quote(T0 + 1, 99.0, 100.0, 4.0))) == ["fill 4 @ 100 taker"]
    assert set(driver.state.paper.consumed) == {"SPY.ARCA"}
    assert filled(driver.step(quote(T0 + 2, 99.0, 100.5, 1.0))) == ["fill 1 @ 100.5 taker"]
    assert filled(driver.step(quote(T0 + 3, 99.0, 100.0, 4.0))) == ["fill 4 @ 100 taker"]
    # Also once no order of ours is open there any more.
    driver.step(quote(T0 + 4, 99.0, 101.0, 9.0))
    driver.step(quote(T0 + 5, 99.0, 102.0, 9.0))
    assert driver.state.paper.consumed == {}


def test_an_orders_share_of_a_displayed_size_is_taken_once() -> None:
    driver = ready(participation_max=dec("0.5"))
    ticks = [quote(T0 + n, 99.0, 100.0, 8.0) for n in (1, 2, 3)]
    assert course(driver, order(), *ticks) == ["fill 4 @ 100 taker"]


def test_what_we_took_of_a_book_is_gone_level_by_level() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order("a", quantity=dec(6))))
    driver.step(BOOK)
    again = book(T0 + 3, [(99.9, 5.0)], [(100.1, 4.0), (100.2, 4.0), (100.5, 50.0)])
    driver.step(approved(order("b", quantity=dec(3)), now_ns=T0 + 2))
    assert filled(driver.step(again)) == ["fill 2 @ 100.2 taker", "fill 1 @ 100.5 taker"]


# ---- queue


@pytest.mark.parametrize(
    ("rule", "ticks", "expected"),
    [
        # 30 stand ahead at 99. 20 trade, then 15: 5 of them reach us, then 8: the other 5 do.
        (
            AHEAD,
            [trade(T0 + 1, 99.0, 20.0), trade(T0 + 2, 99.0, 15.0), trade(T0 + 3, 99.0, 8.0)],
            ["fill 5 @ 99 maker", "fill 5 @ 99 maker"],
        ),
        # A trade through the price takes all that stood there.
        (AHEAD, [trade(T0 + 1, 98.9, 40.0)], ["fill 10 @ 99 maker"]),
        # Only 12 are displayed any more: no more than that are ahead.
        (
            AHEAD,
            [quote(T0 + 1, 99.0, 99.2, 12.0), trade(T0 + 2, 99.0, 20.0)],
            ["fill 8 @ 99 maker"],
        ),
        # More behind us changes nothing.
        (
            AHEAD,
            [quote(T0 + 1, 99.0, 99.2, 90.0), trade(T0 + 2, 99.0, 33.0)],
            ["fill 3 @ 99 maker"],
        ),
        # A trade above takes nothing from our queue.
        (AHEAD, [trade(T0 + 1, 99.1, 50.0), trade(T0 + 2, 99.0, 31.0)], ["fill 1 @ 99 maker"]),
        (QueueRule.THROUGH, [trade(T0 + 1, 99.0, 500.0)], []),
        (TOUCH, [trade(T0 + 1, 99.0, 4.0)], ["fill 4 @ 99 maker"]),
    ],
)
def test_when_trades_at_its_price_fill_a_resting_order(
    rule: QueueRule, ticks: list[Trade | Quote], expected: list[str]
) -> None:
    driver = ready(participation_max=dec(1), queue_rule=rule)
    driver.step(quote(T0, 99.0, 99.2, 30.0))
    assert course(driver, limit(price="99"), *ticks) == expected


@pytest.mark.parametrize(
    ("price", "ticks", "expected"),
    [
        # Better than the best bid nobody stands: the first trade there is ours.
        ("99.1", [trade(T0 + 1, 99.1, 4.0)], ["fill 4 @ 99.1 maker"]),
        # Below the best only a book says how much: 7 at 98.9.
        ("98.9", [trade(T0 + 1, 98.9, 9.0)], ["fill 2 @ 98.9 maker"]),
        # Of 98.8 nothing is known until it is the best bid: then all that is displayed is ahead.
        (
            "98.8",
            [trade(T0 + 1, 98.8, 50.0), quote(T0 + 2, 98.8, 99.0, 6.0), trade(T0 + 3, 98.8, 9.0)],
            ["fill 3 @ 98.8 maker"],
        ),
    ],
)
def test_where_an_order_stands_in_the_queue(
    price: str, ticks: list[Trade | Quote], expected: list[str]
) -> None:
    driver = ready(participation_max=dec(1), queue_rule=AHEAD)
    driver.step(book(T0, [(99.0, 30.0), (98.9, 7.0)], [(99.2, 5.0)]))
    assert course(driver, limit(price=price), *ticks) == expected


def test_two_orders_of_ours_do_not_fill_from_the_same_trade() -> None:
    driver = ready(participation_max=dec(1), queue_rule=AHEAD)
    driver.step(quote(T0, 99.0, 99.2, 30.0))
    driver.step(approved(limit("a", "99")))
    driver.step(approved(limit("b", "99")))
    # 44 - 30 = 14: 10 for the first, 4 for the second.
    said = driver.step(trade(T0 + 1, 99.0, 44.0))
    assert [(fill.client_order_id, fill.quantity) for fill in fills(said)] == [("a", 10), ("b", 4)]


# ---- impact


@pytest.mark.parametrize(
    ("of", "size", "expected"),
    [
        # 100.1 x (1 + 0.01 x sqrt(10 / 40)) = 100.6005: the tick above.
        (order(), 40.0, ["fill 10 @ 100.61 taker"]),
        # 99.9 x (1 - 0.01 x sqrt(10 / 10)) = 98.901: the tick below.
        (order(**SELL), 10.0, ["fill 10 @ 98.9 taker"]),
        # It would take the price past its limit.
        (limit(price="100.5"), 40.0, []),
    ],
)
def test_square_root_impact(of: Order, size: float, expected: list[str]) -> None:
    driver = ready(participation_max=dec(1), impact_rate=dec("0.01"))
    driver.step(trade(T0, 100.0, 1.0))
    assert course(driver, of, trade(T0 + 1, 100.0, size)) == expected


def test_the_second_order_meets_the_impact_of_the_first() -> None:
    driver = ready(participation_max=dec(1), impact_rate=dec("0.01"))
    driver.step(approved(order("a")))
    driver.step(approved(order("b", quantity=dec(30))))
    # sqrt(10 / 40) = 0.5; then all 40 are taken: 100.1 x 1.01 = 101.101.
    said = filled(driver.step(trade(T0 + 1, 100.0, 40.0)))
    assert said == ["fill 10 @ 100.61 taker", "fill 30 @ 101.11 taker"]


# ---- stops, halts, limits of the exchange


@pytest.mark.parametrize(
    ("is_gapped", "price"), [(True, "fill 10 @ 89.91 taker"), (False, "fill 10 @ 95 taker")]
)
def test_a_gap_goes_through_a_stop_unless_switched_off(is_gapped: bool, price: str) -> None:
    driver = ready(is_stop_gapped=is_gapped)
    of = order(order_type=OrderType.STOP_MARKET, stop_price=dec(95), **SELL)
    assert course(driver, of, trade(T0 + 1, 100.0), trade(T0 + 2, 90.0)) == [price]


def test_nothing_is_accepted_or_filled_in_a_halt() -> None:
    driver = ready()
    driver.step(approved(order("a")))
    driver.step(instrument(is_halted=True, version=2))
    assert filled(driver.step(trade(T0 + 1, 100.0))) == []
    said = driver.step(approved(order("b"), now_ns=T0))
    assert reports(said)[0].reason == "trading in the instrument is halted"
    assert "CANCELED" in says(driver.step(cancel(order("a"))))[-1]
    driver.step(instrument(version=3))
    assert filled(driver.step(trade(T0 + 2, 100.0))) == []


def test_nothing_trades_beyond_the_limits_of_the_exchange() -> None:
    driver = ready()
    low, high = dec(95), dec(105)
    driver.step(instrument(limit_down_price=low, limit_up_price=high, version=2))
    ticks = [trade(T0 + 1, 105.0), trade(T0 + 2, 104.8)]
    # 105 and half a spread is 105.11; 104.8 x 1.001 = 104.9048.
    assert course(driver, order("a"), *ticks) == ["fill 10 @ 104.91 taker"]
    said = driver.step(approved(limit("b", "94.99")))
    assert reports(said)[0].reason == "a price of it is beyond the limit up or down"


# ---- fee tiers


TIERS = (
    FeeTier(notional_min=dec(1000), maker_fee_rate=dec(0), taker_fee_rate=dec("0.0004")),
    FeeTier(notional_min=dec(2000), maker_fee_rate=dec("-0.0001"), taker_fee_rate=dec("0.0003")),
)


def test_fees_fall_with_what_was_traded_in_the_thirty_days_before() -> None:
    driver = ready(fee_tiers=TIERS, half_spread_rate=dec(0))
    commissions = []
    # 1000 a day for three days, nothing for 29, then one more.
    for number, day in enumerate((0, 1, 2, 31, 33)):
        driver.at(T0 + day * DAY)
        driver.beat()
        driver.step(approved(order(f"o{number}"), now_ns=driver.now_ns))
        said = driver.step(trade(driver.now_ns + 1, 100.0))
        commissions.append(fills(said)[0].commission)
    # No tier; 1000 count; 2000 count; of the first three days the second and third (1..30 behind
    # day 31); of day 33 the window begins with day 3: only day 31's.
    assert commissions == [dec("0.5"), dec("0.4"), dec("0.3"), dec("0.3"), dec("0.4")]
    assert cash(driver) == 100_000 - 5_000 - dec("1.9")
    assert set(driver.state.paper.accounts["a1"].traded) == {
        str((T0 + day * DAY) // DAY) for day in (31, 33)
    }


def test_what_is_traded_today_counts_from_tomorrow_on() -> None:
    driver = ready(fee_tiers=TIERS, half_spread_rate=dec(0))
    commissions = []
    for number, now_ns in enumerate((T0, MIDNIGHT - 2, MIDNIGHT)):
        driver.at(now_ns)
        driver.beat()
        driver.step(approved(order(f"o{number}"), now_ns=now_ns))
        said = driver.step(trade(now_ns + 1, 100.0))
        commissions.append(fills(said)[0].commission)
    assert commissions == [dec("0.5"), dec("0.5"), dec("0.3")]


def test_a_maker_rebate_of_a_tier() -> None:
    driver = ready(fee_tiers=(FeeTier(notional_min=dec(0), **MAKER),))
    driver.step(approved(limit("m", "95")))
    driver.step(trade(T0 + 1, 96.0))
    assert fills(driver.step(trade(T0 + 2, 94.0)))[0].commission == dec("-0.19")


MAKER: dict[str, Any] = {"maker_fee_rate": dec("-0.0002"), "taker_fee_rate": dec(0)}


# ---- funding


def perpetual(**venue_changes: Any) -> Driver:
    driver = ready(**venue_changes)
    driver.step(instrument(asset_class=AssetClass.CRYPTO_PERPETUAL, multiplier=dec(2), version=2))
    return driver


@pytest.mark.parametrize(
    ("side", "value", "amount"),
    [
        # 10 x 110 x 2 x 0.0001, paid by longs and received by shorts; the other way round below 0.
        (Side.BUY, 0.0001, "-0.22"),
        (Side.SELL, 0.0001, "0.22"),
        (Side.BUY, -0.0003, "0.66"),
    ],
)
def test_a_funding_rate_pays(side: Side, value: float, amount: str) -> None:
    driver = perpetual()
    driver.step(rate(T0 - HOURS_8, 0.0))
    driver.step(approved(order(side=side)))
    driver.step(trade(T0 + 1, 100.0))
    driver.step(trade(T0 + 2, 110.0))
    before = cash(driver)
    (said,) = driver.step(rate(T0 + 3, value))
    assert isinstance(said.record, FundingPayment)
    assert (said.record.amount, said.record.currency) == (dec(amount), "USD")
    assert (said.record.group_id, said.record.ts_event_ns) == ("g1", T0 + 3)
    assert cash(driver) == before + dec(amount)
    assert not driver.step(rate(T0 + 3, value)), "the same rate again pays nothing"
    assert driver.core.dump(driver.recovered()) == driver.dumped()


def test_each_group_pays_for_its_own_line_at_the_middle_of_a_newer_quote() -> None:
    driver = perpetual()
    driver.step(rate(T0 - 1, 0.0))
    driver.step(approved(order("a", group_id="g2", quantity=dec(4), **SELL)))
    driver.step(approved(order("b")))
    driver.step(quote(T0 + 1, 99.0, 101.0))
    # 4 x 100 x 2 x 0.01 and 10 x 100 x 2 x 0.01
    said = driver.step(rate(T0 + 2, 0.01))
    assert [(one.record.group_id, one.record.amount) for one in said] == [("g1", -20), ("g2", 8)]


def test_nothing_is_paid_where_it_is_switched_off_or_nothing_is_held() -> None:
    for changes, quantity in (({"is_funding_charged": False}, 10), ({}, 0)):
        driver = perpetual(**changes)
        driver.step(rate(T0 - 1, 0.0))
        if quantity:
            driver.step(approved(order()))
            driver.step(trade(T0 + 1, 100.0))
        assert not driver.step(rate(T0 + 2, 0.01))


def test_a_missing_funding_rate_is_named() -> None:
    driver = perpetual()
    said = driver.step(approved(order()))
    assert [one.code for one in incidents(said)] == ["PAPER_FUNDING_RATE_MISSING"]
    assert "SPY.ARCA is a perpetual contract" in incidents(said)[0].reason
    assert incidents(driver.step(approved(order("again")))) == [], "it is told once"
    driver.step(trade(T0 + 1, 100.0))
    driver.step(rate(T0 + 2, 0.0))
    # 13 hours later: more than one and a half intervals.
    said = driver.step(rate(T0 + 13 * 3600 * SECOND, 0.0))
    assert [one.code for one in incidents(said)] == ["PAPER_FUNDING_RATE_MISSING"]
    assert driver.core.dump(driver.recovered()) == driver.dumped()


def test_funding_that_stops_coming_is_named_at_midnight() -> None:
    driver = perpetual()
    driver.step(rate(T0 - 1, 0.0))
    driver.step(approved(order()))
    driver.step(trade(T0 + 1, 100.0))
    assert incidents(driver.at(MIDNIGHT)) == []
    said = driver.at(MIDNIGHT + DAY)
    assert [one.code for one in incidents(said)] == ["PAPER_FUNDING_RATE_MISSING"]
    assert incidents(driver.at(MIDNIGHT + 2 * DAY)) == []


# ---- borrow


def test_a_short_position_owes_for_each_night() -> None:
    driver = ready(borrow_rate=dec("0.0365"))
    driver.step(approved(order(**SELL)))
    driver.step(trade(T0 + 1, 100.0))
    driver.step(trade(T0 + 2, 120.0))
    before = cash(driver)
    assert driver.state.paper.due_ns == MIDNIGHT
    # 10 x 120 x 0.0365 / 365 = 0.12 a night
    (said,) = driver.at(MIDNIGHT)
    assert isinstance(said.record, CashAdjustment)
    assert (said.record.amount, said.record.reason) == (dec("-0.12"), "borrow: SPY.ARCA, 1 night")
    assert said.record.ts_event_ns == MIDNIGHT
    # Over a weekend of ticks the overdue timers are one.
    (said,) = driver.at(MIDNIGHT + 3 * DAY + 5)
    assert (said.record.amount, said.record.reason) == (dec("-0.36"), "borrow: SPY.ARCA, 3 nights")
    assert cash(driver) == before - dec("0.48")
    driver.beat()
    driver.step(approved(order("cover"), now_ns=driver.now_ns))
    driver.step(trade(driver.now_ns + 1, 100.0))
    # Closed before the midnight: that night costs nothing, and the clock is needed no more.
    assert not driver.at(MIDNIGHT + 4 * DAY)
    assert driver.state.paper.accrual_ns is None
    assert driver.core.dump(driver.recovered()) == driver.dumped()


def test_an_instruments_borrow_rate_goes_before_the_venues() -> None:
    driver = ready(borrow_rate=dec("0.0365"))
    driver.step(instrument(borrow_rate=dec("0.73"), version=2))
    driver.step(approved(order(**SELL)))
    driver.step(trade(T0 + 1, 100.0))
    assert driver.at(MIDNIGHT)[0].record.amount == -2


def test_beside_a_short_position_a_long_one_owes_nothing() -> None:
    driver = ready(borrow_rate=dec("0.0365"))
    driver.step(instrument(instrument_id="QQQ.ARCA", symbol="QQQ"))
    driver.step(approved(order("s", **SELL)))
    driver.step(approved(order("l", instrument_id="QQQ.ARCA")))
    driver.step(trade(T0 + 1, 100.0))
    driver.step(trade(T0 + 1, 100.0, instrument_id="QQQ.ARCA"))
    assert [one.record.reason for one in driver.at(MIDNIGHT)] == ["borrow: SPY.ARCA, 1 night"]


def test_long_positions_and_derivatives_borrow_nothing() -> None:
    for side, kind in ((Side.BUY, AssetClass.EQUITY), (Side.SELL, AssetClass.FUTURE)):
        driver = ready(borrow_rate=dec(1))
        driver.step(instrument(asset_class=kind, version=2))
        driver.step(approved(order(side=side)))
        driver.step(trade(T0 + 1, 100.0))
        driver.at(MIDNIGHT + 1)
        assert not [one for one in driver.outputs if isinstance(one.record, CashAdjustment)]
        assert driver.state.paper.accrual_ns is None


# ---- what is missing


@pytest.mark.parametrize(
    ("changes", "of", "code"),
    [
        ({"borrow_rate": None}, order(**SELL), "PAPER_BORROW_RATE_MISSING"),
        ({"fee_tiers": TIERS}, order(), "PAPER_EXCHANGE_RATE_MISSING"),
    ],
)
def test_a_missing_input_is_named_once_or_refuses(
    changes: dict[str, Any], of: Order, code: str
) -> None:
    is_foreign = "fee_tiers" in changes
    for rule in MissingInputRule:
        driver = ready(missing_input_rule=rule, **changes)
        if is_foreign:
            driver.step(instrument(currency="EUR", version=2))
        said = driver.step(approved(of))
        kind = reports(said)[0].kind.value
        assert kind == ("REJECTED" if rule is MissingInputRule.REJECT else "ACCEPTED")
        assert [one.code for one in incidents(said)] == [code]
        assert "SPY.ARCA" in incidents(said)[0].reason
        assert driver.core.dump(driver.recovered()) == driver.dumped()


def test_what_is_sold_out_of_a_long_position_needs_no_borrow_rate() -> None:
    driver = ready(borrow_rate=None)
    driver.step(approved(order()))
    driver.step(trade(T0 + 1, 100.0))
    assert incidents(driver.step(approved(order("s", **SELL)))) == []


def test_under_reject_a_tick_without_size_ends_what_it_would_fill() -> None:
    driver = ready(participation_max=dec("0.1"), missing_input_rule=MissingInputRule.REJECT)
    driver.step(approved(order()))
    driver.step(approved(limit("l", "90")))
    said = driver.step(trade(T0 + 1, 100.0))
    assert [one.code for one in incidents(said)] == ["PAPER_SIZE_MISSING"]
    assert [(one.client_order_id, one.kind.value) for one in reports(said)][-1:] == [
        ("o1", "CANCELED")
    ]
    assert set(driver.state.paper.orders) == {"l"}
