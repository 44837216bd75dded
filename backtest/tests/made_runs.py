"""Runs made by hand for tests of reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeline.backtest.run_tables import Assumption, Description, RunTables, table

DAY_NS = 86_400_000_000_000
MONDAY_NS = 1_641_168_000_000_000_000
"""2022-01-03 00:00 UTC"""


def fill(day: float, side: str, quantity: float, price: float, **more: Any) -> dict[str, Any]:
    return {
        "ts_event_ns": MONDAY_NS + int(day * DAY_NS),
        "account_id": "A",
        "group_id": "trend",
        "instrument_id": "X.SIM",
        "side": side,
        "quantity": quantity,
        "price": price,
        "fee": 0.0,
        "slippage": 0.0,
        **more,
    }


def equity_rows(
    values: list[float], account: str = "A", step_days: int = 1
) -> list[dict[str, Any]]:
    """Worth at the end of each day from Monday on."""
    return [
        {
            "ts_event_ns": MONDAY_NS + (at * step_days + 1) * DAY_NS,
            "account_id": account,
            "cash": value,
            "equity": value,
            "gross_exposure": 0.0,
            "net_exposure": 0.0,
        }
        for at, value in enumerate(values)
    ]


def bar_rows(
    closes: list[float], instrument: str = "X.SIM", first: float = 0.0
) -> list[dict[str, Any]]:
    """A bar a day from Monday on, each opening at the close before."""
    opens = [first or closes[0], *closes[:-1]]
    return [
        {
            "ts_open_ns": MONDAY_NS + at * DAY_NS,
            "ts_close_ns": MONDAY_NS + (at + 1) * DAY_NS,
            "instrument_id": instrument,
            "open": opened,
            "high": max(opened, close),
            "low": min(opened, close),
            "close": close,
            "volume": 1.0,
        }
        for at, (opened, close) in enumerate(zip(opens, closes, strict=True))
    ]


def made(
    equity: list[dict[str, Any]],
    fills: list[dict[str, Any]] | None = None,
    bars: list[dict[str, Any]] | None = None,
    cash: list[dict[str, Any]] | None = None,
    **description: Any,
) -> RunTables:
    facts = {"run_id": "made", "kind": "backtest", "starting_cash": "1000", **description}
    return RunTables(
        Description(**facts),
        {
            "equity": table("equity", equity),
            "fills": table("fills", fills or []),
            "bars": table("bars", bars or []),
            "cash": table("cash", cash or []),
        },
    )


def crossover(seed: int = 3, minutes: int = 60 * 24 * 120, run_id: str = "crossover") -> RunTables:
    """A moving-average crossover over generated hourly bars of two instruments, with costs."""
    generator = np.random.default_rng(seed)
    hours = minutes // 60
    fills: list[dict[str, Any]] = []
    bars: list[dict[str, Any]] = []
    times = MONDAY_NS + np.arange(hours, dtype=np.int64) * 3_600_000_000_000
    cash, held, marks = 100_000.0, {"X.SIM": 0.0, "Y.SIM": 0.0}, {"X.SIM": 0.0, "Y.SIM": 0.0}
    closes = {
        name: start * np.exp(np.cumsum(generator.normal(0.00003, 0.006, hours)))
        for name, start in (("X.SIM", 100.0), ("Y.SIM", 40.0))
    }
    equity: list[dict[str, Any]] = []
    for at in range(hours):
        for name, close in closes.items():
            bars.append(_bar(name, times, close, at))
            marks[name] = float(close[at])
            if at > 60 and at % 7 == 0:
                fast, slow = close[at - 12 : at].mean(), close[at - 48 : at].mean()
                target = (20_000.0 if fast > slow else -20_000.0) / close[at]
                if held[name] * target <= 0:
                    done = _order(name, int(times[at]), target - held[name], float(close[at]), at)
                    fills.append(done)
                    signed = done["quantity"] if done["side"] == "BUY" else -done["quantity"]
                    cash -= signed * done["price"] + done["fee"]
                    held[name] += signed
        net = [held[name] * marks[name] for name in held]
        equity.append(
            {
                "ts_event_ns": int(times[at]) + 3_600_000_000_000,
                "account_id": "PAPER-1",
                "cash": cash,
                "equity": cash + sum(net),
                "gross_exposure": sum(abs(value) for value in net),
                "net_exposure": sum(net),
            }
        )
    return made(
        equity,
        fills,
        bars,
        run_id=run_id,
        title="SMA 12/48 crossover",
        source="generated prices",
        starting_cash="100000",
        base_currency="USD",
        instruments=("X.SIM", "Y.SIM"),
        groups=("trend", "revert"),
        interval_ns=3_600_000_000_000,
        parameters={"fast": "12", "slow": "48", "seed": str(seed)},
        assumptions=(
            Assumption(name="fee", value="0.1 %", meaning="A taker's fee on every fill."),
            Assumption(
                name="queue", value="off", meaning="Limit orders fill at touch.", is_on=False
            ),
        ),
        warnings=("generated prices: nothing here says anything about a market",),
        digest="5f2d" * 16,
    )


def _bar(name: str, times: Any, close: Any, at: int) -> dict[str, Any]:
    opened = float(close[at - 1]) if at else float(close[0])
    ends = float(close[at])
    return {
        "ts_open_ns": int(times[at]),
        "ts_close_ns": int(times[at]) + 3_600_000_000_000,
        "instrument_id": name,
        "open": opened,
        "high": max(opened, ends) * 1.001,
        "low": min(opened, ends) * 0.999,
        "close": ends,
        "volume": 10.0,
    }


def _order(name: str, ts_ns: int, quantity: float, mark: float, number: int) -> dict[str, Any]:
    side = "BUY" if quantity > 0 else "SELL"
    price = mark * (1.0003 if side == "BUY" else 0.9997)
    return {
        "ts_event_ns": ts_ns,
        "account_id": "PAPER-1",
        "group_id": "trend" if name == "X.SIM" else "revert",
        "instrument_id": name,
        "client_order_id": f"{name}-{number}",
        "side": side,
        "quantity": abs(quantity),
        "price": price,
        "fee": abs(quantity) * price * 0.001,
        "arrival_price": mark,
        "slippage": mark * 0.0003,
    }
