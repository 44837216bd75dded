"""Figures of return and risk.

Library: empyrical-reloaded where it has the figure; what differs is said. With r the daily returns,
n their number, A the days of a year (see growth.py), risk-free rate 0:

total return    product of (1 + r) - 1
annual return   (1 + total) ^ (A / n) - 1                       empyrical.annual_return
volatility      standard deviation of r (n - 1) x sqrt(A)       empyrical.annual_volatility
Sharpe          mean r / standard deviation x sqrt(A)           empyrical.sharpe_ratio (Sharpe 1994)
Sortino         mean r x A / (sqrt(mean of min(r, 0)^2) x sqrt(A))  empyrical.sortino_ratio
                (Sortino and Price 1994, required return 0)
max drawdown    least of growth / its highest before - 1, over every row of the equity, not by day
Calmar          annual return / |max drawdown|                  (Young 1991, over the whole run)
VaR, CVaR       5th percentile of r; mean of the r up to it     empyrical.value_at_risk,
                                                                empyrical.conditional_value_at_risk
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import numpy as np

from tapeline.backtest.report.figure import Figure, Unit, known, ratio, undefined
from tapeline.backtest.report.growth import DAY_NS, DailyReturns, Floats, Times, Worth
from tapeline.backtest.report.wording import counted

CUTOFF: Final = 0.05
ANNUAL_RETURNS_MIN: Final = 20
"""fewer daily returns are not turned into a year's"""
TAIL_RETURNS_MIN: Final = 20
"""fewer have no twentieth"""
ROUNDING: Final = 1e-12
"""a peak that is missed by less has been reached again"""
EPOCH: Final = date(1970, 1, 1)
UNITS: Final = {
    "total_return": Unit.SHARE,
    "annual_return": Unit.SHARE,
    "volatility": Unit.SHARE,
    "sharpe": Unit.NUMBER,
    "sortino": Unit.NUMBER,
    "calmar": Unit.NUMBER,
    "max_drawdown": Unit.SHARE,
    "max_drawdown_days": Unit.DAYS,
    "value_at_risk": Unit.SHARE,
    "conditional_value_at_risk": Unit.SHARE,
}


def performance(worth: Worth | None, daily: DailyReturns | None) -> dict[str, Figure]:
    """Every figure of UNITS."""
    if worth is None or daily is None:
        return {name: undefined(unit, "the run has no equity") for name, unit in UNITS.items()}
    ruined_ns = worth.ruined_ns
    if ruined_ns is not None:
        when = day_text(ruined_ns // DAY_NS)
        found = {
            name: undefined(unit, f"worth fell to zero or below on {when}")
            for name, unit in UNITS.items()
        }
        lost = (worth.equity[-1] - float(np.sum(worth.deposited))) / worth.start - 1.0
        return {**found, "total_return": known(lost, Unit.SHARE)}
    return {**_returns(daily), **_drawdown(worth, daily)}


def _returns(daily: DailyReturns) -> dict[str, Figure]:
    import empyrical

    returns, annual_days = daily.returns, daily.annual_days
    found = {
        "total_return": known(float(np.prod(1.0 + returns) - 1.0), Unit.SHARE),
        "annual_return": undefined(Unit.SHARE, too_short(returns)),
        "volatility": undefined(Unit.SHARE, "fewer than two daily returns"),
        **_risk_adjusted(daily),
        **_tail(returns),
    }
    if len(returns) >= ANNUAL_RETURNS_MIN:
        annual = empyrical.annual_return(returns, annualization=annual_days)
        found["annual_return"] = known(annual, Unit.SHARE)
    if len(returns) >= 2:
        found["volatility"] = known(
            empyrical.annual_volatility(returns, annualization=annual_days), Unit.SHARE
        )
    return found


def too_short(returns: Floats) -> str:
    """Why a run is not turned into a year."""
    return f"{counted(len(returns), 'daily return')}, of {ANNUAL_RETURNS_MIN} for a year's figure"


def _risk_adjusted(daily: DailyReturns) -> dict[str, Figure]:
    import empyrical

    returns, annual_days = daily.returns, daily.annual_days
    if len(returns) < 2:
        reason = undefined(Unit.NUMBER, "fewer than two daily returns")
        return {"sharpe": reason, "sortino": reason}
    if is_still(returns):
        still = undefined(Unit.NUMBER, "daily returns do not vary")
        return {"sharpe": still, "sortino": still}
    sharpe = known(empyrical.sharpe_ratio(returns, annualization=annual_days), Unit.NUMBER)
    if not np.any(returns < 0):
        return {"sharpe": sharpe, "sortino": undefined(Unit.NUMBER, "no day with a loss")}
    sortino = empyrical.sortino_ratio(returns, annualization=annual_days)
    return {"sharpe": sharpe, "sortino": known(sortino, Unit.NUMBER)}


def is_still(values: Floats) -> bool:
    """True where values differ by rounding alone."""
    return bool(np.ptp(values) <= 1e-14)


def _tail(returns: Floats) -> dict[str, Figure]:
    import empyrical

    if len(returns) < TAIL_RETURNS_MIN:
        reason = f"{len(returns)} daily returns, of {TAIL_RETURNS_MIN} that have a twentieth"
        nothing = undefined(Unit.SHARE, reason)
        return {"value_at_risk": nothing, "conditional_value_at_risk": nothing}
    return {
        "value_at_risk": known(empyrical.value_at_risk(returns, CUTOFF), Unit.SHARE),
        "conditional_value_at_risk": known(
            empyrical.conditional_value_at_risk(returns, CUTOFF), Unit.SHARE
        ),
    }


def drawdown_series(worth: Worth) -> Floats:
    """Growth below its highest so far, as shares of it, not above 0."""
    growth = worth.growth
    below = growth / np.maximum(np.maximum.accumulate(growth), 1.0) - 1.0
    return np.where(below > -ROUNDING, 0.0, below)


def _drawdown(worth: Worth, daily: DailyReturns) -> dict[str, Figure]:
    drawdown = drawdown_series(worth)
    deepest = float(np.min(drawdown))
    if len(daily.returns) < ANNUAL_RETURNS_MIN:
        calmar = undefined(Unit.NUMBER, too_short(daily.returns))
    else:
        total = float(np.prod(1.0 + daily.returns))
        annual = total ** (daily.annual_days / len(daily.returns)) - 1.0
        calmar = ratio(annual, abs(deepest), Unit.NUMBER, "there was no drawdown")
    days = longest_below_ns(worth.times_ns, drawdown) / DAY_NS
    return {
        "max_drawdown": known(deepest, Unit.SHARE),
        "max_drawdown_days": known(days, Unit.DAYS),
        "calmar": calmar,
    }


def longest_below_ns(times_ns: Times, drawdown: Floats) -> int:
    """The longest time from a peak until it was reached again, or until the end."""
    at_peak = np.concatenate([[0], np.flatnonzero(drawdown >= 0), [len(times_ns) - 1]])
    peaks = times_ns[at_peak]
    # Peaks that follow one another have nothing below between them, but for the end.
    is_below = np.diff(at_peak) > 1
    is_below[-1] = drawdown[-1] < 0
    if drawdown[0] < 0 and len(at_peak) > 2:
        is_below[0] = True
    return int(np.max(np.where(is_below, np.diff(peaks), 0)))


def monthly_returns(daily: DailyReturns) -> list[tuple[int, int, float]]:
    """(year, month, return), days of a month compounded."""
    months = daily.days.astype("datetime64[D]").astype("datetime64[M]")
    found = []
    for month in np.unique(months):
        number = int(month.astype(np.int64))
        gained = float(np.prod(1.0 + daily.returns[months == month]) - 1.0)
        found.append((1970 + number // 12, number % 12 + 1, gained))
    return found


def day_text(day: int) -> str:
    """2013-10-07 of a day number."""
    return (EPOCH + timedelta(days=int(day))).isoformat()
