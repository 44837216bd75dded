"""Equity over time, computed by hand: fills, fees, funding, dividends, corrections, currencies."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tapeline.backtest.recorded_equity import Books, WorthUnknown, equity_rows
from tapeline.contracts.accounts import (
    CashAdjustment,
    CorporateAction,
    FundingPayment,
    PositionCorrection,
)
from tapeline.contracts.config import Account, AssetClass, Instrument
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import Fill, LiquiditySide, Mode, Side

ACCOUNT = Account(
    account_id="A",
    shard=0,
    base_currency="USD",
    initial_cash=Decimal(1000),
    venue="V",
    mode=Mode.PAPER,
    version=1,
)
BTC = Instrument(
    instrument_id="BTC.V",
    symbol="BTC",
    venue="V",
    asset_class=AssetClass.CRYPTO_PERPETUAL,
    currency="USD",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.01"),
    quantity_min=Decimal("0.01"),
    notional_min=Decimal(0),
    multiplier=Decimal(2),
    sector="",
    calendar="24/7",
    is_permitted=True,
    version=1,
)
DAX = replace(BTC, instrument_id="DAX.V", symbol="DAX", currency="EUR", multiplier=Decimal(1))
EUR = replace(BTC, instrument_id="EURUSD.V", symbol="EURUSD", asset_class=AssetClass.FX)


def books() -> Books:
    """One account of 1000 USD."""
    instruments = {item.instrument_id: item for item in (BTC, DAX, EUR)}
    return Books(accounts={"A": ACCOUNT}, instruments=instruments)


def fill(ts_ns: int, quantity: str, price: str, **values: Any) -> Fill:
    """A purchase where the quantity is positive, with a fee of 1."""
    signed = Decimal(quantity)
    fields: dict[str, Any] = {
        "fill_id": f"f{ts_ns}",
        "trade_id": "",
        "client_order_id": "c",
        "venue_order_id": "",
        "account_id": "A",
        "group_id": "g",
        "instrument_id": "BTC.V",
        "approval_id": "a",
        "decision_id": "d",
        "venue": "V",
        "side": Side.BUY if signed > 0 else Side.SELL,
        "quantity": abs(signed),
        "price": Decimal(price),
        "commission": Decimal(1),
        "currency": "USD",
        "liquidity_side": LiquiditySide.TAKER,
        "arrival_price": Decimal(price),
        "leaves_quantity": Decimal(0),
        "ts_event_ns": ts_ns,
        "ts_init_ns": ts_ns,
    }
    return Fill(**{**fields, **values})


def mark(ts_ns: int, price: float, instrument_id: str = "BTC.V") -> MarkPrice:
    """A mark."""
    return MarkPrice(
        instrument_id=instrument_id, feed="f", price=price, ts_event_ns=ts_ns, ts_init_ns=ts_ns
    )


def last(booked: list[Any], marks: list[MarkPrice]) -> dict[str, Any]:
    """The last row."""
    return equity_rows(books(), booked, marks, [])[-1]


def test_each_moment_sees_what_has_happened_up_to_it_and_nothing_later() -> None:
    rows = equity_rows(
        books(), [fill(10, "3", "50"), fill(30, "-1", "60")], [mark(20, 55.0)], [5, 10, 20]
    )
    # 1000; 3 contracts of 2 units bought at 50, fee 1; marked at 55; one sold at 60, fee 1.
    assert [row["ts_event_ns"] for row in rows] == [5, 10, 20, 30]
    assert [row["equity"] for row in rows] == [1000.0, 999.0, 1029.0, 1038.0]
    assert [row["cash"] for row in rows] == [1000.0, 699.0, 699.0, 818.0]
    assert rows[-1]["net_exposure"] == rows[-1]["gross_exposure"] == 220.0


def test_funding_dividends_and_corrections_move_cash_and_positions() -> None:
    common: dict[str, Any] = {"account_id": "A", "ts_event_ns": 20, "ts_init_ns": 20}
    funding = FundingPayment(
        payment_id="p",
        group_id="g",
        instrument_id="BTC.V",
        currency="USD",
        amount=Decimal("-2.5"),
        **common,
    )
    deposit = CashAdjustment(
        adjustment_id="a", currency="USD", amount=Decimal(100), reason="deposit", **common
    )
    dividend = CorporateAction(
        action_id="c",
        instrument_id="BTC.V",
        split_ratio=Decimal(2),
        dividend=Decimal("0.5"),
        currency="USD",
        **common,
    )
    correction = PositionCorrection(
        correction_id="k",
        group_id="g",
        instrument_id="BTC.V",
        quantity=Decimal(-1),
        price=Decimal(20),
        reason="",
        **common,
    )
    found = books()
    events = [fill(10, "4", "50"), funding, deposit, dividend, correction]
    row = equity_rows(found, events, [mark(30, 30.0)], [])[-1]
    # Cash 1000 - 400 - 1 - 2.5 + 100 + 4 x 0.5 + 40; 7 contracts of 2 units at 30.
    assert row["cash"] == 738.5
    assert row["equity"] == 738.5 + 420.0
    assert found.dividends == {"c": Decimal(2)}


def test_what_is_in_another_currency_needs_its_rate() -> None:
    bought = fill(10, "1", "100", instrument_id="DAX.V", currency="EUR")
    with pytest.raises(WorthUnknown, match="holds DAX"):
        last([bought], [])
    row = last([bought], [mark(20, 1.5, "EURUSD.V"), mark(20, 110.0, "DAX.V")])
    assert row["equity"] == 1000.0 - 101.0 * 1.5 + 110.0 * 1.5
