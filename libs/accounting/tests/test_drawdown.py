from __future__ import annotations

from decimal import Decimal

from tapeline.accounting.drawdown import DAY_NS, curve_from

D = Decimal
NOON = DAY_NS // 2


def test_the_peak_is_the_highest_nav_observed() -> None:
    curve = curve_from(D(100), 0).observe(D(120), 1).observe(D(90), 2)
    assert curve.peak == 120
    assert curve.drawdown(D(90)) == 30
    assert curve.drawdown(D(130)) == 0


def test_a_day_starts_from_the_last_nav_of_the_day_before() -> None:
    curve = curve_from(D(100), NOON).observe(D(110), DAY_NS - 1)
    assert curve.daily_loss(D(105), DAY_NS - 1) == -5
    assert curve.daily_loss(D(105), DAY_NS) == 5
    curve = curve.observe(D(104), DAY_NS + NOON)
    assert curve.day_start == 110
    assert curve.daily_loss(D(104), DAY_NS + NOON) == 6


def test_within_a_day_the_start_stays() -> None:
    curve = curve_from(D(100), 0).observe(D(50), 1).observe(D(70), 2)
    assert curve.day_start == 100


def test_time_that_runs_back_opens_no_day() -> None:
    curve = curve_from(D(100), DAY_NS).observe(D(90), 1)
    assert (curve.day, curve.day_start) == (1, D(100))


def test_a_withdrawal_is_no_loss() -> None:
    curve = curve_from(D(100), 0).shift(D(-40))
    assert curve.drawdown(D(60)) == 0
    assert curve.daily_loss(D(60), 1) == 0
