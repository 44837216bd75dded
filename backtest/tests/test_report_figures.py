"""Figures of a report against formulas written by hand, known answers, and what has no value."""

from __future__ import annotations

from math import sqrt
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import DAY_NS, MONDAY_NS, bar_rows, crossover, equity_rows, fill, made

from tapeline.backtest.rates import RateUnknown
from tapeline.backtest.report.analysis import Analysis, analyse, facts_of
from tapeline.backtest.report.benchmark import UnknownBenchmark
from tapeline.backtest.report.catalogue import FIGURES
from tapeline.backtest.report.figure import Figure, Unit, known
from tapeline.backtest.report.growth import worth_of
from tapeline.backtest.report.round_trips import round_trips
from tapeline.backtest.report.trading import trading
from tapeline.backtest.run_tables import RunTables, table


def value(analysis: Analysis, name: str) -> float:
    found = analysis.figures[name].value
    assert found is not None, analysis.figures[name].reason
    return found


def reason(analysis: Analysis, name: str) -> str:
    assert analysis.figures[name].value is None
    return analysis.figures[name].reason


# Known answers ----------------------------------------------------------------------------------


def test_four_days_by_hand() -> None:
    """1000 -> 1100 -> 990 -> 1089 -> 1089: +10 %, -10 %, +10 %, 0 %."""
    analysis = analyse(made(equity_rows([1100.0, 990.0, 1089.0, 1089.0])))
    assert value(analysis, "total_return") == pytest.approx(0.089)
    assert value(analysis, "max_drawdown") == pytest.approx(-0.1)
    # Mean 2.5 %; squared distances 0.005625 twice, 0.015625, 0.000625 over 3.
    deviation = sqrt((0.005625 * 2 + 0.015625 + 0.000625) / 3)
    assert value(analysis, "volatility") == pytest.approx(deviation * sqrt(252))
    assert value(analysis, "sharpe") == pytest.approx(0.025 / deviation * sqrt(252))
    # One day below zero: sqrt(0.01 / 4) = 0.05.
    assert value(analysis, "sortino") == pytest.approx(0.025 / 0.05 * sqrt(252))
    # From the end of Monday to the end of the run: it was not reached again.
    assert value(analysis, "max_drawdown_days") == pytest.approx(3.0)
    assert analysis.months == [(2022, 1, pytest.approx(0.089))]


def test_a_drawdown_lasts_until_its_peak_is_reached_again() -> None:
    equity = [1000.0, 900.0, 950.0, 1000.0, 980.0, 1010.0]
    assert value(analyse(made(equity_rows(equity))), "max_drawdown_days") == pytest.approx(3.0)


def test_a_loss_from_the_start_on_is_a_drawdown() -> None:
    analysis = analyse(made(equity_rows([900.0, 950.0])))
    assert value(analysis, "max_drawdown") == pytest.approx(-0.1)
    assert value(analysis, "max_drawdown_days") == pytest.approx(1.0)


def test_within_a_day_the_deepest_fall_counts() -> None:
    rows = equity_rows([1000.0, 1000.0])
    rows.append({**rows[0], "ts_event_ns": MONDAY_NS + DAY_NS + 5, "equity": 700.0})
    assert value(analyse(made(rows)), "max_drawdown") == pytest.approx(-0.3)


def test_a_deposit_is_no_return_but_a_payment_of_funding_is() -> None:
    rows = equity_rows([1100.0, 1600.0, 1590.0])
    cash = [
        {
            "ts_event_ns": MONDAY_NS + DAY_NS + 9,
            "account_id": "A",
            "kind": "deposit",
            "amount": 500.0,
        },
        {
            "ts_event_ns": MONDAY_NS + 2 * DAY_NS + 9,
            "account_id": "A",
            "kind": "funding",
            "amount": -10.0,
        },
    ]
    analysis = analyse(made(rows, cash=cash))
    assert value(analysis, "total_return") == pytest.approx(1.1 * 1.0 * 1590 / 1600 - 1)
    assert value(analysis, "cash_moved") == -10.0
    # 100 of the first day came from nowhere.
    assert value(analysis, "unexplained") == pytest.approx(100.0)
    assert any("differ by 100.00" in line for line in analysis.warnings)


def test_the_deposit_of_the_starting_cash_is_no_deposit() -> None:
    rows = equity_rows([1100.0])
    cash = [{"ts_event_ns": MONDAY_NS, "account_id": "A", "kind": "DEPOSIT", "amount": 1000.0}]
    assert value(analyse(made(rows, cash=cash)), "total_return") == pytest.approx(0.1)
    more = [{**cash[0], "amount": 1050.0}]
    assert value(analyse(made(rows, cash=more)), "total_return") == pytest.approx(-0.95)


def test_accounts_are_added_each_at_its_last_worth() -> None:
    rows = equity_rows([600.0, 660.0]) + equity_rows([400.0], account="B")
    assert value(analyse(made(rows)), "total_return") == pytest.approx(0.06)


# By hand over made series -----------------------------------------------------------------------


def series(
    seed: int, days: int = 300, step_days: int = 1
) -> tuple[RunTables, list[float], list[float]]:
    """(run, its daily returns, the instrument's), over every day of the week."""
    generator = np.random.default_rng(seed)
    gained = generator.normal(0.0005, 0.01, days)
    market = generator.normal(0.0003, 0.012, days)
    equity = [1000.0 * float(product) for product in np.cumprod(1 + gained)]
    closes = [50.0 * float(product) for product in np.cumprod(1 + market)]
    run = made(equity_rows(equity), bars=bar_rows(closes, first=50.0))
    return run, gained.tolist(), market.tolist()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_figures_of_a_year_are_those_of_the_formulas(seed: int) -> None:
    run, gained, market = series(seed)
    analysis = analyse(run)
    assert analysis.daily is not None
    assert analysis.daily.annual_days == 365
    year = 365
    total = 1.0
    for one in gained:
        total *= 1 + one
    annual = total ** (year / len(gained)) - 1
    assert value(analysis, "annual_return") == pytest.approx(annual)
    assert value(analysis, "volatility") == pytest.approx(stdev(gained) * sqrt(year))
    assert value(analysis, "sharpe") == pytest.approx(mean(gained) / stdev(gained) * sqrt(year))
    below = sqrt(mean([min(one, 0.0) ** 2 for one in gained]))
    assert value(analysis, "sortino") == pytest.approx(mean(gained) / below * sqrt(year))
    assert value(analysis, "calmar") == pytest.approx(annual / -value(analysis, "max_drawdown"))
    ordered = sorted(gained)
    place = 0.05 * (len(ordered) - 1)
    low = ordered[int(place)]
    risk = low + (ordered[int(place) + 1] - low) * (place - int(place))
    assert value(analysis, "value_at_risk") == pytest.approx(risk)
    assert value(analysis, "conditional_value_at_risk") == pytest.approx(
        mean(ordered[: int(place) + 1])
    )
    covariance = mean([a * b for a, b in zip(gained, market, strict=True)])
    covariance -= mean(gained) * mean(market)
    beta = covariance / (mean([one**2 for one in market]) - mean(market) ** 2)
    assert value(analysis, "beta") == pytest.approx(beta)
    left = mean([a - beta * b for a, b in zip(gained, market, strict=True)])
    assert value(analysis, "alpha") == pytest.approx((1 + left) ** year - 1)
    active = [a - b for a, b in zip(gained, market, strict=True)]
    error = stdev(active) * sqrt(year)
    assert value(analysis, "tracking_error") == pytest.approx(error)
    assert value(analysis, "information_ratio") == pytest.approx(mean(active) * year / error)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=3_000), min_size=1, max_size=60))
def test_drawdown_is_that_of_a_walk_through_the_worths(whole: list[int]) -> None:
    equity = [float(one) for one in whole]
    analysis = analyse(made(equity_rows(equity)))
    peak, peak_at, deepest, longest = 1000.0, 0.0, 0.0, 0.0
    for at, one in enumerate(equity):
        if one >= peak:
            # What was below since the peak is over.
            longest = max(longest, at - peak_at if is_below(equity, peak_at, at, peak) else 0.0)
            peak, peak_at = one, float(at)
        deepest = min(deepest, one / peak - 1)
    if equity[-1] < peak:
        longest = max(longest, len(equity) - 1 - peak_at)
    assert value(analysis, "max_drawdown") == pytest.approx(deepest, abs=1e-12)
    assert value(analysis, "max_drawdown_days") == pytest.approx(longest)


def is_below(equity: list[float], start: float, end: int, peak: float) -> bool:
    return any(one < peak for one in equity[int(start) : end])


def test_months_compound_to_the_whole() -> None:
    analysis = analyse(series(5)[0])
    whole = np.prod([1 + gained for _, _, gained in analysis.months]) - 1
    assert whole == pytest.approx(value(analysis, "total_return"))
    assert [month for _, month, _ in analysis.months] == list(range(1, 11))


# The calendar -----------------------------------------------------------------------------------


def test_data_without_saturdays_has_252_days_a_year() -> None:
    weekdays = [
        row for at, row in enumerate(equity_rows([1000.0 + at for at in range(21)])) if at % 7 < 5
    ]
    analysis = analyse(made(weekdays))
    assert analysis.daily is not None
    assert (analysis.daily.annual_days, len(analysis.daily.returns)) == (252, 15)


def test_around_the_clock_a_day_without_a_row_is_a_day_without_a_return() -> None:
    rows = [row for at, row in enumerate(equity_rows([1000.0 + at for at in range(21)])) if at != 9]
    analysis = analyse(made(rows))
    assert analysis.daily is not None
    assert (analysis.daily.annual_days, len(analysis.daily.returns)) == (365, 21)
    assert analysis.daily.returns[9] == 0.0


def test_days_a_year_may_be_named() -> None:
    analysis = analyse(series(1)[0], annual_days=260)
    assert value(analysis, "volatility") == pytest.approx(stdev(series(1)[1]) * sqrt(260))


# What has no value ------------------------------------------------------------------------------


def test_without_fills_rates_have_a_reason_and_no_value() -> None:
    analysis = analyse(made(equity_rows([1000.0] * 40), bars=bar_rows([5.0] * 40)))
    assert reason(analysis, "sharpe") == "daily returns do not vary"
    assert reason(analysis, "sortino") == "daily returns do not vary"
    assert reason(analysis, "calmar") == "there was no drawdown"
    assert reason(analysis, "win_rate") == "no position was closed"
    assert reason(analysis, "profit_factor") == "no position was closed"
    assert reason(analysis, "slippage_cost") == "there was no fill"
    assert reason(analysis, "beta") == "the benchmark's daily returns do not vary"
    assert value(analysis, "total_return") == 0.0
    assert value(analysis, "fees") == 0.0


def test_only_gains_have_no_sortino_ratio_and_no_profit_factor() -> None:
    fills = [fill(0, "BUY", 1, 10), fill(1, "SELL", 1, 12)]
    analysis = analyse(made(equity_rows([1001.0, 1002.0, 1004.0]), fills))
    assert reason(analysis, "sortino") == "no day with a loss"
    assert reason(analysis, "profit_factor") == "no round trip lost"
    assert reason(analysis, "average_loss") == "no round trip lost"
    assert value(analysis, "win_rate") == 1.0


def test_a_round_trip_that_came_to_nothing_was_neither_won_nor_lost() -> None:
    fills = [fill(0, "BUY", 1, 10), fill(1, "SELL", 1, 10), fill(2, "BUY", 1, 10)]
    analysis = analyse(made(equity_rows([1000.0] * 3), [*fills, fill(3, "SELL", 1, 12)]))
    assert value(analysis, "win_rate") == 0.5
    assert value(analysis, "average_win") == 2.0
    assert reason(analysis, "average_loss") == "no round trip lost"


def test_a_few_days_make_no_annual_figure() -> None:
    analysis = analyse(made(equity_rows([1001.0, 999.0])))
    assert reason(analysis, "annual_return").startswith("2 daily returns")
    assert reason(analysis, "value_at_risk").startswith("2 daily returns")
    assert any("only 2 daily returns" in line for line in analysis.warnings)


def test_ruin_has_no_ratios() -> None:
    analysis = analyse(made(equity_rows([900.0, -50.0, 10.0])))
    assert value(analysis, "total_return") == pytest.approx(-0.99)
    for name in ("annual_return", "sharpe", "max_drawdown", "beta"):
        assert reason(analysis, name) == "worth fell to zero or below on 2022-01-05"


def test_a_run_without_equity_says_so() -> None:
    analysis = analyse(made([]))
    assert {analysis.figures[name].reason for name in ("sharpe", "turnover", "alpha")} == {
        "the run has no equity"
    }


def test_unknown_slippage_and_exposure_are_not_zero() -> None:
    rows = [{**row, "gross_exposure": None} for row in equity_rows([1000.0, 1001.0])]
    fills = [fill(0, "BUY", 1, 10, slippage=None), fill(1, "SELL", 1, 11)]
    analysis = analyse(made(rows, fills))
    assert reason(analysis, "slippage_cost") == "1 of 2 fills say no slippage"
    assert "exposure" in reason(analysis, "exposure_time")


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_a_figure_is_never_infinite(number: float) -> None:
    assert known(number, Unit.NUMBER) == Figure(None, Unit.NUMBER, "not a finite number")


def finite(found: Any) -> bool:
    return found is None or bool(np.isfinite(found))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(min_value=-1e9, max_value=1e9), max_size=40),
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 5), st.floats(0.01, 1e6), st.floats(-5, 5)),
        max_size=20,
    ),
)
def test_every_figure_has_a_finite_value_or_a_reason(
    equity: list[float], trades: list[tuple[bool, int, float, float]]
) -> None:
    fills = [
        fill(at, "BUY" if is_buy else "SELL", quantity, price, fee=fee)
        for at, (is_buy, quantity, price, fee) in enumerate(trades)
    ]
    analysis = analyse(made(equity_rows(equity), fills))
    assert list(analysis.figures) == list(FIGURES)
    for figure in analysis.figures.values():
        assert finite(figure.value)
        assert (figure.value is None) == bool(figure.reason)
    facts_of(analysis)


# Round trips ------------------------------------------------------------------------------------


def trips_of(fills: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    closed, _ = round_trips(table("fills", fills))
    return closed.select("position_side", "quantity", "entry_price", "exit_price", "profit").rows()


def test_the_oldest_quantity_is_closed_first() -> None:
    fills = [
        fill(0, "BUY", 2, 10, fee=0.2),
        fill(1, "BUY", 1, 12, fee=0.1),
        fill(2, "SELL", 2.5, 13, fee=0.5),
    ]
    closed, held = round_trips(table("fills", fills))
    rows = closed.select("quantity", "entry_price", "exit_price", "fees", "profit").rows()
    # 2 at 10: 6 less 0.2 and 2 of 2.5 of 0.5; 0.5 at 12: 0.5 less 0.05 and 0.1.
    assert rows == [
        (2.0, 10.0, 13.0, pytest.approx(0.6), pytest.approx(5.4)),
        (0.5, 12.0, 13.0, pytest.approx(0.15), pytest.approx(0.35)),
    ]
    assert held.select("quantity", "cost", "fees").rows() == [(0.5, 6.0, pytest.approx(0.05))]


def test_a_flip_closes_and_opens_the_other_side() -> None:
    fills = [fill(0, "BUY", 1, 10), fill(1, "SELL", 2, 11), fill(2, "BUY", 1, 9)]
    assert trips_of(fills) == [("LONG", 1.0, 10.0, 11.0, 1.0), ("SHORT", 1.0, 11.0, 9.0, 2.0)]


def test_partial_fills_of_one_order_are_one_round_trip() -> None:
    fills = [
        fill(0, "BUY", 1, 10, client_order_id="in"),
        fill(0.1, "BUY", 3, 11, client_order_id="in"),
        fill(1, "SELL", 2, 12, client_order_id="out"),
        fill(1.1, "SELL", 2, 13, client_order_id="out"),
    ]
    assert trips_of(fills) == [("LONG", 4.0, 10.75, 12.5, 7.0)]


def held_after(*quantities: float) -> list[float]:
    """What is open after buys (above zero) and sells at one price."""
    fills = [
        fill(at, "BUY" if quantity > 0 else "SELL", abs(quantity), 10)
        for at, quantity in enumerate(quantities)
    ]
    return round_trips(table("fills", fills))[1]["quantity"].to_list()


@pytest.mark.parametrize(
    ("quantities", "held"),
    [
        ((1_000_000.0000005, -1_000_000), [0.0000005]),
        ((0.0000005, 1_000_000, -1_000_000), [0.0000005]),
        ((1_000_000, -999_999.9999999999), [0.0000000001]),
        ((1e-18, 1e18, -1e18), [1e-18]),
        # In floats 5.6e-17 would be left, and 2.8e-17 be missing.
        ((0.1, 0.1, 0.1, -0.3), []),
        ((0.3, -0.1, -0.2), []),
        ((0.3, -0.1, -0.1, -0.1, 0.7, -0.6, -0.1), []),
        # 18 digits, of which floats keep 17: 0.999999999999999999 in all.
        ((0.123456789012345678, 0.876543210987654321, -0.999999999999999999), []),
        ((0.333333333333333333, 0.333333333333333333, -0.666666666666666666), []),
        # Sold what was held and a little more.
        ((1_000_000, -1_000_000.0000005), [-0.0000005]),
    ],
)
def test_a_position_is_closed_when_nothing_is_left_of_it(
    quantities: tuple[float, ...], held: list[float]
) -> None:
    assert held_after(*quantities) == held
    assert held_after(*(-one for one in quantities)) == [-one for one in held]


def test_groups_and_accounts_do_not_close_each_other() -> None:
    fills = [
        fill(0, "BUY", 1, 10),
        fill(1, "SELL", 1, 11, group_id="other"),
        fill(2, "SELL", 1, 11, account_id="B"),
        fill(3, "SELL", 1, 11, instrument_id="Y.SIM"),
    ]
    assert trips_of(fills) == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(), st.integers(1, 9), st.integers(1, 200), st.sampled_from(["a", "b", ""])
        ),
        max_size=40,
    )
)
def test_round_trips_and_open_positions_account_for_all_cash(
    trades: list[tuple[bool, int, int, str]],
) -> None:
    fills = [
        fill(at, "BUY" if is_buy else "SELL", quantity, price, fee=0.25, client_order_id=order)
        for at, (is_buy, quantity, price, order) in enumerate(trades)
    ]
    closed, held = round_trips(table("fills", fills))
    cash = sum(
        (-1 if is_buy else 1) * quantity * price - 0.25 for is_buy, quantity, price, _ in trades
    )
    position = sum(quantity if is_buy else -quantity for is_buy, quantity, _, _ in trades)
    assert held["quantity"].sum() == pytest.approx(position)
    assert closed["profit"].sum() - held["cost"].sum() - held["fees"].sum() == pytest.approx(cash)


def test_trading_figures_by_hand() -> None:
    fills = [
        fill(0, "BUY", 10, 10, fee=1, slippage=0.1),
        fill(1, "SELL", 10, 12, fee=1, slippage=0.2),
        fill(2, "SELL", 5, 12, fee=1, slippage=-0.1, instrument_id="Y.SIM", group_id="other"),
        fill(3, "BUY", 5, 14, fee=1, slippage=0.0, instrument_id="Y.SIM", group_id="other"),
        fill(4, "BUY", 1, 10, fee=1, slippage=0.0),
    ]
    rows = equity_rows([1010.0, 1018.0, 1017.0, 1006.0, 1006.0])
    held = [10.0, 10.0, 5.0, 0.0, 1.0]
    rows = [{**row, "gross_exposure": one} for row, one in zip(rows, held, strict=True)]
    analysis = analyse(made(rows, fills, bar_rows([10.0, 12, 12, 12, 11])))
    # 20 - 2 and -10 - 2; one is held at 10 for 11, less its fee: 0.
    assert value(analysis, "win_rate") == 0.5
    assert value(analysis, "profit_factor") == pytest.approx(1.5)
    assert value(analysis, "average_win") == pytest.approx(18.0)
    assert value(analysis, "average_loss") == pytest.approx(-12.0)
    assert value(analysis, "fees") == 5.0
    assert value(analysis, "slippage_cost") == pytest.approx(1 + 2 - 0.5)
    assert value(analysis, "net_profit") == pytest.approx(6.0)
    assert value(analysis, "unexplained") == pytest.approx(0.0)
    assert value(analysis, "traded_notional") == 100 + 120 + 60 + 70 + 10
    # Each row holds until the next: the last has no time.
    assert value(analysis, "exposure_time") == pytest.approx(0.75)
    assert value(analysis, "turnover") == pytest.approx(360 / ((1010 + 1018 + 1017 + 1006) / 4))
    groups = {part.name: part.figures["net_profit"].value for part in analysis.trading.groups}
    assert groups == {"trend": pytest.approx(18.0), "other": pytest.approx(-12.0)}
    by_instrument = {part.name: part.fills for part in analysis.trading.instruments}
    assert by_instrument == {"X.SIM": 3, "Y.SIM": 2}


def test_the_books_of_a_whole_run_agree() -> None:
    analysis = analyse(crossover())
    assert value(analysis, "unexplained") == pytest.approx(0.0, abs=1e-6)
    parts = analysis.trading
    for some in (parts.groups, parts.instruments):
        profit = sum(part.figures["net_profit"].value or 0.0 for part in some)
        assert profit == pytest.approx(value(analysis, "net_profit"))


# The benchmark ----------------------------------------------------------------------------------


def test_holding_the_instrument_is_the_benchmark() -> None:
    analysis = analyse(made(equity_rows([1000.0] * 3), bars=bar_rows([10.0, 11, 12], first=8.0)))
    assert value(analysis, "benchmark_return") == pytest.approx(0.5)
    assert analysis.benchmark is not None
    assert analysis.benchmark.name == "buy and hold of X.SIM"


def test_several_instruments_are_held_in_equal_parts_or_one_by_name() -> None:
    bars = bar_rows([10.0, 11, 12]) + bar_rows([10.0, 10, 9], instrument="Y.SIM")
    run = made(equity_rows([1000.0] * 3), bars=bars)
    assert value(analyse(run), "benchmark_return") == pytest.approx(0.05)
    assert value(analyse(run, benchmark="Y.SIM"), "benchmark_return") == pytest.approx(-0.1)
    assert value(analyse(run, benchmark="cash"), "benchmark_return") == 0.0
    with pytest.raises(UnknownBenchmark, match="NOPE is neither"):
        analyse(run, benchmark="NOPE")


def test_a_run_that_holds_the_benchmark_has_beta_one_and_no_alpha() -> None:
    closes = [50.0 * (1 + 0.01 * (at % 5) + 0.001 * at) for at in range(60)]
    rows = equity_rows([1000.0 * close / 50 for close in closes])
    analysis = analyse(made(rows, bars=bar_rows(closes, first=50.0)))
    assert value(analysis, "beta") == pytest.approx(1.0)
    assert value(analysis, "alpha") == pytest.approx(0.0, abs=1e-9)
    assert value(analysis, "tracking_error") == pytest.approx(0.0, abs=1e-9)
    assert reason(analysis, "information_ratio") == "the run does not leave the benchmark"


def test_a_contract_of_many_units_in_another_currency_is_told_in_the_base_currency() -> None:
    """Two contracts of 50 units: bought at 100 EUR (1.10), sold at 103 EUR (1.20); fees 2 EUR each.
    One more is held, bought at 101 EUR (1.10), last price 104, last rate 1.25."""
    terms = {"multiplier": 50.0, "currency": "EUR", "fee": 2.0}
    fills = [
        fill(0, "BUY", 2.0, 100.0, currency_rate=1.10, client_order_id="a", **terms),
        fill(1, "SELL", 2.0, 103.0, currency_rate=1.20, client_order_id="b", **terms),
        fill(2, "BUY", 1.0, 101.0, currency_rate=1.10, client_order_id="c", **terms),
    ]
    cash = [
        {"ts_event_ns": MONDAY_NS, "account_id": "A", "instrument_id": "X.SIM", "kind": "dividend",
         "amount": 10.0, "currency": "EUR", "currency_rate": 1.10},
    ]  # fmt: skip
    run = made(
        equity_rows([1000.0, 1000.0]),
        fills,
        bar_rows([104.0]),
        cash,
        base_currency="USD",
        last_rates={"USD": "1", "EUR": "1.25"},
    )
    found, trips = trading(run, worth_of(run))
    assert trips["profit"].to_list() == [pytest.approx(2 * 50 * 3 * 1.20 - 2 * 1.10 - 2 * 1.20)]
    figures = {name: figure.value for name, figure in found.total.figures.items()}
    assert figures["unrealized_profit"] == pytest.approx(50 * 3 * 1.25 - 2 * 1.10)
    assert figures["fees"] == pytest.approx(2 * (1.10 + 1.20 + 1.10))
    notional = 50 * (2 * 100 * 1.10 + 2 * 103 * 1.20 + 101 * 1.10)
    assert figures["traded_notional"] == pytest.approx(notional)
    assert figures["cash_moved"] == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("rate", "last", "said"),
    [
        (None, {"EUR": "1.25"}, "A fill of run .* is in EUR"),
        (1.1, {}, "What is held at the end of run .* is in EUR"),
    ],
)
def test_money_in_a_currency_without_a_rate_is_no_money_of_ours(
    rate: float | None, last: dict[str, str], said: str
) -> None:
    fills = [fill(0, "BUY", 2.0, 100.0, currency="EUR", currency_rate=rate)]
    rows = (equity_rows([1000.0, 1000.0]), fills, bar_rows([104.0]), [])
    with pytest.raises(RateUnknown, match=said):
        analyse(made(*rows, base_currency="USD", last_rates={"USD": "1", **last}))


def test_money_that_comes_in_a_currency_without_a_rate_is_refused() -> None:
    cash = [
        {"ts_event_ns": MONDAY_NS, "account_id": "A", "kind": "dividend", "amount": 10.0,
         "currency": "EUR"},
    ]  # fmt: skip
    run = made(equity_rows([1000.0, 1000.0]), [], bar_rows([104.0]), cash, base_currency="USD")
    with pytest.raises(RateUnknown, match="Cash of run"):
        analyse(run)
