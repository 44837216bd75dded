"""Losses between decisions, found by columns: risk looks at an account at the end of each bar.

While no order is open, cash and position stand still, and what risk sees at a bar's end follows
from its close. A bar is stepped where that could change anything: where a warning or a halt is
possible or could end (by bounds of the measured losses, so rather too often), at a new peak of what
the account is worth, and at the last bar of a UTC day, from which the next day's loss counts. Other
bars are passed over. Risk measures losses at the best of the last three marks (breakers), so a loss
is at most that at the close, and at least that at the best price of the last three bars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from tapeline.accounting.drawdown import DAY_NS
from tapeline.backtest.engine.desk import Desk
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.records import Records
from tapeline.backtest.engine.rows import Floats
from tapeline.backtest.engine.setup import NO_LIMIT, Setup
from tapeline.risk.breakers import CONFIRMATIONS, QUIET_BELOW, WARNED_FROM
from tapeline.risk.state import NO_BREAKER, Breaker

ROUNDING: Final = 1e-9
"""of a loss as a share, far more than floats are wrong by"""
STRETCH_MAX: Final = 1e5
"""a position worth more times what the account is: floats would be wrong by more"""
BARS_MIN: Final = 32
BARS_MAX: Final = 65_536
"""looked at together: more while nothing is found"""

Flags = npt.NDArray[np.bool_]


class Losses:
    """What risk notices at the ends of bars."""

    def __init__(self, setup: Setup, market: Market, desk: Desk, records: Records) -> None:
        self._limits = {
            "daily_loss_max": float(setup.daily_loss_max or NO_LIMIT),
            "drawdown_max": float(setup.drawdown_max or NO_LIMIT),
        }
        self._market = market
        self._desk = desk
        self._records = records
        # Of a file of bars the closes of its rows are the marks.
        is_row = market.row_ns == market.interval_ns
        high, low = (market.close,) * 2 if is_row else (market.high, market.low)
        self._best_of_longs = _over_last(high, np.maximum)
        self._best_of_shorts = _over_last(low, np.minimum)
        self._days = (market.end_ns - 1) // DAY_NS
        self._next = 0
        """first bar at whose end risk has not looked"""

    def until(self, end: int) -> None:
        """Of the bars before `end`, with no order open meanwhile, those that matter."""
        width = BARS_MIN
        while self._next < end:
            start = self._next
            last = min(end, start + width)
            found = self._first(start, last)
            width = BARS_MIN if found < last else min(2 * width, BARS_MAX)
            self._peak(start, found)
            if found < last:
                self.close(found)
            else:
                self._next = last

    def close(self, bar: int) -> None:
        """The end of a bar: its marks, and risk's look at them."""
        self.hear(bar)
        self.look(bar)

    def hear(self, bar: int) -> None:
        """The marks of a bar, as far as they matter."""
        for mark in self._records.marks(bar, CONFIRMATIONS):
            self._desk.mark(mark, self._session_ns(bar))

    def look(self, bar: int) -> None:
        """Risk looks at what was heard."""
        self._desk.risk_timer(self._session_ns(bar))
        self._next = bar + 1

    def _session_ns(self, bar: int) -> int:
        return int(self._market.end_ns[bar]) - 1

    def _first(self, start: int, end: int) -> int:
        """The first of some bars at which something may happen; `end` for none."""
        days = self._days
        if days[start] != days[end - 1]:
            end = start + int(np.searchsorted(days[start:end], days[start], side="right"))
        flags = self._flags(start, end)
        if bool(flags.any()):
            return start + int(np.argmax(flags))
        is_last_of_day = end < len(days) and days[end] != days[end - 1]
        return end - 1 if is_last_of_day else end

    def _flags(self, start: int, end: int) -> Flags:
        """Bars of one day at which a loss may be on another side of a mark than it was."""
        account, close = self._desk.account, self._market.close[start:end]
        cash, held = float(self._desk.cash), float(self._desk.position)
        best = self._best_of_longs if held > 0 else self._best_of_shorts
        worth = cash + held * close
        hoped = np.maximum(cash + held * best[start:end], worth)
        peak = np.maximum(np.maximum.accumulate(worth), float(account.curve.peak))
        began = float(account.curve.day_start_at(self._session_ns(start)))
        # Where floats are no measure, every bar is looked at.
        flags: Flags = (worth * STRETCH_MAX <= abs(held) * close) | (worth <= 0)
        if began <= 0:
            return np.ones(len(flags), dtype=np.bool_)
        for name, of in (("daily_loss_max", np.full(len(close), began)), ("drawdown_max", peak)):
            most = (of - worth) / of
            least = np.maximum(of - hoped, 0.0) / of
            flags |= self._crossing(name, least, most, account.breakers)
        return flags

    def _crossing(
        self, name: str, least: Floats, most: Floats, breakers: Mapping[str, Breaker]
    ) -> Flags:
        """Where a loss between two bounds could switch a breaker."""
        limit, breaker = self._limits[name], breakers.get(name, NO_BREAKER)
        warned, quiet = float(WARNED_FROM) * limit, float(QUIET_BELOW) * limit
        found: Flags
        if breaker.has_tripped:
            found = least < warned + ROUNDING
        elif breaker.is_warned:
            found = (least < quiet + ROUNDING) | (most > limit - ROUNDING)
        else:
            found = most >= warned - ROUNDING
        return found

    def _peak(self, start: int, end: int) -> None:
        """Lets risk see the best of the bars that are passed over, if it is better than all."""
        held = self._desk.position
        if start >= end or not held:
            return
        close = self._market.close[start:end]
        best = int(np.argmax(close) if held > 0 else np.argmin(close))
        worth = float(self._desk.cash) + float(held) * float(close[best])
        peak = float(self._desk.account.curve.peak)
        if worth >= peak - ROUNDING * abs(peak):
            self.close(start + best)


def _over_last(values: Floats, function: np.ufunc) -> Floats:
    """Of each value and those before it, as many as risk confirms a loss with."""
    found = values.copy()
    for back in range(1, CONFIRMATIONS):
        found[back:] = function(found[back:], values[:-back])
    return found
