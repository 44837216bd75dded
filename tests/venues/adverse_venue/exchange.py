"""The exchange behind the HTTP face: orders, fills, busts, cash and positions, all in memory.

Its ledger is the truth that everybody else's books are held against.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

FEE_RATE = Decimal("0.0005")
START_CASH = Decimal(100_000)
CURRENCY = "USD"
LAST = ("FILLED", "CANCELED", "REJECTED")


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


@dataclass
class Order:
    """One order as the exchange holds it."""

    venue_order_id: str
    client_order_id: str
    account: str
    instrument: str
    side: str
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: str
    is_post_only: bool
    accepted_ns: int
    stop_price: Decimal | None = None
    """waits for it; None once it was reached"""
    is_stop: bool = False
    status: str = "OPEN"
    filled: Decimal = Decimal(0)
    reason: str = ""

    @property
    def leaves(self) -> Decimal:
        return self.quantity - self.filled

    def shown(self) -> dict[str, Any]:
        return {
            "venue_order_id": self.venue_order_id,
            "client_order_id": self.client_order_id,
            "instrument": self.instrument,
            "side": self.side,
            "quantity": str(self.quantity),
            "filled": str(self.filled),
            "limit_price": None if self.limit_price is None else str(self.limit_price),
            "status": self.status,
            "reason": self.reason,
        }


@dataclass
class Trade:
    """One execution, perhaps busted."""

    trade_id: str
    order: Order
    price: Decimal
    quantity: Decimal
    fee: Decimal
    is_maker: bool
    time_ns: int
    busted_ns: int = 0

    def shown(self) -> dict[str, Any]:
        return {
            "type": "fill",
            "trade_id": self.trade_id,
            "client_order_id": self.order.client_order_id,
            "venue_order_id": self.order.venue_order_id,
            "side": self.order.side,
            "price": str(self.price),
            "quantity": str(self.quantity),
            "fee": str(self.fee),
            "currency": CURRENCY,
            "is_maker": self.is_maker,
            "time_ns": self.time_ns,
        }

    def bust_shown(self) -> dict[str, Any]:
        return {**self.shown(), "type": "bust", "time_ns": self.busted_ns}


@dataclass
class Exchange:
    """One run's exchange."""

    prices: dict[str, Decimal] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    cash: dict[str, Decimal] = field(default_factory=dict)
    positions: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(account, what the stream says), in order"""

    def latest(self, account: str, client_order_id: str) -> Order | None:
        """The newest order of an id."""
        for order in reversed(self.orders):
            if (order.account, order.client_order_id) == (account, client_order_id):
                return order
        return None

    def submit(self, body: dict[str, Any], now_ns: int, parts: int) -> Order:
        """Makes an order, whatever was there before; `parts`: in how many fills it fills."""
        order = Order(
            venue_order_id=f"V{len(self.orders) + 1}",
            client_order_id=body["client_order_id"],
            account=body["account"],
            instrument=body["instrument"],
            side=body["side"],
            quantity=Decimal(body["quantity"]),
            limit_price=_decimal(body.get("limit_price")),
            time_in_force=body["time_in_force"],
            is_post_only=body["is_post_only"],
            accepted_ns=now_ns,
            stop_price=_decimal(body.get("stop_price")),
            is_stop=body.get("stop_price") is not None,
        )
        self.orders.append(order)
        if order.is_post_only and self._crosses(order):
            order.status, order.reason = "REJECTED", "it would take"
            self._say(order.account, {"type": "order", **order.shown(), "time_ns": now_ns})
            return order
        self._say(order.account, {"type": "order", **order.shown(), "time_ns": now_ns})
        self._match(order, now_ns, parts, is_maker=False)
        if order.status == "OPEN" and order.time_in_force in ("IOC", "FOK"):
            self._end(order, "CANCELED", now_ns, "nothing more to take")
        return order

    def cancel(self, account: str, client_order_id: str, now_ns: int) -> bool:
        """True when an open order was canceled."""
        order = self.latest(account, client_order_id)
        if order is None or order.status != "OPEN":
            return False
        self._end(order, "CANCELED", now_ns, "asked for")
        return True

    def amend(self, account: str, client_order_id: str, terms: dict[str, Any], now_ns: int) -> bool:
        """True when an open order got new terms."""
        order = self.latest(account, client_order_id)
        if order is None or order.status != "OPEN" or Decimal(terms["quantity"]) <= order.filled:
            return False
        order.quantity = Decimal(terms["quantity"])
        order.limit_price = _decimal(terms["limit_price"])
        order.stop_price = _decimal(terms["stop_price"])
        self._match(order, now_ns, 1, is_maker=False)
        return True

    def move(self, instrument: str, price: Decimal, now_ns: int) -> None:
        """The market trades at a price."""
        self.prices[instrument] = price
        for order in list(self.orders):
            if order.status == "OPEN" and order.instrument == instrument:
                self._match(order, now_ns, 1, is_maker=True)

    def past_us(self, account: str, instrument: str, quantity: Decimal, now_ns: int) -> None:
        """Somebody trades the account by hand; no order of ours is behind it."""
        self._move_books(account, instrument, quantity, self.prices[instrument], Decimal(0))

    def entry(self, account: str, kind: str, amount: Decimal, now_ns: int) -> None:
        """Cash moves by other than a fill."""
        self.entries.append(
            {
                "entry_id": f"E{len(self.entries) + 1}",
                "account": account,
                "kind": kind,
                "amount": str(amount),
                "currency": CURRENCY,
                "time_ns": now_ns,
            }
        )
        self.cash[account] = self.balance(account) + amount

    def bust(self, trade_id: str, now_ns: int) -> None:
        """Undoes a fill."""
        trade = next(one for one in self.trades if one.trade_id == trade_id)
        if trade.busted_ns:
            return
        trade.busted_ns = now_ns
        order = trade.order
        signed = trade.quantity if order.side == "BUY" else -trade.quantity
        self._move_books(order.account, order.instrument, -signed, trade.price, -trade.fee)
        self._say(order.account, trade.bust_shown())

    def balance(self, account: str) -> Decimal:
        return self.cash.setdefault(account, START_CASH)

    def held(self, account: str) -> dict[str, Decimal]:
        return {name: held for name, held in self.positions.get(account, {}).items() if held}

    def _crosses(self, order: Order) -> bool:
        price = self.prices.get(order.instrument)
        if price is None:
            return False
        if order.stop_price is not None:
            reached = (
                price >= order.stop_price if order.side == "BUY" else price <= order.stop_price
            )
            if not reached:
                return False
            order.stop_price = None
            if order.limit_price is not None:
                # What triggers a stop with a limit is not what fills it.
                return False
        if order.limit_price is None:
            return True
        return order.limit_price >= price if order.side == "BUY" else order.limit_price <= price

    def _match(self, order: Order, now_ns: int, parts: int, *, is_maker: bool) -> None:
        if not self._crosses(order):
            return
        price = self.prices[order.instrument]
        if is_maker and order.limit_price is not None and not order.is_stop:
            price = order.limit_price
        lot = (order.quantity / parts).quantize(Decimal("0.0001"))
        while order.leaves > 0:
            is_last = order.leaves < 2 * lot or not lot
            self._fill(order, order.leaves if is_last else lot, price, now_ns, is_maker)
        self._end(order, "FILLED", now_ns, "")

    def _fill(
        self, order: Order, quantity: Decimal, price: Decimal, now_ns: int, is_maker: bool
    ) -> None:
        fee = quantity * price * FEE_RATE
        name = f"T{len(self.trades) + 1}"
        trade = Trade(name, order, price, quantity, fee, is_maker, now_ns)
        self.trades.append(trade)
        order.filled += quantity
        signed = quantity if order.side == "BUY" else -quantity
        self._move_books(order.account, order.instrument, signed, price, fee)
        self._say(order.account, trade.shown())

    def _move_books(
        self, account: str, instrument: str, signed: Decimal, price: Decimal, fee: Decimal
    ) -> None:
        held = self.positions.setdefault(account, {})
        held[instrument] = held.get(instrument, Decimal(0)) + signed
        self.cash[account] = self.balance(account) - signed * price - fee

    def _end(self, order: Order, status: str, now_ns: int, reason: str) -> None:
        order.status, order.reason = status, reason
        self._say(order.account, {"type": "order", **order.shown(), "time_ns": now_ns})

    def _say(self, account: str, event: dict[str, Any]) -> None:
        self.events.append((account, event))
