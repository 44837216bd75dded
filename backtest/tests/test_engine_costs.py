"""What the options of a backtest cost, by hand, on both ways through the engine.

The averages of two and three closes turn down with the fourth bar's close and up with the sixth's.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from engine_samples import MINUTE, SECOND, START, setup, trades

from tapeline.backtest.engine.outcome import Outcome
from tapeline.backtest.engine.run import run_market
from tapeline.backtest.engine.setup import Costs

D = Decimal
BOTH = pytest.mark.parametrize("is_scalar", [False, True])
FALL = [(0, 10.0), (MINUTE, 11.0), (2 * MINUTE, 12.0), (3 * MINUTE, 9.0)]


def played(
    rows: list[tuple[int, float]], costs: Costs, quantity: str = "1", *, is_scalar: bool
) -> Outcome:
    plan = setup(costs=costs, quantity=D(quantity))
    return run_market(plan, trades(rows), is_scalar=is_scalar)


def fills_of(found: Outcome) -> list[tuple[int, Decimal, Decimal]]:
    """(nanoseconds behind the start, quantity, price)."""
    return [(fill.ts_event_ns - START, fill.quantity, fill.price) for fill in found.said.fills]


@BOTH
@pytest.mark.parametrize(
    ("latency_ns", "place"),
    [(0, 0), (10 * SECOND, 1), (10 * SECOND + 1, 2), (30 * SECOND, 2)],
)
def test_only_ticks_behind_the_latency_fill(latency_ns: int, place: int, is_scalar: bool) -> None:
    # The order leaves a nanosecond before the end of the fourth bar, at minute 4.
    later = [4 * MINUTE, 4 * MINUTE + 10 * SECOND, 4 * MINUTE + 40 * SECOND]
    rows = [*FALL, *((at, 8.0 - number) for number, at in enumerate(later))]
    found = played(rows, Costs(latency_ns=latency_ns), is_scalar=is_scalar)
    assert fills_of(found) == [(later[place], D(1), D(8 - place))]


@BOTH
def test_a_tick_fills_no_more_than_its_share(is_scalar: bool) -> None:
    later = [(4 * MINUTE + number * SECOND, 8.0 + number) for number in range(5)]
    costs = Costs(participation_max=D("0.5"))
    found = played([*FALL, *later], costs, "1.25", is_scalar=is_scalar)
    # Each trade has a size of 1.
    assert fills_of(found) == [
        (4 * MINUTE, D("0.5"), D(8)),
        (4 * MINUTE + SECOND, D("0.5"), D(9)),
        (4 * MINUTE + 2 * SECOND, D("0.25"), D(10)),
    ]


@BOTH
def test_an_order_that_is_still_open_at_the_next_turn_meets_every_tick(is_scalar: bool) -> None:
    """Of 1 that is sold 0.4 are open when 2 are bought; each tick gives each order a tenth."""
    rows = list(FALL)
    for minute, price in ((4, 8.0), (5, 13.0), (6, 14.0), (7, 15.0), (8, 16.0)):
        rows += [(minute * MINUTE + number * SECOND, price) for number in range(3)]
    costs = Costs(participation_max=D("0.1"))
    found = played(rows, costs, is_scalar=is_scalar)
    fills = fills_of(found)
    sides = [fill.side.value for fill in found.said.fills]
    # From minute 4 on each tick gives the sale a tenth; from minute 6 on both orders have theirs.
    assert [at for at, _, _ in fills[:6]] == [at for at, _ in rows[4:10]]
    assert {quantity for _, quantity, _ in fills} == {D("0.1")}
    assert sides[:6] == ["SELL"] * 6
    assert sides.count("SELL") == 10
    assert sides.count("BUY") == 9
    assert found.position == D("-0.1")
