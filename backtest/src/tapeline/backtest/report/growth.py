"""What a run was worth over time, and its daily returns.

Worth is the sum of the accounts; one that has no row yet stands at its first. Growth takes deposits
and withdrawals out (time-weighted return): between two rows worth grows by
(worth - deposited since) / worth before.

A day is a UTC day; worth at midnight belongs to the day that ends. Annual figures go by the data's
own calendar: 365 days where the market traded on a Saturday, else 252.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from tapeline.backtest.run_tables import RunTables

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
DAY_NS: Final = 86_400_000_000_000
AROUND_THE_CLOCK_DAYS: Final = 365
SESSION_DAYS: Final = 252
NOTHING_LEFT: Final = 1e-9
"""worth below this share of the start is nothing: returns on it are none"""
STARTING_ROUNDING: Final = 1e-9
OUTSIDE: Final = ("deposit", "withdrawal")
"""kinds of cash that are no result of trading"""
# 1970-01-01 was a Thursday: the weekday of a day number, Monday 0.
FIRST_WEEKDAY: Final = 3
SATURDAY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """All accounts together, at every time that any of them has a row."""

    times_ns: Times
    equity: Floats
    gross: Floats
    """NaN where unknown, as net"""
    net: Floats
    start: float
    """before the first row"""
    deposited: Floats
    """deposits less withdrawals since the row before, in total"""

    @property
    def is_nothing(self) -> Flags:
        """Rows at which next to nothing is left of the start."""
        floor = NOTHING_LEFT * max(self.start, 0.0)
        found: Flags = np.minimum(self.equity, self.equity - self.deposited) <= floor
        return found

    @property
    def growth(self) -> Floats:
        """Worth of 1 invested at the start; NaN behind the row at which nothing was left."""
        before = np.concatenate([[self.start], self.equity[:-1]])
        nothing = np.concatenate([[self.start <= 0], self.is_nothing[:-1]])
        is_ruined = np.logical_or.accumulate(nothing)
        steps = (self.equity - self.deposited) / np.where(is_ruined, 1.0, before)
        grown: Floats = np.cumprod(np.where(is_ruined, np.nan, steps), dtype=np.float64)
        return grown

    @property
    def ruined_ns(self) -> int | None:
        """When nothing was left first."""
        places = np.flatnonzero(self.is_nothing)
        return int(self.times_ns[places[0]]) if len(places) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyReturns:
    """Returns of days, as shares; the first is against the start of the run. NaN after ruin."""

    days: Times
    """days since 1970-01-01"""
    returns: Floats
    annual_days: int
    calendar: str
    """why so many days a year"""


def worth_of(run: RunTables) -> Worth | None:
    """Worth over time; None for a run without equity rows."""
    equity = run["equity"].drop_nulls(["ts_event_ns", "equity"]).sort("ts_event_ns")
    if equity.is_empty():
        return None
    times = equity["ts_event_ns"].unique().sort()
    total = {name: _sum_over_accounts(equity, times, name) for name in SUMMED}
    starting = float(run.description.starting_cash or 0)
    return Worth(
        times_ns=times.to_numpy(),
        equity=total["equity"],
        gross=total["gross_exposure"],
        net=total["net_exposure"],
        start=starting if starting > 0 else float(total["equity"][0]),
        deposited=_deposits(run, times.to_numpy()),
    )


SUMMED: Final = ("equity", "gross_exposure", "net_exposure")


def _sum_over_accounts(equity: pl.DataFrame, times: pl.Series, name: str) -> Floats:
    """The last known values of all accounts, summed, at each time."""
    if equity["account_id"].n_unique() == 1:
        rows = equity.unique("ts_event_ns", keep="last", maintain_order=True)
        return rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    wide = equity.pivot(
        on="account_id", index="ts_event_ns", values=name, aggregate_function="last"
    ).sort("ts_event_ns")
    filled = wide.drop("ts_event_ns").fill_null(strategy="forward").fill_null(strategy="backward")
    assert len(filled) == len(times)
    return (
        filled.select(pl.sum_horizontal(pl.all(), ignore_nulls=False))
        .to_series()
        .fill_null(float("nan"))
        .to_numpy()
    )


def deposits_of(run: RunTables) -> pl.DataFrame:
    """Rows of cash that came from outside or went there."""
    return cash_in_base(run["cash"]).filter(pl.col("kind").str.to_lowercase().is_in(OUTSIDE))


def cash_in_base(cash: pl.DataFrame) -> pl.DataFrame:
    """The cash with its amounts in the base currency, each at the rate of its time."""
    return cash.with_columns(pl.col("amount") * pl.col("currency_rate").fill_null(1.0))


def _deposits(run: RunTables, times_ns: Times) -> Floats:
    """What was deposited up to each time since the one before; later ones count at the last.

    What came first and is just the starting cash is that, and no deposit.
    """
    rows = deposits_of(run)
    places = np.searchsorted(times_ns, rows["ts_event_ns"].to_numpy(), side="left")
    found = np.zeros(len(times_ns))
    np.add.at(found, np.minimum(places, len(times_ns) - 1), rows["amount"].to_numpy())
    starting = float(run.description.starting_cash or 0)
    if starting > 0 and abs(found[0] - starting) <= STARTING_ROUNDING * starting:
        found[0] = 0.0
    return found


def daily_returns(run: RunTables, worth: Worth, annual_days: int = 0) -> DailyReturns:
    """Returns by day; `annual_days` overrides what the data says."""
    bars_days = run["bars"]["ts_open_ns"].drop_nulls().to_numpy() // DAY_NS
    worth_days = (worth.times_ns - 1) // DAY_NS
    days = np.unique(np.concatenate([bars_days, worth_days]))
    found, calendar = _annual_days(days, run)
    if found == AROUND_THE_CLOCK_DAYS:
        days = np.arange(days[0], days[-1] + 1)
    ends = np.searchsorted(worth_days, days, side="right") - 1
    growth = np.where(ends >= 0, worth.growth[np.maximum(ends, 0)], 1.0)
    before = np.concatenate([[1.0], growth[:-1]])
    return DailyReturns(
        days=days,
        returns=growth / np.where(before > 0, before, np.nan) - 1.0,
        annual_days=annual_days or found,
        calendar="as asked" if annual_days else calendar,
    )


def _annual_days(days: Times, run: RunTables) -> tuple[int, str]:
    saturdays = np.arange(days[0], days[-1] + 1)
    saturdays = saturdays[(saturdays + FIRST_WEEKDAY) % 7 == SATURDAY]
    if len(saturdays):
        if np.any(np.isin(saturdays, days)):
            return AROUND_THE_CLOCK_DAYS, "the data has Saturdays"
        return SESSION_DAYS, "the data has no Saturdays"
    hours = np.unique(run["bars"]["ts_open_ns"].drop_nulls().to_numpy() % DAY_NS // (DAY_NS // 24))
    if len(hours) == 24:
        return AROUND_THE_CLOCK_DAYS, "no Saturday in the run, but every hour of the day"
    return SESSION_DAYS, "no Saturday in the run, and not every hour of the day"
