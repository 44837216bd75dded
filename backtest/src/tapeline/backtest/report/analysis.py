"""All that a report says of a run, computed once from its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import polars as pl

from tapeline.backtest.rates import require_rates
from tapeline.backtest.report.benchmark import UNITS, Benchmark, against, benchmark_of
from tapeline.backtest.report.catalogue import FIGURES
from tapeline.backtest.report.figure import Figure
from tapeline.backtest.report.growth import DailyReturns, Worth, daily_returns, worth_of
from tapeline.backtest.report.performance import day_text, monthly_returns, performance
from tapeline.backtest.report.trading import Trading, trading
from tapeline.backtest.report.wording import counted
from tapeline.backtest.run_tables import Description, RunTables

FEW_RETURNS: Final = 30
"""fewer daily returns make ratios that say little"""
FEW_TRIPS: Final = 30
UNEXPLAINED_SHARE: Final = 1e-6
"""books that differ by more of the starting worth do not agree"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A run and its figures."""

    run: RunTables
    worth: Worth | None
    daily: DailyReturns | None
    benchmark: Benchmark | None
    trading: Trading
    trips: pl.DataFrame
    figures: dict[str, Figure]
    """every figure of the catalogue"""

    @property
    def description(self) -> Description:
        """What the run was."""
        return self.run.description

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the figures."""
        return (*self.description.warnings, *_own_warnings(self))

    @property
    def months(self) -> list[tuple[int, int, float]]:
        """(year, month, return)."""
        if self.worth is None or self.daily is None or self.worth.ruined_ns is not None:
            return []
        return monthly_returns(self.daily)

    @property
    def period(self) -> str:
        """2013-10-07 to 2013-10-11, 5 days of 252 a year (the data has no Saturdays)."""
        if self.daily is None:
            return "no equity"
        first, last = day_text(self.daily.days[0]), day_text(self.daily.days[-1])
        return (
            f"{first} to {last}, {counted(len(self.daily.days), 'daily return')}, "
            f"{self.daily.annual_days} a year ({self.daily.calendar})"
        )


def analyse(run: RunTables, *, benchmark: str = "", annual_days: int = 0) -> Analysis:
    """The figures of a run; raises UnknownBenchmark, RateUnknown.

    `benchmark` is an instrument of the run, or a column of its equity table; where it is empty,
    all instruments are held in equal parts. `annual_days` overrides the data's own calendar.
    """
    require_rates(run)
    worth = worth_of(run)
    daily = daily_returns(run, worth, annual_days) if worth is not None else None
    held = benchmark_of(run, daily, benchmark) if daily is not None else None
    traded, trips = trading(run, worth)
    figures = {**performance(worth, daily), **traded.total.figures}
    if daily is not None and worth is not None and worth.ruined_ns is None:
        figures |= against(daily, held)
    else:
        figures |= against_nothing(figures)
    return Analysis(
        run=run,
        worth=worth,
        daily=daily,
        benchmark=held,
        trading=traded,
        trips=trips,
        figures={name: figures[name] for name in FIGURES},
    )


def against_nothing(figures: dict[str, Figure]) -> dict[str, Figure]:
    """The figures beside a benchmark of a run without returns, for the same reason."""
    return {name: Figure(None, unit, figures["sharpe"].reason) for name, unit in UNITS.items()}


def _own_warnings(analysis: Analysis) -> list[str]:
    found = []
    daily, trips = analysis.daily, analysis.trading.total.round_trips
    if daily is not None and len(daily.returns) < FEW_RETURNS:
        found.append(
            f"only {counted(len(daily.returns), 'daily return')}: annual figures and ratios say "
            "little"
        )
    if 0 < trips < FEW_TRIPS:
        found.append(f"only {counted(trips, 'round trip')}: rates and averages say little")
    gap = analysis.figures["unexplained"].value
    start = analysis.worth.start if analysis.worth is not None else 0.0
    if gap is not None and abs(gap) > max(0.01, UNEXPLAINED_SHARE * abs(start)):
        found.append(
            f"the change of worth and the fills differ by {gap:,.2f}: a multiplier, another "
            "currency, a position held from before, or fills that are missing"
        )
    return found


def facts_of(analysis: Analysis) -> dict[str, Any]:
    """The whole analysis for scripts, without the series."""
    daily = analysis.daily
    facts: dict[str, Any] = {
        "run": msgspec.to_builtins(analysis.description),
        "period": analysis.period,
        "annual_days": daily.annual_days if daily is not None else None,
        "benchmark": analysis.benchmark.name if analysis.benchmark is not None else None,
        "round_trips": analysis.trading.total.round_trips,
        "figures": msgspec.to_builtins(analysis.figures),
        "groups": msgspec.to_builtins(analysis.trading.groups),
        "instruments": msgspec.to_builtins(analysis.trading.instruments),
        "monthly_returns": [
            {"month": f"{year}-{month:02}", "return": gained}
            for year, month, gained in analysis.months
        ],
        "warnings": list(analysis.warnings),
    }
    return facts
