"""The fast run: columns where nothing can happen, events where something may.

Bars, the trigger's directions and the ticks that fill are found column by column. What a core sees
is stepped: each decision with the mark and the tick before it, and every tick while an order is
open. It says byte for byte what the scalar run says; what is left out there could change nothing:
ticks without an open order, marks and bars between decisions, timers that only publish portfolios.
Where losses may stop the trading, the bars at which they could are found by columns (stops.py).
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from tapeline.agents import analysis
from tapeline.agents.analysis import Watch
from tapeline.agents.flip import SIGNS, Stand, Turn
from tapeline.agents.group import Cycle
from tapeline.backtest.engine.desk import Desk
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.records import Records
from tapeline.backtest.engine.rows import Longs
from tapeline.backtest.engine.scalar import group_of
from tapeline.backtest.engine.setup import GROUP, UNIVERSE, Setup
from tapeline.backtest.engine.stops import Losses
from tapeline.backtest.engine.strategy import NOTHING, Sides, twin_of

NO_TARGETS: dict[str, Decimal] = {}


class FastRun:
    """Steps only what a core has to see."""

    def __init__(self, setup: Setup, watch: Watch, market: Market, desk: Desk) -> None:
        self._setup = setup
        self._watch = watch
        self._market = market
        self._desk = desk
        self._records = Records(setup, market)
        self._group = group_of(setup)
        self._losses = Losses(setup, market, desk, self._records) if setup.has_stops else None
        self._next_tick = 0
        """first tick that execution has not seen"""

    def run(self) -> None:
        """From the first row to the last."""
        bars, sides = self.turns()
        stand = Stand()
        count = len(bars)
        for number in range(count):
            bar = int(bars[number])
            turn = Turn(
                instrument_id=self._setup.instrument_id,
                side=int(sides[number]),
                price=float(self._market.close[bar]),
            )
            cycle = self._cycle(bar)
            stand, decision = self._group.turned(stand, turn, cycle)
            if decision is None:
                continue
            session_ns = cycle.cycle_ns - 1
            self._see_market(bar, session_ns)
            self._desk.decide(decision, session_ns)
            if self._losses is not None:
                self._losses.look(bar)
            self._fill_until(bar + 1, int(bars[number + 1]) if number + 1 < count else None)
        if self._losses is not None:
            self._losses.until(self._market.closed_count)

    def turns(self) -> tuple[Longs, Sides]:
        """(bars, sides) where a side is other than the one before; FLAT in front is none."""
        market = self._market
        usable = usable_bars(market)
        twin = twin_of(self._watch)
        if twin is None:
            sides = self._stepped(usable)
        elif len(usable) == market.closed_count:
            sides = twin(market.close)
        else:
            sides = twin(market.close[usable])
        said = np.flatnonzero(sides != NOTHING)
        spoken = sides[said]
        before = np.concatenate((np.zeros(1, dtype=np.int8), spoken[:-1]))
        changed = np.flatnonzero(spoken != before)
        return usable[said[changed]], spoken[changed]

    def _stepped(self, usable: Longs) -> Sides:
        """Of a trigger without a twin: bar by bar."""
        core, state = self._watch.core, self._watch.core.initial()
        found = np.full(len(usable), NOTHING, dtype=np.int8)
        for number, bar in enumerate(usable.tolist()):
            state, opinion = core.step(state, self._records.bar(bar))
            if opinion is not None:
                found[number] = SIGNS[opinion.direction]
        return found

    def _cycle(self, bar: int) -> Cycle:
        return Cycle(
            group_id=GROUP,
            universe=UNIVERSE,
            cycle_ns=int(self._market.end_ns[bar]),
            slice=0,
            signals=(),
            opinions=(),
            targets=NO_TARGETS,
        )

    def _see_market(self, bar: int, session_ns: int) -> None:
        """What the cores know of the market when a bar has closed."""
        if self._losses is not None:
            self._losses.until(bar)
        last = self._market.tail(bar)
        if last.number >= self._next_tick:
            self._desk.tick(self._records.trade(last), last.number)
            self._next_tick = last.number + 1
        if self._losses is not None:
            self._losses.hear(bar)
        else:
            self._desk.mark(self._records.mark(bar), session_ns)

    def _fill_until(self, first: int, last: int | None) -> None:
        """Steps ticks while an order is open, from the first of a bar at most to the end of one."""
        market, desk = self._market, self._desk
        end = market.behind if last is None else int(market.first[last + 1])
        index, bar = self._next_tick, first
        while desk.is_open and index < end:
            # Mostly the first tick of a bar is all that is asked for.
            is_head = index == market.first[bar]
            tick = market.head(bar) if is_head else market.tick(index)
            desk.tick(self._records.trade(tick), index)
            index += 1
            if index == market.first[bar + 1] and index < end:
                self._close(bar)
                bar += 1
        self._next_tick = index
        # What an order has changed, risk looks at for the first time; behind the next decision,
        # where that is due in the same bar.
        if bar < (market.closed_count if last is None else last):
            self._close(bar)

    def _close(self, bar: int) -> None:
        """The end of a bar in which an order was open."""
        if self._losses is not None:
            self._losses.close(bar)


def usable_bars(market: Market) -> Longs:
    """Closed bars that triggers look at: those whose figures can be traded on."""
    low, close, high = market.low, market.close, market.high
    is_usable = (low <= close) & (close <= high) & (market.volume <= analysis.VALUE_MAX)
    return np.flatnonzero(is_usable)
