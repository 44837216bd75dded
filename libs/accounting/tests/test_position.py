from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.accounting.numbers import CONTEXT, ZERO, exact, notional
from tapeline.accounting.position import Position

D = Decimal
FILLS = st.lists(
    st.tuples(
        st.decimals(min_value=-1000, max_value=1000, places=6).filter(bool),
        st.decimals(min_value="0.000001", max_value=100000, places=8),
    ),
    max_size=20,
)


def after(*fills: tuple[str, str], multiplier: str = "1") -> Position:
    position = Position()
    for quantity, price in fills:
        position = position.apply(D(quantity), D(price), multiplier=D(multiplier))
    return position


# Computed by hand: fills -> quantity, average price, realised P&L.
@pytest.mark.parametrize(
    ("fills", "quantity", "average", "realized"),
    [
        ([("10", "100")], "10", "100", "0"),
        ([("10", "100"), ("10", "110")], "20", "105", "0"),
        ([("10", "100"), ("-4", "110")], "6", "100", "40"),
        ([("10", "100"), ("-10", "90")], "0", "0", "-100"),
        ([("10", "100"), ("-15", "120")], "-5", "120", "200"),
        ([("-10", "100")], "-10", "100", "0"),
        ([("-10", "100"), ("4", "90")], "-6", "100", "40"),
        ([("-10", "100"), ("10", "105")], "0", "0", "-50"),
        ([("-10", "100"), ("25", "80")], "15", "80", "200"),
        ([("10", "100"), ("-15", "120"), ("5", "130")], "0", "0", "150"),
        ([("1", "100"), ("1", "101"), ("1", "103"), ("-3", "104")], "0", "0", "8"),
    ],
)
def test_fills_net_as_computed_by_hand(
    fills: list[tuple[str, str]], quantity: str, average: str, realized: str
) -> None:
    position = after(*fills)
    assert position.quantity == D(quantity)
    assert position.average_price() == D(average)
    assert position.realized_pnl == D(realized)


def test_a_contract_multiplier_scales_money_and_not_the_average_price() -> None:
    position = after(("2", "50"), ("-1", "52"), multiplier="10")
    assert position.cost == D("500")
    assert position.realized_pnl == D("20")
    assert position.average_price(D("10")) == D("50")
    assert position.unrealized_pnl(D("53"), D("10")) == D("30")


def test_commission_is_kept_apart_and_a_rebate_lowers_it() -> None:
    position = Position().apply(D(1), D(100), commission=D("0.5"))
    position = position.apply(D(-1), D(101), commission=D("-0.2"))
    assert position.commission == D("0.3")
    assert position.realized_pnl == D(1)


def test_thirds_lose_nothing() -> None:
    # 3 units for 100: each third is not a decimal, the last one takes what is left.
    position = Position(quantity=D(3), cost=D(100))
    for _ in range(3):
        position = position.apply(D(-1), D(0))
    assert position == Position(realized_pnl=D(-100))


def test_a_split_keeps_the_cost() -> None:
    position = after(("10", "100")).split(D("4"))
    assert (position.quantity, position.average_price()) == (D(40), D(25))


def test_only_a_line_that_never_held_anything_is_empty() -> None:
    assert Position().is_empty()
    assert not after(("1", "100"), ("-1", "101")).is_empty()
    assert after(("1", "100"), ("-1", "100")).is_empty()


@given(FILLS, st.decimals(min_value=0, max_value=100000, places=8))
def test_realized_and_unrealized_profit_are_the_change_of_equity(
    fills: list[tuple[Decimal, Decimal]], mark: Decimal
) -> None:
    position, cash = Position(), ZERO
    for quantity, price in fills:
        position = position.apply(quantity, price)
        cash = CONTEXT.subtract(cash, notional(quantity, price))
    equity = CONTEXT.add(cash, position.market_value(mark))
    assert CONTEXT.add(position.realized_pnl, position.unrealized_pnl(mark)) == equity


@given(FILLS)
def test_a_flat_position_has_no_cost_and_a_held_one_its_side(
    fills: list[tuple[Decimal, Decimal]],
) -> None:
    position = Position()
    for quantity, price in fills:
        position = position.apply(quantity, price)
        if not position.quantity:
            assert position.cost == 0
        else:
            assert position.cost * position.quantity >= 0


@given(FILLS, st.randoms(use_true_random=False))
def test_the_order_of_fills_changes_no_total(
    fills: list[tuple[Decimal, Decimal]], random: object
) -> None:
    @exact
    def total(order: list[tuple[Decimal, Decimal]]) -> tuple[Decimal, Decimal]:
        position = Position()
        for quantity, price in order:
            position = position.apply(quantity, price)
        return position.quantity, position.realized_pnl - position.cost

    assert total(fills) == total(fills[::-1])
