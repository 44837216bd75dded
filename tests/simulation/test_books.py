"""Cash is conserved to the last unit, and three ledgers are one, over any sequence of bookings."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation import world
from simulation.books import EXACT, ZERO, Book, same_figures, signed
from simulation.faults import Broken
from simulation.plants import PLANTS
from tapeline.accounting.ledger import Booking, Ledger
from tapeline.accounting.numbers import fixed
from tapeline.contracts.accounts import CashAdjustment, PositionCorrection
from tapeline.contracts.orders import (
    Fill,
    LiquiditySide,
    Order,
    OrderType,
    Side,
    TimeInForce,
    VenueReport,
)
from tapeline.contracts.orders import ReportKind as Kind
from tapeline.execution.venues import paper_books
from tapeline.execution.venues.paper_state import PaperOrder, PaperState
from tapeline.risk import books, config_book
from tapeline.risk.state import RiskState

GROUPS = ("g1", "g2")
QUANTITIES = st.decimals(Decimal("0.1"), Decimal(900), places=1)
PRICES = st.decimals(Decimal("0.0001"), Decimal("9999.9999"), places=4)
FEES = st.decimals(Decimal(-3), Decimal(9), places=18)
BOOKINGS = st.one_of(
    st.tuples(
        st.just("fill"),
        st.sampled_from(GROUPS),
        st.sampled_from(world.TRADED),
        st.sampled_from(Side),
        QUANTITIES,
        PRICES,
        FEES,
    ),
    st.tuples(st.just("bust"), st.integers(0, 30)),
    st.tuples(
        st.just("correct"),
        st.sampled_from(GROUPS),
        st.sampled_from(world.TRADED),
        st.sampled_from(Side),
        QUANTITIES,
        PRICES,
    ),
    st.tuples(st.just("adjust"), FEES),
)


def order_of(record: Fill) -> Order:
    """The order that a fill fills whole."""
    return Order(
        client_order_id=record.client_order_id,
        account_id=record.account_id,
        group_id=record.group_id,
        instrument_id=record.instrument_id,
        venue=record.venue,
        side=record.side,
        order_type=OrderType.MARKET,
        quantity=record.quantity,
        time_in_force=TimeInForce.DAY,
        is_reduce_only=False,
        is_post_only=False,
        arrival_price=record.price,
    )


class Accountant:
    """Books everything three times: plainly, in risk's state, at the paper venue."""

    def __init__(self) -> None:
        self.plain = Book({"USD": world.START_CASH})
        self.risk = RiskState()
        self.paper = PaperState()
        self.fills: list[Fill] = []
        self.corrections = Book()
        """what the venue never saw: corrections and adjustments"""
        self.adjusted = ZERO
        self.instruments = {}
        for record in world.configuration():
            config_book.configure(self.risk, record, 0, world.T0)
            if hasattr(record, "lot_size"):
                self.instruments[record.instrument_id] = record
            if type(record).__name__ in ("Instrument", "Venue", "Account"):
                self.paper = paper_books.configured(self.paper, record)

    def fill(self, *terms: Any, trade: str = "") -> None:
        group_id, name, side, quantity, price, fee = terms
        number = len(self.fills)
        record = Fill(
            fill_id=f"fill-{number}",
            trade_id=trade or f"trade-{number}",
            client_order_id=f"order-{number}",
            venue_order_id="v",
            account_id="A",
            group_id=group_id,
            instrument_id=name,
            approval_id=f"approval-{number}",
            decision_id="d",
            venue=world.PAPER,
            side=side,
            quantity=quantity,
            price=price,
            commission=fee,
            currency=self.instruments[name].currency,
            liquidity_side=LiquiditySide.TAKER,
            arrival_price=price,
            leaves_quantity=ZERO,
            ts_event_ns=world.T0,
            ts_init_ns=world.T0,
        )
        self.fills.append(record)
        self.plain.fill(record, self.instruments[name])
        books.fill(self.risk, record, world.T0)
        self._venue(record)

    def _venue(self, record: Fill) -> None:
        """The same fill at the venue, of an order for just that."""
        order = order_of(record)
        held = PaperOrder(
            order=order, venue_order_id="v", sequence=1, arrival_ns=0, expires_ns=None
        )
        name = order.client_order_id
        self.paper.orders[name] = held
        ids = self.paper.by_instrument.get(order.instrument_id, ())
        self.paper.by_instrument[order.instrument_id] = (*ids, name)
        report = VenueReport(
            report_id=record.fill_id,
            account_id="A",
            venue=world.PAPER,
            kind=Kind.FILLED,
            client_order_id=name,
            venue_order_id="v",
            trade_id=record.trade_id,
            price=record.price,
            quantity=record.quantity,
            commission=record.commission,
            currency=record.currency,
            liquidity_side=LiquiditySide.TAKER,
            reason="",
            ts_event_ns=world.T0,
            ts_init_ns=world.T0,
        )
        self.paper = paper_books.reported(self.paper, report)

    def bust(self, which: int) -> None:
        """A fill is taken back: the opposite at the same price, and its fee."""
        if self.fills:
            old = self.fills[which % len(self.fills)]
            other = Side.SELL if old.side is Side.BUY else Side.BUY
            terms = (old.group_id, old.instrument_id, other, old.quantity, old.price)
            self.fill(*terms, -old.commission)

    def correct(
        self, group_id: str, name: str, side: Side, quantity: Decimal, price: Decimal
    ) -> None:
        record = PositionCorrection(
            correction_id="c",
            account_id="A",
            group_id=group_id,
            instrument_id=name,
            quantity=signed(side, quantity),
            price=price,
            reason="booked",
            ts_event_ns=world.T0,
            ts_init_ns=world.T0,
        )
        for book in (self.plain, self.corrections):
            book.trade((group_id, name), record.quantity, price, self.instruments[name])
        books.account_event(self.risk, record, world.T0)

    def adjust(self, amount: Decimal) -> None:
        record = CashAdjustment(
            adjustment_id="a",
            account_id="A",
            currency="USD",
            amount=amount,
            reason="fee",
            ts_event_ns=world.T0,
            ts_init_ns=world.T0,
        )
        self.adjusted = fixed(self.adjusted + amount)
        for book in (self.plain, self.corrections):
            book.move("USD", amount)
        books.account_event(self.risk, record, world.T0)

    def check(self) -> None:
        """Risk is the plain books; the venue is the plain books without what it never saw."""
        ledger = self.risk.accounts["A"].ledger
        same_figures("risk's cash", self.plain.cash, ledger.cash)
        held = {
            (group, name): line.quantity
            for name, lines in ledger.lines.items()
            for group, line in lines.items()
        }
        same_figures("risk's positions", self.plain.held, held)
        venue = self.paper.accounts["A"]
        with localcontext(EXACT):
            cash = {
                name: amount - self.corrections.cash.get(name, ZERO)
                for name, amount in self.plain.cash.items()
            }
            positions = {
                name: self.plain.net(name) - self.corrections.net(name) for name in world.TRADED
            }
        same_figures("the venue's cash", cash, venue.cash)
        same_figures("the venue's positions", positions, venue.positions)

    def check_profit(self) -> None:
        """What is in cash and at cost, and what was realised, add up to what was put in."""
        ledger = self.risk.accounts["A"].ledger
        with localcontext(EXACT):
            for currency in ledger.cash:
                names = [name for name, one in self.instruments.items() if one.currency == currency]
                lines = [line for name in names for line in ledger.lines.get(name, {}).values()]
                cost = sum((line.cost for line in lines), ZERO)
                gained = sum((line.realized_pnl - line.commission for line in lines), ZERO)
                put_in = world.START_CASH + self.adjusted if currency == "USD" else ZERO
                assert ledger.cash[currency] + cost == put_in + gained


@settings(max_examples=150, deadline=None)
@given(st.lists(BOOKINGS, max_size=40))
def test_the_last_unit_of_cash_is_where_it_belongs(steps: list[tuple[Any, ...]]) -> None:
    accountant = Accountant()
    for step in steps:
        getattr(accountant, step[0])(*step[1:])
        accountant.check()
    accountant.check_profit()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Side), QUANTITIES, PRICES, FEES), max_size=30))
def test_the_order_of_fills_does_not_change_what_is_held(steps: list[tuple[Any, ...]]) -> None:
    def booked(taken: list[tuple[Any, ...]]) -> Ledger:
        ledger = Ledger()
        for side, quantity, price, fee in taken:
            entry = Booking(
                group_id="g",
                instrument_id=world.SPY,
                quantity=signed(side, quantity),
                price=price,
                currency="USD",
                commission=fee,
            )
            ledger = ledger.book(entry)
        return ledger

    there, back = booked(steps), booked(steps[::-1])
    assert there.cash == back.cash
    assert there.net_quantity(world.SPY) == back.net_quantity(world.SPY)


@pytest.mark.parametrize("name", ["commission-forgotten", "venue-free-of-charge"])
def test_the_books_see_a_planted_bug(name: str) -> None:
    (plant,) = [one for one in PLANTS if one.name == name]
    with plant.planted():
        accountant = Accountant()
        accountant.fill("g1", world.OIL, Side.BUY, Decimal(3), Decimal("20.5"), Decimal("0.01"))
        with pytest.raises(Broken):
            accountant.check()
