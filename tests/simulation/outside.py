"""A venue outside of the process, with what stands between it and execution, and its own ledger.

It hears the commands that were committed, each once, and answers on venue-reports: late, twice, in
any order; fills before the acknowledgement and behind a cancel; lost requests, lost replies, trades
taken back, statements. What it holds is the truth that the books must come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.config import Instrument
from tapeline.contracts.orders import (
    CommandKind,
    LiquiditySide,
    NotSent,
    Order,
    OrderUpdate,
    ReportKind,
    TimeInForce,
    TradeBust,
    VenueBalance,
    VenueCommand,
    VenueEntry,
    VenuePosition,
    VenueReport,
    VenueStatement,
)
from tapeline.runtime.codec import Decoder
from tapeline.runtime.log import Raw
from tapeline.runtime.shard import STEP_HEADER

from . import world
from .books import Book, signed
from .broker import Broker

UPDATES = Decoder(topics.TOPICS[topics.ORDER_UPDATES].records)
AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)
BUST_LATE_NS = 3000 * world.SECOND
"""less than execution keeps an order that has ended"""


@dataclass(slots=True)
class Held:
    """An order at the venue."""

    order: Order
    left: Decimal
    is_open: bool = True


class OutsideVenue:
    """Orders, trades and cash as the venue has them."""

    def __init__(self, chance: Random, broker: Broker) -> None:
        self.chance = chance
        self.broker = broker
        self.now_ns = world.T0
        self.is_ending = False
        self.held: dict[str, Held] = {}
        self.books = {name: Book({"USD": world.START_CASH}) for name in world.ACCOUNTS}
        self.trades: list[VenueReport] = []
        self._heard: list[VenueCommand] = []
        self._due: list[tuple[int, int, Any]] = []
        self._entries: dict[str, list[VenueEntry]] = {name: [] for name in world.ACCOUNTS}
        self._instruments: dict[str, Instrument] = {
            one.instrument_id: one for one in world.configuration() if isinstance(one, Instrument)
        }
        self._orders: dict[str, Order] = {}
        self._busted: set[str] = set()
        self._number = 0

    # ---- commands

    def heard(self, raws: Sequence[Raw]) -> None:
        """Commands that one commit made visible; carried out with the next step."""
        for raw in raws:
            if raw.topic == topics.ORDER_UPDATES and raw.header(STEP_HEADER):
                record = UPDATES.decode(raw.value)
                if isinstance(record, OrderUpdate) and record.command is not None:
                    self._heard.append(record.command)

    def step(self, now_ns: int, prices: dict[str, float]) -> None:
        """A while of the venue: commands, trades, and the reports that are due."""
        self.now_ns = now_ns
        commands, self._heard = self._heard, []
        for command in commands:
            if command.kind is CommandKind.SUBMIT:
                self._submit(command)
            elif command.kind is CommandKind.CANCEL:
                self._cancel(command)
        for name in list(self.held):
            self._trade(self.held[name], prices)
        self._oddities()
        self._deliver()

    def _submit(self, command: VenueCommand) -> None:
        order, kind = command.approved.order, self.chance.random()
        if self.is_ending:
            kind = 1.0
        if kind < 0.05:
            self._later(self._not_sent(command), 1)
        elif kind < 0.1:
            # The request is lost: silence, a venue that knows nothing yet, and then, behind the
            # time in which it might still take it, certainty.
            self._later(self._report(order, ReportKind.TIMEOUT), 1)
            self._later(self._report(order, ReportKind.NOT_FOUND), 30 * world.SECOND)
            self._later(self._not_sent(command), 90 * world.SECOND)
        elif kind < 0.15:
            self._later(self._report(order, ReportKind.REJECTED, reason="no"), world.SECOND)
        else:
            self.held[order.client_order_id] = Held(order, command.quantity)
            late_ns = world.SECOND
            if kind < 0.25:
                # The reply is lost: silence, until somebody asks.
                self._later(self._report(order, ReportKind.TIMEOUT), 1)
                late_ns = 60 * world.SECOND
            self._later(self._report(order, ReportKind.ACCEPTED), late_ns)

    def _cancel(self, command: VenueCommand) -> None:
        held = self.held.get(command.client_order_id)
        order = command.approved.order
        if held is None or not held.is_open or (self.chance.random() < 0.1 and not self.is_ending):
            self._later(self._report(order, ReportKind.CANCEL_REJECTED, reason="no"), world.SECOND)
            return
        held.is_open = False
        self._later(self._report(held.order, ReportKind.CANCELED), world.SECOND)

    # ---- trades

    def _trade(self, held: Held, prices: dict[str, float]) -> None:
        if not held.is_open:
            del self.held[held.order.client_order_id]
            return
        order, chance = held.order, self.chance
        price = Decimal(f"{prices[order.instrument_id]:.2f}")
        limit = order.limit_price
        if limit is not None and signed(order.side, limit - price) < 0:
            if order.time_in_force in AT_ONCE or self.is_ending:
                self._end(held)
            return
        if chance.random() < 0.4 and not self.is_ending:
            return
        lot = self._instruments[order.instrument_id].lot_size
        lots = int(held.left / lot)
        is_whole = chance.random() < 0.5 or self.is_ending or lots < 2
        part = lots if is_whole else chance.randrange(1, lots)
        self._fill(held, lot * part, price)
        if held.left <= 0:
            held.is_open = False
            if order.client_order_id in self._busted:
                # The bust may have come before its fill, which is then never booked: what fills
                # add up to does not say that the order has ended.
                self._later(self._report(order, ReportKind.EXPIRED), 9 * world.SECOND)
        elif order.time_in_force in AT_ONCE:
            self._end(held)

    def _end(self, held: Held) -> None:
        held.is_open = False
        self._later(self._report(held.order, ReportKind.EXPIRED), world.SECOND)

    def _fill(self, held: Held, quantity: Decimal, price: Decimal) -> None:
        order = held.order
        instrument = self._instruments[order.instrument_id]
        held.left -= quantity
        self._number += 1
        commission = (quantity * price * instrument.multiplier / 2000).quantize(Decimal("1E-18"))
        report = self._report(
            order,
            ReportKind.FILLED,
            trade_id=f"t{self._number}",
            price=price,
            quantity=quantity,
            commission=commission,
            currency=instrument.currency,
            liquidity_side=LiquiditySide.TAKER,
        )
        self._book(report, order, 1)
        self.trades.append(report)
        self._later(report, 3 * world.SECOND)

    def _book(self, report: VenueReport, order: Order, sign: int) -> None:
        assert report.quantity is not None
        assert report.price is not None
        assert report.commission is not None
        book = self.books[order.account_id]
        quantity = signed(order.side, report.quantity) * sign
        instrument = self._instruments[order.instrument_id]
        book.trade(("", order.instrument_id), quantity, report.price, instrument)
        book.move(instrument.currency, -report.commission * sign)

    # ---- what venues do besides

    def _oddities(self) -> None:
        chance = self.chance
        if self.trades and chance.random() < 0.1 and not self.is_ending:
            self._later(chance.choice(self.trades[-20:]), 20 * world.SECOND)  # once more
        if self.trades and chance.random() < 0.01 and not self.is_ending:
            trade = self.trades.pop(chance.randrange(len(self.trades)))
            # A bust behind the memory of an order shows as drift, for an operator to book.
            if self.now_ns - trade.ts_event_ns < BUST_LATE_NS:
                self._bust(trade)
        if chance.random() < 0.01 and not self.is_ending:
            self._charge(chance.choice(world.ACCOUNTS))
        if chance.random() < 0.1 or self.is_ending:
            for account_id in world.ACCOUNTS:
                self._publish(self._statement(account_id))

    def _bust(self, trade: VenueReport) -> None:
        order = self._order_of(trade)
        self._book(trade, order, -1)
        assert trade.quantity is not None
        assert trade.price is not None
        assert trade.commission is not None
        bust = TradeBust(
            report_id=f"bust-{trade.trade_id}",
            account_id=trade.account_id,
            venue=trade.venue,
            client_order_id=trade.client_order_id,
            trade_id=trade.trade_id,
            price=trade.price,
            quantity=trade.quantity,
            commission=trade.commission,
            currency=trade.currency,
            reason="erroneous",
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        self._later(bust, 2 * world.SECOND)
        self._busted.add(trade.client_order_id)
        held = self.held.get(trade.client_order_id)
        if held is None or not held.is_open:
            self._later(self._report(order, ReportKind.EXPIRED), 9 * world.SECOND)

    def _order_of(self, trade: VenueReport) -> Order:
        return self._orders[trade.client_order_id]

    def _charge(self, account_id: str) -> None:
        """A fee that only a statement shows."""
        self._number += 1
        amount = Decimal(-self.chance.randrange(1, 500)) / 100
        self.books[account_id].move("USD", amount)
        entry = VenueEntry(
            entry_id=f"e{self._number}",
            kind="fee",
            instrument_id="",
            currency="USD",
            amount=amount,
            ts_event_ns=self.now_ns,
        )
        self._entries[account_id] = [*self._entries[account_id], entry][-5:]

    def _statement(self, account_id: str) -> VenueStatement:
        self._number += 1
        book = self.books[account_id]
        return VenueStatement(
            statement_id=f"s{self._number}",
            account_id=account_id,
            venue=world.PAPER,
            positions=tuple(
                VenuePosition(instrument_id=name, quantity=book.net(name), price=None)
                for name in world.TRADED
                if book.net(name)
            ),
            balances=tuple(
                VenueBalance(currency=name, amount=book.cash[name]) for name in sorted(book.cash)
            ),
            open_orders=(),
            entries=tuple(self._entries[account_id]),
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )

    # ---- reports

    def _report(self, order: Order, kind: ReportKind, **more: Any) -> VenueReport:
        self._number += 1
        self._orders[order.client_order_id] = order
        values: dict[str, Any] = {"trade_id": "", "currency": "", "reason": "", **more}
        return VenueReport(
            report_id=f"r{self._number}",
            account_id=order.account_id,
            venue=order.venue,
            kind=kind,
            client_order_id=order.client_order_id,
            venue_order_id=f"v-{order.client_order_id}",
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
            **values,
        )

    def _not_sent(self, command: VenueCommand) -> NotSent:
        self._number += 1
        return NotSent(
            report_id=f"r{self._number}",
            account_id=command.approved.order.account_id,
            venue=command.venue,
            client_order_id=command.client_order_id,
            command_id=command.command_id,
            code="EXECUTION_EXPIRED",
            reason="too late",
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )

    def _later(self, record: Any, within_ns: int) -> None:
        late_ns = 0 if self.is_ending else self.chance.randrange(within_ns)
        self._number += 1
        self._due.append((self.now_ns + late_ns, self._number, record))

    def _deliver(self) -> None:
        due = sorted(
            (item for item in self._due if item[0] <= self.now_ns or self.is_ending),
            key=lambda item: item[:2],
        )
        taken = {item[1] for item in due}
        self._due = [item for item in self._due if item[1] not in taken]
        for _, _, record in due:
            self._publish(record)

    def _publish(self, record: Any) -> None:
        self._number += 1
        made = world.message(record, f"outside-{self._number}", "venue", topics.VENUE_REPORTS)
        self.broker.publish([made])
