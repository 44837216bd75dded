"""The figures of a report: their order, titles, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Entry(NamedTuple):
    """How a figure is presented."""

    title: str
    meaning: str


SECTIONS: Final[Mapping[str, Mapping[str, Entry]]] = {
    "Return": {
        "total_return": Entry(
            "Total return", "Growth of what was invested at the start; deposits taken out."
        ),
        "annual_return": Entry("Annual return", "(1 + total return) ^ (days a year / days) - 1."),
        "volatility": Entry(
            "Volatility", "Standard deviation of daily returns x square root of the days a year."
        ),
        "sharpe": Entry(
            "Sharpe ratio", "Mean daily return / its standard deviation, annualised; rate 0."
        ),
        "sortino": Entry(
            "Sortino ratio", "Mean daily return / downside deviation below 0, annualised."
        ),
        "calmar": Entry("Calmar ratio", "Annual return / maximum drawdown of the whole run."),
    },
    "Risk": {
        "max_drawdown": Entry(
            "Maximum drawdown", "Deepest fall below the highest worth so far, over every row."
        ),
        "max_drawdown_days": Entry(
            "Longest drawdown", "Longest time from a peak until it was reached again, or the end."
        ),
        "value_at_risk": Entry(
            "Value at risk 95 %", "5th percentile of daily returns, from history."
        ),
        "conditional_value_at_risk": Entry(
            "Conditional VaR 95 %", "Mean of the worst 5 % of daily returns."
        ),
        "exposure_time": Entry("Time in the market", "Share of the time with any position."),
        "exposure_mean": Entry("Mean exposure", "Gross exposure / worth, weighted by time."),
    },
    "Trades": {
        "win_rate": Entry("Win rate", "Round trips with a profit after fees / all round trips."),
        "profit_factor": Entry("Profit factor", "Sum of profits / sum of losses."),
        "average_win": Entry("Average win", "Mean profit of the round trips that gained."),
        "average_loss": Entry("Average loss", "Mean result of the round trips that lost."),
        "holding_days": Entry("Mean holding time", "From entry to exit, of round trips."),
        "turnover": Entry("Turnover", "Traded notional / mean worth, over the whole run."),
    },
    "Costs": {
        "fees": Entry("Fees", "Commissions of all fills, rebates taken off."),
        "slippage_cost": Entry(
            "Slippage", "Price against the mark when the order was approved; positive is a loss."
        ),
        "cash_moved": Entry("Funding and other cash", "Cash beside fills; deposits are not in it."),
        "traded_notional": Entry("Traded notional", "Sum of quantity x price of all fills."),
        "net_profit": Entry(
            "Net profit", "Round trips and open positions after fees, with funding."
        ),
        "unexplained": Entry(
            "Not explained", "Change of worth less net profit: 0 when the books agree."
        ),
    },
    "Against the benchmark": {
        "benchmark_return": Entry("Benchmark's return", "Of holding it over the same days."),
        "alpha": Entry("Alpha", "(1 + mean of r - beta x b) ^ days a year - 1."),
        "beta": Entry("Beta", "Covariance with the benchmark / the benchmark's variance."),
        "tracking_error": Entry(
            "Tracking error", "Standard deviation of the difference of daily returns, annualised."
        ),
        "information_ratio": Entry(
            "Information ratio", "Mean difference of daily returns / tracking error, annualised."
        ),
    },
}
FIGURES: Final[Mapping[str, Entry]] = {
    name: entry for section in SECTIONS.values() for name, entry in section.items()
}
LEADING: Final = (
    "total_return",
    "annual_return",
    "sharpe",
    "max_drawdown",
    "win_rate",
    "fees",
)
"""the figures that a report begins with"""
PART_COLUMNS: Final = (
    "net_profit",
    "win_rate",
    "profit_factor",
    "average_win",
    "average_loss",
    "traded_notional",
    "fees",
    "slippage_cost",
)
"""the figures of a group or an instrument"""
