"""Round trips: what was opened and closed again, matched first in, first out.

Within an account, group and instrument a fill closes the oldest open quantity of the other side;
what is left of it opens. The parts of one entry order closed by one exit order are one round trip,
at their average prices; fees are shared by quantity. Prices are in the instrument's currency; fees
and profit in the base currency, profit after fees, at the rate of the exit (fees at their own).

Quantities are matched as decimals, and a position is closed when nothing is left of it. The tables
hold them as floats: one of more than 15 digits may be off by half of its last bit, and what is no
more than that of all fills that took part is no position.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Final

import polars as pl

from tapeline.backtest.run_tables import FLOAT, INT, TEXT

EXACT: Final = Context(prec=800)
"""enough for any floats beside each other"""
ZERO: Final = Decimal(0)
COLUMNS: Final = {
    "account_id": TEXT,
    "group_id": TEXT,
    "instrument_id": TEXT,
    "position_side": TEXT,
    "quantity": FLOAT,
    "ts_entry_ns": INT,
    "ts_exit_ns": INT,
    "entry_price": FLOAT,
    "exit_price": FLOAT,
    "fees": FLOAT,
    "profit": FLOAT,
}
OPEN_COLUMNS: Final = {
    "account_id": TEXT,
    "group_id": TEXT,
    "instrument_id": TEXT,
    "quantity": FLOAT,
    "cost": FLOAT,
    "fees": FLOAT,
    "multiplier": FLOAT,
    "currency": TEXT,
}


@dataclass(slots=True, kw_only=True)
class _Lot:
    ts_ns: int
    order: str
    quantity: Decimal
    """signed"""
    doubt: Decimal
    """by how much it may be off"""
    price: float
    fee_per_unit: float
    """base currency"""
    multiplier: float
    currency: str
    rate: float
    """base currency for one of the instrument's, at the fill"""


@dataclass(slots=True, kw_only=True)
class _Match:
    """The quantity of one entry order that one exit order closed."""

    side: str
    ts_entry_ns: int
    ts_exit_ns: int
    quantity: float = 0.0
    bought: float = 0.0
    """entry price x quantity"""
    sold: float = 0.0
    """exit price x quantity"""
    gained: float = 0.0
    """before fees, base currency"""
    fees: float = 0.0


class _Book:
    """Open lots of one account, group and instrument."""

    def __init__(self) -> None:
        self.lots: deque[_Lot] = deque()
        self.matches: dict[tuple[str, str, str], _Match] = {}

    def fill(self, fill: _Lot) -> None:
        """Closes what it can, opens what is left."""
        while self.lots and (self.lots[0].quantity > 0) != (fill.quantity > 0):
            lot = self.lots[0]
            part = min(abs(lot.quantity), abs(fill.quantity))
            self._match(lot, fill, float(part))
            lot.quantity -= part if lot.quantity > 0 else -part
            fill.quantity -= part if fill.quantity > 0 else -part
            lot.doubt = fill.doubt = lot.doubt + fill.doubt
            if abs(lot.quantity) <= lot.doubt:
                self.lots.popleft()
            if abs(fill.quantity) <= fill.doubt:
                return
        self.lots.append(fill)

    def _match(self, lot: _Lot, fill: _Lot, part: float) -> None:
        side = "LONG" if lot.quantity > 0 else "SHORT"
        match = self.matches.setdefault(
            (side, lot.order, fill.order),
            _Match(side=side, ts_entry_ns=lot.ts_ns, ts_exit_ns=fill.ts_ns),
        )
        match.ts_exit_ns = fill.ts_ns
        match.quantity += part
        match.bought += part * lot.price
        match.sold += part * fill.price
        signed = part if side == "LONG" else -part
        match.gained += signed * (fill.price - lot.price) * fill.multiplier * fill.rate
        match.fees += part * (lot.fee_per_unit + fill.fee_per_unit)


def round_trips(fills: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(round trips by exit time, open positions with signed quantity and cost).

    The cost is quantity x price x multiplier, in the instrument's currency.
    """
    with localcontext(EXACT):
        books = _books(fills)
        return _closed(books), _open(books)


def _books(fills: pl.DataFrame) -> dict[tuple[str, str, str], _Book]:
    books: dict[tuple[str, str, str], _Book] = {}
    names = ("account_id", "group_id", "instrument_id", "client_order_id", "side")
    ordered = fills.sort("ts_event_ns", maintain_order=True).with_columns(
        pl.col(*names, "currency").fill_null(""),
        pl.col("fee").fill_null(0.0),
        pl.col("multiplier", "currency_rate").fill_null(1.0),
    )
    figures = ("ts_event_ns", "quantity", "price", "fee", "multiplier", "currency", "currency_rate")
    columns = (*names, *figures)
    for number, row in enumerate(ordered.select(columns).iter_rows()):
        account, group, instrument, order, side, ts_ns, quantity, price, fee, *terms = row
        if not quantity:
            continue
        exact, doubt = _meant(quantity)
        lot = _Lot(
            ts_ns=ts_ns,
            # A fill that names no order is an order of its own.
            order=order or f"fill {number}",
            quantity=exact if side == "BUY" else -exact,
            doubt=doubt,
            price=price,
            fee_per_unit=fee * terms[2] / quantity,
            multiplier=terms[0],
            currency=terms[1],
            rate=terms[2],
        )
        books.setdefault((account, group, instrument), _Book()).fill(lot)
    return books


def _meant(quantity: float) -> tuple[Decimal, Decimal]:
    """(the decimal that a float was made of, by how much it may be another)."""
    meant = Decimal(repr(quantity))
    is_certain = len(meant.normalize().as_tuple().digits) <= sys.float_info.dig
    return meant, ZERO if is_certain else Decimal(math.ulp(quantity)) / 2


def _closed(books: dict[tuple[str, str, str], _Book]) -> pl.DataFrame:
    rows = [
        (
            *key,
            match.side,
            match.quantity,
            match.ts_entry_ns,
            match.ts_exit_ns,
            match.bought / match.quantity,
            match.sold / match.quantity,
            match.fees,
            match.gained - match.fees,
        )
        for key, book in books.items()
        for match in book.matches.values()
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row").sort(
        "ts_exit_ns", "ts_entry_ns", maintain_order=True
    )


def _open(books: dict[tuple[str, str, str], _Book]) -> pl.DataFrame:
    rows = []
    for key, book in books.items():
        if book.lots:
            held = [(float(lot.quantity), lot) for lot in book.lots]
            quantity = float(sum(lot.quantity for lot in book.lots))
            cost = sum(one * lot.price * lot.multiplier for one, lot in held)
            fees = sum(abs(one) * lot.fee_per_unit for one, lot in held)
            last = book.lots[-1]
            rows.append((*key, quantity, cost, fees, last.multiplier, last.currency))
    return pl.DataFrame(rows, schema=OPEN_COLUMNS, orient="row")
