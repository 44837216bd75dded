"""NautilusTrader: ticks into its own one-minute bars, or bars; every order through its risk engine.

An order takes one nanosecond to the venue, so that the next tick fills it and not the last. Given
bars, it fills at their close: another assumption, so equity differs there.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from bench.peers.work import CASH, FEE, MINUTE_NS, Came, Columns, Flip, main

SIM = Venue("SIM")
NAME = InstrumentId(Symbol("X"), SIM)


class Crossing(Strategy):  # type: ignore[misc]  # has no types
    """The averages in Python, as in every other run here."""

    def __init__(self, bar_type: Any) -> None:
        super().__init__(StrategyConfig())
        self.bar_type, self.flip, self.order_count = bar_type, Flip(), 0

    def on_start(self) -> None:
        """Once."""
        self.subscribe_bars(self.bar_type)

    def on_bar(self, bar: Any) -> None:
        """One bar."""
        change = self.flip.change(bar.close.as_double())
        if change:
            self.order_count += 1
            side = OrderSide.BUY if change > 0 else OrderSide.SELL
            quantity = Quantity.from_int(abs(change))
            self.submit_order(self.order_factory.market(NAME, side, quantity))


def ticks(columns: Columns) -> Came:
    """Work T."""
    sides = AggressorSide.NO_AGGRESSOR
    data = [
        TradeTick(NAME, Price(price, 2), Quantity(size, 0), sides, TradeId(str(index)), ts, ts)
        for index, (ts, price, size) in enumerate(
            zip(
                columns["ts_event_ns"].tolist(),
                columns["price"].tolist(),
                columns["size"].tolist(),
                strict=True,
            )
        )
    ]
    return _run(data, BarType.from_str(f"{NAME}-1-MINUTE-LAST-INTERNAL"), columns["price"][-1])


def bars(columns: Columns) -> Came:
    """Work B."""
    kind = BarType.from_str(f"{NAME}-1-MINUTE-LAST-EXTERNAL")
    prices = [columns[name].tolist() for name in ("open", "high", "low", "close")]
    data = [
        Bar(kind, *(Price(price, 2) for price in four), Quantity(size, 0), ts, ts)
        for ts, size, *four in zip(
            (columns["ts_open_ns"] + MINUTE_NS).tolist(),
            columns["volume"].tolist(),
            *prices,
            strict=True,
        )
    ]
    return _run(data, kind, columns["close"][-1])


def _run(data: list[Any], kind: Any, last: float) -> Came:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=SIM,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USD,
        starting_balances=[Money(CASH, USD)],
        latency_model=LatencyModel(base_latency_nanos=1),
    )
    fee = Decimal(str(FEE))
    engine.add_instrument(
        Equity(
            NAME,
            Symbol("X"),
            USD,
            2,
            Price(0.01, 2),
            Quantity.from_int(1),
            0,
            0,
            maker_fee=fee,
            taker_fee=fee,
        )
    )
    strategy = Crossing(kind)
    engine.add_strategy(strategy)
    engine.add_data(data)
    began = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - began
    cash = float(engine.portfolio.account(SIM).balance_total(USD))
    open_now = engine.cache.positions_open()
    equity = cash + sum(float(item.unrealized_pnl(Price(float(last), 2))) for item in open_now)
    return Came(seconds, strategy.order_count, equity)


if __name__ == "__main__":
    main(ticks, bars)
