"""Longer bars made of a file's bars: by hand, against trades, and both ways through the engine."""

from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from engine_samples import MINUTE, SECOND, START, expected, setup
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.backtest.engine.bar_rows import length_text, row_ns_of
from tapeline.backtest.engine.kept_market import kept_market
from tapeline.backtest.engine.loading import Care, Source
from tapeline.backtest.engine.market import (
    Market,
    load_bars,
    market_of_bars,
    market_of_trades,
)
from tapeline.backtest.engine.outcome import Outcome
from tapeline.backtest.engine.rows import MarketUnusable, Span
from tapeline.backtest.engine.run import run_file, run_market
from tapeline.backtest.engine.setup import Costs, Setup
from tapeline.backtest.report.analysis import analyse

D = Decimal
HOUR = 60 * MINUTE
EVEN = START - START % HOUR
"""a full hour"""
THREE = 3 * MINUTE
DATA = Path(os.environ.get("TAPELINE_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
IN_SPITE = Care(accept_faults=True)
CENTS = st.integers(1, 2000).map(lambda cents: cents / 100)
NEAR = st.sampled_from([99.99, 100.0, 100.01])
PRICES = NEAR | CENTS
ROWS = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 2, 5]), PRICES, PRICES, PRICES, PRICES, st.integers(0, 9)),
    min_size=1,
    max_size=80,
)
"""(minutes behind the row before, four prices, volume)"""
Row = tuple[int, float, float, float, float, int]


def columns_of(rows: list[Row]) -> dict[str, Any]:
    opens = np.array([row[1] for row in rows])
    closes = np.array([row[2] for row in rows])
    four = np.array([row[1:5] for row in rows])
    return {
        "ts_open_ns": EVEN + MINUTE * np.cumsum([row[0] for row in rows]),
        "open": opens,
        "high": four.max(axis=1),
        "low": four.min(axis=1),
        "close": closes,
        "volume": np.array([float(row[5]) for row in rows]),
    }


def made(rows: list[Row], interval_ns: int = THREE) -> Market:
    columns = columns_of(rows)
    return market_of_bars(columns.pop("ts_open_ns"), columns, interval_ns, MINUTE)


def as_trades(rows: list[Row], interval_ns: int = THREE) -> Market:
    """Of each row four trades: open, high and low within it, its close in its last nanosecond."""
    columns = columns_of(rows)
    parts = (
        (0, "open", 1.0),
        (20 * SECOND, "high", 0.0),
        (40 * SECOND, "low", 0.0),
        (MINUTE - 1, "close", 0.0),
    )
    times = np.stack([columns["ts_open_ns"] + ns for ns, _, _ in parts], axis=1)
    prices = np.stack([columns[name] for _, name, _ in parts], axis=1)
    sizes = np.stack([columns["volume"] * share for _, _, share in parts], axis=1)
    return market_of_trades(times.ravel(), prices.ravel(), sizes.ravel(), interval_ns)


def fills_of(found: Outcome) -> list[tuple[Any, ...]]:
    return [
        (fill.ts_event_ns, fill.side, fill.quantity, fill.price, fill.commission)
        for fill in found.said.fills
    ]


# ---- by hand


@pytest.mark.parametrize("is_scalar", [False, True])
def test_three_minutes_of_one_by_hand(is_scalar: bool) -> None:
    # Closes of three minutes: 10, 11, 12, 9 (an order), 8; the last has one minute and stays open.
    closes = [7, 8, 10, 9, 9, 11, 10, 11, 12, 12, 14, 9, 10, 6, 8, 5]
    rows: list[Row] = [
        (1 if number else 0, before + 0.5, close, before + 0.5, close, 1)
        for number, (before, close) in enumerate(zip([7, *closes], closes, strict=False))
    ]
    market = made(rows)
    assert market.closed_count == 5
    assert market.close.tolist() == [10, 11, 12, 9, 8]
    assert market.open.tolist() == [7.5, 10.5, 11.5, 12.5, 9.5]
    assert market.high.tolist() == [10, 11, 12, 14.5, 10.5]
    assert market.low.tolist() == [7, 9, 10, 9, 6]
    assert market.volume.tolist() == [3, 3, 3, 3, 3]
    assert market.tick_counts.tolist() == [3, 3, 3, 3, 3]
    assert (market.end_ns - EVEN).tolist() == [THREE * (number + 1) for number in range(6)]
    found = run_market(setup(interval_ns=THREE), market, is_scalar=is_scalar)
    # SMA 2 falls below SMA 3 with 12 and 9: sold at the open of the minute behind, not later.
    assert fills_of(found)[0][:1] == (EVEN + 4 * THREE,)
    assert [(fill.side.value, fill.quantity, fill.price) for fill in found.said.fills] == [
        ("SELL", 1, D("9.5"))
    ]
    # What is held is valued at the last minute's close, which no three minutes have closed with.
    assert found.final_equity == 1_000_000 + D("9.5") - D("0.0095") - 5


@pytest.mark.parametrize(("count", "closed"), [(5, 1), (6, 2), (7, 2)])
def test_the_last_bar_is_closed_where_the_file_reaches_to_its_end(count: int, closed: int) -> None:
    rows: list[Row] = [(1 if number else 0, 10, 10, 10, 10, 1) for number in range(count)]
    assert made(rows).closed_count == closed
    assert made(rows, MINUTE).closed_count == count


def test_a_mark_is_as_old_as_the_last_row(tmp_path: Path) -> None:
    market = made([(0, 10, 11, 10, 11, 1), (5, 12, 13, 12, 13, 1)])
    assert market.mark_ns(0) == EVEN + MINUTE - 1
    assert market.row_close(1)[1:3] == (EVEN + 6 * MINUTE - 1, 13.0)


def test_what_is_filled_in_the_last_open_bar_is_explained() -> None:
    # Closes of three minutes 10 11 12 9: sold in the first minute of a bar that never closes.
    closes = [10.0] * 3 + [11.0] * 3 + [12.0] * 3 + [9.0] * 3 + [8.0]
    rows: list[Row] = [(1 if at else 0, at_, at_, at_, at_, 1) for at, at_ in enumerate(closes)]
    found = run_market(setup(interval_ns=THREE), made(rows))
    assert len(found.said.fills) == 1
    tables = found.tables("", "")
    worth = tables["equity"]
    assert worth.height == 5
    assert worth["equity"][-1] == float(found.final_equity)
    assert worth["ts_event_ns"][-1] == EVEN + 13 * MINUTE
    analysis = analyse(tables)
    assert analysis.figures["unexplained"].value == pytest.approx(0.0, abs=1e-6)
    assert analysis.figures["net_profit"].value == pytest.approx(-0.008)


def test_what_the_bars_are_made_of_is_told() -> None:
    rows: list[Row] = [(1 if number else 0, 10, 10, 10, 10, 1) for number in range(9)]
    (first, *_) = run_market(setup(interval_ns=THREE), made(rows)).assumptions()
    assert (first.name, first.value) == ("bars", "3m of 1m")
    plain = run_market(setup(), made(rows, MINUTE))
    assert plain.assumptions() == plain.setup.assumptions()
    assert [length_text(ns) for ns in (SECOND, 90 * SECOND, HOUR, 24 * HOUR)] == [
        "1s",
        "90s",
        "1h",
        "1d",
    ]


# ---- against trades, a plain loop, and the scalar run


@given(ROWS)
@settings(max_examples=200, deadline=None)
def test_they_are_the_bars_of_trades_at_the_same_prices(rows: list[Row]) -> None:
    ours, theirs = made(rows), as_trades(rows)
    shared = theirs.closed_count
    # Of trades nobody knows whether more follow; of rows it is known.
    assert ours.closed_count in (shared, shared + 1)
    assert ours.end_ns.tolist() == theirs.end_ns.tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert getattr(ours, name)[:shared].tolist() == getattr(theirs, name).tolist()
    plan = setup(interval_ns=THREE)
    found, wanted = run_market(plan, ours), run_market(plan, theirs)
    assert fills_of(found) == fills_of(wanted)
    assert found.final_equity == wanted.final_equity
    loop = expected(ours, plan)
    assert (len(found.said.approvals), found.fees) == (loop.orders, loop.fees)
    assert found.final_equity == loop.equity


LIMITS = st.none() | st.sampled_from([D("0.001"), D("0.01"), D("0.1")])
PLANS = st.builds(
    dict,
    drawdown_max=LIMITS,
    daily_loss_max=LIMITS,
    cash=st.sampled_from([D(20), D(100), D(1000)]),
    costs=st.builds(
        Costs,
        participation_max=st.sampled_from([D(0), D("0.3")]),
        latency_ns=st.sampled_from([0, 90 * SECOND]),
    ),
)


@given(ROWS, PLANS)
@settings(max_examples=200, deadline=None)
def test_both_ways_say_the_same_of_them(rows: list[Row], plan: dict[str, Any]) -> None:
    market, asked = made(rows), setup(interval_ns=THREE, **plan)
    fast, scalar = run_market(asked, market), run_market(asked, market, is_scalar=True)
    assert fast.said == scalar.said
    assert fast.digest == scalar.digest


@given(ROWS, st.integers(0, 40), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_a_part_is_what_a_file_of_no_more_would_give(
    rows: list[Row], start: int, length: int
) -> None:
    begin_ns, end_ns = EVEN + start * THREE, EVEN + (start + length) * THREE
    columns = columns_of(rows)
    times = columns["ts_open_ns"]
    within = (times >= begin_ns) & (times < end_ns)
    found = made(rows).part(begin_ns, end_ns)
    if not within.any():
        assert found is None
        return
    alone = {name: values[within] for name, values in columns.items()}
    wanted = market_of_bars(alone.pop("ts_open_ns"), alone, THREE, MINUTE)
    assert found is not None
    assert found.closed_count == wanted.closed_count
    plan = setup(interval_ns=THREE, data_digest="the same")
    assert run_market(plan, found).final_equity == run_market(plan, wanted).final_equity


# ---- files


def bar_file(tmp_path: Path, times_ns: list[int]) -> Path:
    count = len(times_ns)
    closes = (100 + np.sin(np.arange(count) / 7)).round(2)
    frame = pl.DataFrame(
        {
            "ts_open_ns": times_ns,
            "open": closes,
            "high": closes + 1,
            "low": closes - 1,
            "close": closes,
            "volume": [1.0] * count,
        }
    )
    path = tmp_path / f"bars-{count}.parquet"
    frame.write_parquet(path)
    return path


def test_how_long_its_bars_are_is_seen_from_the_file() -> None:
    minutes = EVEN + MINUTE * np.array([0, 1, 2, 5, 6, 60])
    assert row_ns_of(minutes, HOUR) == MINUTE
    assert row_ns_of(minutes, MINUTE) == MINUTE
    assert row_ns_of(minutes[:1], HOUR) == HOUR
    # An hour that is there twice makes no file of half hours.
    assert row_ns_of(EVEN + HOUR * np.array([0, 1, 1.5, 2, 3, 4]), HOUR) == HOUR
    # Minutes written in microseconds are no bars of 60 ms.
    assert row_ns_of(minutes // 1000, HOUR) == HOUR


@pytest.mark.parametrize(
    ("times_ns", "code", "said"),
    [
        ([MINUTE // 1000 * number for number in range(9)], "OVERLAPPING", "--time-format"),
        ([EVEN, EVEN + MINUTE, EVEN + MINUTE, EVEN + 2 * MINUTE], "OVERLAPPING", "row 2 begins 0"),
        ([EVEN, EVEN + MINUTE, EVEN - MINUTE], "UNSORTED", "row 2 is earlier"),
        ([EVEN + 7 * MINUTE * number for number in range(9)], "ACROSS", "bars of 7m"),
        ([EVEN + 45 * SECOND + MINUTE * n for n in range(99)], "ACROSS", "whole part"),
    ],
)
def test_bars_of_which_no_longer_ones_can_be_made_are_refused(
    tmp_path: Path, times_ns: list[int], code: str, said: str
) -> None:
    with pytest.raises(MarketUnusable) as caught:
        load_bars(bar_file(tmp_path, times_ns), {}, HOUR)
    assert caught.value.code == code
    assert said in f"{caught.value.cause} {caught.value.remedy}"


def test_a_span_is_cut_by_the_rows_of_the_file(tmp_path: Path) -> None:
    path = bar_file(tmp_path, [EVEN + MINUTE * number for number in range(200)])
    span = Span(EVEN + 10 * MINUTE, EVEN + 150 * MINUTE)
    market = load_bars(path, {}, HOUR, span)
    assert (market.tick_count, market.closed_count, len(market.end_ns)) == (140, 2, 3)


def test_a_kept_market_plays_like_its_file(tmp_path: Path) -> None:
    path = bar_file(tmp_path, [EVEN + MINUTE * number for number in range(900)])
    source = Source(path=path, is_bars=True)
    plan = setup(interval_ns=5 * MINUTE, drawdown_max=D("0.01"), cash=D(150))
    wanted = run_file(plan, source, care=IN_SPITE)
    folder, _ = source.keep(plan.interval_ns, IN_SPITE, tmp_path / "kept")
    market = kept_market(folder)
    found = run_market(replace(plan, data_digest=market.digest), market)
    assert found.digest == wanted.digest
    assert len(found.said.decisions) > 10


@pytest.mark.data
def test_hours_of_real_minutes(tmp_path: Path) -> None:
    path = DATA / "btc-perp-1m-20220101-20220131.parquet"
    if not path.is_file():
        pytest.skip(f"there is no recorded data at {DATA}")
    market = load_bars(path, {}, HOUR)
    hours = (
        pl.read_parquet(path)
        .with_columns(pl.col("ts_open_ns").cast(pl.Datetime("ns")))
        .group_by_dynamic("ts_open_ns", every="1h")
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
        )
    )
    assert market.closed_count == len(hours) - 1
    for name in ("open", "high", "low", "close"):
        assert getattr(market, name).tolist() == hours[name].to_list()[:-1]
    plan: Setup = setup(interval_ns=HOUR, parameters={"fast": "5", "slow": "15"})
    both = [run_market(plan, market, is_scalar=is_scalar) for is_scalar in (False, True)]
    assert both[0].digest == both[1].digest
    assert len(both[0].said.fills) > 50
    loop = expected(market, plan)
    assert (both[0].fees, both[0].final_equity) == (loop.fees, loop.equity)


SHARES = st.sampled_from([-0.5, 0.0, 0.3, 0.5, 0.69, 0.71, 0.79, 0.81, 0.99, 1.01, 1.3, 2.2])
"""of a limit that is lost, as in test_engine_stops"""


def held_through(shares: list[float], *, is_daily: bool) -> Outcome:
    """A long position whose loss after each minute is such a share of a limit, both ways alike."""
    cash, quantity, limit, price = 100.0, 4.0, 0.05, 10.0
    # Falling far below, then up once: no average turns while the waves last.
    before = [*np.linspace(2.0, 1.5, 186).round(3).tolist(), *[price] * 12]
    closes = [*before, *(round(price - share * limit * cash / quantity, 4) for share in shares)]
    rows: list[Row] = [
        (1 if at else 0, closes[max(at - 1, 0)], close, closes[max(at - 1, 0)], close, 1)
        for at, close in enumerate(closes)
    ]
    plan = setup(
        interval_ns=THREE,
        parameters={"fast": "2", "slow": "60"},
        cash=D(100),
        quantity=D(4),
        daily_loss_max=D("0.05") if is_daily else None,
        drawdown_max=None if is_daily else D("0.05"),
    )
    market = made(rows)
    fast, scalar = run_market(plan, market), run_market(plan, market, is_scalar=True)
    assert fast.said == scalar.said
    assert fast.digest == scalar.digest
    return fast


@given(st.lists(SHARES, min_size=3, max_size=60), st.booleans())
@settings(max_examples=200, deadline=None)
def test_losses_at_the_minutes_stop_both_ways_alike(shares: list[float], is_daily: bool) -> None:
    assert len(held_through(shares, is_daily=is_daily).said.decisions) == 1


def test_a_loss_that_is_less_for_one_minute_is_not_taken_for_the_close_of_its_bar() -> None:
    # Warned, then quiet for a minute within a bar whose close is not, then warned again.
    found = held_through([0.9] * 6 + [0.9, 0.3, 0.9] + [0.9] * 6 + [1.3] * 6, is_daily=False)
    assert len(found.said.decisions) == 1
