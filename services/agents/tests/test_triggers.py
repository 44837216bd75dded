"""Each trigger on hand-made bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from agents_samples import DAY_NS, bar, vix

from tapeline.agents.trigger import Opinion, Reading, conviction
from tapeline.agents.triggers.breakout import Breakout
from tapeline.agents.triggers.market_regime import MarketRegime
from tapeline.agents.triggers.market_summary import MarketSummary
from tapeline.agents.triggers.rsi_reversal import RsiReversal
from tapeline.agents.triggers.sma_cross import SmaCross
from tapeline.contracts.agents import Direction

LONG, SHORT, FLAT = Direction.LONG, Direction.SHORT, Direction.FLAT


def opinions(core: Any, readings: Sequence[Reading]) -> list[Opinion | None]:
    state, found = core.initial(), []
    for reading in readings:
        state, opinion = core.step(state, reading)
        assert core.load(core.dump(state)) == state
        assert (opinion is not None) <= core.is_warm(state)
        found.append(opinion)
    return found


def directions(found: Sequence[Opinion | None]) -> list[Direction | None]:
    return [None if opinion is None else opinion.direction for opinion in found]


def closes(*values: float) -> list[Reading]:
    return [bar(number, value) for number, value in enumerate(values, start=1)]


SMA = SmaCross(name="sma", interval_ns=DAY_NS, fast=2, slow=3, full_spread=0.1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 2), [None, None]),
        ((1, 1, 1), [None, None, FLAT]),
        ((1, 1, 2), [None, None, LONG]),
        ((2, 2, 1), [None, None, SHORT]),
        ((1, 1, 2, 3, 1, 1), [None, None, LONG, LONG, LONG, SHORT]),
        # Two averages that are as good as equal turn nothing, on either side.
        ((1, 1, 2, 2, 2), [None, None, LONG, LONG, LONG]),
        ((2, 2, 1, 1, 1 + 5e-6), [None, None, SHORT, SHORT, SHORT]),
        ((2, 2, 1, 1, 1 + 7e-6), [None, None, SHORT, SHORT, LONG]),
    ],
)
def test_sma_cross_follows_the_fast_average(
    values: tuple[float, ...], expected: list[Direction | None]
) -> None:
    assert directions(opinions(SMA, closes(*values))) == expected


def test_sma_cross_counts_bars_since_the_averages_crossed() -> None:
    found = opinions(SMA, closes(1, 1, 2, 3, 4, 1, 1))
    counts = [opinion.features["bar_count_since_cross"] for opinion in found if opinion]
    assert counts == [0.0, 1.0, 2.0, 0.0, 1.0]
    assert [directions(found)[5], directions(found)[6]] == [SHORT, SHORT]


def test_sma_cross_is_surer_the_further_apart_the_averages_are() -> None:
    near = opinions(SMA, closes(100, 100, 101))[-1]
    far = opinions(SMA, closes(100, 100, 200))[-1]
    assert near is not None
    assert far is not None
    assert near.confidence == pytest.approx(0.5 + 0.5 * (100.5 / (301 / 3) - 1) / 0.1)
    assert far.confidence == 1.0
    assert near.horizon_ns == 5 * DAY_NS
    assert near.expected_return == near.features["spread"] > 0


RSI = RsiReversal(name="rsi", interval_ns=DAY_NS, period=2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((10, 9), [None, None]),
        # index 0: oversold; 33: held; 60: past the middle
        ((10, 9, 8, 8.5, 9.0), [None, None, LONG, LONG, FLAT]),
        # index 100: overbought; 67: held; 40: past the middle
        ((10, 11, 12, 11.5, 11.0), [None, None, SHORT, SHORT, FLAT]),
        # index 100 right after 0 turns the opinion without a bar between
        ((10, 9, 8, 20), [None, None, LONG, SHORT]),
        ((10, 11, 10, 10.4), [None, None, FLAT, FLAT]),
    ],
)
def test_rsi_reversal_holds_an_extreme_until_the_middle(
    values: tuple[float, ...], expected: list[Direction | None]
) -> None:
    assert directions(opinions(RSI, closes(*values))) == expected


def test_rsi_reversal_expects_a_move_back() -> None:
    long = opinions(RSI, closes(10, 9, 8))[-1]
    assert long is not None
    assert long.confidence == 1.0
    assert long.expected_return > 0
    assert long.features["rsi"] == 0.0


BREAKOUT = Breakout(name="breakout", interval_ns=DAY_NS, entry=3, exit=2)


def ranges(*triples: tuple[float, float, float]) -> list[Reading]:
    """(low, high, close)"""
    return [
        bar(number, close, low=low, high=high)
        for number, (low, high, close) in enumerate(triples, start=1)
    ]


CHANNEL = ((9.0, 11.0, 10.0),) * 3


@pytest.mark.parametrize(
    ("following", "expected"),
    [
        (((10, 11, 11.0),), [FLAT]),
        (((10, 12, 11.1),), [LONG]),
        (((9, 11, 9.0),), [FLAT]),
        (((8, 11, 8.9),), [SHORT]),
        # held while the last two bars' low stands, left below it
        (((10, 12, 12), (11, 12, 11), (10.4, 12, 10.5), (9, 11, 10.2)), [LONG, LONG, LONG, FLAT]),
        # the bar of a break does not raise the bar it is held to
        (((10, 30, 12),), [LONG]),
        (((8, 10, 8), (8, 9, 9), (8, 9, 9.5)), [SHORT, SHORT, SHORT]),
        (((8, 10, 8), (8, 9, 9), (8, 10.5, 10.5)), [SHORT, SHORT, FLAT]),
    ],
)
def test_breakout_enters_and_leaves_at_its_channels(
    following: tuple[tuple[float, float, float], ...], expected: list[Direction]
) -> None:
    found = directions(opinions(BREAKOUT, ranges(*CHANNEL, *following)))
    assert found == [None, None, None, *expected]


def test_breakout_is_surer_the_further_out_the_close_lies() -> None:
    opinion = opinions(BREAKOUT, ranges(*CHANNEL, (10, 12, 12)))[-1]
    assert opinion is not None
    assert opinion.confidence == 1.0
    assert opinion.expected_return == pytest.approx(1 / 12)
    assert opinion.features["channel_place"] == 2.0


def test_breakout_has_no_opinion_in_a_channel_without_width() -> None:
    found = opinions(BREAKOUT, ranges(*(((10.0, 10.0, 10.0),) * 4)))
    assert found[-1] is not None
    assert (found[-1].direction, found[-1].confidence) == (FLAT, 0.0)


def test_market_summary_tells_figures_without_an_opinion() -> None:
    core = MarketSummary(name="summary", interval_ns=DAY_NS)
    found = opinions(core, closes(*[100.0 * 1.01**number for number in range(22)]))
    assert found[:20] == [None] * 20
    last = found[-1]
    assert last is not None
    assert (last.direction, last.confidence, last.expected_return) == (FLAT, 0.0, 0.0)
    assert last.features["return_1"] == pytest.approx(0.01)
    assert last.features["return_5"] == pytest.approx(1.01**5 - 1)
    assert last.features["return_20"] == pytest.approx(1.01**20 - 1)
    assert last.features["volatility"] == pytest.approx(0.0, abs=1e-12)
    assert last.features["rsi"] == 100.0
    assert last.features["drawdown"] == 0.0
    assert last.features["sma_distance"] > 0


@pytest.mark.parametrize(
    ("before", "value", "regime", "direction"),
    [
        (20.0, 19.99, "RISK_ON", LONG),
        (19.0, 19.99, "TRANSITION", FLAT),
        (19.99, 19.99, "TRANSITION", FLAT),
        (25.0, 20.0, "NEUTRAL", FLAT),
        (25.0, 30.0, "NEUTRAL", FLAT),
        (25.0, 30.01, "RISK_OFF", SHORT),
        (40.0, 30.01, "TRANSITION", FLAT),
        (30.01, 30.01, "TRANSITION", FLAT),
    ],
)
def test_market_regime_follows_the_table(
    before: float, value: float, regime: str, direction: Direction
) -> None:
    core = MarketRegime(name="regime", momentum=1)
    none, found = opinions(core, [vix(1, before), vix(2, value)])
    assert none is None
    assert found is not None
    assert found.reason.startswith(f"{regime}:")
    assert found.direction is direction
    assert (found.confidence > 0) == (direction is not FLAT)


def test_market_regime_listens_to_its_series_alone() -> None:
    core = MarketRegime(name="regime", momentum=1)
    assert opinions(core, [vix(1, 15.0), vix(2, 14.0, series="GOLD")]) == [None, None]


def test_a_trigger_of_bars_leaves_macro_readings_alone_and_the_other_way_round() -> None:
    for core in (SMA, RSI, BREAKOUT, MarketSummary(name="summary", interval_ns=DAY_NS)):
        assert opinions(core, [vix(1, 15.0)]) == [None]
    regime = MarketRegime(name="regime", momentum=1)
    assert opinions(regime, [bar(1, 1.0), bar(2, 2.0)]) == [None, None]


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (SmaCross, {"fast": 30, "slow": 30}),
        (SmaCross, {"full_spread": 0.0}),
        (RsiReversal, {"oversold": 50.0}),
        (RsiReversal, {"period": 1}),
        (Breakout, {"exit": 21}),
        (MarketSummary, {"volatility": 1}),
        (MarketRegime, {"calm_below": 31.0}),
        (MarketRegime, {"momentum": 0}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(cls: Any, values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        cls(name="x", interval_ns=DAY_NS, **values)


@pytest.mark.parametrize(("strength", "expected"), [(-1, 0.5), (0, 0.5), (0.5, 0.75), (3, 1.0)])
def test_conviction_stays_between_one_half_and_one(strength: float, expected: float) -> None:
    assert conviction(strength) == expected
