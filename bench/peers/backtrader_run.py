"""backtrader: bars, filled at the next open."""

from __future__ import annotations

import time

import backtrader as bt
import pandas as pd

from bench.peers.work import CASH, FEE, Came, Columns, Flip, main


class Strategy(bt.Strategy):  # type: ignore[misc]  # has no types
    """Asks for an order at a close; backtrader fills it at the next open."""

    def __init__(self) -> None:
        self.flip, self.orders = Flip(), 0

    def next(self) -> None:
        """One bar."""
        change = self.flip.change(self.data.close[0])
        if change:
            self.orders += 1
            (self.buy if change > 0 else self.sell)(size=abs(change))


def bars(columns: Columns) -> Came:
    """Work B."""
    frame = pd.DataFrame(
        {name: columns[name] for name in ("open", "high", "low", "close", "volume")},
        index=pd.DatetimeIndex(columns["ts_open_ns"]),
    )
    began = time.perf_counter()
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame))
    cerebro.addstrategy(Strategy)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(commission=FEE)
    (ran,) = cerebro.run()
    return Came(time.perf_counter() - began, ran.orders, cerebro.broker.getvalue())


if __name__ == "__main__":
    main(None, bars)
