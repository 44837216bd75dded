"""What the paper venue does where its input is odd or incomplete, with answers computed by hand.
Half spread 0.1 %, tick 0.01, lot 1, unless said otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from execution_samples import (
    DAY,
    SECOND,
    T0,
    Driver,
    account,
    approved,
    dec,
    incidents,
    instrument,
    limit,
    order,
    quote,
    ready,
    says,
    trade,
    updates,
)

from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.config import AssetClass, QueueRule
from tapeline.contracts.market import BookLevel, BookSnapshot, FundingRate, Quote, Trade
from tapeline.contracts.orders import Order, ReportKind, Side, VenueReport
from tapeline.execution.venues import arrival
from tapeline.runtime.core import Output

SELL = {"side": Side.SELL}
MIDNIGHT = (T0 // DAY + 1) * DAY
Levels = Sequence[tuple[float, float]]


def book(ts_ns: int, asks: Levels, bids: Levels = ((94.0, 50.0),)) -> BookSnapshot:
    return BookSnapshot(
        instrument_id="SPY.ARCA",
        feed="test",
        feed_sequence=ts_ns,
        bids=tuple(BookLevel(price=price, size=size) for price, size in bids),
        asks=tuple(BookLevel(price=price, size=size) for price, size in asks),
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def rate(ts_ns: int, instrument_id: str = "SPY.ARCA") -> FundingRate:
    return FundingRate(
        instrument_id=instrument_id,
        feed="test",
        rate=0.0,
        interval_ns=8 * 3600 * SECOND,
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def filled(outputs: Sequence[Output]) -> list[str]:
    return [line for line in says(outputs) if line.startswith("fill")]


def owed(outputs: Sequence[Output]) -> list[tuple[str, str, int]]:
    records = [one.record for one in outputs if isinstance(one.record, CashAdjustment)]
    return [(one.account_id, one.reason, int(one.amount)) for one in records]


# ---- what is not configured


def test_a_venue_that_is_not_configured_takes_no_order_and_lacks_nothing() -> None:
    driver = ready(latency_ns=1_000, latency_jitter_ns=1_000)
    known = driver.state.paper
    (update,) = [one for one in updates(driver.step(approved(order()))) if one.command]
    command = update.command
    assert command is not None
    of = replace(command.approved, order=order(venue="ELSEWHERE"))
    elsewhere = replace(command, venue="ELSEWHERE", approved=of)
    # Whose latency is not known, there is nothing to wait for.
    assert arrival.arrival_ns(known, elsewhere) == T0
    assert arrival.arrival_ns(known, command) >= T0 + 1_000
    (said,) = driver.core.paper.decide(known, elsewhere, T0)
    assert isinstance(said, VenueReport)
    assert (said.kind, said.reason) == (ReportKind.REJECTED, "the instrument is not traded here")


def test_cash_of_an_account_that_the_venue_does_not_keep_moves_nothing() -> None:
    driver = ready()
    paper, known = driver.core.paper, driver.state.paper
    payment = FundingPayment(
        payment_id="p",
        account_id="nobody",
        group_id="g1",
        instrument_id="SPY.ARCA",
        currency="USD",
        amount=dec(5),
        ts_event_ns=T0,
        ts_init_ns=T0,
    )
    assert paper.evolve(known, payment) == known
    after = paper.evolve(known, replace(payment, account_id="a1"))
    assert after.accounts["a1"].cash == {"USD": dec(100_005)}


@pytest.mark.parametrize("is_first_owing", [True, False])
def test_an_account_whose_venue_is_not_configured_owes_nothing(is_first_owing: bool) -> None:
    driver = ready(borrow_rate=dec("36.5"))
    driver.step(account(account_id="a0", venue="ELSEWHERE"))
    names = ("a1", "a0") if is_first_owing else ("a0",)
    for name in names:
        of = order(f"of-{name}", account_id=name, **SELL)
        driver.step(approved(of, account_id=name))
    driver.step(trade(T0 + 1, 100.0))
    assert driver.state.paper.accounts["a0"].positions == {"SPY.ARCA": -10}
    assert driver.state.paper.accrual_ns == (MIDNIGHT if is_first_owing else None)
    # 10 x 100 x 36.5 / 365 = 100 a night
    expected = [("a1", "borrow: SPY.ARCA, 1 night", -100)] if is_first_owing else []
    assert owed(driver.at(MIDNIGHT)) == expected


@pytest.mark.parametrize(
    ("is_charged", "codes"), [(True, ["PAPER_FUNDING_RATE_MISSING"]), (False, [])]
)
def test_rates_that_stop_coming_are_missed_only_where_funding_is_charged(
    is_charged: bool, codes: list[str]
) -> None:
    driver = ready(borrow_rate=dec("36.5"), is_funding_charged=is_charged)
    kind = AssetClass.CRYPTO_PERPETUAL
    driver.step(instrument(instrument_id="BTC.PERP", symbol="BTC", asset_class=kind))
    driver.step(rate(T0 - 1, "BTC.PERP"))
    driver.step(approved(order("p", instrument_id="BTC.PERP")))
    driver.step(approved(order("s", **SELL)))
    driver.step(trade(T0 + 1, 100.0, instrument_id="BTC.PERP"))
    driver.step(trade(T0 + 1, 100.0))
    said = driver.at(MIDNIGHT + DAY)
    assert owed(said) == [("a1", "borrow: SPY.ARCA, 2 nights", -200)]
    assert [one.code for one in incidents(said)] == codes


# ---- what is displayed


def test_a_level_without_a_price_is_passed_over() -> None:
    driver = ready(participation_max=dec(1))
    shown = [(100.1, 4.0), (0.0, 9.0), (100.2, 4.0), (100.5, 50.0)]
    driver.step(approved(order("a", quantity=dec(6))))
    assert filled(driver.step(book(T0 + 1, shown))) == [
        "fill 4 @ 100.1 taker",
        "fill 2 @ 100.2 taker",
    ]
    # What we took is counted at its own level: 4 of 100.1 and 2 of 100.2 are gone.
    driver.step(approved(order("b", quantity=dec(3)), now_ns=T0 + 2))
    assert filled(driver.step(book(T0 + 3, shown))) == [
        "fill 2 @ 100.2 taker",
        "fill 1 @ 100.5 taker",
    ]


def test_what_we_took_of_a_bid_is_gone() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order(**SELL)))
    said = [
        filled(driver.step(quote(T0 + 1, 99.0, 100.0, 4.0))),
        # The ask moves and the bid does not: nothing new; then there is another bid.
        filled(driver.step(quote(T0 + 2, 99.0, 100.5, 4.0))),
        filled(driver.step(quote(T0 + 3, 98.5, 100.5, 4.0))),
    ]
    assert said == [["fill 4 @ 99 taker"], [], ["fill 4 @ 98.5 taker"]]


def test_a_resting_order_takes_of_the_best_level_that_crosses_it() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(limit(price="95")))
    driver.step(book(T0 + 1, [(95.01, 4.0)]))
    crossing = [(94.5, 4.0), (94.8, 4.0)]
    assert filled(driver.step(book(T0 + 2, crossing))) == ["fill 4 @ 95 maker"]
    gone = driver.state.paper.consumed["SPY.ARCA"]["BUY"]
    assert {dec(price): quantity for price, quantity in gone.items()} == {dec("94.5"): 4}
    assert filled(driver.step(book(T0 + 3, crossing))) == []


def test_where_nothing_is_offered_a_trade_takes_nothing_of_the_display() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order()))
    driver.step(quote(T0 + 1, 99.0, 0.0, 4.0))
    assert filled(driver.step(trade(T0 + 1, 100.0, 4.0))) == ["fill 4 @ 100.1 taker"]
    assert driver.state.paper.consumed == {}
    assert filled(driver.step(quote(T0 + 2, 99.0, 100.0, 5.0))) == ["fill 5 @ 100 taker"]


@pytest.mark.parametrize(
    ("of", "shown", "ticks", "expected"),
    [
        # No bid is no known queue, whatever size the feed writes beside it: a trade at the limit
        # leaves nothing, one through it fills.
        (limit(price="99"), quote(T0, 0.0, 99.2, 30.0), [trade(T0 + 1, 99.0, 500.0)], []),
        (
            limit(price="99"),
            quote(T0, 0.0, 99.2, 30.0),
            [trade(T0 + 1, 98.99, 500.0)],
            ["fill 10 @ 99 maker"],
        ),
        (limit(price="99", **SELL), quote(T0, 98.0, 0.0, 30.0), [trade(T0 + 1, 99.0, 500.0)], []),
        # Once the bid is there the queue is known: 32 - 30.
        (
            limit(price="99"),
            quote(T0, 0.0, 99.2, 30.0),
            [quote(T0 + 1, 99.0, 99.2, 30.0), trade(T0 + 2, 99.0, 32.0)],
            ["fill 2 @ 99 maker"],
        ),
    ],
)
def test_the_queue_of_a_side_that_is_not_quoted_is_not_known(
    of: Order, shown: Quote, ticks: list[Trade | Quote], expected: list[str]
) -> None:
    driver: Driver = ready(participation_max=dec(1), queue_rule=QueueRule.AHEAD)
    driver.step(shown)
    driver.step(approved(of))
    assert [line for tick in ticks for line in filled(driver.step(tick))] == expected
