"""No backtester: bare NumPy, what columns can do at all. No order is looked at by anybody."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.peers.work import BAND, CASH, FAST, FEE, MINUTE_NS, SLOW, Came, Columns, main


def ticks(columns: Columns) -> Came:
    """Work T."""
    times, prices = columns["ts_event_ns"], columns["price"]
    began = time.perf_counter()
    edges = np.arange(times[0] // MINUTE_NS, times[-1] // MINUTE_NS + 1) * MINUTE_NS
    first = np.unique(np.searchsorted(times, edges))
    after = first[1:]
    orders, equity = _flipped(prices[after - 1], prices[after], float(prices[-1]))
    return Came(time.perf_counter() - began, orders, equity)


def bars(columns: Columns) -> Came:
    """Work B."""
    opens, closes = columns["open"], columns["close"]
    began = time.perf_counter()
    orders, equity = _flipped(closes, np.append(opens[1:], np.nan), float(closes[-1]))
    return Came(time.perf_counter() - began, orders, equity)


def _flipped(closes: Any, fills: Any, last: float) -> tuple[int, float]:
    """(orders, final equity); `fills` is what an order of each bar pays."""
    total = np.cumsum(np.insert(closes, 0, 0.0))
    fast = (total[SLOW:] - total[SLOW - FAST : -FAST]) / FAST
    difference = fast - (total[SLOW:] - total[:-SLOW]) / SLOW
    side = (difference > BAND).astype(np.int8) - (difference < -BAND).astype(np.int8)
    known = np.flatnonzero(side)
    turns = known[1:][side[known[1:]] != side[known[:-1]]]
    prices, signs = fills[turns + SLOW - 1], side[turns].astype(float)
    units = 2.0 * signs
    if len(units):
        units[0] = signs[0]
    filled = ~np.isnan(prices)
    prices, units = prices[filled], units[filled]
    cash = CASH - float(np.sum(units * prices)) - float(np.sum(np.abs(units) * prices)) * FEE
    return len(turns), cash + float(np.sum(units)) * last


if __name__ == "__main__":
    main(ticks, bars)
