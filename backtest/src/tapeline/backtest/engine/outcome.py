"""What came of a backtest: exact sums, and the run as tables."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from tapeline.accounting.numbers import exact, notional, price_from_float
from tapeline.backtest.engine.desk import Said
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.setup import ACCOUNT, CURRENCY, GROUP, Setup
from tapeline.backtest.run_tables import COLUMNS, Description, RunTables, table
from tapeline.contracts.orders import OrderUpdate, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished backtest."""

    setup: Setup
    market: Market
    said: Said
    cash: Decimal
    position: Decimal
    digest: str
    load_seconds: float
    engine_seconds: float
    peak_rss_mb: float
    warnings: tuple[str, ...] = ()
    """faults of the data that a reader must know"""
    check_seconds: float = 0.0
    """looking for them, before the run"""

    @property
    def fees(self) -> Decimal:
        """Sum of all commissions."""
        return sum((fill.commission for fill in self.said.fills), Decimal(0))

    @property
    @exact
    def final_equity(self) -> Decimal:
        """Cash and the position at the last price, after fees."""
        return self.cash + notional(self.position, price_from_float(self.market.last_price))

    def facts(self) -> dict[str, Any]:
        """For scripts. Money as numbers; the exact texts are in the run's description."""
        return {
            "run_id": self.setup.run_id,
            "events": self.market.tick_count,
            "bars": self.market.closed_count,
            "orders": len(self.said.approvals),
            "denials": len(self.said.denials),
            "fills": len(self.said.fills),
            "fees": float(self.fees),
            "final_equity": float(self.final_equity),
            "load_seconds": round(self.load_seconds, 6),
            "check_seconds": round(self.check_seconds, 6),
            "engine_seconds": round(self.engine_seconds, 6),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "digest": self.digest,
            "warnings": list(self.warnings),
        }

    def tables(self, source: str, title: str) -> RunTables:
        """The run as everything else reads it."""
        setup = self.setup
        description = Description(
            run_id=setup.run_id,
            kind="backtest",
            title=title,
            source=source,
            starting_cash=f"{setup.cash:f}",
            base_currency=CURRENCY,
            instruments=(setup.instrument_id,),
            groups=(GROUP,),
            interval_ns=setup.interval_ns,
            parameters={
                "strategy": setup.strategy,
                "quantity": f"{setup.quantity:f}",
                **setup.parameters,
            },
            assumptions=setup.assumptions(),
            warnings=self.warnings,
            events=self.market.tick_count,
            bars=self.market.closed_count,
            orders=len(self.said.approvals),
            fills=len(self.said.fills),
            fees=f"{self.fees:f}",
            final_equity=f"{self.final_equity:f}",
            last_prices={setup.instrument_id: f"{price_from_float(self.market.last_price):f}"},
            digest=self.digest,
            engine_seconds=self.engine_seconds,
            load_seconds=self.load_seconds,
            peak_rss_mb=self.peak_rss_mb,
        )
        tables = {
            "fills": self._fills(),
            "orders": self._orders(),
            "equity": self._equity(),
            "bars": self._bars(),
            "cash": self._cash(),
        }
        return RunTables(description, tables)

    def _fills(self) -> pl.DataFrame:
        rows = [
            {
                "ts_event_ns": fill.ts_event_ns,
                "account_id": fill.account_id,
                "group_id": fill.group_id,
                "instrument_id": fill.instrument_id,
                "client_order_id": fill.client_order_id,
                "decision_id": fill.decision_id,
                "side": fill.side.value,
                "role": fill.role.value,
                "liquidity": fill.liquidity_side.value,
                "quantity": float(fill.quantity),
                "price": float(fill.price),
                "fee": float(fill.commission),
                "arrival_price": float(fill.arrival_price),
                "slippage": None if fill.slippage is None else float(fill.slippage),
            }
            for fill in self.said.fills
        ]
        return table("fills", rows)

    def _orders(self) -> pl.DataFrame:
        last = {update.client_order_id: update for update in self.said.updates}
        sent = {
            update.client_order_id: update.ts_event_ns
            for update in self.said.updates
            if update.command is not None
        }
        by_decision = {item.approval.decision_id: item for item in self.said.approvals}
        refused = {item.decision_id: item for item in self.said.denials}
        rows = []
        for decision in self.said.decisions:
            row: dict[str, Any] = {
                "ts_decided_ns": decision.ts_event_ns,
                "account_id": decision.account_id,
                "group_id": decision.group_id,
                "instrument_id": decision.instrument_id,
                "decision_id": decision.decision_id,
                "order_type": decision.order_type.value,
            }
            denial = refused.get(decision.decision_id)
            approved = by_decision.get(decision.decision_id)
            if approved is not None:
                order = approved.order
                row |= {
                    "ts_approved_ns": approved.ts_event_ns,
                    "ts_sent_ns": sent.get(order.client_order_id),
                    "client_order_id": order.client_order_id,
                    "side": order.side.value,
                    "quantity": float(order.quantity),
                    **_end_of(last.get(order.client_order_id)),
                }
            elif denial is not None:
                row |= {
                    "side": None if decision.side is None else decision.side.value,
                    "quantity": None if decision.quantity is None else float(decision.quantity),
                    "ts_done_ns": denial.ts_event_ns,
                    "status": "DENIED",
                    "code": denial.code.value,
                }
            rows.append(row)
        return table("orders", rows)

    def _equity(self) -> pl.DataFrame:
        """At the close of each bar, with the fills before it."""
        market, fills = self.market, self.said.fills
        ends = market.end_ns[: market.closed_count]
        when = np.array([fill.ts_event_ns for fill in fills], dtype=np.int64)
        signs = np.array([1.0 if fill.side is Side.BUY else -1.0 for fill in fills])
        quantity = signs * np.array([float(fill.quantity) for fill in fills])
        price = np.array([float(fill.price) for fill in fills])
        fee = np.array([float(fill.commission) for fill in fills])
        positions = np.concatenate(([0.0], np.cumsum(quantity)))
        cash = float(self.setup.cash) - np.concatenate(([0.0], np.cumsum(quantity * price + fee)))
        known = np.searchsorted(when, ends, side="left")
        value = positions[known] * market.close
        return pl.DataFrame(
            {
                "ts_event_ns": ends,
                "account_id": np.full(len(ends), ACCOUNT),
                "cash": cash[known],
                "equity": cash[known] + value,
                "gross_exposure": np.abs(value),
                "net_exposure": value,
            },
            schema=dict(COLUMNS["equity"]),
        )

    def _bars(self) -> pl.DataFrame:
        market = self.market
        ends = market.end_ns[: market.closed_count]
        return pl.DataFrame(
            {
                "ts_open_ns": ends - market.interval_ns,
                "ts_close_ns": ends,
                "instrument_id": np.full(len(ends), self.setup.instrument_id),
                "open": market.open,
                "high": market.high,
                "low": market.low,
                "close": market.close,
                "volume": market.volume,
            },
            schema=dict(COLUMNS["bars"]),
        )

    def _cash(self) -> pl.DataFrame:
        row = {
            "ts_event_ns": int(self.market.ts_ns[0]),
            "account_id": ACCOUNT,
            "kind": "DEPOSIT",
            "amount": float(self.setup.cash),
        }
        return table("cash", [row])


def _end_of(update: OrderUpdate | None) -> dict[str, Any]:
    if update is None:
        return {}
    price = update.average_price
    return {
        "ts_done_ns": update.ts_event_ns if update.is_terminal else None,
        "filled_quantity": float(update.filled_quantity),
        "average_price": None if price is None else float(price),
        "status": update.status.value,
        "code": update.code,
    }
