"""The backtest engine: known answers, and both ways through it against each other."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from engine_samples import MINUTE, SECOND, START, TURNER, bars, expected, setup, trades
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.agents.triggers.sma_cross import SmaCross
from tapeline.backtest.engine import strategy
from tapeline.backtest.engine.desk import SWEPT_MIN, Desk
from tapeline.backtest.engine.fast import FastRun
from tapeline.backtest.engine.loading import Source
from tapeline.backtest.engine.market import Market, load_bars, load_trades
from tapeline.backtest.engine.outcome import Outcome
from tapeline.backtest.engine.records import Records
from tapeline.backtest.engine.rows import MarketUnusable
from tapeline.backtest.engine.run import run_file, run_market
from tapeline.backtest.engine.setup import Costs, Setup
from tapeline.backtest.engine.strategy import NOTHING, sma_sides
from tapeline.backtest.run_tables import load
from tapeline.contracts.agents import Direction
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.market_data.bars_core import PartitionBars
from tapeline.runtime.core import Input

D = Decimal
DATA = Path(os.environ.get("TAPELINE_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
CENTS = st.integers(1, 2000).map(lambda cents: cents / 100)
NEAR = st.sampled_from([99.99, 100.0, 100.01])


def outcome(market: Market, plan: Setup, *, is_scalar: bool = False) -> Outcome:
    return run_market(plan, market, is_scalar=is_scalar)


def test_used_approvals_are_swept_from_time_to_time() -> None:
    closes = [100.0 + 5 * (number // 6 % 2) for number in range(600)]
    plan, market = setup(), market_of([(MINUTE, at) for at in closes])
    desk = Desk(plan, market.start_ns - 1, is_short_cut=True)
    FastRun(plan, strategy.watch_of(plan), market, desk).run()
    assert len(desk.said.fills) > 3 * SWEPT_MIN
    assert len(desk._execution_state.used) <= SWEPT_MIN


def require_expected(found: Outcome) -> None:
    wanted = expected(found.market, found.setup)
    assert len(found.said.approvals) == wanted.orders
    assert len(found.said.fills) == wanted.fills
    assert found.fees == wanted.fees
    assert found.final_equity == wanted.equity


# ---- known answers


@pytest.mark.parametrize("is_scalar", [False, True])
def test_a_flip_by_hand(is_scalar: bool) -> None:
    # SMA 2 - SMA 3 of the closes 10 11 12 | 9 | 8 | 13: up (noted), down, down, up.
    market = bars([10, 11, 12, 12, 9, 8, 13], [10, 11, 12, 9, 8, 13, 14])
    found = outcome(market, setup(), is_scalar=is_scalar)
    fills = [(fill.side.value, fill.quantity, fill.price) for fill in found.said.fills]
    # Closes 12 9: 10.5 - 10.67 < 0 after the fourth bar: sold at the fifth open. Then 8 13: up.
    assert fills == [("SELL", 1, 9), ("BUY", 2, 13)]
    assert found.fees == D("0.009") + D("0.026")
    assert found.final_equity == 1_000_000 + 9 - 26 + 14 - D("0.035")
    assert [item.ts_event_ns for item in found.said.fills] == [
        START + 4 * MINUTE,
        START + 6 * MINUTE,
    ]


def test_the_tables_tell_its_orders_and_fills() -> None:
    market = bars([10, 11, 12, 12, 9, 8, 13], [10, 11, 12, 9, 8, 13, 14])
    run = outcome(market, setup()).tables("here", "by hand")
    fills = run["fills"].select("side", "role", "quantity", "price", "fee", "multiplier")
    assert fills.rows() == [
        ("SELL", "WHOLE", 1.0, 9.0, 0.009, 1.0),
        ("BUY", "WHOLE", 2.0, 13.0, 0.026, 1.0),
    ]
    ends = [START + 4 * MINUTE, START + 6 * MINUTE]
    orders = run["orders"].select(
        "ts_decided_ns", "ts_approved_ns", "ts_sent_ns", "ts_done_ns", "side", "filled_quantity"
    )
    # It speaks of the bar's end, leaves in the bar's last nanosecond, fills at the next bar's open.
    assert orders.rows() == [
        (ends[0], ends[0] - 1, ends[0] - 1, ends[0], "SELL", 1.0),
        (ends[1], ends[1] - 1, ends[1] - 1, ends[1], "BUY", 2.0),
    ]
    assert run["orders"].select("average_price", "status", "code").rows() == [
        (9.0, "FILLED", ""),
        (13.0, "FILLED", ""),
    ]
    assert run["orders"]["client_order_id"].to_list() == run["fills"]["client_order_id"].to_list()


@pytest.mark.parametrize("is_scalar", [False, True])
def test_a_tick_at_the_very_start_of_a_later_minute_fills(is_scalar: bool) -> None:
    closes = [(0, 10), (MINUTE, 11), (2 * MINUTE, 12), (4 * MINUTE - 1, 9)]
    market = trades([*closes, (4 * MINUTE, 7.5), (4 * MINUTE + SECOND, 6.0)])
    found = outcome(market, setup(), is_scalar=is_scalar)
    assert [(fill.price, fill.ts_event_ns) for fill in found.said.fills] == [
        (D("7.5"), START + 4 * MINUTE)
    ]


def test_the_last_bar_is_not_closed_and_minutes_without_ticks_have_none() -> None:
    market = trades([(0, 10), (SECOND, 12), (5 * MINUTE + SECOND, 11), (9 * MINUTE, 3)])
    assert market.closed_count == 2
    assert market.close.tolist() == [12, 11]
    assert (market.end_ns - START).tolist() == [MINUTE, 6 * MINUTE, 10 * MINUTE]


def test_fees_and_a_spread_are_paid_by_the_taker() -> None:
    market = bars([10, 11, 12, 12, 9, 8], [10, 11, 12, 9, 8, 7])
    costs = Costs(taker_fee_rate=D("0.01"), half_spread_rate=D("0.1"))
    found = outcome(market, setup(costs=costs))
    (fill,) = found.said.fills
    assert (fill.price, fill.commission) == (D("8.1"), D("0.081"))


def test_an_order_larger_than_the_tick_is_filled_by_many() -> None:
    rows = [(number * SECOND * 5, price) for number, price in enumerate([10.0] * 40 + [9.0] * 80)]
    costs = Costs(participation_max=D("0.5"))
    plan = setup(costs=costs, quantity=D(5))
    both = [outcome(trades(rows), plan, is_scalar=is_scalar) for is_scalar in (False, True)]
    assert both[0].digest == both[1].digest
    assert both[0].said.fills == both[1].said.fills


def test_above_the_largest_drawdown_risk_lets_nothing_open() -> None:
    prices = [10, 11, 12, 9, 8, *(8 + step for step in range(40)), 20, 10, 5]
    market = bars([10, *prices[:-1]], prices)
    plan = setup(cash=D(100), drawdown_max=D("0.05"))
    both = [outcome(market, plan, is_scalar=is_scalar) for is_scalar in (False, True)]
    assert both[0].digest == both[1].digest
    asked = [decision.quantity for decision in both[0].said.decisions]
    assert asked == [1, 2, 2]
    assert [approved.order.quantity for approved in both[0].said.approvals] == [1, 2, 1]


# ---- against a plain loop, and the scalar run


@given(st.lists(st.tuples(NEAR | CENTS, NEAR | CENTS), min_size=1, max_size=60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_bars_come_to_what_a_plain_loop_says(
    rows: list[tuple[float, float]], is_scalar: bool
) -> None:
    market = bars([row[0] for row in rows], [row[1] for row in rows])
    require_expected(outcome(market, setup(), is_scalar=is_scalar))


GAPS = st.sampled_from([0, 1, SECOND, 20 * SECOND, MINUTE - 1, MINUTE, 3 * MINUTE])
TICKS = st.lists(st.tuples(GAPS, NEAR | CENTS), min_size=1, max_size=80)


def market_of(rows: list[tuple[int, float]]) -> Market:
    times = np.cumsum([gap for gap, _ in rows]).tolist()
    return trades([(ns, price) for ns, (_, price) in zip(times, rows, strict=True)])


@given(TICKS, st.sampled_from([D(0), D("0.3")]), st.sampled_from([0, 1, 90 * SECOND]))
@settings(max_examples=60, deadline=None)
def test_both_ways_say_the_same(
    rows: list[tuple[int, float]], participation: Decimal, latency_ns: int
) -> None:
    market = market_of(rows)
    plan = setup(costs=Costs(participation_max=participation, latency_ns=latency_ns))
    fast, scalar = outcome(market, plan), outcome(market, plan, is_scalar=True)
    assert fast.said == scalar.said
    assert fast.digest == scalar.digest
    if not participation and not latency_ns:
        require_expected(fast)


@given(TICKS)
@settings(max_examples=10_000, deadline=None)
def test_bars_of_columns_are_those_of_the_bars_core(rows: list[tuple[int, float]]) -> None:
    market = market_of(rows)
    core, found = PartitionBars(0, (MINUTE,)), []
    records = Records(setup(), market)
    for index in range(market.tick_count):
        event = Input(
            record=records.trade(market.tick(index)), topic="ticks", partition=0, offset=index
        )
        found += [item.record for item in core.step([event]) if isinstance(item.record, Bar)]
    told = [records.bar(bar) for bar in range(market.closed_count)]
    figures = ("ts_open_ns", "open", "high", "low", "close", "volume", "tick_count", "ts_event_ns")
    assert [[getattr(bar, name) for name in figures] for bar in told] == [
        [getattr(bar, name) for name in figures] for bar in found
    ]


@given(
    st.lists(NEAR | CENTS | st.floats(1e-6, 1e6), max_size=50),
    st.integers(1, 4),
    st.integers(1, 8),
    st.sampled_from([0.0, 1e-6, 0.01, 1.0]),
)
@settings(max_examples=10_000, deadline=None)
def test_the_twin_of_the_averages_says_what_every_step_says(
    closes: list[float], fast: int, more: int, dead_band: float
) -> None:
    core = SmaCross(
        name="sma", interval_ns=MINUTE, fast=fast, slow=fast + more, dead_band=dead_band
    )
    require_twin(core, closes)


def require_twin(core: SmaCross, closes: list[float]) -> None:
    signs = {Direction.LONG: 1, Direction.SHORT: -1, Direction.FLAT: 0}
    state, said = core.initial(), []
    for number, close in enumerate(closes):
        state, opinion = core.step(state, bar_of(number, close))
        said.append(NOTHING if opinion is None else signs[opinion.direction])
    assert sma_sides(core, np.array(closes)).tolist() == said


def bar_of(number: int, close: float) -> Bar:
    end_ns = START + (number + 1) * MINUTE
    return Bar(
        instrument_id="X.SIM",
        feed="file",
        interval_ns=MINUTE,
        ts_open_ns=end_ns - MINUTE,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=1.0,
        tick_count=1,
        late_count=0,
        is_complete=True,
        origin=TickOrigin.EXCHANGE,
        ts_event_ns=end_ns,
        ts_init_ns=end_ns,
    )


@pytest.mark.data
def test_both_ways_say_the_same_of_real_trades_and_bars() -> None:
    if not DATA.is_dir():
        pytest.skip(f"there is no recorded data at {DATA}")
    plan = setup(parameters={"fast": "10", "slow": "30"})
    real = load_trades(DATA / "xrp-eth-trades-20191011-20191013.parquet", {}, MINUTE)
    perpetual = load_bars(DATA / "btc-perp-1m-20220101-20220131.parquet", {}, MINUTE)
    for market in (real, perpetual):
        fast, scalar = outcome(market, plan), outcome(market, plan, is_scalar=True)
        assert fast.digest == scalar.digest
        assert len(fast.said.fills) > 20
        require_expected(fast)


# ---- files


def trade_file(tmp_path: Path, **changes: object) -> Path:
    columns: dict[str, object] = {
        "ts_event_ns": [START, START + SECOND, START + 2 * SECOND],
        "price": [10.0, 11.0, 12.0],
        "size": [1.0, 2.0, 3.0],
    }
    frame = pl.DataFrame({**columns, **changes}).drop(
        [name for name, value in changes.items() if value is None]
    )
    path = tmp_path / "trades.parquet"
    frame.write_parquet(path)
    return path


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"price": None}, "MISSING_COLUMN", "no column price"),
        ({"price": [10.0, float("nan"), 12.0]}, "BAD_VALUE", "price: row 1 is nan"),
        ({"price": [10.0, None, 12.0]}, "BAD_VALUE", "price: row 1 is missing"),
        ({"price": [10.0, 11.0, -1.0]}, "BAD_VALUE", "price: row 2 is -1.0"),
        ({"price": [10.0, float("inf"), 12.0]}, "BAD_VALUE", "price: row 1 is inf"),
        ({"price": ["a", "b", "c"]}, "BAD_VALUE", "price: is String"),
        ({"size": [1.0, -2.0, 3.0]}, "BAD_VALUE", "size: row 1 is -2.0"),
        ({"ts_event_ns": [START, START - 1, START]}, "UNSORTED", "row 1 is earlier"),
        ({"ts_event_ns": [1.5, 2.5, 3.5]}, "BAD_VALUE", "ts_event_ns: is Float64"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, object], code: str, said: str
) -> None:
    with pytest.raises(MarketUnusable, match=said) as caught:
        load_trades(trade_file(tmp_path, **changes), {}, MINUTE)
    assert caught.value.code == code


def test_what_is_no_file_or_no_row_is_refused(tmp_path: Path) -> None:
    path = trade_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    for bad in (path, tmp_path / "absent.parquet"):
        with pytest.raises(MarketUnusable, match="cannot be read"):
            load_trades(bad, {}, MINUTE)
    pl.DataFrame(
        schema={"ts_event_ns": pl.Int64, "price": pl.Float64, "size": pl.Float64}
    ).write_parquet(path)
    with pytest.raises(MarketUnusable, match="holds no row"):
        load_trades(path, {}, MINUTE)


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pl.read_parquet(trade_file(tmp_path)).rename({"price": "px"}).write_parquet(path)
    mapped = load_trades(path, {"price": "px"}, MINUTE)
    assert [mapped.tick(index).price for index in range(3)] == [10.0, 11.0, 12.0]
    with pytest.raises(MarketUnusable, match="no column of ours"):
        load_trades(path, {"prize": "px"}, MINUTE)


def test_bars_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    times = [START, START + MINUTE, START + 2 * MINUTE, START + 2 * MINUTE + SECOND]
    columns = {name: [1.0] * 4 for name in ("open", "high", "low", "close", "volume")}
    pl.DataFrame({"ts_open_ns": times, **columns}).write_parquet(path)
    with pytest.raises(MarketUnusable) as caught:
        load_bars(path, {}, MINUTE)
    assert caught.value.code == "OVERLAPPING"


def test_a_strategy_of_ones_own_runs_from_its_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(TURNER)
    path = tmp_path / "trades.parquet"
    count = 20
    pl.DataFrame(
        {
            "ts_event_ns": [START + number * MINUTE for number in range(count)],
            "price": [100.0 + number for number in range(count)],
            "size": [1.0] * count,
        }
    ).write_parquet(path)
    plan = setup(strategy=str(mine), parameters={"every": "3"})
    source = Source(path=path, is_bars=False)
    fast, scalar = run_file(plan, source), run_file(plan, source, is_scalar=True)
    assert fast.digest == scalar.digest
    assert len(fast.said.fills) == 6
    fast.tables("here", "mine").save(tmp_path / "run")
    saved = load(tmp_path / "run")
    assert saved.description.final_equity == f"{fast.final_equity:f}"
    assert saved["orders"]["status"].to_list() == ["FILLED"] * 6
    assert saved["bars"].height == count - 1
    # One more than bars: what was filled in the last, which is not closed, counts.
    assert saved["equity"].height == count
    assert saved["equity"]["equity"][-1] == pytest.approx(float(fast.final_equity))
