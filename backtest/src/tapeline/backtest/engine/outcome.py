"""What came of a backtest: exact sums, and the run as tables."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from tapeline.accounting.numbers import exact, notional, price_from_float
from tapeline.backtest.engine.bar_rows import length_text
from tapeline.backtest.engine.desk import Said
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.setup import ACCOUNT, CURRENCY, GROUP, Setup
from tapeline.backtest.recorded_orders import OrderRecords, fill_rows, order_rows
from tapeline.backtest.run_tables import COLUMNS, Assumption, Description, RunTables, table
from tapeline.contracts.orders import Side


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

    def assumptions(self) -> tuple[Assumption, ...]:
        """What the simulator takes for granted, and what the bars are made of."""
        market = self.market
        if market.row_ns in (0, market.interval_ns):
            return self.setup.assumptions()
        made = Assumption(
            name="bars",
            value=f"{length_text(market.interval_ns)} of {length_text(market.row_ns)}",
            meaning="made of the file's bars; an order fills at the next open of the file",
        )
        return (made, *self.setup.assumptions())

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
            assumptions=self.assumptions(),
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
        instrument = self.setup.instrument()
        return table("fills", fill_rows(self.said.fills, {instrument.instrument_id: instrument}))

    def _orders(self) -> pl.DataFrame:
        said = self.said
        records = OrderRecords(
            decisions=said.decisions,
            approvals=said.approvals,
            denials=said.denials,
            updates=said.updates,
            fills=said.fills,
        )
        return table("orders", order_rows(records))

    def _equity(self) -> pl.DataFrame:
        """At the close of each bar, with the fills before it, and at the last price where the last
        bar was not closed: what was filled in it counts too."""
        market, fills = self.market, self.said.fills
        ends, closes = market.end_ns[: market.closed_count], market.close
        if market.closed_count < len(market.end_ns):
            # Behind the last tick, so that its fills are before it.
            ends = np.append(ends, market.mark_ns(market.closed_count) + 1)
            closes = np.append(closes, market.last_price)
        when = np.array([fill.ts_event_ns for fill in fills], dtype=np.int64)
        signs = np.array([1.0 if fill.side is Side.BUY else -1.0 for fill in fills])
        quantity = signs * np.array([float(fill.quantity) for fill in fills])
        price = np.array([float(fill.price) for fill in fills])
        fee = np.array([float(fill.commission) for fill in fills])
        positions = np.concatenate(([0.0], np.cumsum(quantity)))
        cash = float(self.setup.cash) - np.concatenate(([0.0], np.cumsum(quantity * price + fee)))
        known = np.searchsorted(when, ends, side="left")
        value = positions[known] * closes
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
            "ts_event_ns": self.market.start_ns,
            "account_id": ACCOUNT,
            "kind": "DEPOSIT",
            "amount": float(self.setup.cash),
        }
        return table("cash", [row])
