"""A file of trades read block by block comes to what it comes to as a whole."""

from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from engine_samples import MINUTE, SECOND, START, setup
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.backtest.data_check.by_blocks import TradeCheck
from tapeline.backtest.data_check.check import check_data
from tapeline.backtest.data_check.findings import DataReport
from tapeline.backtest.data_check.open_time import DAY_NS, HOUR_NS
from tapeline.backtest.data_check.series import Rules
from tapeline.backtest.engine.kept_market import kept_market
from tapeline.backtest.engine.loading import Care, Source
from tapeline.backtest.engine.market import TABLE, load_trades
from tapeline.backtest.engine.rows import TRADE_COLUMNS, MarketUnusable, RowFile, Span
from tapeline.backtest.engine.run import run_file, run_market
from tapeline.backtest.engine.setup import Costs

DATA = Path(os.environ.get("TAPELINE_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
IN_SPITE = Care(accept_faults=True)
NEAR = st.sampled_from([99.99, 100.0, 100.01])
ANY = st.integers(1, 2000).map(lambda cents: cents / 100)
GAPS = st.sampled_from([0, 1, SECOND, 20 * SECOND, MINUTE - 1, MINUTE, 3 * MINUTE])
TICKS = st.lists(st.tuples(GAPS, NEAR | ANY), min_size=1, max_size=80)


def written(folder: Path, rows: list[tuple[int, float]]) -> Path:
    """(nanoseconds behind the one before, price) of trades whose sizes do not add up exactly."""
    gaps = np.array([gap for gap, _ in rows], dtype=np.int64)
    path = folder / "trades.parquet"
    pl.DataFrame(
        {
            "ts_event_ns": START + np.cumsum(gaps),
            "price": [price for _, price in rows],
            "size": [0.1 + number / 3 for number in range(len(rows))],
        }
    ).write_parquet(path)
    return path


@given(TICKS, st.integers(1, 90), st.data())
@settings(max_examples=150, deadline=None)
def test_a_part_of_the_time_is_a_file_that_holds_no_more(
    rows: list[tuple[int, float]], block_rows: int, data: st.DataObject
) -> None:
    plan = setup(costs=Costs(participation_max=Decimal("0.3")))
    with TemporaryDirectory() as name:
        path = written(Path(name), rows)
        whole = pl.read_parquet(path)
        times = whole["ts_event_ns"].to_list()
        bounds = st.integers(times[0] - 1, times[-1] + 1) | st.sampled_from(times)
        span = Span(data.draw(st.none() | bounds), data.draw(st.none() | bounds))
        source = Source(path=path, is_bars=False, block_rows=block_rows, span=span)
        start, end = span.start_ns or times[0], span.end_ns or times[-1] + 1
        part = whole.filter(pl.col("ts_event_ns").is_between(start, end, closed="left"))
        if part.is_empty():
            with pytest.raises(MarketUnusable, match="holds no row"):
                run_file(plan, source, care=IN_SPITE)
            return
        alone = Path(name) / "part.parquet"
        part.write_parquet(alone)
        wanted = run_file(plan, Source(path=alone, is_bars=False), is_scalar=True, care=IN_SPITE)
        found = run_file(plan, source, care=IN_SPITE)
        kept, _ = source.keep(MINUTE, IN_SPITE, Path(name) / "kept")
        mapped = run_market(replace(plan, data_digest=wanted.setup.data_digest), kept_market(kept))
    assert (found.digest, found.final_equity) == (wanted.digest, wanted.final_equity)
    assert mapped.digest == found.digest
    assert found.setup.run_id == wanted.setup.run_id


@given(
    TICKS,
    st.integers(1, 90),
    st.sampled_from([Decimal(0), Decimal("0.3")]),
    st.sampled_from([0, 90 * SECOND]),
)
@settings(max_examples=150, deadline=None)
def test_a_run_is_the_same_however_its_file_is_cut(
    rows: list[tuple[int, float]], block_rows: int, participation: Decimal, latency_ns: int
) -> None:
    plan = setup(costs=Costs(participation_max=participation, latency_ns=latency_ns))
    with TemporaryDirectory() as name:
        path = written(Path(name), rows)
        cut = Source(path=path, is_bars=False, block_rows=block_rows)
        found = run_file(plan, cut, care=IN_SPITE)
        whole = run_file(plan, Source(path=path, is_bars=False), is_scalar=True, care=IN_SPITE)
    assert found.digest == whole.digest
    assert found.said == whole.said
    assert found.setup.data_digest == whole.setup.data_digest
    assert found.warnings == whole.warnings
    assert found.final_equity == whole.final_equity
    for table in found.tables("here", "cut").tables:
        assert found.tables("", "")[table].equals(whole.tables("", "")[table])


@pytest.mark.parametrize("block_rows", [1, 2, 3, 5, 7, 100])
def test_bars_and_their_edges_do_not_depend_on_the_blocks(tmp_path: Path, block_rows: int) -> None:
    chance = np.random.default_rng(3)
    rows = [
        (int(gap), 100.0 + number % 7) for number, gap in enumerate(chance.integers(0, MINUTE, 60))
    ]
    path = written(tmp_path, rows)
    cut = Source(path=path, is_bars=False, block_rows=block_rows).load(MINUTE, IN_SPITE).market
    whole = load_trades(path, {}, MINUTE)
    for name in TABLE:
        assert cut.table[name].tolist() == whole.table[name].tolist(), name
    assert cut.digest == whole.digest
    assert [cut.tick(index) for index in range(60)] == [whole.tick(index) for index in range(60)]


@pytest.mark.parametrize("block_rows", [1, 2, 4])
def test_a_fault_is_named_by_its_row_in_the_file(tmp_path: Path, block_rows: int) -> None:
    path = written(tmp_path, [(SECOND, 10.0)] * 5)
    for name, value, said in (
        ("ts_event_ns", START, "row 4 is earlier"),
        ("price", -1.0, "price: row 4 is -1.0"),
        ("size", None, "size: row 4 is missing"),
    ):
        frame = pl.read_parquet(path)
        changed = pl.Series(name, [*frame[name].to_list()[:4], value], dtype=frame.schema[name])
        bad = tmp_path / "bad.parquet"
        frame.with_columns(changed).write_parquet(bad)
        with pytest.raises(MarketUnusable, match=said):
            Source(path=bad, is_bars=False, block_rows=block_rows).load(MINUTE, IN_SPITE)


# ---- the check of the data

RULES = (
    Rules(interval_ns=MINUTE),
    Rules(interval_ns=7 * SECOND),
    Rules(interval_ns=MINUTE, calendar="24/7"),
    Rules(interval_ns=MINUTE, calendar="XNYS"),
    Rules(interval_ns=DAY_NS, calendar="XNYS"),
    Rules(interval_ns=DAY_NS),
)
LONG = st.sampled_from(
    [0, 1, SECOND, MINUTE, 20 * MINUTE, HOUR_NS - 1, HOUR_NS, 5 * HOUR_NS, 17 * HOUR_NS, 3 * DAY_NS]
)
PRICES = st.sampled_from([100.0, 100.01, 100.5, 50.0, 200.0, 1000.0, 1.0])
SIZES = st.sampled_from([1.0, 0.0])
SLICES = st.lists(
    st.tuples(LONG, PRICES, SIZES, st.sampled_from([1, 1, 20, 40])), min_size=1, max_size=30
)
BEGINS = st.sampled_from([0, START, 10_000 * DAY_NS, 24_000 * DAY_NS])


def reported(
    columns: tuple[np.ndarray, np.ndarray, np.ndarray], rules: Rules, cuts: list[int]
) -> DataReport:
    check, start, number = TradeCheck(rules), 0, 0
    while start < len(columns[0]):
        end = start + cuts[number % len(cuts)]
        check.add(*(column[start:end] for column in columns))
        start, number = end, number + 1
    return check.report("here")


@given(
    BEGINS,
    SLICES,
    st.sampled_from(RULES),
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_the_check_by_blocks_says_what_the_check_of_all_says(
    begin: int, slices: list[tuple[int, float, float, int]], rules: Rules, cuts: list[int]
) -> None:
    gaps = [gap for gap, _, _, count in slices for gap in [gap, *[SECOND] * (count - 1)]]
    columns = (
        begin + np.cumsum(np.array(gaps, dtype=np.int64)),
        np.array([price for _, price, _, count in slices for _ in range(count)]),
        np.array([size for _, _, size, count in slices for _ in range(count)]),
    )
    names = ("ts_event_ns", "price", "size")
    whole = check_data(pl.DataFrame(dict(zip(names, columns, strict=True))), rules, source="here")
    assert reported(columns, rules, cuts) == whole


@pytest.mark.data
def test_real_trades_are_judged_and_played_the_same_by_blocks() -> None:
    if not DATA.is_dir():
        pytest.skip(f"there is no recorded data at {DATA}")
    path = DATA / "xrp-eth-trades-20191011-20191013.parquet"
    plan = setup(parameters={"fast": "10", "slow": "30"})
    found = [
        run_file(plan, Source(path=path, is_bars=False, block_rows=rows), care=IN_SPITE)
        for rows in (997, 2**19)
    ]
    assert found[0].digest == found[1].digest
    assert found[0].warnings == found[1].warnings
    frame = pl.read_parquet(DATA / "spy-trades-20131007-20131011.parquet")
    columns = (
        frame["ts_event_ns"].to_numpy(),
        frame["price"].to_numpy(),
        frame["size"].cast(pl.Float64).to_numpy(),
    )
    names = ("ts_event_ns", "price", "size")
    for rules in (Rules(interval_ns=MINUTE), Rules(interval_ns=MINUTE, calendar="XNYS")):
        whole = check_data(frame.select(names), rules, source="here")
        assert reported(columns, rules, [100_003]) == whole


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    rows = [(SECOND, 100.0)] * 20
    path = written(tmp_path, rows)
    blocks = RowFile(path, TRADE_COLUMNS, block_rows=5).blocks()
    assert next(blocks).count == 5
    written(tmp_path, [(SECOND, 101.0), *rows[1:]])
    with pytest.raises(MarketUnusable, match="was changed while it was read") as caught:
        next(blocks)
    assert caught.value.code == "CHANGED"


def test_a_tick_is_not_looked_up_in_a_file_that_took_the_place_of_the_one_read(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, [(SECOND, 100.0)] * 20)
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", [(SECOND, 90.0)] * 20)
    market = Source(path=path, is_bars=False, block_rows=5).load(MINUTE, IN_SPITE).market
    assert market.tick(0).price == 100.0
    other.replace(path)
    with pytest.raises(MarketUnusable, match="was changed"):
        market.tick(19)
