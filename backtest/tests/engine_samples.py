"""Small markets, and a plain loop that says what a backtest must come to."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import fsum

import numpy as np

from tapeline.backtest.engine.market import Market, market_of_bars, market_of_trades
from tapeline.backtest.engine.setup import Setup

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_600_000_020 * SECOND
"""a full minute"""

TURNER = """
from dataclasses import dataclass
from tapeline.agents.trigger import JsonState, Opinion
from tapeline.contracts.agents import Direction

@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    count: int = 0

@dataclass(frozen=True, slots=True, kw_only=True)
class Turner(JsonState[Seen]):
    name: str
    interval_ns: int
    every: int = 2
    state_type = Seen

    def initial(self):
        return Seen()

    def is_warm(self, state):
        return True

    def step(self, state, reading):
        count = state.count + 1
        way = Direction.LONG if count // self.every % 2 else Direction.SHORT
        return Seen(count=count), Opinion(
            direction=way, confidence=1.0, horizon_ns=1, reason="it turns"
        )
"""
"""a strategy in a file: long and short by turns, `every` bars"""


@dataclass(frozen=True)
class Expected:
    orders: int
    fills: int
    fees: Decimal
    equity: Decimal


def setup(**changes: object) -> Setup:
    values: dict[str, object] = {
        "instrument_id": "X.SIM",
        "strategy": "sma_cross",
        "parameters": {"fast": "2", "slow": "3"},
    }
    return Setup(**{**values, **changes})  # type: ignore[arg-type]


def trades(rows: list[tuple[int, float]]) -> Market:
    """(nanoseconds behind START, price) of trades of size 1."""
    ts_ns = np.array([START + ns for ns, _ in rows], dtype=np.int64)
    price = np.array([price for _, price in rows])
    return market_of_trades(ts_ns, price, np.ones(len(rows)), MINUTE)


def bars(opens: list[float], closes: list[float]) -> Market:
    """One-minute bars."""
    ts_ns = START + MINUTE * np.arange(len(opens), dtype=np.int64)
    o, c = np.array(opens), np.array(closes)
    columns = {
        "open": o,
        "high": np.maximum(o, c),
        "low": np.minimum(o, c),
        "close": c,
        "volume": np.ones(len(opens)),
    }
    return market_of_bars(ts_ns, columns, MINUTE)


def expected(market: Market, plan: Setup) -> Expected:
    """By a loop over the rows that knows nothing of cores: closes, sides, and money as decimals."""
    fast, slow = (int(plan.parameters[name]) for name in ("fast", "slow"))
    cash, position, fees = plan.cash, Decimal(0), Decimal(0)
    closes: list[float] = []
    side = orders = fills = 0
    wanted = Decimal(0)
    first = market.first.tolist()
    for bar in range(len(market.end_ns)):
        for index in range(first[bar], first[bar + 1]):
            if wanted:
                price = Decimal(repr(market.tick(index).price))
                fee = abs(wanted) * price * plan.costs.taker_fee_rate
                cash, fees = cash - wanted * price - fee, fees + fee
                position, wanted, fills = position + wanted, Decimal(0), fills + 1
        if bar >= market.closed_count:
            continue
        closes.append(float(market.close[bar]))
        if len(closes) < slow:
            continue
        difference = fsum(closes[-fast:]) / fast - fsum(closes[-slow:]) / slow
        now = 1 if difference > 1e-6 else -1 if difference < -1e-6 else side
        if now != side and side:
            wanted = now * plan.quantity - position
            orders += 1
        side = now
    return Expected(orders, fills, fees, cash + position * Decimal(repr(market.last_price)))
