"""A run against holding something: alpha, beta, tracking error, information ratio.

With r the run's and b the benchmark's daily returns, A the days of a year, risk-free rate 0:

beta               covariance of r and b / variance of b            empyrical.beta_aligned
alpha              (1 + mean of (r - beta x b)) ^ A - 1             empyrical.alpha_aligned
                   (Jensen 1968, by day, compounded)
tracking error     standard deviation of (r - b) (n - 1) x sqrt(A)
information ratio  mean of (r - b) x A / tracking error     empyrical.excess_sharpe x sqrt(A)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from tapeline.backtest.report.figure import Figure, Unit, known, undefined
from tapeline.backtest.report.growth import DAY_NS, DailyReturns, Floats, Times
from tapeline.backtest.report.performance import ANNUAL_RETURNS_MIN, is_still, too_short
from tapeline.backtest.run_tables import RunTables
from tapeline.runtime.exits import USAGE, Failure

HOLD_ALL: Final = "buy and hold"
UNITS: Final = {
    "benchmark_return": Unit.SHARE,
    "alpha": Unit.SHARE,
    "beta": Unit.NUMBER,
    "tracking_error": Unit.SHARE,
    "information_ratio": Unit.NUMBER,
}


class UnknownBenchmark(Failure):
    """A name that is neither an instrument of the run nor a column of its equity."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What the run is held against."""

    name: str
    growth: Floats
    """worth of 1 at the end of each day of the run"""

    @property
    def returns(self) -> Floats:
        """Daily returns; the first is against the start of the run."""
        returns: Floats = self.growth / np.concatenate([[1.0], self.growth[:-1]]) - 1.0
        return returns


def benchmark_of(run: RunTables, daily: DailyReturns, name: str = "") -> Benchmark | None:
    """Holding an instrument, or all of the run's in equal parts where none is named.

    A name may also be a column of the equity table. None where the run has no bars;
    raises UnknownBenchmark.
    """
    instruments = run["bars"]["instrument_id"].drop_nulls().unique(maintain_order=True).to_list()
    if name and name not in instruments:
        return _column(run, daily, name, instruments)
    chosen = [name] if name else instruments
    held = [one for one in (_held(run, daily, each) for each in chosen) if one is not None]
    if not held:
        return None
    label = chosen[0] if len(chosen) == 1 else f"{len(held)} instruments in equal parts"
    return Benchmark(name=f"{HOLD_ALL} of {label}", growth=np.mean(held, axis=0))


def _held(run: RunTables, daily: DailyReturns, instrument: str) -> Floats | None:
    """Growth of one bought at its first open."""
    bars = (
        run["bars"]
        .filter(pl.col("instrument_id") == instrument)
        .drop_nulls(["ts_open_ns", "close"])
        .sort("ts_open_ns")
    )
    if bars.is_empty():
        return None
    first = bars["open"][0]
    if not first or first <= 0:
        return None
    return _by_day(bars["ts_open_ns"].to_numpy() // DAY_NS, bars["close"].to_numpy() / first, daily)


def _by_day(days: Times, growth: Floats, daily: DailyReturns) -> Floats:
    """The last growth of each day of the run; 1 before the first."""
    ends = np.searchsorted(days, daily.days, side="right") - 1
    return np.where(ends >= 0, growth[np.maximum(ends, 0)], 1.0)


def _column(run: RunTables, daily: DailyReturns, name: str, instruments: list[str]) -> Benchmark:
    equity = run["equity"]
    if name in equity.columns and equity.schema[name].is_numeric():
        rows = equity.drop_nulls(["ts_event_ns", name]).sort("ts_event_ns")
        values = rows[name].cast(pl.Float64).to_numpy()
        if len(values) and values[0] > 0:
            days = (rows["ts_event_ns"].to_numpy() - 1) // DAY_NS
            return Benchmark(name=name, growth=_by_day(days, values / values[0], daily))
    raise UnknownBenchmark(
        f"{name} is neither an instrument of the run nor a column of its equity table.",
        f"Instruments of this run: {', '.join(instruments) or 'none'}.",
    )


def against(daily: DailyReturns, benchmark: Benchmark | None) -> dict[str, Figure]:
    """Every figure of UNITS."""
    if benchmark is None:
        return {name: undefined(unit, "the run has no bars") for name, unit in UNITS.items()}
    found = {name: undefined(unit, "fewer than two daily returns") for name, unit in UNITS.items()}
    found["benchmark_return"] = known(float(benchmark.growth[-1] - 1.0), Unit.SHARE)
    if len(daily.returns) >= 2:
        found |= _regression(daily, benchmark) | _active(daily, benchmark)
    return found


def _regression(daily: DailyReturns, benchmark: Benchmark) -> dict[str, Figure]:
    import empyrical

    if is_still(benchmark.returns):
        reason = "the benchmark's daily returns do not vary"
        return {"alpha": undefined(Unit.SHARE, reason), "beta": undefined(Unit.NUMBER, reason)}
    alpha, beta = empyrical.alpha_beta_aligned(
        daily.returns, benchmark.returns, annualization=daily.annual_days
    )
    is_long = len(daily.returns) >= ANNUAL_RETURNS_MIN
    return {
        "alpha": known(alpha, Unit.SHARE)
        if is_long
        else undefined(Unit.SHARE, too_short(daily.returns)),
        "beta": known(beta, Unit.NUMBER),
    }


def _active(daily: DailyReturns, benchmark: Benchmark) -> dict[str, Figure]:
    import empyrical

    active = daily.returns - benchmark.returns
    error = float(np.std(active, ddof=1) * np.sqrt(daily.annual_days))
    if is_still(active):
        return {
            "tracking_error": known(error, Unit.SHARE),
            "information_ratio": undefined(Unit.NUMBER, "the run does not leave the benchmark"),
        }
    information = empyrical.excess_sharpe(daily.returns, benchmark.returns)
    return {
        "tracking_error": known(error, Unit.SHARE),
        "information_ratio": known(information * np.sqrt(daily.annual_days), Unit.NUMBER),
    }
