"""The parity of two runs: what was put in is found in its bucket, and the buckets are the gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity_samples import MINUTE_NS, Deal, in_currency, run_of

from tapeline.backtest.parity.alignment import Match, aligned, placed_orders
from tapeline.backtest.parity.attribution import BUCKETS, Parity, parity
from tapeline.backtest.rates import RateUnknown
from tapeline.backtest.run_tables import RunTables, table

CLOSES = (100.0, 102.0, 101.0, 105.0, 103.0, 108.0, 104.0, 110.0, 107.0, 112.0)
DEALS = (
    Deal(minute=2, quantity=1.0, price=102.0),
    Deal(minute=5, quantity=-2.0, price=103.0),
    Deal(minute=7, quantity=2.0, price=104.0),
    Deal(minute=9, quantity=-1.0, price=107.0),
)


def compared(
    deals: Sequence[Deal],
    closes: Sequence[float] = CLOSES,
    funding: Mapping[int, float] | None = None,
) -> Parity:
    """The plan as it should be, and a run of other deals."""
    return parity(run_of(DEALS, CLOSES), run_of(deals, closes, funding=funding, prefix="b"))


def changed(index: int, **values: Any) -> list[Deal]:
    """The plan with one deal that is not as planned."""
    deals = list(DEALS)
    deals[index] = replace(deals[index], **values)
    return deals


def only(found: Parity) -> tuple[str, Fraction]:
    """The one bucket that is not empty."""
    filled = {name: value for name, value in found.buckets.items() if value}
    assert len(filled) == 1, filled
    assert found.untold == 0
    assert found.gap == sum(found.buckets.values())
    return next(iter(filled.items()))


def test_the_same_run_under_other_ids_has_no_gap() -> None:
    found = compared(DEALS)
    assert found.gap == 0
    assert not any(found.buckets.values())
    assert found.count(Match.EXACT) == len(found.parts) == len(DEALS)


def test_a_delay_is_timing() -> None:
    # Filled at the close of minute 6 (108), which is what the market was then.
    deals = changed(1, delay_ns=MINUTE_NS, price=108.0)
    assert only(compared(deals)) == ("timing", 2 * Fraction(108 - 103))


def test_a_late_decision_is_timing_too() -> None:
    deals = changed(0, decision_delay_ns=MINUTE_NS, price=101.0)
    found = compared(deals)
    assert only(found) == ("timing", Fraction(102 - 101))
    assert found.count(Match.NEAR) == 1


def test_a_delay_within_a_bar_is_timing_too() -> None:
    # Minute 6 goes from 103 to 108: a fill within it at 106 is what the market was then.
    deals = changed(1, delay_ns=MINUTE_NS // 2, price=106.0)
    assert only(compared(deals)) == ("timing", 2 * Fraction(106 - 103))


def test_what_lies_beyond_the_bar_is_fill_also_after_a_delay() -> None:
    found = compared(changed(1, delay_ns=MINUTE_NS // 2, price=109.5))
    buckets = {name: value for name, value in found.buckets.items() if value}
    assert buckets == {"timing": 2 * Fraction(108 - 103), "fill": 2 * Fraction(3, 2)}


def test_two_delays_within_one_bar_are_compared_with_each_other() -> None:
    late, later = (
        run_of(changed(1, delay_ns=delay_ns, price=price), CLOSES, prefix=prefix)
        for delay_ns, price, prefix in ((20, 104.0, "a"), (40, 105.5, "b"))
    )
    assert only(parity(late, later)) == ("timing", 2 * Fraction(3, 2))


def test_a_worse_price_within_the_bar_at_the_same_time_is_fill() -> None:
    one, other = (
        run_of(changed(1, delay_ns=20, price=price), CLOSES, prefix=prefix)
        for price, prefix in ((104.0, "a"), (105.5, "b"))
    )
    assert only(parity(one, other)) == ("fill", 2 * Fraction(3, 2))


def test_a_worse_price_at_the_same_time_is_fill() -> None:
    assert only(compared(changed(2, price=104.5))) == ("fill", Fraction(-1))


def test_part_of_an_order_that_was_not_filled_is_fill() -> None:
    # Half a unit less at 102; sold all the same later on, at 103, so short by that half since.
    found = compared(changed(0, filled=0.5, fee=0.05))
    assert only(found) == ("fill", Fraction(-1, 2) * (112 - 102) + Fraction(5, 100))


def test_what_makes_up_for_a_difference_belongs_to_its_cause() -> None:
    # Half a unit less is bought, and so half a unit less is sold: half of the profit is missed.
    deals = changed(0, filled=0.5, fee=0.05)
    deals[1] = replace(deals[1], quantity=-1.5, fee=0.075)
    found = compared(deals)
    assert only(found) == ("fill", Fraction(-1, 2) * (103 - 102) + Fraction(75, 1000))


def test_a_higher_fee_is_fee() -> None:
    assert only(compared(changed(3, fee=0.6))) == ("fee", Fraction(-5, 10))


def test_cash_without_a_fill_is_funding() -> None:
    assert only(compared(DEALS, funding={MINUTE_NS: -3.5})) == ("funding", Fraction(-7, 2))


def test_money_is_told_in_the_currency_of_the_account() -> None:
    a, b = run_of(DEALS, CLOSES), run_of(changed(3, fee=0.6), CLOSES, prefix="b")
    found = parity(in_currency(a, "EUR", "1.25"), in_currency(b, "EUR", "1.25"))
    assert only(found) == ("fee", Fraction(-5, 10) * Fraction(5, 4))
    assert found.profit_a == parity(a, b).profit_a * Fraction(5, 4)


def test_funding_is_converted_too() -> None:
    a, b = run_of(DEALS, CLOSES), run_of(DEALS, CLOSES, funding={MINUTE_NS: -3.5}, prefix="b")
    found = parity(in_currency(a, "EUR", "1.25"), in_currency(b, "EUR", "1.25"))
    assert only(found) == ("funding", Fraction(-7, 2) * Fraction(5, 4))


def test_another_rate_is_data() -> None:
    a, b = run_of(DEALS[:1], CLOSES), run_of(DEALS[:1], CLOSES, prefix="b")
    found = parity(in_currency(a, "EUR", "1.25"), in_currency(b, "EUR", "1.5"))
    gained = Fraction(112 - 102) - Fraction(1, 10)
    assert only(found) == ("data", gained * Fraction(1, 4))


def test_a_currency_without_a_rate_is_named() -> None:
    a, b = run_of(DEALS, CLOSES), run_of(DEALS, CLOSES, prefix="b")
    told = in_currency(b, "EUR", "1.25")
    bare = RunTables(msgspec.structs.replace(told.description, last_rates={}), told.tables)
    with pytest.raises(RateUnknown, match="run b is in EUR, and the run tells no rate of it into"):
        parity(a, bare)


def test_another_price_of_the_market_is_data() -> None:
    # The close of minute 4 is 104 in B, where the second order is filled.
    closes = (*CLOSES[:4], 104.0, *CLOSES[5:])
    assert only(compared(changed(1, price=104.0), closes)) == ("data", Fraction(2))


def test_another_last_price_of_the_market_is_data() -> None:
    deals = DEALS[:1]
    a, b = run_of(deals, CLOSES), run_of(deals, (*CLOSES[:-1], 111.0), prefix="b")
    assert only(parity(a, b)) == ("data", Fraction(-1))


def test_a_decision_that_differs_after_other_bars_is_data() -> None:
    closes = (100.0, 90.0, *CLOSES[2:])
    found = compared(DEALS[1:], closes)
    assert found.buckets["missing"] == found.buckets["signal"] == 0
    assert only(found)[0] == "data"


def test_an_order_that_is_not_there_is_missing() -> None:
    found = compared(DEALS[1:])
    assert only(found) == ("missing", -Fraction(112 - 102) + Fraction(1, 10))
    assert found.count(Match.ONLY_A) == 1


def test_an_order_too_many_is_missing() -> None:
    found = compared([*DEALS, Deal(minute=8, quantity=1.0, price=110.0)])
    assert only(found) == ("missing", Fraction(112 - 110) - Fraction(1, 10))
    assert found.count(Match.ONLY_B) == 1


def test_an_order_that_was_denied_is_missing() -> None:
    assert only(compared(changed(0, status="DENIED")))[0] == "missing"


@pytest.mark.parametrize("quantity", [2, -1])
def test_another_size_or_side_is_signal(quantity: int) -> None:
    found = compared(changed(0, quantity=float(quantity), fee=abs(quantity) / 10))
    expected = (quantity - 1) * Fraction(112 - 102) - Fraction(1, 10) * (abs(quantity) - 1)
    assert only(found) == ("signal", expected)
    assert found.count(Match.OPPOSITE) == (quantity < 0)


def test_a_stop_that_was_not_triggered_is_fill() -> None:
    stop = Deal(minute=8, quantity=-1.0, price=110.0, leg="STOP_LOSS")
    a = run_of((*DEALS, stop), CLOSES)
    assert only(parity(a, run_of(DEALS, CLOSES, prefix="b")))[0] == "fill"


def test_what_the_tables_do_not_tell_is_said() -> None:
    b = run_of(DEALS, CLOSES, prefix="b")
    told = Fraction(b.description.final_equity)
    richer = msgspec.structs.replace(b.description, final_equity=str(told + 7))
    found = parity(run_of(DEALS, CLOSES), RunTables(richer, b.tables))
    assert found.gap == 0
    assert found.untold == 7


def test_the_starting_cash_may_be_told_as_a_deposit_and_later_ones_are_no_profit() -> None:
    b = run_of(DEALS, CLOSES, prefix="b")
    deposits = [
        {"ts_event_ns": 0, "account_id": "A", "kind": "deposit", "amount": 10_000.0},
        {"ts_event_ns": 9, "account_id": "A", "kind": "deposit", "amount": 10_000.0},
    ]
    equity = [{"ts_event_ns": 1, "account_id": "A", "equity": 10_000.0}]
    tables = {
        **b.tables,
        "cash": table("cash", deposits),
        "equity": table("equity", equity),
    }
    richer = Fraction(b.description.final_equity) + 10_000
    told = msgspec.structs.replace(b.description, final_equity=str(richer))
    found = parity(run_of(DEALS, CLOSES), RunTables(told, tables))
    assert found.gap == found.untold == 0


PRICE = st.integers(9000, 11000).map(lambda cents: cents / 100)
DEAL = st.builds(
    Deal,
    minute=st.integers(0, 9),
    quantity=st.integers(-30, 30).filter(bool).map(lambda tenths: tenths / 10),
    price=PRICE,
    fee=st.integers(-5, 50).map(lambda cents: cents / 100),
    delay_ns=st.integers(0, 2 * MINUTE_NS),
    decision_delay_ns=st.sampled_from([0, 0, 1, MINUTE_NS // 2, 3 * MINUTE_NS]),
    status=st.sampled_from(["FILLED", "FILLED", "FILLED", "DENIED", "EXPIRED"]),
    leg=st.sampled_from(["WHOLE", "WHOLE", "SLICE", "STOP_LOSS", "TAKE_PROFIT"]),
    group_id=st.sampled_from(["g", "h"]),
)
RUN = st.tuples(
    st.lists(DEAL, max_size=8),
    st.lists(PRICE, min_size=1, max_size=10),
    st.dictionaries(st.integers(0, 10), st.integers(-100, 100).map(float), max_size=2),
)


@given(RUN, RUN)
def test_the_buckets_add_up_to_the_gap_exactly_and_no_order_is_lost(
    one: tuple[list[Deal], list[float], dict[int, float]],
    other: tuple[list[Deal], list[float], dict[int, float]],
) -> None:
    a, b = run_of(one[0], one[1], funding=one[2]), run_of(other[0], other[1], funding=other[2])
    found = parity(a, b)
    assert sum(found.buckets.values()) == found.gap
    assert found.untold == 0
    assert set(found.buckets) == set(BUCKETS)
    orders_a, orders_b = placed_orders(a), placed_orders(b)
    pairs = aligned(orders_a, orders_b, MINUTE_NS)
    assert sorted(id(pair.a) for pair in pairs if pair.a) == sorted(map(id, orders_a))
    assert sorted(id(pair.b) for pair in pairs if pair.b) == sorted(map(id, orders_b))


@given(RUN, RUN, st.sampled_from(["1", "0.9", "1.25"]), st.sampled_from(["1", "1.1"]))
def test_they_add_up_in_any_currency(
    one: tuple[list[Deal], list[float], dict[int, float]],
    other: tuple[list[Deal], list[float], dict[int, float]],
    rate_a: str,
    rate_b: str,
) -> None:
    a, b = run_of(one[0], one[1], funding=one[2]), run_of(other[0], other[1], funding=other[2])
    found = parity(in_currency(a, "EUR", rate_a), in_currency(b, "EUR", rate_b))
    assert found.untold == 0
    # Of cash, which has no pair of orders, the rates differ within funding.
    assert sum(found.buckets.values()) == found.gap


@given(RUN)
def test_the_gap_turns_its_sign_when_the_runs_change_places(
    one: tuple[list[Deal], list[float], dict[int, float]],
) -> None:
    a, b = run_of(one[0], one[1], funding=one[2]), run_of(DEALS, CLOSES)
    assert parity(a, b).gap == -parity(b, a).gap
    same = parity(a, a)
    assert same.gap == 0
    assert not any(same.buckets.values())
