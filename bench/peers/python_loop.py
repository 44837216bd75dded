"""No backtester: a bare loop over floats, what Python can do at all."""

from __future__ import annotations

import time

from bench.peers.work import BAND, CASH, FAST, FEE, MINUTE_NS, SLOW, Came, Columns, main


def ticks(columns: Columns) -> Came:
    """Work T."""
    times, prices = columns["ts_event_ns"].tolist(), columns["price"].tolist()
    began = time.perf_counter()
    cash, held, wanted, orders, side = CASH, 0, 0, 0, 0
    closes: list[float] = []
    end, last = times[0] // MINUTE_NS * MINUTE_NS + MINUTE_NS, prices[0]
    for ts_ns, price in zip(times, prices, strict=True):
        if ts_ns >= end:
            closes.append(last)
            end = ts_ns // MINUTE_NS * MINUTE_NS + MINUTE_NS
            if len(closes) >= SLOW:
                difference = sum(closes[-FAST:]) / FAST - sum(closes[-SLOW:]) / SLOW
                now = 1 if difference > BAND else -1 if difference < -BAND else side
                if now != side:
                    if side:
                        wanted = now - held
                        orders += 1
                    side = now
            if wanted:
                cash -= wanted * price + abs(wanted) * price * FEE
                held, wanted = held + wanted, 0
        last = price
    return Came(time.perf_counter() - began, orders, cash + held * last)


def bars(columns: Columns) -> Came:
    """Work B."""
    opens, closed = columns["open"].tolist(), columns["close"].tolist()
    began = time.perf_counter()
    cash, held, wanted, orders, side = CASH, 0, 0, 0, 0
    fast = slow = 0.0
    for index in range(len(closed)):
        if wanted:
            price = opens[index]
            cash -= wanted * price + abs(wanted) * price * FEE
            held, wanted = held + wanted, 0
        if index + 1 < SLOW:
            continue
        fast = sum(closed[index + 1 - FAST : index + 1]) / FAST
        slow = sum(closed[index + 1 - SLOW : index + 1]) / SLOW
        now = 1 if fast - slow > BAND else -1 if fast - slow < -BAND else side
        if now != side:
            if side:
                wanted = now - held
                orders += 1
            side = now
    return Came(time.perf_counter() - began, orders, cash + held * closed[-1])


if __name__ == "__main__":
    main(ticks, bars)
