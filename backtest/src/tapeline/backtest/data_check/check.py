"""Is market data fit for a run? Every command that runs on data asks here first:

    report = check_data(frame, Rules(interval_ns=..., calendar="XNYS"), source="spy.parquet")
    warnings = require_fit(report, accept_faults=accept_data_faults)   # raises DataUnfit

`frame` has the columns of trades, quotes or bars (see data_check.series.FORMS), in the order in
which the run would read it; the lines that come back go into Description.warnings.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from tapeline.backtest.data_check.coverage import coverage_of
from tapeline.backtest.data_check.findings import DataReport, Finding, Severity
from tapeline.backtest.data_check.jumps import jumps
from tapeline.backtest.data_check.open_time import DAY_NS
from tapeline.backtest.data_check.series import Flags, Floats, Rules, Series, series_of

EARLY_NS: Final = 365 * DAY_NS
"""an earlier time is probably no count of nanoseconds"""
LATE_NS: Final = 4_102_444_800_000_000_000
"""2100-01-01: a later time is a wrong unit or a broken clock"""
ROUNDING: Final = 1e-9
"""of a price: open and close may miss high and low by it"""
STANDARD: Final = Rules()


def check_data(
    frame: pl.DataFrame, rules: Rules = STANDARD, *, source: str = "", instrument: str = ""
) -> DataReport:
    """What of this data would make results wrong or misleading; raises NotMarketData."""
    coverage, findings = [], []
    for series in series_of(frame, instrument):
        if not len(series.times_ns):
            findings.append(series.at("EMPTY", Severity.ERROR, 1, -1, "there is not one row"))
            continue
        found, gaps = coverage_of(series, rules)
        coverage.append(found)
        findings += [*_faults(series, rules), *gaps, *jumps(series, rules), *_still(series, rules)]
    return DataReport(coverage=tuple(coverage), findings=tuple(findings), source=source)


def _faults(series: Series, rules: Rules) -> list[Finding]:
    """What is wrong in itself: order, prices, sizes."""
    return [
        *_order(series, rules),
        *_numbers(series),
        *(_bar_shapes(series) if series.form == "bars" else []),
        *(_crossed(series) if series.form == "quotes" else []),
        *_marked(series),
    ]


def row_faults(series: Series, rules: Rules, before_ns: int | None = None) -> list[Finding]:
    """Faults of single trades and of their order; `before_ns` is the time of the row before."""
    return [*_order(series, rules, before_ns), *_numbers(series)]


def _order(series: Series, rules: Rules, before_ns: int | None = None) -> list[Finding]:
    times = series.times_ns
    steps = np.diff(times, prepend=times[0] - 1 if before_ns is None else before_ns)
    is_bars = series.form == "bars"
    equal = (Severity.ERROR, "bars") if is_bars else (Severity.NOTE, series.form)
    return [
        *series.finding(
            "OUT_OF_ORDER",
            Severity.ERROR,
            steps < -rules.disorder_ns_max,
            "a row is older than the one before it",
        ),
        *series.finding(
            "EQUAL_TIMES", equal[0], steps == 0, f"{equal[1]} with the time of the one before"
        ),
        *series.finding(
            "TIME_TOO_LATE", Severity.ERROR, times >= LATE_NS, "a time behind the year 2100"
        ),
        *series.finding(
            "TIME_TOO_EARLY",
            Severity.WARNING,
            times < EARLY_NS,
            "a time before 1971; is it really nanoseconds?",
        ),
        *_repeated_ids(series),
    ]


def _repeated_ids(series: Series) -> list[Finding]:
    if "trade_id" not in series.frame.columns:
        return []
    ids = series.frame["trade_id"]
    flags = (~ids.is_first_distinct() & ids.is_not_null()).to_numpy()
    return series.finding("REPEATED_TRADE", Severity.WARNING, flags, "a trade_id comes again")


def _numbers(series: Series) -> list[Finding]:
    found: list[Finding] = []
    for name, values in series.prices.items():
        finite = np.isfinite(values)
        found += series.finding(
            "NO_PRICE", Severity.ERROR, ~finite, f"{name} is empty or not a finite number"
        )
        found += series.finding(
            "PRICE_NOT_POSITIVE",
            Severity.ERROR,
            finite & (values <= 0),
            f"{name} is {{{name}}}",
        )
    return found + _volumes(series)


def _volumes(series: Series) -> list[Finding]:
    volume = series.volume
    word = "volume" if series.form == "bars" else "size"
    if volume is None or bool(np.all(np.isnan(volume))):
        if series.form == "quotes":
            return []
        return [series.at("NO_VOLUME", Severity.NOTE, 1, -1, f"{series.form} without {word}")]
    return [
        *series.finding(
            "VOLUME_NEGATIVE", Severity.ERROR, volume < 0, f"{word} below zero: {{volume}}"
        ),
        *series.finding(
            "VOLUME_UNKNOWN", Severity.WARNING, ~np.isfinite(volume), f"{word} is empty"
        ),
        *series.finding("ZERO_VOLUME", Severity.WARNING, volume == 0, f"{word} is zero"),
    ]


def _bar_shapes(series: Series) -> list[Finding]:
    high, low = series.prices["high"], series.prices["low"]
    slack = ROUNDING * np.abs(high)
    outside: Flags = high < low
    for name in ("open", "close"):
        value = series.prices[name]
        outside = outside | (value > high + slack) | (value < low - slack)
    meaning = "open {open}, high {high}, low {low}, close {close} cannot be one bar"
    return series.finding("IMPOSSIBLE_BAR", Severity.ERROR, outside, meaning)


def _crossed(series: Series) -> list[Finding]:
    bid, ask = series.prices["bid_price"], series.prices["ask_price"]
    return series.finding(
        "CROSSED", Severity.WARNING, bid > ask, "bid {bid_price} above ask {ask_price}"
    )


def _marked(series: Series) -> list[Finding]:
    frame = series.frame
    if "suspicious" not in frame.columns or frame.schema["suspicious"] != pl.Boolean:
        return []
    flags = frame["suspicious"].fill_null(False).to_numpy()
    return series.finding(
        "SUSPICIOUS", Severity.WARNING, flags, "marked as suspicious by the source"
    )


def _still(series: Series, rules: Rules) -> list[Finding]:
    """Bars that do not move at all for long: filled in where there was no data."""
    if series.form != "bars" or len(series.times_ns) < rules.frozen_bars_min:
        return []
    still = np.zeros(len(series.times_ns), dtype=np.bool_)
    still[1:] = _unmoved(series)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long = np.flatnonzero(ends - starts >= rules.frozen_bars_min)
    if not len(long):
        return []
    bars, first = int(np.sum(ends[long] - starts[long])), int(starts[long[0]])
    meaning = f"{bars:,} bars without movement or volume look filled in; runs of them"
    return [series.at("FILLED_IN", Severity.WARNING, len(long), first, meaning)]


def _unmoved(series: Series) -> Flags:
    close = series.prices["close"]
    unmoved: Flags = close[1:] == close[:-1]
    for name in ("open", "high", "low"):
        unmoved = unmoved & (series.prices[name][1:] == close[1:])
    volume: Floats | None = series.volume
    if volume is not None and not np.all(np.isnan(volume)):
        unmoved = unmoved & (volume[1:] == 0)
    return unmoved
