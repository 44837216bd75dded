"""Sessions of exchanges as data: sorted instants at which trading opens and closes, UTC.

They are computed once a calendar by the library exchange_calendars, over a fixed range of dates
that does not depend on the day it is asked, so that the same version always says the same. Lunch
breaks are closed time; sessions without a gap between them are one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

FIRST_DAY: Final = "2000-01-01"
LAST_DAY: Final = "2039-12-31"
"""The range for which sessions are known; outside of it an exchange counts as closed."""
CALENDARS_MAX: Final = 128
"""More than there are calendars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """When an exchange trades; `opens[i] <= t < closes[i]` for one i."""

    opens: tuple[int, ...]
    """nanoseconds UTC, ascending"""
    closes: tuple[int, ...]

    def is_open(self, at_ns: int) -> bool:
        """Whether an instant is inside a session: the open is, the close is not."""
        place = bisect_right(self.opens, at_ns) - 1
        return place >= 0 and at_ns < self.closes[place]

    def next_open_ns(self, at_ns: int) -> int | None:
        """The first opening after an instant; None beyond what is known."""
        place = bisect_right(self.opens, at_ns)
        return self.opens[place] if place < len(self.opens) else None


@lru_cache(maxsize=CALENDARS_MAX)
def sessions_of(calendar: str) -> Sessions | None:
    """The sessions of a calendar such as XNYS or 24/7.

    None for a name that is not known, and for the few calendars that the library cannot compute
    with the pandas of its environment.
    """
    # Half a second and 60 MB, which only those pay who keep to trading hours.
    import exchange_calendars as library

    if calendar not in library.get_calendar_names(include_aliases=True):
        return None
    try:
        return _joined(_parts(calendar))
    except (NotImplementedError, ValueError):
        return None


def _parts(calendar: str) -> list[tuple[int, int]]:
    """(open, close) of every session, or of its halves around the break."""
    import exchange_calendars as library
    import pandas

    # Any calendar knows its bounds; each is known for this year at least.
    known = library.get_calendar(calendar, start="2023-01-03", end="2023-12-28")
    first, last = pandas.Timestamp(FIRST_DAY), pandas.Timestamp(LAST_DAY)
    first = max(first, known.bound_min() or first)
    last = min(last, known.bound_max() or last)
    schedule = library.get_calendar(calendar, start=first, end=last).schedule
    columns = [
        [None if moment is pandas.NaT else moment.as_unit("ns").value for moment in schedule[name]]
        for name in ("open", "break_start", "break_end", "close")
    ]
    parts: list[tuple[int, int]] = []
    for opened, break_start, break_end, closed in zip(*columns, strict=True):
        if break_start is None:
            parts.append((opened, closed))
        else:
            parts += [(opened, break_start), (break_end, closed)]
    return parts


def _joined(parts: list[tuple[int, int]]) -> Sessions:
    opens: list[int] = []
    closes: list[int] = []
    for opened, closed in parts:
        if closes and opened <= closes[-1]:
            closes[-1] = closed
        else:
            opens.append(opened)
            closes.append(closed)
    return Sessions(opens=tuple(opens), closes=tuple(closes))
