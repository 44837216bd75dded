"""hftbacktest: a compiled exchange and a loop compiled by numba; no risk gate.

It trades against a book, so each new price stands as bid, and as ask a millionth above, where
only the exchange sees it; the strategy sees the trades. An order arrives at once, behind the tick
on which it is sent: it pays that tick's price, buying a millionth more. Ticks of one time are set
a nanosecond apart, or it would pay the last of them. The loop is compiled over the first rows; that
is told apart.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from hftbacktest import (
    BUY_EVENT,
    DEPTH_CLEAR_EVENT,
    DEPTH_EVENT,
    EXCH_EVENT,
    GTC,
    LOCAL_EVENT,
    MARKET,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
)
from hftbacktest.binding import event_dtype
from numba import njit

from bench.peers.work import BAND, CASH, FAST, FEE, MINUTE_NS, SLOW, Came, Columns, main

TICK = 1e-6
WARM_ROWS = 10_000


@njit  # type: ignore[untyped-decorator]  # has no types
def crossed(hbt: Any, minutes: int, first_end_ns: int) -> int:
    """Orders of the strategy; the engine runs from minute to minute, and sees every event."""
    closes = np.empty(minutes + 1)
    count, orders, side, held, end_ns = 0, 0, 0, 0, first_end_ns
    if hbt.wait_next_feed(False, MINUTE_NS) != 2:
        return 0
    while hbt.elapse(end_ns - 1 - hbt.current_timestamp) == 0:
        trades = hbt.last_trades(0)
        seen = len(trades)
        if seen:
            closes[count] = trades[seen - 1].px
            count += 1
        hbt.clear_last_trades(0)
        if seen and count >= SLOW:
            difference = closes[count - FAST : count].mean() - closes[count - SLOW : count].mean()
            now = 1 if difference > BAND else -1 if difference < -BAND else side
            if now != side and side:
                if hbt.wait_next_feed(False, 1_000_000 * MINUTE_NS) != 2:
                    return orders + 1
                orders += 1
                if now > 0:
                    hbt.submit_buy_order(0, orders, 0.0, now - held, GTC, MARKET, False)
                else:
                    hbt.submit_sell_order(0, orders, 0.0, held - now, GTC, MARKET, False)
                held = now
                hbt.clear_inactive_orders(0)
            side = now
        end_ns = max(end_ns, hbt.current_timestamp // MINUTE_NS * MINUTE_NS) + MINUTE_NS
    return orders


def ticks(columns: Columns) -> Came:
    """Work T."""
    events = events_of(columns)
    began = time.perf_counter()
    played(events[: 4 * WARM_ROWS], columns)
    warm_up = time.perf_counter() - began
    seconds, orders, values = played(events, columns)
    last = float(columns["price"][-1])
    equity = CASH + values.balance - values.fee + values.position * last
    return Came(seconds, orders, equity, warm_up)


def played(events: Any, columns: Columns) -> tuple[float, int, Any]:
    """(seconds of the engine, orders, what the account holds)."""
    asset = (
        BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(FEE, FEE)
        .tick_size(TICK)
        .lot_size(1.0)
        .last_trades_capacity(10_000)
    )
    times = columns["ts_event_ns"]
    first_end_ns = int(times[0]) // MINUTE_NS * MINUTE_NS + MINUTE_NS
    minutes = int(times[-1] - times[0]) // MINUTE_NS + 2
    began = time.perf_counter()
    hbt = HashMapMarketDepthBacktest([asset])
    orders = int(crossed(hbt, minutes, first_end_ns))
    values = hbt.state_values(0)
    seconds = time.perf_counter() - began
    return seconds, orders, values


def events_of(columns: Columns) -> Any:
    """A trade for each tick; before it, where the price is another, the book cleared and set."""
    times, prices = apart(columns["ts_event_ns"]), columns["price"]
    is_new = np.append(True, prices[1:] != prices[:-1])
    rows = np.where(is_new, 4, 1)
    ends = np.cumsum(rows)
    events = np.zeros(int(ends[-1]), event_dtype)
    of_tick = np.repeat(np.arange(len(times)), rows)
    events["exch_ts"] = events["local_ts"] = times[of_tick]
    events["px"] = prices[of_tick]
    events["qty"] = columns["size"][of_tick]
    events["ev"][ends - 1] = TRADE_EVENT | LOCAL_EVENT | BUY_EVENT
    first = (ends - 4)[is_new]
    events["ev"][first] = DEPTH_CLEAR_EVENT | EXCH_EVENT
    events["ev"][first + 1] = DEPTH_EVENT | EXCH_EVENT | BUY_EVENT
    events["ev"][first + 2] = DEPTH_EVENT | EXCH_EVENT | SELL_EVENT
    events["px"][first + 2] += TICK
    return events


def apart(times: Any) -> Any:
    """Times in order, each later than the one before."""
    place = np.arange(len(times))
    is_first = np.append(True, times[1:] != times[:-1])
    return times + place - np.maximum.accumulate(np.where(is_first, place, 0))


if __name__ == "__main__":
    main(ticks, None)
