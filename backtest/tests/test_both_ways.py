"""The fast run and the scalar run are one: whatever the market, the costs and the strategy, both
say the same, byte for byte.

Short by default; the long form (make chaos) plays `TAPELINE_TEST_DIGEST_CASES` cases, 10,000 unless
told otherwise.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from engine_samples import MINUTE, SECOND, START, bars, setup
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as drawn_from
from hypothesis import strategies as st

from tapeline.backtest.engine import run
from tapeline.backtest.engine.desk import Desk
from tapeline.backtest.engine.market import Market, market_of_trades
from tapeline.backtest.engine.run import run_market
from tapeline.backtest.engine.setup import Costs, Setup

D = Decimal
SHORT_CASES = 60
LONG_CASES = int(os.environ.get("TAPELINE_TEST_DIGEST_CASES", "10000"))
PARTS = 4

PRICES = st.sampled_from([99.99, 100.0, 100.01]) | st.integers(1, 2000).map(lambda c: c / 100)
GAPS = st.sampled_from([MINUTE, 20 * SECOND, MINUTE - 1, SECOND, 1, 0, 3 * MINUTE, 2 * MINUTE])
SIZES = st.sampled_from([0.0, 0.1, 1.0, 7.5])
TICKS = st.lists(st.tuples(GAPS, PRICES, SIZES), min_size=10, max_size=80)
BARS = st.lists(st.tuples(PRICES, PRICES), min_size=6, max_size=60)
COSTS = st.builds(
    Costs,
    taker_fee_rate=st.sampled_from([D(0), D("0.001")]),
    half_spread_rate=st.sampled_from([D(0), D("0.0002")]),
    participation_max=st.sampled_from([D(0), D("0.3"), D(1)]),
    latency_ns=st.sampled_from([0, 1, SECOND, 90 * SECOND]),
)
LOSSES = st.sampled_from([None, None, None, D("0.001"), D("0.05")])


def of_ticks(rows: list[tuple[int, float, float]]) -> Market:
    times = START + np.cumsum([gap for gap, _, _ in rows], dtype=np.int64)
    prices, sizes = (np.array([row[column] for row in rows]) for column in (1, 2))
    return market_of_trades(times, prices, sizes, MINUTE)


MARKETS = TICKS.map(of_ticks) | BARS.map(lambda rows: bars(*map(list, zip(*rows, strict=True))))


@st.composite
def setups(draw: Callable[[Any], Any]) -> Setup:
    """Averages of a few bars; a strategy with a vectorised twin, or one that steps every bar."""
    fast = draw(st.integers(1, 3))
    strategies: list[tuple[str, dict[str, str]]] = [
        ("sma_cross", {"fast": str(fast), "slow": str(fast + draw(st.integers(1, 4)))}),
        ("breakout", {"entry": str(fast + 1), "exit": str(fast)}),
    ]
    strategy, parameters = draw(st.sampled_from(strategies))
    return setup(
        strategy=strategy,
        parameters=parameters,
        costs=draw(COSTS),
        quantity=draw(st.sampled_from([D(1), D("0.5"), D(12)])),
        cash=draw(st.sampled_from([D(1_000_000), D(500)])),
        tick_size=draw(st.sampled_from([D("1E-18"), D("0.01")])),
        drawdown_max=draw(LOSSES),
        daily_loss_max=draw(LOSSES),
    )


def require_one_digest(market: Market, plan: Setup, seen: Counter[str]) -> None:
    fast, scalar = run_market(plan, market), run_market(plan, market, is_scalar=True)
    assert fast.said == scalar.said
    assert fast.digest == scalar.digest
    assert (fast.cash, fast.position) == (scalar.cash, scalar.position)
    seen["cases"] += 1
    seen["decisions"] += len(fast.said.decisions)
    seen["denials"] += len(fast.said.denials)
    seen["fills"] += len(fast.said.fills)
    seen["with fills"] += bool(fast.said.fills)


def play(cases: int, part: int | None = None) -> Counter[str]:
    """Plays that many cases, and counts what they came to."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(MARKETS, setups())
    def say_the_same(market: Market, plan: Setup) -> None:
        require_one_digest(market, plan, seen)

    (say_the_same if part is None else drawn_from(part)(say_the_same))()
    return seen


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(TICKS.map(of_ticks), setups())
def test_what_is_cut_short_leads_to_the_state_that_all_steps_lead_to(
    market: Market, plan: Setup
) -> None:
    states: list[Desk] = []
    for is_short_cut in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                run, "Desk", lambda *args, cut=is_short_cut, **_how: kept(states, cut, *args)
            )
            run_market(plan, market)
    whole, short = states
    assert short.dumped() == whole.dumped()


def kept(states: list[Desk], is_short_cut: bool, *args: Any) -> Desk:
    states.append(Desk(*args, is_short_cut=is_short_cut))
    return states[-1]


def test_both_ways_come_to_one_digest() -> None:
    seen = play(SHORT_CASES)
    assert seen["cases"] >= SHORT_CASES
    assert seen["fills"] > 0


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_both_ways_come_to_one_digest_ten_thousand_times(
    part: int, tell: Callable[[str], None]
) -> None:
    seen = play(-(-LONG_CASES // PARTS), part)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(seen.items()))
    tell(f"scalar = fast, part {part}: {counts}")
    assert seen["cases"] >= LONG_CASES // PARTS
    assert seen["with fills"] > seen["cases"] // 3
