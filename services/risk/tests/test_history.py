"""Windows of bars: averages, volatility and correlation beside NumPy's."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from tapeline.contracts.market import Bar, TickOrigin
from tapeline.risk.history import BARS_MAX, BARS_MIN, YEAR_NS, History, correlation

MINUTE = 60_000_000_000


def bar(number: int, close: float, volume: float = 10.0) -> Bar:
    end_ns = number * MINUTE
    return Bar(
        instrument_id="X",
        feed="f",
        interval_ns=MINUTE,
        ts_open_ns=end_ns - MINUTE,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=volume,
        tick_count=1,
        late_count=0,
        is_complete=True,
        origin=TickOrigin.EXCHANGE,
        ts_event_ns=end_ns,
        ts_init_ns=end_ns,
    )


def history(closes: list[float], volumes: list[float] | None = None, first: int = 1) -> History:
    found = History(interval_ns=MINUTE)
    for number, close in enumerate(closes):
        volume = 10.0 if volumes is None else volumes[number]
        found = found.followed_by(bar(first + number, close, volume))
    return found


def walk(seed: int, count: int = BARS_MAX) -> list[float]:
    steps = np.random.default_rng(seed).normal(0, 0.01, count)
    return [float(value) for value in 100 * np.exp(np.cumsum(steps))]


def test_a_window_is_bounded_and_takes_each_bar_once() -> None:
    found = history([float(number) for number in range(1, 200)])
    assert len(found.closes) == len(found.volumes) == len(found.ends_ns) == BARS_MAX
    assert found.closes[-1] == 199.0
    assert found.followed_by(bar(199, 5.0)) is found
    assert found.followed_by(bar(100, 5.0)) is found


@pytest.mark.parametrize(("count", "is_known"), [(BARS_MIN - 1, False), (BARS_MIN, True)])
def test_too_few_bars_say_nothing(count: int, is_known: bool) -> None:
    one, other = history(walk(1, count)), history(walk(2, count))
    assert (one.average_volume() is not None) == is_known
    assert (one.volatility() is not None) == is_known
    assert (correlation(one, other) is not None) == is_known


def test_the_average_volume() -> None:
    volumes = [float(number) for number in range(BARS_MIN)]
    assert history(walk(1, BARS_MIN), volumes).average_volume() == 10.0
    assert history(walk(1, BARS_MIN), [0.0] * BARS_MIN).average_volume() is None


def test_volatility_and_correlation_agree_with_numpy() -> None:
    one, other = history(walk(1)), history(walk(2))
    first = np.diff(one.closes) / np.array(one.closes[:-1])
    second = np.diff(other.closes) / np.array(other.closes[:-1])
    together, volatility = correlation(one, other), one.volatility()
    assert together == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert volatility == pytest.approx(first.std() * sqrt(YEAR_NS / MINUTE))


def test_the_same_and_the_opposite() -> None:
    one = history(walk(1))
    assert correlation(one, one) == pytest.approx(1.0)
    inverse = history([10_000 / close for close in one.closes])
    assert correlation(one, inverse) == pytest.approx(-1.0, abs=1e-3)
    still = history([5.0] * BARS_MAX)
    assert correlation(one, still) is None
    assert still.volatility() is None


def test_only_common_instants_are_compared() -> None:
    closes = walk(1, 80)
    even = History(interval_ns=MINUTE)
    for number in range(0, 80, 2):
        even = even.followed_by(bar(1 + number, closes[number]))
    full = history(closes)
    common = [number for number in range(80 - BARS_MAX, 80) if number % 2 == 0]
    assert len(common) >= BARS_MIN
    assert correlation(full, even) == pytest.approx(1.0)
    assert correlation(history(closes[:40]), history(closes[40:], first=41)) is None
