"""The scalar run: every event is stepped, as every service would.

A tick goes to execution, then to the bars. A bar closes at the end of its interval, before the
first tick of a later one: marks and bars come out of the bars core, risk hears the marks, the
trigger steps over the bar, the group decides, and an order leaves in the last nanosecond of the
bar, so that a tick at the very start of the next can fill it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.agents import analysis
from tapeline.agents.analysis import Watch
from tapeline.agents.flip import FlipGroup
from tapeline.agents.group import Cycle, GroupSetup
from tapeline.backtest.engine.desk import Desk
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.records import Records
from tapeline.backtest.engine.setup import GROUP, UNIVERSE, Setup
from tapeline.contracts import topics
from tapeline.contracts.market import Bar, MarkPrice
from tapeline.contracts.system import Watermark
from tapeline.market_data.bars_core import PartitionBars
from tapeline.runtime.core import Input, Output

TICKS: Final = topics.TICKS


def group_of(setup: Setup) -> FlipGroup:
    """The group that decides; raises ValueError or BadConfig."""
    return FlipGroup(GroupSetup(run_id=setup.run_id, group=setup.group(), account=setup.account()))


class ScalarRun:
    """Steps a market event by event."""

    def __init__(self, setup: Setup, watch: Watch, market: Market, desk: Desk) -> None:
        self._setup = setup
        self._watch = watch
        self._market = market
        self._desk = desk
        self._records = Records(setup, market)
        self._bars = PartitionBars(0, (setup.interval_ns,))
        self._group = group_of(setup)
        self._standing = analysis.initial(watch)
        self._targets: dict[str, Decimal] = {}
        self._offset = 0

    def run(self) -> None:
        """From the first row to the last."""
        market, desk, records = self._market, self._desk, self._records
        first, ends = market.first.tolist(), market.end_ns.tolist()
        for bar in range(len(ends)):
            for index in range(first[bar], first[bar + 1]):
                trade = records.trade(market.tick(index))
                desk.tick(trade, index)
                if market.is_bars:
                    mark = records.row_mark(index)
                    desk.mark(mark, mark.ts_event_ns)
                else:
                    event = Input(record=trade, topic=TICKS, partition=0, offset=self._offset)
                    self._offset += 1
                    self._hear(self._bars.step([event]), trade.ts_event_ns)
            if bar < market.closed_count:
                self._close(bar, ends[bar])

    def _close(self, bar: int, end_ns: int) -> None:
        session_ns = end_ns - 1
        if self._market.is_bars:
            self._on_bar(self._records.bar(bar), session_ns)
        else:
            watermark = Watermark(
                source="feed/file",
                slice=bar + 1,
                is_paced=True,
                is_final=False,
                ts_event_ns=end_ns,
                ts_init_ns=end_ns,
            )
            event = Input(record=watermark, topic=TICKS, partition=0, offset=self._offset)
            self._offset += 1
            self._hear(self._bars.step([event]), session_ns)
        self._desk.risk_timer(session_ns)

    def _hear(self, outputs: list[Output], session_ns: int) -> None:
        for output in outputs:
            record = output.record
            if type(record) is MarkPrice:
                self._desk.mark(record, session_ns)
            elif type(record) is Bar:
                self._on_bar(record, session_ns)

    def _on_bar(self, bar: Bar, session_ns: int) -> None:
        self._standing, opinion, share = analysis.analyse(self._watch, self._standing, bar)
        if opinion is None:
            return
        run_id, now_ns = self._setup.run_id, bar.ts_event_ns
        signal = analysis.signal_of(self._watch, opinion, bar, run_id, now_ns, share)
        cycle = Cycle(
            group_id=GROUP,
            universe=UNIVERSE,
            cycle_ns=now_ns,
            slice=0,
            signals=(signal,),
            opinions=(signal,),
            targets=self._targets,
        )
        result = self._group.result_of(cycle)
        self._targets.update(result.noted)
        for decision in result.decisions:
            self._desk.decide(decision, session_ns)
