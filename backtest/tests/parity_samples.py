"""Runs as tables, made by hand: a market of one-minute bars, and orders at their closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec
import polars as pl

from tapeline.backtest.parity.alignment import exact
from tapeline.backtest.run_tables import Description, RunTables, table

MINUTE_NS = 60_000_000_000
NAME = "BTC.V"
CASH = 10_000


@dataclass(frozen=True, kw_only=True)
class Deal:
    """An order that is decided at the end of a minute and filled some time later."""

    minute: int
    quantity: float
    """signed"""
    price: float
    fee: float = 0.1
    delay_ns: int = 0
    decision_delay_ns: int = 0
    filled: float | None = None
    """signed; None: all of it"""
    status: str = "FILLED"
    leg: str = "WHOLE"
    group_id: str = "g"

    @property
    def side(self) -> str:
        """Of its quantity."""
        return "BUY" if self.quantity > 0 else "SELL"


def bars_of(closes: Sequence[float]) -> list[dict[str, Any]]:
    """Bars that open at the close of the one before."""
    return [
        {
            "ts_open_ns": number * MINUTE_NS,
            "ts_close_ns": (number + 1) * MINUTE_NS,
            "instrument_id": NAME,
            "open": closes[max(number - 1, 0)],
            "high": max(close, closes[max(number - 1, 0)]),
            "low": min(close, closes[max(number - 1, 0)]),
            "close": close,
            "volume": 1.0,
        }
        for number, close in enumerate(closes)
    ]


def run_of(
    deals: Sequence[Deal],
    closes: Sequence[float],
    *,
    funding: Mapping[int, float] | None = None,
    prefix: str = "a",
) -> RunTables:
    """A finished run with the sums that such a run has."""
    orders: list[dict[str, Any]] = []
    fills: list[dict[str, Any]] = []
    for number, deal in enumerate(deals):
        decided = deal.minute * MINUTE_NS + deal.decision_delay_ns
        common = {
            "account_id": "A",
            "group_id": deal.group_id,
            "instrument_id": NAME,
            "client_order_id": f"{prefix}-order-{number}",
            "decision_id": f"{prefix}-decision-{number}",
            "side": deal.side,
        }
        filled = deal.quantity if deal.filled is None else deal.filled
        orders.append(
            {
                **common,
                "ts_decided_ns": decided,
                "order_type": "MARKET",
                "quantity": abs(deal.quantity),
                "filled_quantity": abs(filled),
                "status": deal.status,
            }
        )
        if filled and deal.status == "FILLED":
            fills.append(
                {
                    **common,
                    "ts_event_ns": decided + deal.delay_ns,
                    "role": deal.leg,
                    "quantity": abs(filled),
                    "price": deal.price,
                    "fee": deal.fee,
                }
            )
    return _finished(prefix, (orders, fills), closes, funding or {})


def _finished(
    prefix: str,
    dealt: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    closes: Sequence[float],
    funding: Mapping[int, float],
) -> RunTables:
    orders, fills = dealt
    cash = [
        {"ts_event_ns": ts_ns, "account_id": "A", "kind": "funding", "amount": amount}
        for ts_ns, amount in funding.items()
    ]
    last = exact(closes[-1])
    worth = Fraction(CASH) + sum((exact(row["amount"]) for row in cash), Fraction(0))
    for row in fills:
        signed = exact(row["quantity"]) * (1 if row["side"] == "BUY" else -1)
        worth += signed * (last - exact(row["price"])) - exact(row["fee"])
    description = Description(
        run_id=prefix,
        kind="paper",
        title=f"run {prefix}",
        starting_cash=str(CASH),
        base_currency="USD",
        interval_ns=MINUTE_NS,
        final_equity=str(worth),
        orders=len(orders),
        fills=len(fills),
    )
    tables = {
        "orders": table("orders", orders),
        "fills": table("fills", fills),
        "bars": table("bars", bars_of(closes)),
        "cash": table("cash", cash),
    }
    return RunTables(description, tables)


def in_currency(run: RunTables, currency: str, rate: str) -> RunTables:
    """The same run of an instrument that is dealt in another currency, worth `rate` at the end."""
    gained = Fraction(run.description.final_equity) - CASH
    description = msgspec.structs.replace(
        run.description,
        final_equity=str(CASH + gained * Fraction(rate)),
        last_rates={currency: rate},
    )
    dealt = {
        name: run[name].with_columns(currency=pl.lit(currency), currency_rate=float(rate))
        for name in ("fills", "cash")
    }
    return RunTables(description, {**run.tables, **dealt})
