"""Indicators against TA-Lib and talipp, and their exact restoring."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st
from talipp.indicators import EMA, RSI, SMA, DonchianChannels
from talipp.ohlcv import OHLCVFactory

from tapeline.agents.indicators import (
    Donchian,
    Ema,
    WilderRsi,
    Window,
    mean,
    realized_volatility,
    standard_deviation,
)

PRICES = 100.0 * np.exp(np.cumsum(np.random.default_rng(7).normal(0.0, 0.02, 400)))
prices = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=60)


def averages(period: int) -> list[float | None]:
    window, found = Window(size=period), []
    for price in PRICES.tolist():
        window = window.push(price)
        found.append(mean(window.values) if window.is_full else None)
    return found


def streamed(indicator: Any) -> list[float | None]:
    found = []
    for price in PRICES.tolist():
        indicator = indicator.push(price)
        found.append(indicator.value)
    return found


def assert_equal(ours: list[float | None], theirs: Any, tolerance: float = 1e-9) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        if other is None or np.isnan(other):
            assert mine is None
        else:
            assert mine == pytest.approx(float(other), rel=tolerance)


@pytest.mark.parametrize("period", [2, 10, 30])
def test_the_average_agrees_with_ta_lib_and_talipp(period: int) -> None:
    assert_equal(averages(period), talib.SMA(PRICES, period))
    assert_equal(averages(period), list(SMA(period, PRICES.tolist())))


@pytest.mark.parametrize("period", [2, 14, 30])
def test_the_rsi_agrees_with_ta_lib_and_talipp(period: int) -> None:
    assert_equal(streamed(WilderRsi(period=period)), talib.RSI(PRICES, period))
    assert_equal(streamed(WilderRsi(period=period)), list(RSI(period, PRICES.tolist())))


@pytest.mark.parametrize("period", [2, 12, 26])
def test_the_exponential_average_agrees_with_ta_lib_and_talipp(period: int) -> None:
    assert_equal(streamed(Ema(period=period)), talib.EMA(PRICES, period))
    assert_equal(streamed(Ema(period=period)), list(EMA(period, PRICES.tolist())))


def test_the_channel_agrees_with_ta_lib_and_talipp() -> None:
    highs, lows, channel, found = PRICES * 1.01, PRICES * 0.98, Donchian.of(20), []
    for high, low in zip(highs.tolist(), lows.tolist(), strict=True):
        channel = channel.push(high, low)
        found.append(channel.channel(20))
    assert_equal([pair and pair[0] for pair in found], talib.MAX(highs, 20))
    assert_equal([pair and pair[1] for pair in found], talib.MIN(lows, 20))
    bars = OHLCVFactory.from_dict(
        {"high": highs.tolist(), "low": lows.tolist(), "close": PRICES.tolist()}
    )
    theirs = list(DonchianChannels(20, bars))
    assert_equal([pair and pair[0] for pair in found], [pair and pair.ub for pair in theirs])


def test_the_volatility_agrees_with_ta_lib_for_a_sample() -> None:
    returns = np.diff(np.log(PRICES))
    expected = talib.STDDEV(returns, 20)[-1] * np.sqrt(20 / 19)
    assert realized_volatility(PRICES[-21:].tolist()) == pytest.approx(expected, rel=1e-6)


def test_a_price_that_never_moves_is_neither_overbought_nor_oversold() -> None:
    rsi = WilderRsi(period=2)
    for _ in range(5):
        rsi = rsi.push(10.0)
    assert rsi.value == 50.0
    assert standard_deviation((10.0, 10.0, 10.0)) == 0.0


def test_a_channel_longer_than_its_bars_does_not_exist() -> None:
    assert Donchian.of(3).push(2.0, 1.0).channel(3) is None
    assert Donchian.of(3).push(2.0, 1.0).push(3.0, 0.5).channel(1) == (3.0, 0.5)


@given(prices, st.integers(0, 60), st.integers(2, 15))
def test_a_restored_indicator_goes_on_bit_by_bit(
    values: list[float], cut: int, period: int
) -> None:
    for initial in (Window(size=period), WilderRsi(period=period), Ema(period=period)):
        whole: Any = initial
        broken: Any = initial
        for number, value in enumerate(values):
            if number == cut:
                data = msgspec.json.encode(broken)
                broken = msgspec.json.decode(data, type=type(initial))
            whole, broken = whole.push(value), broken.push(value)
            assert msgspec.json.encode(whole) == msgspec.json.encode(broken)
            assert whole == broken


@given(st.lists(st.floats(1e-9, 1e12), min_size=3, max_size=40))
def test_an_average_depends_on_its_window_alone(values: list[float]) -> None:
    window = Window(size=3)
    for value in values:
        window = window.push(value)
    assert mean(window.values) == mean(values[-3:])
