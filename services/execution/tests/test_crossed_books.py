"""Of a crossed book, of levels within a tick, and of what is left of levels that we took from:
answers computed by hand. Tick 0.01, lot 1."""

from __future__ import annotations

import pytest
from execution_samples import T0, approved, dec, limit, order, quote, ready, trade
from test_honest_paper import SELL, book, course, filled

from tapeline.contracts.orders import Order, Side

CROSSED = book(
    T0 + 1, [(100.3, 5.0), (100.1, 50.0), (99.9, 9.0)], [(100.1, 4.0), (100.2, 4.0), (100.5, 50.0)]
)


@pytest.mark.parametrize(
    ("of", "share", "expected"),
    [
        # 100.1 and 100.2 are asked below the best bid, so they cost what is bid: 8 at 100.3.
        (order(), "1", ["fill 8 @ 100.3 taker", "fill 2 @ 100.5 taker"]),
        # 100.3 and 100.1 are bid at or above the best ask: they earn what is asked.
        (order(quantity=dec(60), **SELL), "1", ["fill 55 @ 100.1 taker", "fill 5 @ 99.9 taker"]),
        # Half of 8, half of 50.
        (order(), "0.5", ["fill 4 @ 100.3 taker", "fill 6 @ 100.5 taker"]),
        (limit(price="100.3"), "1", ["fill 8 @ 100.3 taker"]),
        # As of the crossed quote, a limit below the best bid buys nothing.
        (limit(price="100.2"), "1", []),
        (order(), "0", ["fill 10 @ 100.3 taker"]),
    ],
)
def test_of_a_crossed_book_we_get_the_worse_side(
    of: Order, share: str, expected: list[str]
) -> None:
    assert course(ready(participation_max=dec(share)), of, CROSSED) == expected


@pytest.mark.parametrize(
    ("side", "bid", "ask", "price"),
    [
        (Side.BUY, 100.3, 100.1, "100.3"),
        (Side.SELL, 100.3, 100.1, "100.1"),
        (Side.BUY, 100.1, 100.3, "100.3"),
        (Side.SELL, 100.1, 100.3, "100.1"),
        (Side.BUY, 100.2, 100.2, "100.2"),
    ],
)
def test_a_book_of_one_level_is_a_quote(side: Side, bid: float, ask: float, price: str) -> None:
    shown = (quote(T0 + 1, bid, ask, 40.0), book(T0 + 1, [(bid, 40.0)], [(ask, 40.0)]))
    for tick in shown:
        driver = ready(participation_max=dec(1))
        assert course(driver, order(side=side), tick) == [f"fill 10 @ {price} taker"]


def test_what_we_took_of_a_crossed_book_is_gone_where_it_is_displayed() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order("a", quantity=dec(6))))
    assert filled(driver.step(CROSSED)) == ["fill 6 @ 100.3 taker"]
    assert driver.state.paper.consumed["SPY.ARCA"]["BUY"] == {
        f"{dec('100.1'):.18f}": 4,
        f"{dec('100.2'):.18f}": 2,
    }
    # The bids are back where they belong: of 100.1 all is gone, of 100.2 the half.
    driver.step(approved(order("b", quantity=dec(3)), now_ns=T0 + 2))
    again = book(T0 + 3, [(99.9, 5.0)], [(100.1, 4.0), (100.2, 4.0), (100.5, 50.0)])
    assert filled(driver.step(again)) == ["fill 2 @ 100.2 taker", "fill 1 @ 100.5 taker"]


def test_what_we_took_stays_gone_while_bids_move_across_it() -> None:
    driver = ready(participation_max=dec(1))
    asks = [(100.1, 4.0), (100.2, 4.0)]
    driver.step(approved(order("a", quantity=dec(6))))
    driver.step(book(T0 + 1, [(100.3, 5.0)], asks))
    driver.step(approved(order("b", quantity=dec(9)), now_ns=T0 + 2))
    # 2 of the 8 are left, whatever is bid.
    assert filled(driver.step(book(T0 + 3, [(100.6, 5.0)], asks))) == ["fill 2 @ 100.6 taker"]


def test_levels_within_one_tick_are_one_price_and_gone_together() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(order("a", quantity=dec(6))))
    asks = [(100.102, 4.0), (100.108, 4.0), (100.5, 50.0)]
    assert filled(driver.step(book(T0 + 1, [(99.0, 5.0)], asks))) == ["fill 6 @ 100.11 taker"]
    driver.step(approved(order("b", quantity=dec(3)), now_ns=T0 + 2))
    again = filled(driver.step(book(T0 + 3, [(99.0, 5.0)], asks)))
    assert again == ["fill 2 @ 100.11 taker", "fill 1 @ 100.5 taker"]


def test_a_resting_order_takes_of_the_best_level() -> None:
    driver = ready(participation_max=dec(1))
    driver.step(approved(limit("a", "100.2", quantity=dec(3))))
    driver.step(trade(T0 + 1, 100.4))
    shown = book(T0 + 2, [(99.0, 5.0)], [(100.1, 4.0), (100.15, 4.0)])
    assert filled(driver.step(shown)) == ["fill 3 @ 100.2 maker"]
    assert driver.state.paper.consumed["SPY.ARCA"]["BUY"] == {f"{dec('100.1'):.18f}": 3}


def test_a_book_shows_its_own_impact() -> None:
    driver = ready(participation_max=dec(1), impact_rate=dec("0.01"))
    one_level = book(T0 + 1, [(99.9, 40.0)], [(100.1, 40.0)])
    assert course(driver, order(), one_level) == ["fill 10 @ 100.1 taker"]
