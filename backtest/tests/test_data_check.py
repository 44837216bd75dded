"""Data before a run: each fault is found, named and placed; sound data is let pass."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.backtest.data_check.check import check_data
from tapeline.backtest.data_check.files import read_market_data
from tapeline.backtest.data_check.findings import (
    ACCEPT_OPTION,
    DataReport,
    DataUnfit,
    Severity,
    require_fit,
)
from tapeline.backtest.data_check.open_time import DAY_NS, HOUR_NS, UnknownCalendar
from tapeline.backtest.data_check.series import NotMarketData, Rules
from tapeline.runtime.exits import FileUnusable

MINUTE_NS = 60_000_000_000
START_NS = 1_641_168_000_000_000_000
"""2022-01-03 00:00 UTC, a Monday"""


def walk(count: int, seed: int = 1) -> np.ndarray:
    """Prices that move by a tenth of a percent or so."""
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.0005, count)))


def bars(count: int = 400, step_ns: int = MINUTE_NS) -> pl.DataFrame:
    close = walk(count)
    opened = np.concatenate([[100.0], close[:-1]])
    return pl.DataFrame(
        {
            "ts_open_ns": START_NS + np.arange(count, dtype=np.int64) * step_ns,
            "open": opened,
            "high": np.maximum(opened, close) + 0.01,
            "low": np.minimum(opened, close) - 0.01,
            "close": close,
            "volume": np.full(count, 5.0),
        }
    )


def trades(count: int = 400) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts_event_ns": START_NS + np.arange(count, dtype=np.int64) * 1_000_000_000,
            "price": walk(count),
            "size": np.full(count, 2.0),
            "side": ["BUY"] * count,
        }
    )


def changed(frame: pl.DataFrame, column: str, row: int, value: float | None) -> pl.DataFrame:
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


def codes(report: DataReport) -> dict[str, tuple[str, int, int]]:
    return {one.code: (one.severity.value, one.count, one.first_row) for one in report.findings}


def test_sound_bars_and_trades_have_no_finding() -> None:
    assert check_data(bars()).findings == ()
    assert check_data(trades()).findings == ()


FAULTS = [
    (trades(), "price", 7, 0.0, "PRICE_NOT_POSITIVE", "ERROR"),
    (trades(), "price", 7, -1.0, "PRICE_NOT_POSITIVE", "ERROR"),
    (trades(), "price", 7, float("nan"), "NO_PRICE", "ERROR"),
    (trades(), "price", 7, float("inf"), "NO_PRICE", "ERROR"),
    (trades(), "price", 7, None, "NO_PRICE", "ERROR"),
    (trades(), "size", 7, -2.0, "VOLUME_NEGATIVE", "ERROR"),
    (trades(), "size", 7, 0.0, "ZERO_VOLUME", "WARNING"),
    (trades(), "size", 7, None, "VOLUME_UNKNOWN", "WARNING"),
    (trades(), "price", 200, 110.0, "SPIKE", "WARNING"),
    (trades(), "price", 200, 91.0, "SPIKE", "WARNING"),
    (trades(), "price", 200, 1000.0, "ABSURD_PRICE", "ERROR"),
    (trades(), "price", 0, 110.0, "SPIKE", "WARNING"),
    (trades(), "price", 399, 110.0, "SPIKE", "WARNING"),
    (trades(), "ts_event_ns", 8, START_NS + 6_999_999_999, "OUT_OF_ORDER", "ERROR"),
    (trades(), "ts_event_ns", 8, START_NS + 5_000_000_000, "OUT_OF_ORDER", "ERROR"),
    (trades(), "ts_event_ns", 399, 4_200_000_000_000_000_000, "TIME_TOO_LATE", "ERROR"),
    (trades(), "ts_event_ns", 0, 1_641_168_000_000, "TIME_TOO_EARLY", "WARNING"),
    (bars(), "ts_open_ns", 8, START_NS + 7 * MINUTE_NS, "EQUAL_TIMES", "ERROR"),
    (bars(), "high", 7, 50.0, "IMPOSSIBLE_BAR", "ERROR"),
    (bars(), "low", 7, 120.0, "IMPOSSIBLE_BAR", "ERROR"),
    (bars(), "volume", 7, 0.0, "ZERO_VOLUME", "WARNING"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[4]}-{fault[3]}")
def test_a_fault_is_found_where_it_is(
    fault: tuple[pl.DataFrame, str, int, float | None, str, str],
) -> None:
    frame, column, row, value, code, severity = fault
    found = codes(check_data(changed(frame, column, row, value)))
    assert found[code] == (severity, 1, row)


def test_equal_times_of_trades_are_no_more_than_a_note() -> None:
    frame = changed(trades(), "ts_event_ns", 8, START_NS + 7_000_000_000)
    assert codes(check_data(frame)) == {"EQUAL_TIMES": ("NOTE", 1, 8)}


def test_a_spike_of_three_prices_is_found_once() -> None:
    frame = trades()
    for row in (100, 101, 102):
        frame = changed(frame, "price", row, 120.0)
    assert codes(check_data(frame)) == {"SPIKE": ("WARNING", 1, 100)}


def test_a_new_level_is_no_spike() -> None:
    frame = trades().with_columns(
        pl.when(pl.int_range(pl.len()) >= 200)
        .then(pl.col("price") * 1.2)
        .otherwise(pl.col("price"))
    )
    assert codes(check_data(frame)) == {}


@pytest.mark.parametrize(
    ("ratio", "severity"), [(0.5, "ERROR"), (0.1, "ERROR"), (3.0, "ERROR"), (1 / 1.5, "WARNING")]
)
def test_a_split_is_suspected_where_a_level_changes_by_a_round_ratio(
    ratio: float, severity: str
) -> None:
    names = ("open", "high", "low", "close")
    late = pl.int_range(pl.len()) >= 200
    split = pl.when(late).then(pl.col(*names) * ratio).otherwise(pl.col(*names))
    report = check_data(bars(step_ns=DAY_NS).with_columns(split))
    assert codes(report) == {"SPLIT": (severity, 1, 200)}


@pytest.mark.parametrize("ratio", [0.6, 0.45, 1.25])
def test_another_ratio_is_no_split(ratio: float) -> None:
    late = pl.int_range(pl.len()) >= 200
    moved = pl.when(late).then(pl.col("price") * ratio).otherwise(pl.col("price"))
    assert codes(check_data(trades().with_columns(moved))) == {}


def test_missing_bars_are_a_gap_with_its_length() -> None:
    frame = bars().filter(~pl.int_range(pl.len()).is_between(100, 109))
    report = check_data(frame)
    assert codes(report) == {"GAP": ("WARNING", 1, 99), "COVERAGE": ("WARNING", 1, -1)}
    assert report.findings[0].meaning.startswith("10 bars missing of open market")
    (coverage,) = report.coverage
    assert (coverage.present, coverage.expected, coverage.calendar) == (390, 400, "24/7")


def test_bars_that_cover_less_than_half_of_the_time_are_an_error() -> None:
    frame = bars(3000).filter((pl.int_range(pl.len()) < 2) | (pl.int_range(pl.len()) > 2000))
    report = check_data(frame, Rules(calendar="24/7"))
    assert codes(report)["COVERAGE"] == ("ERROR", 1, -1)


@pytest.mark.parametrize(("silence_ns", "is_gap"), [(HOUR_NS, False), (HOUR_NS + 1, True)])
def test_a_silence_of_ticks_is_a_gap_above_the_limit(silence_ns: int, is_gap: bool) -> None:
    late = pl.int_range(pl.len()) >= 200
    shifted = pl.col("ts_event_ns") + pl.when(late).then(silence_ns - 1_000_000_000).otherwise(0)
    report = check_data(trades().with_columns(shifted))
    assert ("GAP" in codes(report)) == is_gap


def sessions() -> pl.DataFrame:
    """Minutes of New York's sessions, 2022-01-03 to 14, without 11:00 to 11:09 on the fifth."""
    days = [*range(5), *range(7, 12)]
    minutes = np.concatenate([day * 1440 + 870 + np.arange(390) for day in days])
    minutes = minutes[(minutes < 2 * 1440 + 960) | (minutes >= 2 * 1440 + 970)]
    close = walk(len(minutes))
    return pl.DataFrame({"ts_open_ns": START_NS + minutes * MINUTE_NS}).with_columns(
        *[pl.Series(name, close) for name in ("open", "high", "low", "close")],
        volume=pl.lit(1.0),
    )


@pytest.mark.parametrize("calendar", ["XNYS", ""])
def test_nights_and_weekends_are_no_gaps_but_a_hole_within_a_session_is(calendar: str) -> None:
    report = check_data(sessions(), Rules(calendar=calendar))
    (coverage,) = report.coverage
    assert (coverage.present, coverage.expected) == (3890, 3900)
    gap = next(one for one in report.findings if one.code == "GAP")
    assert (gap.count, gap.first_row) == (1, 2 * 390 + 89)
    assert gap.meaning.startswith("10 bars missing")


def test_what_is_out_of_hours_fills_no_gap_and_makes_none() -> None:
    regular = sessions()
    late = regular.with_columns(pl.col("ts_open_ns") + 400 * MINUTE_NS).filter(
        (pl.col("ts_open_ns") - START_NS) % DAY_NS >= 21 * HOUR_NS
    )
    frame = pl.concat([regular, late]).sort("ts_open_ns")
    report = check_data(frame, Rules(calendar="XNYS"))
    (coverage,) = report.coverage
    assert (coverage.present, coverage.expected) == (3890, 3900)
    found = codes(report)
    assert found["OUT_OF_HOURS"][:2] == ("NOTE", len(late))
    assert found["GAP"][:2] == ("WARNING", 1)


def test_data_of_a_closed_market_alone_is_told() -> None:
    weekend = trades().with_columns(pl.col("ts_event_ns") - DAY_NS)
    report = check_data(weekend, Rules(calendar="XNYS"))
    assert codes(report) == {"OUT_OF_HOURS": ("NOTE", 400, 0)}
    assert report.coverage[0].expected == 0


def test_around_the_clock_nights_are_gaps() -> None:
    gap = next(
        one for one in check_data(sessions(), Rules(calendar="24/7")).findings if one.code == "GAP"
    )
    assert gap.count == 10


def test_a_session_without_a_row_is_missing_by_the_calendar() -> None:
    day = (pl.col("ts_open_ns") - START_NS) // DAY_NS
    frame = sessions().filter(day != 8)
    by_calendar = check_data(frame, Rules(calendar="XNYS"))
    gap = next(one for one in by_calendar.findings if one.code == "GAP")
    assert gap.meaning.startswith("400 bars missing")
    by_data = codes(check_data(frame))
    assert by_data["DAYS_WITHOUT_ROWS"][:2] == ("WARNING", 1)


def test_daily_bars_are_held_against_the_sessions() -> None:
    frame = bars(60, DAY_NS).filter((pl.int_range(pl.len()) % 7) < 5)
    missing = frame.filter(pl.int_range(pl.len()) != 20)
    # Of these weekdays of 2022 two are holidays of New York: 17 January, 21 February.
    assert "GAP" not in codes(check_data(frame, Rules(calendar="XNYS", interval_ns=DAY_NS)))
    found = check_data(missing, Rules(calendar="XNYS", interval_ns=DAY_NS))
    assert codes(found)["GAP"] == ("WARNING", 1, 19)


def test_bars_that_were_filled_in_are_noticed() -> None:
    still = pl.int_range(pl.len()).is_between(100, 149)
    names = ("open", "high", "low", "close")
    frame = bars().with_columns(
        *[pl.when(still).then(pl.lit(100.0)).otherwise(pl.col(name)).alias(name) for name in names],
        pl.when(still).then(0.0).otherwise(pl.col("volume")).alias("volume"),
    )
    found = codes(check_data(frame))
    assert found["FILLED_IN"] == ("WARNING", 1, 101)
    assert found["ZERO_VOLUME"] == ("WARNING", 50, 100)


def test_crossed_quotes_suspicious_trades_and_repeated_ids_are_told() -> None:
    quotes = trades().select(
        "ts_event_ns", bid_price=pl.col("price"), ask_price=pl.col("price") + 0.01
    )
    crossed = changed(quotes, "bid_price", 9, 100.5)
    assert codes(check_data(crossed))["CROSSED"] == ("WARNING", 1, 9)
    marked = trades().with_columns(suspicious=pl.int_range(pl.len()) == 4)
    assert codes(check_data(marked)) == {"SUSPICIOUS": ("WARNING", 1, 4)}
    numbered = trades().with_columns(trade_id=pl.int_range(pl.len()) // 2 * 2 % 398)
    assert codes(check_data(numbered))["REPEATED_TRADE"] == ("WARNING", 201, 1)


def test_instruments_of_one_table_are_judged_apart() -> None:
    one = trades().with_columns(instrument_id=pl.lit("A.SIM"))
    other = trades().with_columns(pl.col("price") * 40, instrument_id=pl.lit("B.SIM"))
    mixed = pl.concat([one, other]).sort("ts_event_ns", maintain_order=True)
    assert check_data(mixed).findings == ()
    (finding,) = check_data(changed(mixed, "price", 11, 0.0)).findings
    assert (finding.instrument, finding.first_row) == ("B.SIM", 11)


def test_no_row_is_an_error() -> None:
    assert codes(check_data(trades().head(0))) == {"EMPTY": ("ERROR", 1, -1)}


def test_a_run_refuses_on_errors_and_proceeds_when_told() -> None:
    report = check_data(changed(trades(), "price", 7, 0.0), source="x.parquet")
    with pytest.raises(DataUnfit, match=r"PRICE_NOT_POSITIVE: price is 0, first at row 7") as error:
        require_fit(report)
    assert ACCEPT_OPTION in error.value.remedy
    lines = require_fit(report, accept_faults=True)
    assert ACCEPT_OPTION in lines[0]
    assert lines[1].startswith("data error: PRICE_NOT_POSITIVE")


def test_warnings_do_not_stop_a_run_and_go_into_its_report() -> None:
    report = check_data(changed(trades(), "size", 7, 0.0))
    assert [line[:26] for line in require_fit(report)] == ["data warning: ZERO_VOLUME:"]


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"time": [1], "value": [2.0]}),
        pl.DataFrame({"ts_event_ns": [1.5], "price": [2.0]}),
        pl.DataFrame({"ts_event_ns": [None, 1], "price": [2.0, 3.0]}),
        pl.DataFrame({"ts_event_ns": [1], "price": ["2.0"]}),
    ],
)
def test_what_is_no_market_data_is_refused(frame: pl.DataFrame) -> None:
    with pytest.raises(NotMarketData):
        check_data(frame)


def test_an_unknown_calendar_is_refused() -> None:
    with pytest.raises(UnknownCalendar, match="no calendar MOON"):
        check_data(trades(), Rules(calendar="MOON"))


def test_files_are_read_with_other_names_of_columns(tmp_path: Path) -> None:
    trades().rename({"ts_event_ns": "time"}).write_csv(tmp_path / "t.csv")
    frame = read_market_data(tmp_path / "t.csv", {"ts_event_ns": "time"})
    assert check_data(frame).is_fit
    with pytest.raises(FileUnusable, match="has no column when"):
        read_market_data(tmp_path / "t.csv", {"ts_event_ns": "when"})
    with pytest.raises(FileUnusable, match="cannot be read"):
        read_market_data(tmp_path / "absent.parquet", {})


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=80),
    st.lists(st.integers(min_value=-(2**62), max_value=2**62), min_size=80, max_size=80),
)
def test_whatever_the_data_the_check_answers_and_counts_bad_prices(
    prices: list[float], times: list[int]
) -> None:
    frame = pl.DataFrame(
        {"ts_event_ns": times[: len(prices)], "price": prices},
        schema={"ts_event_ns": pl.Int64, "price": pl.Float64},
    )
    found = {one.code: one.count for one in check_data(frame).findings}
    bad = sum(not np.isfinite(price) for price in prices)
    assert found.get("NO_PRICE", 0) == bad
    assert found.get("PRICE_NOT_POSITIVE", 0) == sum(
        bool(np.isfinite(price) and price <= 0) for price in prices
    )


def data(name: str) -> Path:
    folder = Path(os.environ.get("TAPELINE_DATA_DIR", "../shared/data"))
    if not (folder / name).is_file():
        pytest.skip(f"{folder / name} is not there")
    return folder / name


@pytest.mark.data
def test_recorded_trades_are_fit_and_their_bad_prints_are_found() -> None:
    frame = pl.read_parquet(data("spy-trades-20131007-20131011.parquet"))
    report = check_data(frame, Rules(calendar="XNYS"))
    assert report.is_fit
    found = {one.code: one.count for one in report.findings}
    assert found["SUSPICIOUS"] == 10
    assert report.coverage[0].present == report.coverage[0].expected == 1950
    spikes = next(one for one in report.findings if one.code == "SPIKE")
    assert frame["price"][spikes.first_row] == pytest.approx(165.59)


@pytest.mark.data
def test_recorded_bars_of_a_month_are_whole() -> None:
    report = check_data(pl.read_parquet(data("btc-perp-1m-20220101-20220131.parquet")))
    assert report.findings == ()
    assert report.coverage[0].present == 45_031


@pytest.mark.data
def test_missing_bars_of_recorded_symbols_are_found() -> None:
    report = check_data(pl.read_parquet(data("alts-btc-5m-20180110-20180130.parquet")))
    assert [(one.instrument, one.code, one.count) for one in report.findings] == [
        ("XMR/BTC", "GAP", 2)
    ]
    assert all(one.severity is Severity.WARNING for one in report.findings)
