"""Rows of a market as the records that the cores take."""

from __future__ import annotations

from tapeline.backtest.engine.market import Market, Tick
from tapeline.backtest.engine.setup import FEED, SECOND_NS, Setup
from tapeline.contracts.market import AggressorSide, Bar, MarkPrice, TickOrigin, Trade


class Records:
    """Makes single records of a market's columns."""

    def __init__(self, setup: Setup, market: Market) -> None:
        self._instrument_id = setup.instrument_id
        self._market = market
        self._origin = TickOrigin.BAR_OPEN if market.is_bars else TickOrigin.EXCHANGE

    def trade(self, tick: Tick) -> Trade:
        """One tick; of a bar, its open."""
        return Trade(
            instrument_id=self._instrument_id,
            feed=FEED,
            feed_sequence=tick.number,
            trade_id="",
            price=tick.price,
            size=tick.size,
            side=AggressorSide.NONE,
            origin=self._origin,
            quality=(),
            ts_event_ns=tick.ts_ns,
            ts_init_ns=tick.ts_ns,
        )

    def mark(self, bar: int) -> MarkPrice:
        """The last price of a bar."""
        market = self._market
        return self._mark(market.mark_ns(bar), float(market.close[bar]))

    def row_mark(self, index: int) -> MarkPrice:
        """The close of a row of a file of bars."""
        close = self._market.row_close(index)
        return self._mark(close.ts_ns, close.price)

    def marks(self, bar: int, count: int) -> list[MarkPrice]:
        """The last marks up to the end of a bar: of trades those of a second each, of bars the
        closes of the file's rows; fewer where there are no more."""
        market = self._market
        if market.is_bars:
            lowest, behind = int(market.first[0]), int(market.first[bar + 1])
            return [self.row_mark(index) for index in range(max(lowest, behind - count), behind)]
        found = [market.tail(bar)]
        while len(found) < count:
            second_ns = found[-1].ts_ns // SECOND_NS * SECOND_NS
            before = market.last_before(second_ns, found[-1].number)
            if before is None:
                break
            found.append(before)
        return [self._mark(tick.ts_ns, tick.price) for tick in reversed(found)]

    def _mark(self, ts_ns: int, price: float) -> MarkPrice:
        return MarkPrice(
            instrument_id=self._instrument_id,
            feed=FEED,
            price=price,
            ts_event_ns=ts_ns,
            ts_init_ns=ts_ns,
        )

    def bar(self, bar: int) -> Bar:
        """One closed bar."""
        market = self._market
        end_ns = int(market.end_ns[bar])
        return Bar(
            instrument_id=self._instrument_id,
            feed=FEED,
            interval_ns=market.interval_ns,
            ts_open_ns=end_ns - market.interval_ns,
            open=float(market.open[bar]),
            high=float(market.high[bar]),
            low=float(market.low[bar]),
            close=float(market.close[bar]),
            volume=float(market.volume[bar]),
            tick_count=int(market.tick_counts[bar]),
            late_count=0,
            is_complete=True,
            origin=TickOrigin.BAR_CLOSE if market.is_bars else TickOrigin.EXCHANGE,
            ts_event_ns=end_ns,
            ts_init_ns=end_ns,
        )
