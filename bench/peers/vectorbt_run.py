"""vectorbt: columns compiled by numba, no risk gate and no order object; filled at the next open.

The second run counts, when its functions are compiled.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import vectorbt as vbt

from bench.peers.work import BAND, CASH, FAST, FEE, SLOW, Came, Columns, main


def bars(columns: Columns) -> Came:
    """Work B."""
    began = time.perf_counter()
    warm, _ = _run(columns["open"][:1000], columns["close"][:1000])
    warm.final_value()
    warm_up = time.perf_counter() - began
    began = time.perf_counter()
    portfolio, orders = _run(columns["open"], columns["close"])
    equity = float(portfolio.final_value())
    return Came(time.perf_counter() - began, orders, equity, warm_up)


def _run(opens: Any, closes: Any) -> tuple[Any, int]:
    total = np.cumsum(np.insert(closes, 0, 0.0))
    difference = (total[SLOW:] - total[SLOW - FAST : -FAST]) / FAST - (
        total[SLOW:] - total[:-SLOW]
    ) / SLOW
    side = (difference > BAND).astype(np.int8) - (difference < -BAND).astype(np.int8)
    known = np.flatnonzero(side)
    turns = known[1:][side[known[1:]] != side[known[:-1]]]
    size = np.full(len(closes), np.nan)
    at = turns + SLOW
    inside = at < len(closes)
    size[at[inside]] = side[turns[inside]]
    portfolio = vbt.Portfolio.from_orders(
        closes,
        size=size,
        size_type="targetamount",
        price=opens,
        fees=FEE,
        init_cash=CASH,
        freq="1min",
    )
    return portfolio, len(turns)


if __name__ == "__main__":
    main(None, bars)
