"""How much of the open market the data covers, and where it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tapeline.backtest.data_check.findings import Coverage, Finding, Severity
from tapeline.backtest.data_check.open_time import (
    DAY_NS,
    FIRST_WEEKDAY,
    INFERRED_SESSIONS,
    Flags,
    OpenTime,
    Times,
    inferred,
    named,
)
from tapeline.backtest.data_check.series import Rules, Series

TICK_INTERVAL_NS: Final = 60_000_000_000
"""at which the presence of ticks is counted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What the rows of a series are held against."""

    times_ns: Times
    """ascending, distinct"""
    places: Times
    """of each in the series"""
    interval_ns: int
    open_time: OpenTime
    opened_ns: Times
    """open market before each time"""


def coverage_of(series: Series, rules: Rules) -> tuple[Coverage, list[Finding]]:
    """Coverage of a series that has rows, and the findings about it."""
    times, places = _distinct(series.times_ns)
    interval_ns = rules.interval_ns or _usual_interval_ns(series, times)
    open_time = (
        named(rules.calendar, int(times[0]), int(times[-1]) + interval_ns)
        if rules.calendar
        else inferred(times, interval_ns)
    )
    outside: list[Finding] = []
    if not open_time.is_inferred and interval_ns < DAY_NS:
        inside = open_time.is_open(times)
        outside = _outside(series, places[~inside], open_time)
        times, places = times[inside], places[inside]
    ground = _Ground(
        times_ns=times,
        places=places,
        interval_ns=interval_ns,
        open_time=open_time,
        opened_ns=open_time.before(times),
    )
    counted = _intervals_before(ground)
    missing = np.diff(counted) - 1
    expected, present = _presence(series, ground, counted, missing)
    found = Coverage(
        instrument=series.instrument,
        form=series.form,
        rows=len(series.times_ns),
        first_ns=int(np.min(series.times_ns)),
        last_ns=int(np.max(series.times_ns)),
        calendar=open_time.name,
        is_inferred=open_time.is_inferred,
        interval_ns=interval_ns,
        expected=expected,
        present=present,
    )
    return found, [*_findings(series, rules, ground, found, missing), *outside]


def _outside(series: Series, places: Times, open_time: OpenTime) -> list[Finding]:
    """Rows while the market was closed count for nothing."""
    if not len(places):
        return []
    meaning = f"rows outside of the sessions of {open_time.name}"
    return [series.at("OUT_OF_HOURS", Severity.NOTE, len(places), int(places[0]), meaning)]


def _distinct(times_ns: Times) -> tuple[Times, Times]:
    """(distinct times ascending, the first place of each)."""
    steps = np.diff(times_ns)
    if np.any(steps < 0):
        return np.unique(times_ns, return_index=True)
    places = np.flatnonzero(np.concatenate([[True], steps > 0]))
    return times_ns[places], places


def _usual_interval_ns(series: Series, times: Times) -> int:
    """The most frequent distance of two bars."""
    if series.form != "bars" or len(times) < 2:
        return TICK_INTERVAL_NS
    distances, counts = np.unique(np.diff(times), return_counts=True)
    return int(distances[np.argmax(counts)])


def _intervals_before(ground: _Ground) -> Times:
    """Whole intervals of open market before each time."""
    open_time, interval_ns = ground.open_time, ground.interval_ns
    if interval_ns >= DAY_NS and len(open_time.opens) > 1:
        # A daily bar stands for its session, at whatever hour it is said to open.
        _, starts = np.unique(open_time.opens // DAY_NS, return_index=True)
        return np.searchsorted(open_time.opens[starts], ground.times_ns, side="left")
    # Of bars that begin within an interval of the market's opening the first is its own.
    return (ground.opened_ns + interval_ns // 2) // interval_ns


def _presence(series: Series, ground: _Ground, counted: Times, missing: Times) -> tuple[int, int]:
    """(intervals expected, intervals with a row) from the first row to the last."""
    if not len(counted):
        return 0, 0
    if series.form == "bars":
        inside = int(counted[-1] - counted[0]) + 1
        return inside, inside - int(np.sum(np.maximum(missing, 0)))
    before = ground.opened_ns // ground.interval_ns
    return int(before[-1] - before[0]) + 1, 1 + int(np.count_nonzero(np.diff(before)))


def _findings(
    series: Series, rules: Rules, ground: _Ground, found: Coverage, missing: Times
) -> list[Finding]:
    if not len(ground.times_ns) or (
        ground.interval_ns > DAY_NS and len(ground.open_time.opens) > 1
    ):
        return []  # a week or a month counts sessions in its own way
    gaps = _gaps(series, rules, ground, missing)
    thin = _thin(series, rules, found)
    return [*gaps, *thin, *_missing_days(series, ground), *_beyond_calendar(series, ground)]


def _gaps(series: Series, rules: Rules, ground: _Ground, missing: Times) -> list[Finding]:
    if series.form == "bars":
        flags, lengths = missing > 0, missing * ground.interval_ns
        what = f"{int(np.sum(missing[flags])):,} bars missing of open market"
    else:
        lengths = np.diff(ground.opened_ns)
        flags = lengths > rules.silence_ns_max
        what = f"silence of open market longer than {_long(rules.silence_ns_max)}"
    where = np.flatnonzero(flags)
    if not len(where):
        return []
    first = int(ground.places[where[0]])
    meaning = f"{what}, the longest {_long(int(np.max(lengths[flags])))}"
    return [series.at("GAP", Severity.WARNING, len(where), first, meaning)]


def _thin(series: Series, rules: Rules, found: Coverage) -> list[Finding]:
    is_judged = series.form == "bars" and found.calendar != INFERRED_SESSIONS
    if not is_judged or found.share >= rules.coverage_good:
        return []
    # A market that is seen to be always open may just be thin; a calendar was meant.
    is_error = found.share < rules.coverage_min and not found.is_inferred
    meaning = (
        f"{found.present:,} of {found.expected:,} bars of {_long(found.interval_ns)} "
        f"are there ({found.share:.1%}, calendar {found.calendar})"
    )
    severity = Severity.ERROR if is_error else Severity.WARNING
    return [series.at("COVERAGE", severity, 1, -1, meaning)]


def _missing_days(series: Series, ground: _Ground) -> list[Finding]:
    """Weekdays without a row, where no calendar says whether they were holidays."""
    if ground.open_time.name != INFERRED_SESSIONS:
        return []
    days = np.unique(ground.times_ns // DAY_NS)
    every = np.arange(days[0], days[-1] + 1)
    absent = every[~np.isin(every, days) & ((every + FIRST_WEEKDAY) % 7 < 5)]
    if not len(absent):
        return []
    before = int(np.searchsorted(ground.times_ns, absent[0] * DAY_NS)) - 1
    meaning = "weekdays without a row; holidays, or data that is missing: name a calendar"
    place = int(ground.places[before])
    return [series.at("DAYS_WITHOUT_ROWS", Severity.WARNING, len(absent), place, meaning)]


def _beyond_calendar(series: Series, ground: _Ground) -> list[Finding]:
    """Rows of years that the calendar does not know are not judged."""
    places = np.flatnonzero(beyond(ground.open_time, ground.times_ns))
    if not len(places):
        return []
    meaning = beyond_meaning(ground.open_time)
    at = int(ground.places[places[0]])
    return [series.at("BEYOND_CALENDAR", Severity.NOTE, len(places), at, meaning)]


def beyond(open_time: OpenTime, times: Times) -> Flags:
    """Which times the calendar does not know."""
    found: Flags = (times < open_time.opens[0] - DAY_NS) | (times > open_time.closes[-1] + DAY_NS)
    return found


def beyond_meaning(open_time: OpenTime) -> str:
    """What that is."""
    return f"rows of years that the calendar {open_time.name} does not know: gaps go unseen"


def _long(length_ns: int) -> str:
    """90 s, 5 min, 3.5 h, 2.0 d."""
    seconds = length_ns / 1e9
    if seconds < 120:
        return f"{seconds:g} s"
    if seconds < 7200:
        return f"{seconds / 60:g} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"
