"""What every venue adapter must do, as tests that any test runner can call.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_my_adapter_conforms(check):
        await check(await my_bench())

`my_bench` gives the adapter under test with a market that the test can move: a simulator or a
venue's test network. Each check starts on a fresh bench. A failed check raises AssertionError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final, TypeAlias

from tapeline.contracts.orders import (
    Approval,
    ApprovedOrder,
    CommandKind,
    Mode,
    Order,
    OrderAction,
    OrderType,
    ReportKind,
    ReportNotice,
    Side,
    TimeInForce,
    VenueBalance,
    VenueCommand,
    VenueReport,
)
from tapeline.execution.venues.interface import VenueAdapter

_LAST: Final = (ReportKind.FILLED, ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED)


@dataclass(kw_only=True)
class Bench(ABC):
    """An adapter with a market that the test can move, in one instrument and one account."""

    adapter: VenueAdapter
    account_id: str
    instrument_id: str
    venue: str
    run_id: str
    quantity: Decimal
    """a valid order quantity"""
    price: Decimal
    """where the market stands; half of it and twice it are valid limit prices"""
    commands: int = 0
    heard: list[VenueReport] = field(default_factory=list)
    """all reports so far, answers and stream"""

    @abstractmethod
    async def move_market(self, price: Decimal) -> None:
        """The market trades around a price, in more than the bench's quantity."""

    @abstractmethod
    async def streamed(self) -> Sequence[VenueReport]:
        """What has come over the stream since the last call, once the venue has settled."""

    @abstractmethod
    def now_ns(self) -> int:
        """Session time."""

    async def listen(self) -> None:
        """Takes in what the stream has."""
        self.heard.extend(await self.streamed())

    async def submit(self, command: VenueCommand) -> None:
        """Submits and listens."""
        self.heard.extend(await self.adapter.submit(command))
        await self.listen()

    async def cancel(self, command: VenueCommand) -> None:
        """Cancels and listens."""
        self.heard.extend(await self.adapter.cancel(command))
        await self.listen()

    async def amend(self, command: VenueCommand) -> None:
        """Amends and listens."""
        self.heard.extend(await self.adapter.amend(command))
        await self.listen()

    async def market_at(self, price: Decimal) -> None:
        """Moves the market and listens."""
        await self.move_market(price)
        await self.listen()

    def kinds(self, client_order_id: str) -> list[ReportKind]:
        """What was heard of an order."""
        return [report.kind for report in self.heard if report.client_order_id == client_order_id]

    def command(self, kind: CommandKind, order: Order) -> VenueCommand:
        """A command for an order, under an approval of its own."""
        self.commands += 1
        action = OrderAction.CANCEL if kind is CommandKind.CANCEL else OrderAction.OPEN
        return VenueCommand(
            command_id=f"command-{self.commands}",
            kind=kind,
            venue=self.venue,
            child_index=0,
            client_order_id=order.client_order_id,
            quantity=order.quantity,
            approved=ApprovedOrder(
                action=action,
                order=order,
                approval=self._approval(),
                ts_event_ns=self.now_ns(),
                ts_init_ns=self.now_ns(),
            ),
            ts_event_ns=self.now_ns(),
        )

    def amendment(self, order: Order) -> VenueCommand:
        """A command that gives an open order the terms of `order`."""
        command = self.command(CommandKind.QUERY, order)
        approved = replace(command.approved, action=OrderAction.AMEND)
        return replace(command, approved=approved, is_amendment=True)

    def notices(self, client_order_id: str) -> list[ReportNotice]:
        """What was heard of an order beyond the kinds of its reports."""
        return [
            report.notice
            for report in self.heard
            if report.client_order_id == client_order_id and report.notice != ReportNotice.NONE
        ]

    def filled(self, client_order_id: str) -> Decimal:
        """How much of an order was reported as filled."""
        quantities = [
            report.quantity or Decimal(0)
            for report in self.heard
            if report.client_order_id == client_order_id and report.kind is ReportKind.FILLED
        ]
        return sum(quantities, Decimal(0))

    def _approval(self) -> Approval:
        now_ns = self.now_ns()
        return Approval(
            approval_id=f"approval-{self.commands}",
            decision_id=f"decision-{self.commands}",
            run_id=self.run_id,
            mode=Mode.PAPER,
            account_id=self.account_id,
            key_id="",
            issued_ns=now_ns,
            expires_ns=now_ns + 5_000_000_000,
            last_send_ns=now_ns + 5_000_000_000,
            child_count=1,
            mac=b"",
        )

    def market_order(self, name: str, side: Side = Side.BUY) -> Order:
        """An order at the market."""
        return Order(
            client_order_id=name,
            account_id=self.account_id,
            group_id="conformance",
            instrument_id=self.instrument_id,
            venue=self.venue,
            side=side,
            order_type=OrderType.MARKET,
            quantity=self.quantity,
            time_in_force=TimeInForce.GTC,
            is_reduce_only=False,
            is_post_only=False,
            arrival_price=self.price,
        )

    def limit_order(self, name: str, limit_price: Decimal, side: Side = Side.BUY) -> Order:
        """An order with a limit."""
        return replace(
            self.market_order(name, side), order_type=OrderType.LIMIT, limit_price=limit_price
        )

    def stop_order(self, name: str, stop_price: Decimal, side: Side = Side.BUY) -> Order:
        """An order at the market once a price is reached."""
        return replace(
            self.market_order(name, side), order_type=OrderType.STOP_MARKET, stop_price=stop_price
        )


Check: TypeAlias = Callable[[Bench], Awaitable[None]]


async def a_market_order_is_accepted_and_filled_once(bench: Bench) -> None:
    """Acknowledged before it fills, filled in whole, under one venue order id."""
    await bench.submit(bench.command(CommandKind.SUBMIT, bench.market_order("m1")))
    await bench.market_at(bench.price)
    await bench.market_at(bench.price)
    kinds = bench.kinds("m1")
    assert kinds[0] is ReportKind.ACCEPTED, kinds
    fills = [report for report in bench.heard if report.kind is ReportKind.FILLED]
    assert sum(fill.quantity or 0 for fill in fills) == bench.quantity
    assert len({fill.trade_id for fill in fills}) == len(fills), "trade ids repeat"
    assert len({report.venue_order_id for report in bench.heard}) == 1


async def fills_say_everything_about_themselves(bench: Bench) -> None:
    """Price, quantity, commission, currency and liquidity side are there, and the ids."""
    await bench.submit(bench.command(CommandKind.SUBMIT, bench.market_order("m1")))
    await bench.market_at(bench.price)
    for report in bench.heard:
        assert report.report_id
        assert (report.account_id, report.venue) == (bench.account_id, bench.venue)
        if report.kind is ReportKind.FILLED:
            assert report.trade_id
            assert report.venue_order_id
            assert report.price is not None
            assert report.price > 0
            assert report.quantity is not None
            assert report.quantity > 0
            assert report.commission is not None
            assert report.currency
            assert report.liquidity_side is not None


async def a_resting_order_is_listed_and_can_be_canceled(bench: Bench) -> None:
    """A limit far from the market rests, shows in the poll, and ends by CANCELED."""
    order = bench.limit_order("l1", bench.price / 2)
    await bench.market_at(bench.price)
    await bench.submit(bench.command(CommandKind.SUBMIT, order))
    await bench.market_at(bench.price)
    listed = await bench.adapter.poll_orders(bench.account_id)
    assert [one.client_order_id for one in listed] == ["l1"]
    assert (listed[0].side, listed[0].quantity) == (order.side, order.quantity)
    assert listed[0].filled_quantity == 0
    await bench.cancel(bench.command(CommandKind.CANCEL, order))
    await bench.market_at(bench.price)
    assert bench.kinds("l1") == [ReportKind.ACCEPTED, ReportKind.CANCELED]
    assert not await bench.adapter.poll_orders(bench.account_id)


async def a_limit_is_never_exceeded(bench: Bench) -> None:
    """A buy limit above the market fills at the limit or below."""
    limit = bench.price * 2
    await bench.submit(bench.command(CommandKind.SUBMIT, bench.limit_order("l1", limit)))
    await bench.market_at(bench.price)
    prices = [report.price for report in bench.heard if report.kind is ReportKind.FILLED]
    assert prices
    assert all(price is not None and price <= limit for price in prices)


async def a_cancel_of_an_unknown_order_is_rejected(bench: Bench) -> None:
    """CANCEL_REJECTED, not an exception and not CANCELED."""
    await bench.cancel(bench.command(CommandKind.CANCEL, bench.market_order("nobody")))
    assert bench.kinds("nobody") == [ReportKind.CANCEL_REJECTED]


async def a_query_tells_open_from_unknown(bench: Bench) -> None:
    """ACCEPTED with the venue's id for an open order, NOT_FOUND for one it never saw."""
    order = bench.limit_order("l1", bench.price / 2)
    await bench.market_at(bench.price)
    await bench.submit(bench.command(CommandKind.SUBMIT, order))
    await bench.market_at(bench.price)
    known = await bench.adapter.query(bench.command(CommandKind.QUERY, order))
    assert ReportKind.ACCEPTED in [report.kind for report in known]
    assert {report.venue_order_id for report in known} == {bench.heard[0].venue_order_id}
    other = bench.market_order("nobody")
    unknown = await bench.adapter.query(bench.command(CommandKind.QUERY, other))
    assert [report.kind for report in unknown] == [ReportKind.NOT_FOUND]


async def the_same_command_makes_no_second_order(bench: Bench) -> None:
    """The client_order_id is the key against duplicates while the order is open."""
    command = bench.command(CommandKind.SUBMIT, bench.limit_order("l1", bench.price / 2))
    await bench.market_at(bench.price)
    await bench.submit(command)
    await bench.submit(command)
    await bench.market_at(bench.price)
    assert len(await bench.adapter.poll_orders(bench.account_id)) == 1
    assert ReportKind.REJECTED not in bench.kinds("l1")


async def an_immediate_order_leaves_nothing_open(bench: Bench) -> None:
    """IOC away from the market is canceled without a fill."""
    order = replace(bench.limit_order("i1", bench.price / 2), time_in_force=TimeInForce.IOC)
    await bench.market_at(bench.price)
    await bench.submit(bench.command(CommandKind.SUBMIT, order))
    await bench.market_at(bench.price)
    assert not await bench.adapter.poll_orders(bench.account_id)
    assert bench.kinds("i1")[-1] is ReportKind.CANCELED


async def a_post_only_order_never_takes(bench: Bench) -> None:
    """A post-only buy above the market is refused, at once or on arrival."""
    order = replace(bench.limit_order("p1", bench.price * 2), is_post_only=True)
    await bench.market_at(bench.price)
    await bench.submit(bench.command(CommandKind.SUBMIT, order))
    await bench.market_at(bench.price)
    kinds = bench.kinds("p1")
    assert ReportKind.FILLED not in kinds
    assert kinds[-1] in (ReportKind.REJECTED, ReportKind.CANCELED), kinds


async def positions_are_the_fold_of_fills(bench: Bench) -> None:
    """What the poll lists is what was bought less what was sold."""
    for name, side in (("b1", Side.BUY), ("b2", Side.BUY), ("s1", Side.SELL)):
        await bench.submit(bench.command(CommandKind.SUBMIT, bench.market_order(name, side)))
        await bench.market_at(bench.price)
    held = Decimal(0)
    for report in bench.heard:
        if report.kind is ReportKind.FILLED and report.quantity is not None:
            is_sale = report.client_order_id.startswith("s")
            held += -report.quantity if is_sale else report.quantity
    listed = await bench.adapter.poll_positions(bench.account_id)
    assert {one.instrument_id: one.quantity for one in listed} == {bench.instrument_id: held}


async def fills_polled_are_fills_streamed(bench: Bench) -> None:
    """A poll gives every fill under the id, price, quantity and commission that were streamed."""
    for name, side in (("b1", Side.BUY), ("s1", Side.SELL)):
        await bench.submit(bench.command(CommandKind.SUBMIT, bench.market_order(name, side)))
        await bench.market_at(bench.price)
    heard = {report.trade_id: report for report in bench.heard if report.trade_id}
    polled = await bench.adapter.poll_fills(bench.account_id, 0)
    assert {one.trade_id: (one.price, one.quantity, one.commission) for one in polled} == {
        name: (one.price, one.quantity, one.commission) for name, one in heard.items()
    }
    assert {one.report_id for one in polled} == {one.report_id for one in heard.values()}
    latest = max(one.ts_event_ns for one in polled)
    assert not await bench.adapter.poll_fills(bench.account_id, latest + 1)


async def cash_is_moved_by_fills_and_entries_alone(bench: Bench) -> None:
    """What a balance changes by is what the fills cost and what the entries say."""
    before = {one.currency: one.amount for one in await _balances(bench)}
    await bench.submit(bench.command(CommandKind.SUBMIT, bench.market_order("b1")))
    await bench.market_at(bench.price)
    for report in bench.heard:
        if report.kind is ReportKind.FILLED:
            assert report.quantity is not None
            assert report.price is not None
            paid = report.quantity * report.price + (report.commission or 0)
            before[report.currency] = before.get(report.currency, Decimal(0)) - paid
    for entry in await bench.adapter.poll_entries(bench.account_id, 0):
        before[entry.currency] = before.get(entry.currency, Decimal(0)) + entry.amount
    assert {one.currency: one.amount for one in await _balances(bench)} == before


async def _balances(bench: Bench) -> Sequence[VenueBalance]:
    return await bench.adapter.poll_balances(bench.account_id)


async def nothing_follows_the_end_of_an_order(bench: Bench) -> None:
    """Behind CANCELED or the last fill nothing more is said of an order."""
    first = bench.command(CommandKind.SUBMIT, bench.market_order("m1"))
    await bench.submit(first)
    await bench.market_at(bench.price)
    before = bench.kinds("m1")
    assert before[-1] in _LAST
    await bench.market_at(bench.price)
    await bench.market_at(bench.price * 2)
    assert bench.kinds("m1") == before


async def a_stop_waits_for_its_price(bench: Bench) -> None:
    """Nothing happens before the market reaches the stop; then it fills where the market is."""
    stop = bench.price * Decimal("1.5")
    await bench.market_at(bench.price)
    await bench.submit(bench.command(CommandKind.SUBMIT, bench.stop_order("s1", stop)))
    await bench.market_at(bench.price)
    assert bench.kinds("s1") == [ReportKind.ACCEPTED]
    await bench.market_at(bench.price * 2)
    await bench.market_at(bench.price * 2)
    assert bench.filled("s1") == bench.quantity
    prices = [report.price for report in bench.heard if report.kind is ReportKind.FILLED]
    assert all(price is not None and price >= bench.price * 2 for price in prices), prices


async def a_stop_limit_keeps_its_limit(bench: Bench) -> None:
    """Behind a gap beyond its limit it rests instead of filling."""
    stop = bench.price * Decimal("1.5")
    order = replace(bench.stop_order("s1", stop), order_type=OrderType.STOP_LIMIT, limit_price=stop)
    await bench.market_at(bench.price)
    await bench.submit(bench.command(CommandKind.SUBMIT, order))
    await bench.market_at(bench.price * 2)
    await bench.market_at(bench.price * 2)
    assert bench.kinds("s1") == [ReportKind.ACCEPTED]


async def an_amendment_gives_new_terms(bench: Bench) -> None:
    """Answered by AMENDED; from then on quantity and limit are the new ones."""
    order = bench.limit_order("a1", bench.price / 2)
    await bench.market_at(bench.price)
    await bench.submit(bench.command(CommandKind.SUBMIT, order))
    await bench.market_at(bench.price)
    new = replace(order, quantity=order.quantity * 2, limit_price=bench.price * 2)
    await bench.amend(bench.amendment(new))
    await bench.market_at(bench.price)
    await bench.market_at(bench.price)
    assert bench.notices("a1") == [ReportNotice.AMENDED]
    assert bench.filled("a1") == new.quantity


async def an_amendment_of_an_unknown_order_is_rejected(bench: Bench) -> None:
    """AMEND_REJECTED, not an exception, and no order comes of it."""
    await bench.amend(bench.amendment(bench.limit_order("nobody", bench.price / 2)))
    await bench.market_at(bench.price)
    assert bench.notices("nobody") == [ReportNotice.AMEND_REJECTED]
    assert not await bench.adapter.poll_orders(bench.account_id)


CHECKS: Final[tuple[Check, ...]] = (
    a_market_order_is_accepted_and_filled_once,
    fills_say_everything_about_themselves,
    a_resting_order_is_listed_and_can_be_canceled,
    a_limit_is_never_exceeded,
    a_cancel_of_an_unknown_order_is_rejected,
    a_query_tells_open_from_unknown,
    the_same_command_makes_no_second_order,
    an_immediate_order_leaves_nothing_open,
    a_post_only_order_never_takes,
    positions_are_the_fold_of_fills,
    fills_polled_are_fills_streamed,
    cash_is_moved_by_fills_and_entries_alone,
    nothing_follows_the_end_of_an_order,
    a_stop_waits_for_its_price,
    a_stop_limit_keeps_its_limit,
    an_amendment_gives_new_terms,
    an_amendment_of_an_unknown_order_is_rejected,
)
