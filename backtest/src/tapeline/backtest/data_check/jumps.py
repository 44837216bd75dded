"""Prices that jump: spikes that come back, and levels that change as a split changes them.

A price is a spike when it is far from the median of its neighbours on both sides, in robust
deviations (1.4826 x median absolute deviation, as in Iglewicz and Hoaglin 1993), never below a
floor: the rule of market-data's gate, which sees one side only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
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
ORDER: Final = (
    ("ABSURD_PRICE", Severity.ERROR),
    ("SPIKE", Severity.WARNING),
    ("SPLIT", Severity.ERROR),
    ("SPLIT", Severity.WARNING),
)
"""in which findings are told"""


def jumps(series: Series, rules: Rules) -> list[Finding]:
    """Spikes and suspected splits of a series."""
    given = series.price
    is_sound = np.isfinite(given) & (given > 0)
    sound = np.flatnonzero(is_sound)
    width = 2 * rules.neighbours + 1
    if len(sound) < width:
        return []
    price = given if len(sound) == len(given) else given[sound]
    judged = slice(0, len(price))
    spikes, absurd = _spikes(price, _far(price, judged, rules), rules)
    return [
        *_spike_findings(series, sound[spikes], sound[absurd]),
        *_splits(series, sound, price, judged, rules),
    ]


class Jumps:
    """The same of rows that come block by block, all with sound prices."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._kept: Series | None = None
        """rows that are not judged yet, and those before them that their windows need"""
        self._judged = 0
        """rows of it that are judged"""
        self._found: dict[tuple[str, Severity], Finding] = {}

    def add(self, series: Series) -> None:
        """The next rows."""
        whole = series if self._kept is None else _joined(self._kept, series)
        # The window of a later row reaches so far back, and what is said of it even less.
        reach = 2 * self._rules.neighbours + 1
        end = len(whole.times_ns) - reach
        # The first row is a spike by the step behind it: they are judged together.
        if end > max(self._judged, 1):
            self._judge(whole, slice(self._judged, end))
            start = max(0, end - reach)
            whole, self._judged = _cut(whole, start), end - start
        self._kept = whole

    def findings(self) -> list[Finding]:
        """Of all rows, once no more come."""
        whole = self._kept
        width = 2 * self._rules.neighbours + 1
        if whole is not None and len(whole.times_ns) >= width:
            self._judge(whole, slice(self._judged, len(whole.times_ns)))
            self._judged = len(whole.times_ns)
        return [self._found[key] for key in ORDER if key in self._found]

    def _judge(self, whole: Series, judged: slice) -> None:
        price, rules = whole.price, self._rules
        every = np.arange(len(price))
        spikes, absurd = _spikes(price, _far(price, judged, rules), rules)
        found = [
            *_spike_findings(whole, spikes, absurd),
            *_splits(whole, every, price, judged, rules),
        ]
        for finding in found:
            key = finding.code, finding.severity
            before = self._found.get(key)
            if before is not None:
                finding = msgspec.structs.replace(before, count=before.count + finding.count)
            self._found[key] = finding


def _joined(first: Series, then: Series) -> Series:
    return replace(
        then,
        rows=np.concatenate([first.rows, then.rows]),
        times_ns=np.concatenate([first.times_ns, then.times_ns]),
        prices={
            name: np.concatenate([first.prices[name], values])
            for name, values in then.prices.items()
        },
        volume=None,
    )


def _cut(series: Series, start: int) -> Series:
    """From a place on, in memory of its own."""
    return replace(
        series,
        rows=series.rows[start:].copy(),
        times_ns=series.times_ns[start:].copy(),
        prices={name: values[start:].copy() for name, values in series.prices.items()},
        volume=None,
    )


def _far(price: Floats, judged: slice, rules: Rules) -> Places:
    """Places among the judged where a spike is possible."""
    start = max(judged.start, 1)
    before, here = price[start - 1 : judged.stop - 1], price[start : judged.stop]
    # Whoever is a spike came there by a step of half the least distance, or more.
    least = rules.spike_deviations * rules.spike_floor / 2
    places: Places = start + np.flatnonzero(np.abs(here - before) / before > least)
    if judged.start == 0 and len(places) and places[0] == 1:
        return np.concatenate([[0], places])
    return places


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
    series: Series, sound: Places, price: Floats, judged: slice, rules: Rules
) -> list[Finding]:
    """Steps by a round ratio, to a level that stays."""
    half = rules.neighbours
    start, end = max(judged.start, 1), judged.stop
    steps = np.abs(price[start:end] - price[start - 1 : end - 1]) / price[start - 1 : end - 1]
    # Down by the least ratio is the smallest step that a split can make.
    places = np.flatnonzero(steps > 1 - 1 / min(SPLIT_RATIOS) - SPLIT_TOLERANCE) + start
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
