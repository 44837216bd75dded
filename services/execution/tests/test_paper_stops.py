"""Stops on paper, computed by hand. Half spread 0.1 %, taker fee 0.05 %, tick 0.01, lot 1."""

from __future__ import annotations

from typing import Any

import pytest
from execution_samples import T0, approved, dec, order, quote, ready, says, trade

from tapeline.contracts.market import Quote, Trade
from tapeline.contracts.orders import Order, OrderType, Side


def stop(price: str, side: Side, limit_price: str = "", **changes: Any) -> Order:
    return order(
        side=side,
        order_type=OrderType.STOP_LIMIT if limit_price else OrderType.STOP_MARKET,
        stop_price=dec(price),
        limit_price=dec(limit_price) if limit_price else None,
        **changes,
    )


BUY, SELL = Side.BUY, Side.SELL
FILLED = "approval-o1 FILLED end"


@pytest.mark.parametrize(
    ("of", "ticks", "expected"),
    [
        # One step before the stop nothing happens; at the stop it is a market order.
        (stop("105", BUY), [trade(T0 + 1, 104.99)], []),
        (stop("105", BUY), [trade(T0 + 1, 105.0)], ["fill 10 @ 105.11 taker", FILLED]),
        (stop("95", SELL), [trade(T0 + 1, 95.01)], []),
        # 95 x 0.999 = 94.905: a seller gets the tick below.
        (stop("95", SELL), [trade(T0 + 1, 95.0)], ["fill 10 @ 94.9 taker", FILLED]),
        # Behind a gap the price is that of the tick it finds, not the stop's: 90 x 0.999 = 89.91.
        (stop("95", SELL), [trade(T0 + 1, 90.0)], ["fill 10 @ 89.91 taker", FILLED]),
        (stop("105", BUY), [trade(T0 + 1, 120.0)], ["fill 10 @ 120.12 taker", FILLED]),
        # Quotes trigger by the side that we would take: the ask for a buyer, the bid for a seller.
        (stop("105", BUY), [quote(T0 + 1, 104.9, 104.99)], []),
        (stop("105", BUY), [quote(T0 + 1, 104.0, 105.0)], ["fill 10 @ 105 taker", FILLED]),
        (stop("95", SELL), [quote(T0 + 1, 95.01, 95.02)], []),
        (stop("95", SELL), [quote(T0 + 1, 94.0, 96.0)], ["fill 10 @ 94 taker", FILLED]),
        # An assumed half spread reaches 105, the trade does not.
        (stop("105", BUY), [trade(T0 + 1, 104.95)], []),
        # The tick at the instant of arrival is too early for a stop as well.
        (stop("105", BUY), [trade(T0, 110.0)], []),
        # Triggered at 105.11, which the limit allows; then one that it does not.
        (stop("105", BUY, "106"), [trade(T0 + 1, 105.0)], ["fill 10 @ 105.11 taker", FILLED]),
        (stop("105", BUY, "106"), [trade(T0 + 1, 110.0)], []),
        # Having rested since the gap, it is met at its limit when a trade comes through it.
        (
            stop("105", BUY, "106"),
            [trade(T0 + 1, 110.0), trade(T0 + 2, 105.5)],
            ["fill 10 @ 106 maker", FILLED],
        ),
        # Not yet triggered, a price inside its limit means nothing.
        (stop("105", BUY, "106"), [trade(T0 + 1, 100.0), trade(T0 + 2, 101.0)], []),
        # Once triggered it stays so: the second tick, back above the stop, fills the rest.
        (
            stop("95", SELL),
            [trade(T0 + 1, 94.0, 6.0), trade(T0 + 2, 99.0, 50.0)],
            [
                "fill 6 @ 93.9 taker",
                "approval-o1 PARTIALLY_FILLED",
                "fill 4 @ 98.9 taker",
                FILLED,
            ],
        ),
    ],
)
def test_when_a_stop_fills_and_at_what_price(
    of: Order, ticks: list[Trade | Quote], expected: list[str]
) -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(of))
    said = [line for tick in ticks for line in says(driver.step(tick))]
    assert [line for line in said if not line.startswith(("report", "incident"))] == expected
    assert driver.dumped() == driver.core.dump(driver.recovered())


def test_a_stop_is_triggered_by_the_tick_before_which_it_waited_over_a_restart() -> None:
    driver = ready()
    driver.step(approved(stop("95", SELL)))
    driver.step(trade(T0 + 1, 100.0))
    driver.state = driver.core.load(driver.core.dump(driver.recovered()))
    assert "fill 10 @ 93.9 taker" in says(driver.step(trade(T0 + 2, 94.0)))
