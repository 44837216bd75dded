"""Prices that jump: spikes that come back, and levels that change as a split changes them.

A price is a spike when it is far from the median of its neighbours on both sides, in robust
deviations (1.4826 x median absolute deviation, as in Iglewicz and Hoaglin 1993), never below a
floor: the rule of market-data's gate, which sees one side only.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from tapeline.backtest.data_check.findings import Finding, Severity
from tapeline.backtest.data_check.series import Floats, Rules, Series

MAD_TO_DEVIATION: Final = 1.4826
SPLIT_RATIOS: Final = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 50.0, 100.0)
CERTAIN_RATIO: Final = 2.0
"""prices fall by a third without a split, too: a smaller ratio is no more than a warning"""
SPLIT_TOLERANCE: Final = 0.02
"""the first price after a split differs from the ratio by no more"""
LEVEL_TOLERANCE: Final = 0.08
"""and the medians on its sides by no more"""
AT_ONCE: Final = 50_000
"""windows looked at together: memory stays bounded"""
Places = npt.NDArray[np.int64]


def jumps(series: Series, rules: Rules) -> list[Finding]:
    """Spikes and suspected splits of a series."""
    given = series.price
    is_sound = np.isfinite(given) & (given > 0)
    sound = np.flatnonzero(is_sound)
    width = 2 * rules.neighbours + 1
    if len(sound) < width:
        return []
    price = given if len(sound) == len(given) else given[sound]
    steps = np.abs(np.diff(price)) / price[:-1]
    # Whoever is a spike came there by a step of half the least distance, or more.
    least = rules.spike_deviations * rules.spike_floor / 2
    is_far = np.concatenate([steps[:1] > least, steps > least])
    places = np.flatnonzero(is_far)
    spikes, absurd = _spikes(price, places, rules)
    return [
        *_spike_findings(series, sound[spikes], sound[absurd]),
        *_splits(series, sound, price, steps, rules),
    ]


def _spikes(price: Floats, places: Places, rules: Rules) -> tuple[Places, Places]:
    """(spikes that are not absurd, absurd ones) among the places."""
    half, found, absurd = rules.neighbours, [places[:0]], [places[:0]]
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        middle = np.clip(some, half, len(price) - 1 - half)
        window = price[middle[:, None] + np.arange(-half, half + 1)]
        center = np.median(window, axis=1)
        spread = MAD_TO_DEVIATION * np.median(np.abs(window - center[:, None]), axis=1)
        deviation = np.maximum(spread, rules.spike_floor * center)
        ratio = price[some] / center
        is_absurd = (ratio > rules.absurd_ratio) | (ratio < 1 / rules.absurd_ratio)
        is_spike = np.abs(price[some] - center) > rules.spike_deviations * deviation
        absurd.append(some[is_spike & is_absurd])
        found.append(some[is_spike & ~is_absurd])
    return np.concatenate(found), np.concatenate(absurd)


def _spike_findings(series: Series, spikes: Places, absurd: Places) -> list[Finding]:
    price = series.price
    found = []
    for code, severity, places in (
        ("ABSURD_PRICE", Severity.ERROR, absurd),
        ("SPIKE", Severity.WARNING, spikes),
    ):
        if len(places):
            first = int(places[0])
            around = price[max(0, first - 5) : first + 6]
            meaning = (
                f"{price[first]:g} stands alone between prices around {np.nanmedian(around):g}"
            )
            found.append(series.at(code, severity, len(places), first, meaning))
    return found


def _splits(
    series: Series, sound: Places, price: Floats, steps: Floats, rules: Rules
) -> list[Finding]:
    """Steps by a round ratio, to a level that stays."""
    half = rules.neighbours
    # Down by the least ratio is the smallest step that a split can make.
    places = np.flatnonzero(steps > 1 - 1 / min(SPLIT_RATIOS) - SPLIT_TOLERANCE) + 1
    places = places[(places >= half) & (places <= len(price) - half)]
    if not len(places):
        return []
    step = np.log(price[places] / price[places - 1])
    sides = np.arange(half)
    before = np.log(np.median(price[(places - 1)[:, None] - sides], axis=1))
    behind = np.log(np.median(price[places[:, None] + sides], axis=1))
    ratios = np.log(np.asarray(SPLIT_RATIOS))
    nearest = ratios[np.argmin(np.abs(np.abs(step)[:, None] - ratios), axis=1)] * np.sign(step)
    is_split = (np.abs(step - nearest) < SPLIT_TOLERANCE) & (
        np.abs(behind - before - nearest) < LEVEL_TOLERANCE
    )
    found = []
    for severity, flags in (
        (Severity.ERROR, is_split & (np.abs(nearest) >= np.log(CERTAIN_RATIO))),
        (Severity.WARNING, is_split & (np.abs(nearest) < np.log(CERTAIN_RATIO))),
    ):
        if np.any(flags):
            at = int(np.argmax(flags))
            meaning = _split_meaning(price, int(places[at]), float(nearest[at]))
            count, first = int(np.count_nonzero(flags)), int(sound[places[at]])
            found.append(series.at("SPLIT", severity, count, first, meaning))
    return found


def _split_meaning(price: Floats, place: int, log_ratio: float) -> str:
    ratio = float(np.exp(abs(log_ratio)))
    kind = f"1 to {ratio:g}" if log_ratio < 0 else f"{ratio:g} to 1 (reverse)"
    return (
        f"{price[place - 1]:g} to {price[place]:g} and it stays: a split {kind} that the prices "
        "are not adjusted for?"
    )
