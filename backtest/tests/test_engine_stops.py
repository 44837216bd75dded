"""Losses that warn and stop: the fast run finds by columns what the scalar sees at every bar."""

from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from engine_samples import MINUTE, SECOND, START, bars, setup
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.backtest.engine.desk import Desk
from tapeline.backtest.engine.market import Market, market_of_bars, market_of_trades
from tapeline.backtest.engine.outcome import Outcome
from tapeline.backtest.engine.rows import BAR_COLUMNS
from tapeline.backtest.engine.run import run_market
from tapeline.backtest.engine.setup import Costs, Setup
from tapeline.backtest.engine.stops import _over_last
from tapeline.risk.breakers import CONFIRMATIONS

D = Decimal
HOUR = 60 * MINUTE
DATA = Path(os.environ.get("TAPELINE_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
LIMITS = st.none() | st.sampled_from([D("0.001"), D("0.01"), D("0.05"), D("0.1"), D("0.3"), D(1)])
STEPS = st.integers(-60, 60).map(lambda cents: cents / 100)
GAPS = st.sampled_from([0, 1, SECOND, SECOND, 20 * SECOND, MINUTE - 1, MINUTE, 7 * HOUR])
PLANS = st.builds(
    dict,
    drawdown_max=LIMITS,
    daily_loss_max=LIMITS,
    cash=st.sampled_from([D(8), D(20), D(100), D(1000)]),
    quantity=st.sampled_from([D(1), D("0.3"), D(4)]),
    interval_ns=st.sampled_from([MINUTE, SECOND]),
    costs=st.builds(
        Costs,
        participation_max=st.sampled_from([D(0), D("0.3")]),
        latency_ns=st.sampled_from([0, 90 * SECOND]),
    ),
)


def require_the_same(market: Market, plan: Setup) -> Outcome:
    fast, scalar = run_market(plan, market), run_market(plan, market, is_scalar=True)
    assert fast.said == scalar.said
    assert fast.digest == scalar.digest
    return fast


@given(st.lists(st.tuples(GAPS, STEPS), min_size=4, max_size=150), PLANS)
@settings(max_examples=150, deadline=None)
def test_both_ways_stop_alike_over_trades(
    rows: list[tuple[int, float]], plan: dict[str, Any]
) -> None:
    times = START + np.cumsum([gap for gap, _ in rows])
    price = np.maximum(10 + np.round(np.cumsum([step for _, step in rows]), 2), 0.01)
    market = market_of_trades(times, price, np.ones(len(rows)), plan["interval_ns"])
    require_the_same(market, setup(**plan))


@given(st.lists(STEPS, min_size=4, max_size=150), st.sampled_from([1, 600]), PLANS)
@settings(max_examples=60, deadline=None)
def test_both_ways_stop_alike_over_bars(
    steps: list[float], stretch: int, plan: dict[str, Any]
) -> None:
    closes = np.maximum(10 + np.round(np.cumsum(steps), 2), 0.01)
    # So that there are long ways between decisions, each step is walked slowly.
    slow = np.repeat(closes, 1 + stretch // len(closes)).tolist()
    require_the_same(bars([10.0, *slow[:-1]], slow), setup(**{**plan, "interval_ns": MINUTE}))


SHARES = st.sampled_from([-0.5, 0.0, 0.3, 0.5, 0.69, 0.71, 0.79, 0.81, 0.99, 1.01, 1.3, 2.2])
"""of a limit that is lost: on both sides of what warns, trips, releases and is quiet again"""
WAVES = st.lists(
    st.tuples(
        SHARES,
        st.sampled_from([1, 3, 3, 4]),
        st.sampled_from([SECOND, MINUTE, MINUTE, 7 * HOUR, 7 * HOUR]),
    ),
    min_size=3,
    max_size=24,
)
"""(share lost, marks a second apart at which it is, time until then)"""


@given(WAVES, st.booleans(), st.sampled_from([D("0.02"), D("0.05")]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_both_ways_stop_alike_over_waves_around_the_limits(
    waves: list[tuple[float, int, int]], is_long: bool, limit: Decimal, is_daily: bool
) -> None:
    """A position that is held, whose loss goes to and fro over each mark of a limit."""
    cash, quantity, price = D(100), D(4), 10.0
    # The side is taken far from the waves, so that no average turns while they last.
    before = np.linspace(2.0, 1.5, 70) if is_long else np.linspace(17.0, 18.0, 70)
    times = (MINUTE * np.arange(76)).tolist()
    prices = [*before.round(2).tolist(), *[price] * 6]
    for share, marks, gap in waves:
        move = share * float(limit * cash / quantity)
        level = round(price - move if is_long else price + move, 4)
        for mark in range(marks):
            times.append(times[-1] + (SECOND if mark else gap))
            prices.append(level)
    plan = setup(
        parameters={"fast": "2", "slow": "60"},
        cash=cash,
        quantity=quantity,
        daily_loss_max=limit if is_daily else None,
        drawdown_max=None if is_daily else limit,
    )
    sizes = np.ones(len(times))
    market = market_of_trades(START + np.array(times), np.array(prices), sizes, MINUTE)
    found = require_the_same(market, plan)
    assert len(found.said.decisions) == 1


def test_few_bars_are_stepped_where_nothing_can_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    original = Desk.risk_timer
    monkeypatch.setattr(
        Desk, "risk_timer", lambda self, at: (looks.append(at), original(self, at))[1]
    )
    closes = [10.0, 11.0, 12.0, 9.0, 8.0, *np.linspace(8, 9, 6000).tolist()]
    market = bars([10.0, *closes[:-1]], closes)
    plan = setup(cash=D(1000), drawdown_max=D("0.5"), daily_loss_max=D("0.5"))
    fast = run_market(plan, market)
    count = len(looks)
    assert run_market(plan, market, is_scalar=True).digest == fast.digest
    assert len(looks) - count == len(closes)
    assert count < 60


@pytest.mark.data
@pytest.mark.parametrize("drawdown", ["0.002", "0.02", "0.5"])
def test_real_prices_stop_both_ways_alike(drawdown: str) -> None:
    if not DATA.is_dir():
        pytest.skip(f"there is no recorded data at {DATA}")
    plan = setup(
        parameters={"fast": "10", "slow": "30"},
        drawdown_max=D(drawdown),
        daily_loss_max=D(drawdown) / 2,
    )
    part = pl.read_parquet(DATA / "xrp-eth-trades-20191011-20191013.parquet").head(10_000)
    columns = (part[name].to_numpy() for name in ("ts_event_ns", "price", "size"))
    trades = market_of_trades(*columns, MINUTE)
    frame = pl.read_parquet(DATA / "btc-perp-1m-20220101-20220131.parquet").head(6_000)
    columns = {name: frame[name].to_numpy() for name in BAR_COLUMNS}
    perpetual = market_of_bars(columns.pop("ts_open_ns"), columns, MINUTE)
    for market in (trades, perpetual):
        cash = D(repr(market.last_price * 2))
        found = require_the_same(market, replace(plan, cash=cash))
        assert len(found.said.decisions) > 10


def test_the_best_of_as_many_marks_as_risk_confirms_a_loss_with() -> None:
    """By hand: each value and the two before it."""
    values = np.array([3.0, 1.0, 5.0, 2.0, 4.0, 1.0, 0.0])
    assert CONFIRMATIONS == 3
    assert _over_last(values, np.maximum).tolist() == [3, 3, 5, 5, 5, 4, 4]
    assert _over_last(values, np.minimum).tolist() == [3, 1, 1, 1, 2, 1, 0]
    assert _over_last(values[:1], np.maximum).tolist() == [3]
    assert values.tolist() == [3, 1, 5, 2, 4, 1, 0], "what is looked at stays as it is"
