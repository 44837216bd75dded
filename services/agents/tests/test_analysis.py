"""What the stage does around every trigger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from agents_samples import DAY_NS, SPX, bar, trigger_config, vix

from tapeline.agents.analysis import (
    Standing,
    Watch,
    analyse,
    dump,
    initial,
    is_usable,
    liquidity,
    load,
    signal_of,
)
from tapeline.agents.indicators import Window
from tapeline.agents.plugins import make_watch
from tapeline.contracts.market import Bar
from tapeline.runtime.codec import encode

SMA = make_watch(trigger_config("sma", "sma_cross", {"fast": "1", "slow": "2"}))
REGIME = make_watch(trigger_config("regime", "market_regime", {"momentum": "1"}, interval_ns=0))


def after(watch: Watch, *readings: Any) -> Standing:
    standing = initial(watch)
    for reading in readings:
        standing, _, _ = analyse(watch, standing, reading)
    return standing


@pytest.mark.parametrize("second", [bar(2, 99.0), bar(1, 99.0)], ids=["the same time", "older"])
def test_a_bar_that_is_not_newer_is_skipped(second: Bar) -> None:
    standing = after(SMA, bar(2, 10.0))
    assert analyse(SMA, standing, second) == (standing, None, 0.0)
    assert after(SMA, bar(2, 10.0), bar(3, 10.0)) != standing


def test_an_incomplete_bar_is_analysed_and_noted() -> None:
    standing = after(SMA, bar(1, 10.0))
    gapped = bar(2, 11.0, is_complete=False)
    later, opinion, share = analyse(SMA, standing, gapped)
    assert later.incomplete_count == 1
    assert opinion is not None
    told = signal_of(SMA, opinion, gapped, "run", 0, share)
    assert told.features["is_incomplete"] == 1.0
    assert told.reason.endswith("The bar is incomplete.")
    whole = signal_of(SMA, opinion, bar(2, 11.0), "run", 0, share)
    assert "is_incomplete" not in whole.features


@pytest.mark.parametrize(
    ("changes", "is_right"),
    [
        ({}, True),
        ({"close": float("nan")}, False),
        ({"high": float("inf")}, False),
        ({"close": 0.0, "low": 0.0}, False),
        ({"low": -1.0}, False),
        ({"close": 1e300, "high": 1e300}, False),
        ({"close": 1e12, "high": 1e12}, True),
        ({"close": 5e-324, "low": 5e-324}, False),
        ({"low": 11.0}, False),
        ({"high": 9.0}, False),
        ({"volume": -1.0}, False),
        ({"volume": float("nan")}, False),
        ({"volume": 0.0}, True),
    ],
)
def test_a_bar_that_no_market_makes_is_skipped(changes: dict[str, Any], is_right: bool) -> None:
    reading = replace(bar(1, 10.0), **changes)
    assert is_usable(reading) is is_right
    assert (after(SMA, reading) != initial(SMA)) is is_right


def test_a_macro_reading_out_of_range_is_skipped() -> None:
    assert is_usable(vix(1, 20.0))
    assert not is_usable(vix(1, 0.0))
    assert not is_usable(vix(1, float("nan")))


def test_a_trigger_is_concerned_with_its_interval_and_instruments() -> None:
    some = make_watch(trigger_config("sma", "sma_cross", instruments=(SPX,)))
    assert some.concerns(bar(1, 1.0))
    assert not some.concerns(bar(1, 1.0, instrument_id="OTHER.X"))
    assert not some.concerns(bar(1, 1.0, interval_ns=60_000_000_000))
    assert not some.concerns(vix(1, 20.0))
    assert SMA.concerns(bar(1, 1.0, instrument_id="OTHER.X"))
    assert REGIME.concerns(vix(1, 20.0))
    assert not REGIME.concerns(bar(1, 1.0))


@pytest.mark.parametrize(
    ("before", "volume", "expected"),
    [((), 5.0, 1.0), ((10.0,), 5.0, 0.5), ((10.0, 30.0), 50.0, 1.0), ((0.0, 0.0), 0.0, 1.0)],
)
def test_liquidity_is_the_share_of_the_usual_volume(
    before: tuple[float, ...], volume: float, expected: float
) -> None:
    assert liquidity(Window(size=3, values=before), volume) == expected


def test_a_signal_is_made_of_the_reading_alone() -> None:
    standing = after(SMA, bar(1, 10.0))
    _, opinion, share = analyse(SMA, standing, bar(2, 11.0))
    assert opinion is not None
    one = signal_of(SMA, opinion, bar(2, 11.0), "run", DAY_NS, share)
    assert one == signal_of(SMA, opinion, bar(2, 11.0), "run", DAY_NS, share)
    assert (one.price, one.instrument_id, one.universe) == (11.0, SPX, "main")
    assert (one.ts_event_ns, one.ts_init_ns) == (2 * DAY_NS, 2 * DAY_NS)
    late = signal_of(SMA, opinion, bar(2, 11.0), "run", 9 * DAY_NS, share)
    assert late.ts_init_ns == 9 * DAY_NS
    other_run = signal_of(SMA, opinion, bar(2, 11.0), "other", DAY_NS, share)
    other_bar = signal_of(SMA, opinion, bar(3, 11.0), "run", DAY_NS, share)
    assert len({one.signal_id, other_run.signal_id, other_bar.signal_id}) == 3
    assert encode(one)


def test_a_macro_signal_speaks_of_the_whole_universe() -> None:
    standing = after(REGIME, vix(1, 19.0))
    _, opinion, share = analyse(REGIME, standing, vix(2, 18.0))
    assert opinion is not None
    told = signal_of(REGIME, opinion, vix(2, 18.0), "run", 0, share)
    assert (told.instrument_id, told.price, told.liquidity) == ("", 0.0, 1.0)


def test_a_figure_that_is_not_finite_never_leaves() -> None:
    _, opinion, _ = analyse(SMA, after(SMA, bar(1, 10.0)), bar(2, 11.0))
    assert opinion is not None
    for wrong in (
        replace(opinion, expected_return=float("nan")),
        replace(opinion, features={"x": float("inf")}),
        replace(opinion, confidence=1.1),
    ):
        with pytest.raises(AssertionError):
            signal_of(SMA, wrong, bar(2, 11.0), "run", 0, 1.0)


def test_a_standing_is_kept_exactly_and_only_for_the_same_record() -> None:
    standing = after(SMA, bar(1, 10.1), bar(2, 0.1 + 0.2, is_complete=False, volume=3.3))
    assert load(SMA, dump(SMA, standing)) == standing
    changed = make_watch(trigger_config("sma", "sma_cross", {"fast": "1", "slow": "2"}, version=2))
    assert load(changed, dump(SMA, standing)) is None
