"""Time in which a market is open: what turns a silence into a gap.

A calendar is a list of sessions [open, close), nanoseconds UTC. Named calendars are those of
risk (exchange_calendars); where none is named, it is inferred from the data: around the clock, or
one session a UTC day from its first row to its last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tapeline.risk.hours import sessions_of
from tapeline.runtime.exits import USAGE, Failure

Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
HOUR_NS: Final = 3_600_000_000_000
DAY_NS: Final = 24 * HOUR_NS
WEEK_NS: Final = 7 * DAY_NS
AROUND_THE_CLOCK: Final = "24/7"
INFERRED_SESSIONS: Final = "sessions"
# 1970-01-01 was a Thursday: the weekday of a day number, Monday 0.
FIRST_WEEKDAY: Final = 3


class UnknownCalendar(Failure):
    """A name that no calendar has."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTime:
    """Sessions of a market."""

    name: str
    is_inferred: bool
    opens: Times
    closes: Times
    """ascending; each behind its open and not behind the next open"""

    def before(self, at_ns: Times) -> Times:
        """Nanoseconds of open market before each instant, counted from the first session."""
        lengths = self.closes - self.opens
        if len(lengths) == 1:
            alone: Times = np.clip(at_ns - self.opens[0], 0, lengths[0])
            return alone
        total = np.concatenate([[0], np.cumsum(lengths)])
        place = np.searchsorted(self.opens, at_ns, side="right")
        inside = np.clip(at_ns - self.opens[place - 1], 0, lengths[place - 1])
        counted: Times = np.where(place > 0, total[place - 1] + inside, 0).astype(np.int64)
        return counted

    def is_open(self, at_ns: Times) -> Flags:
        """Whether each instant is inside a session: the open is, the close is not."""
        place = np.searchsorted(self.opens, at_ns, side="right")
        found: Flags = (place > 0) & (at_ns < self.closes[place - 1])
        return found


def named(calendar: str, first_ns: int, last_ns: int) -> OpenTime:
    """Sessions of a calendar such as XNYS; raises UnknownCalendar."""
    if calendar == AROUND_THE_CLOCK:
        return _one_session(first_ns, last_ns, is_inferred=False)
    sessions = sessions_of(calendar)
    if sessions is None:
        raise UnknownCalendar(
            f"There is no calendar {calendar}.",
            "Write 24/7, or the name of an exchange such as XNYS or XLON.",
        )
    return OpenTime(
        name=calendar,
        is_inferred=False,
        opens=np.asarray(sessions.opens, dtype=np.int64),
        closes=np.asarray(sessions.closes, dtype=np.int64),
    )


def inferred(times_ns: Times, interval_ns: int) -> OpenTime:
    """Around the clock, or a session a UTC day where the data itself closes; times ascend.

    A market closes when no row of a day or more falls into some hour of the day, or when no row
    falls on any Saturday of ten days or more.
    """
    first_ns, last_ns = int(times_ns[0]), int(times_ns[-1])
    if not _closes(times_ns, interval_ns, last_ns - first_ns):
        return _one_session(first_ns, last_ns + interval_ns, is_inferred=True)
    days = times_ns // DAY_NS
    starts = np.concatenate([[0], np.flatnonzero(np.diff(days)) + 1])
    ends = np.concatenate([starts[1:] - 1, [len(times_ns) - 1]])
    opens = times_ns[starts]
    # A session does not reach over the next one: a bar may last longer than the pause.
    following = np.concatenate([opens[1:], [np.iinfo(np.int64).max]])
    closes = np.minimum(times_ns[ends] + max(interval_ns, 1), following)
    return OpenTime(name=INFERRED_SESSIONS, is_inferred=True, opens=opens, closes=closes)


def _closes(times_ns: Times, interval_ns: int, span_ns: int) -> bool:
    if span_ns >= 10 * DAY_NS:
        weekdays = (times_ns // DAY_NS + FIRST_WEEKDAY) % 7
        if not np.any(weekdays == 5):
            return True
    if span_ns < DAY_NS or interval_ns > HOUR_NS:
        return False
    hours = np.bincount((times_ns % DAY_NS) // HOUR_NS, minlength=24)
    return bool(np.any(hours == 0))


def _one_session(first_ns: int, last_ns: int, *, is_inferred: bool) -> OpenTime:
    return OpenTime(
        name=AROUND_THE_CLOCK,
        is_inferred=is_inferred,
        opens=np.asarray([first_ns], dtype=np.int64),
        closes=np.asarray([max(last_ns, first_ns + 1)], dtype=np.int64),
    )
