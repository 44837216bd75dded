"""backtesting.py: bars, filled at the next open."""

from __future__ import annotations

import time

import pandas as pd
from backtesting import Backtest, Strategy

from bench.peers.work import CASH, FEE, Came, Columns, Flip, main

ORDERS = [0]


class Crossing(Strategy):  # type: ignore[misc]  # has no types
    """An order closes what is open first, which is the first unit of a flip."""

    def init(self) -> None:
        """Once."""
        self.flip = Flip()
        ORDERS[0] = 0

    def next(self) -> None:
        """One bar."""
        change = self.flip.change(self.data.Close[-1])
        if change:
            ORDERS[0] += 1
            (self.buy if change > 0 else self.sell)(size=abs(change))


def bars(columns: Columns) -> Came:
    """Work B."""
    names = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
    frame = pd.DataFrame(
        {theirs: columns[ours] for ours, theirs in names.items()},
        index=pd.DatetimeIndex(columns["ts_open_ns"]),
    )
    began = time.perf_counter()
    test = Backtest(frame, Crossing, cash=CASH, commission=FEE, hedging=False)
    found = test.run()
    return Came(time.perf_counter() - began, ORDERS[0], float(found["Equity Final [$]"]))


if __name__ == "__main__":
    main(None, bars)
