"""The check of trades block by block: what `check_data` says of all rows, without holding them.

Rows come in order of time with sound prices, as the engine's loader lets them pass. What is looked
at within a window keeps the rows that later windows reach back to; of times only the first and the
last of each hour are kept, which tell the same about open time and gaps as all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from tapeline.backtest.data_check.check import row_faults
from tapeline.backtest.data_check.coverage import beyond, beyond_meaning, coverage_of
from tapeline.backtest.data_check.findings import Coverage, DataReport, Finding, Severity
from tapeline.backtest.data_check.jumps import Jumps
from tapeline.backtest.data_check.open_time import (
    AROUND_THE_CLOCK,
    DAY_NS,
    HOUR_NS,
    Times,
    named,
)
from tapeline.backtest.data_check.series import Floats, Rules, Series

FORM: Final = "trades"
NOTHING: Final = np.empty(0, dtype=np.int64)


class TradeCheck:
    """Looks at trades of one instrument as they come."""

    def __init__(self, rules: Rules) -> None:
        """Raises UnknownCalendar; `rules` name an interval, and call no silence below an hour a
        gap."""
        assert rules.interval_ns > 0, "presence is counted at an interval"
        assert rules.silence_ns_max >= HOUR_NS, "times are kept by the hour"
        self._rules = rules
        self._rows = 0
        self._first_ns = self._last_ns = 0
        self._faults: dict[str, Finding] = {}
        self._jumps = Jumps(rules)
        self._times = _Times(rules)

    def add(self, times_ns: Times, price: Floats, size: Floats) -> None:
        """The next rows, one or more."""
        series = series_of_rows(self._rows, times_ns, price, size)
        before_ns = self._last_ns if self._rows else None
        _merge(self._faults, row_faults(series, self._rules, before_ns))
        self._jumps.add(series)
        self._times.add(times_ns, self._rows)
        self._first_ns = self._first_ns if self._rows else int(times_ns[0])
        self._last_ns = int(times_ns[-1])
        self._rows += len(times_ns)

    def report(self, source: str) -> DataReport:
        """On all rows, of which there is one or more."""
        coverage, gaps = self._times.judged()
        whole = msgspec.structs.replace(
            coverage, rows=self._rows, first_ns=self._first_ns, last_ns=self._last_ns
        )
        findings = (*_in_order(self._faults), *gaps, *self._jumps.findings())
        return DataReport(coverage=(whole,), findings=findings, source=source)


def series_of_rows(start: int, times_ns: Times, price: Floats, size: Floats) -> Series:
    """Rows from a number on as a series."""
    return Series(
        instrument="",
        form=FORM,
        rows=np.arange(start, start + len(times_ns), dtype=np.int64),
        times_ns=times_ns,
        prices={"price": price},
        volume=size,
        frame=pl.DataFrame(),
    )


CODES: Final = (
    "OUT_OF_ORDER",
    "EQUAL_TIMES",
    "TIME_TOO_LATE",
    "TIME_TOO_EARLY",
    "NO_PRICE",
    "PRICE_NOT_POSITIVE",
    "VOLUME_NEGATIVE",
    "VOLUME_UNKNOWN",
    "ZERO_VOLUME",
)
"""in the order in which `check_data` tells them"""


def _merge(known: dict[str, Finding], found: Sequence[Finding]) -> None:
    """Counts what was found before; the first example stays."""
    for finding in found:
        before = known.get(finding.code)
        if before is not None:
            finding = msgspec.structs.replace(before, count=before.count + finding.count)
        known[finding.code] = finding


def _in_order(known: dict[str, Finding]) -> list[Finding]:
    return [known[code] for code in CODES if code in known]


class _Times:
    """When there were rows."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        is_exchange = rules.calendar not in ("", AROUND_THE_CLOCK)
        self._sessions = named(rules.calendar, 0, 1) if is_exchange else None
        self._outside: Finding | None = None
        self._beyond: Finding | None = None
        self._kept: list[tuple[Times, Times]] = []
        self._last_ns: int | None = None
        self._last_row = -1
        self._around = _Presence(rules.interval_ns)
        self._daily = _Days(rules.interval_ns)
        self._count = 0

    def add(self, times_ns: Times, start: int) -> None:
        """Rows from a number on."""
        times, rows = self._distinct(times_ns, start)
        sessions = self._sessions
        if sessions is not None and self._rules.interval_ns < DAY_NS:
            out = ~sessions.is_open(times)
            meaning = f"rows outside of the sessions of {sessions.name}"
            self._outside = _noted(self._outside, "OUT_OF_HOURS", meaning, times[out], rows[out])
            times, rows = times[~out], rows[~out]
        elif sessions is not None:
            out = beyond(sessions, times)
            meaning = beyond_meaning(sessions)
            self._beyond = _noted(self._beyond, "BEYOND_CALENDAR", meaning, times[out], rows[out])
        if not len(times):
            return
        self._keep(times, rows)
        if self._sessions is not None:
            self._around.add(self._sessions.before(times))
            return
        self._around.add(times - self._kept[0][0][0])
        if not self._rules.calendar:
            self._daily.add(times)

    def judged(self) -> tuple[Coverage, list[Finding]]:
        """What they cover, and what is missing."""
        self._compact()
        times, rows = self._kept[0] if self._kept else (NOTHING, NOTHING)
        if not len(times):
            times, rows = np.asarray([self._last_ns]), np.asarray([self._last_row])
        series = Series(
            instrument="",
            form=FORM,
            rows=rows,
            times_ns=times,
            prices={"price": np.ones(len(times))},
            volume=None,
            frame=pl.DataFrame(),
        )
        found, findings = coverage_of(series, self._rules)
        is_daily = found.is_inferred and found.calendar != AROUND_THE_CLOCK
        presence = self._daily.presence if is_daily else self._around
        counted = {"OUT_OF_HOURS": self._outside, "BEYOND_CALENDAR": self._beyond}
        findings = [one for one in findings if one.code not in counted]
        findings += [one for one in reversed(counted.values()) if one is not None]
        return msgspec.structs.replace(found, present=presence.count), findings

    def _distinct(self, times_ns: Times, start: int) -> tuple[Times, Times]:
        """(times that are later than the one before, number of the first row of each)."""
        last_ns = int(times_ns[0]) - 1 if self._last_ns is None else self._last_ns
        places = np.flatnonzero(np.diff(times_ns, prepend=last_ns) > 0)
        if len(places):
            self._last_ns, self._last_row = int(times_ns[-1]), start + int(places[-1])
        return times_ns[places], start + places

    def _keep(self, times: Times, rows: Times) -> None:
        """The first and the last of each hour."""
        hours = times // HOUR_NS
        is_new = np.diff(hours, prepend=hours[0] - 1) > 0
        is_last = np.append(is_new[1:], True)
        kept = is_new | is_last
        self._kept.append((times[kept], rows[kept]))
        self._count += 1
        if self._count % 64 == 0:
            self._compact()

    def _compact(self) -> None:
        """Takes away what blocks have kept within an hour that reaches over them."""
        if not self._kept:
            return
        times = np.concatenate([part[0] for part in self._kept])
        rows = np.concatenate([part[1] for part in self._kept])
        hours = times // HOUR_NS
        is_new = np.diff(hours, prepend=hours[0] - 1) > 0
        kept = is_new | np.append(is_new[1:], True)
        self._kept = [(times[kept], rows[kept])]


def _noted(
    known: Finding | None, code: str, meaning: str, times: Times, rows: Times
) -> Finding | None:
    """With further rows counted; the first example stays."""
    if not len(times):
        return known
    first = known or Finding(
        code=code,
        severity=Severity.NOTE,
        count=0,
        first_ns=int(times[0]),
        first_row=int(rows[0]),
        meaning=meaning,
    )
    return msgspec.structs.replace(first, count=first.count + len(times))


class _Presence:
    """In how many intervals of open time there was a row."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._last = -1
        self.count = 0

    def add(self, opened_ns: Times) -> None:
        """Open time before each of the next rows, ascending."""
        numbers = opened_ns // self._interval_ns
        first = int(numbers[0])
        self.count += int(np.count_nonzero(np.diff(numbers))) + (first != self._last)
        self._last = int(numbers[-1])


class _Days:
    """Presence where each UTC day's rows are a session, as `open_time.inferred` has it."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._day = -1
        self._open_ns = self._last_ns = self._before_ns = 0
        self.presence = _Presence(interval_ns)

    def add(self, times: Times) -> None:
        """The next times, distinct and ascending."""
        first, last = int(times[0]) // DAY_NS, int(times[-1]) // DAY_NS
        edges = np.arange(first, last + 2, dtype=np.int64) * DAY_NS
        places = np.searchsorted(times, edges, side="left").tolist()
        for day, start, end in zip(range(first, last + 1), places, places[1:], strict=False):
            if start == end:
                continue
            part = times[start:end]
            if day != self._day:
                self._begin(day, int(part[0]))
            self.presence.add(part - self._open_ns + self._before_ns)
            self._last_ns = int(part[-1])

    def _begin(self, day: int, open_ns: int) -> None:
        if self._day >= 0:
            close_ns = min(self._last_ns + max(self._interval_ns, 1), open_ns)
            self._before_ns += close_ns - self._open_ns
        self._day, self._open_ns = day, open_ns
