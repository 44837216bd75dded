"""The paper venue: an exchange imitated against the tick stream, a pure core of its own.

In:  VenueCommand, Trade, Quote, BookSnapshot, FundingRate, TimerFired, and Instrument, Account,
     Venue from config.
Out: VenueReport, as from any venue; FundingPayment and CashAdjustment for what is held; Missing
     for what a rule lacks.

Commands take the venue's latency to arrive. An order is filled by ticks that happened after its
arrival, by the rules of matching.py, in time priority. The venue keeps its own ledger of cash and
positions, by which the others' books can be checked.

Invariants: no order fills beyond its quantity; what the ledger holds is the fold of its FILLED
reports, payments and adjustments; every order ends at most once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeAlias

from tapeline.accounting.numbers import ZERO, exact, fixed, notional, quantize_money
from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.frozen import replace
from tapeline.contracts.market import BookSnapshot, FundingRate, Quote, Trade
from tapeline.contracts.orders import (
    CommandKind,
    LiquiditySide,
    Order,
    ReportKind,
    ReportNotice,
    Side,
    TimeInForce,
    VenueCommand,
    VenueReport,
)
from tapeline.execution.venues import accruals, arrival, fees, missing, paper_books
from tapeline.execution.venues.matching import Prices, Tick, prices_of
from tapeline.execution.venues.meeting import Meeting
from tapeline.execution.venues.missing import Missing
from tapeline.execution.venues.order_view import order_of
from tapeline.execution.venues.paper_state import (
    PaperAccount,
    PaperAmendment,
    PaperOrder,
    PaperState,
    Stance,
)
from tapeline.runtime.core import TimerFired
from tapeline.runtime.ids import derive_id

_NOBODY: Final = PaperAccount()
PaperEvent: TypeAlias = (
    VenueCommand
    | Trade
    | Quote
    | BookSnapshot
    | FundingRate
    | TimerFired
    | Account
    | Instrument
    | Venue
    | VenueReport
    | FundingPayment
    | CashAdjustment
)
Said: TypeAlias = VenueReport | FundingPayment | CashAdjustment | Missing
"""What the venue says to an event."""
OF_ORDERS: Final = (VenueReport, VenueCommand)


@dataclass(frozen=True, slots=True)
class PaperVenue:
    """Both functions of the core; `run_id` goes into every id."""

    run_id: str
    steps: dict[tuple[int, int], tuple[PaperState, PaperEvent, PaperState]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Places of a state and an event -> both, and the state after. While an answer is found its
    words are evolved over; whoever does it again with the very same ones gets the same. No part of
    the state, and forgotten with the next answer."""

    @exact
    def decide(self, state: PaperState, event: PaperEvent, session_ns: int) -> tuple[Said, ...]:
        """What the venue answers to an event; does not change the state."""
        self.steps.clear()
        if isinstance(event, VenueCommand):
            return _Visit(self, state, session_ns).command(event)
        if isinstance(event, Trade | Quote | BookSnapshot):
            if event.instrument_id not in state.by_instrument:
                return ()
            return _Visit(self, state, session_ns).tick(event)
        if isinstance(event, TimerFired):
            if state.due_ns is None or state.due_ns > event.ts_event_ns:
                return ()
            return (
                *_Visit(self, state, session_ns).timer(event),
                *_new(state, accruals.nightly(state, event.ts_event_ns, self.derived)),
            )
        if isinstance(event, FundingRate):
            return _new(state, accruals.funded(state, event, session_ns, self.derived))
        return ()

    @exact
    def evolve(self, state: PaperState, event: PaperEvent) -> PaperState:
        """State after an event or one of the venue's own reports."""
        if isinstance(event, OF_ORDERS):
            known = self.steps.get((id(state), id(event)))
            return self._stepped(state, event) if known is None else known[2]
        if isinstance(event, Trade | Quote | BookSnapshot):
            # A fill that was found before the tick was kept knows nothing of the size it took.
            self.steps.clear()
            return paper_books.seen(state, event)
        if isinstance(event, TimerFired):
            return self._looked(state, event.ts_event_ns)
        if isinstance(event, FundingRate):
            owed = accruals.funded(state, event, 0, self.derived)
            return accruals.after_rate(missing.with_told(state, _lacking(owed)), event)
        if isinstance(event, FundingPayment | CashAdjustment):
            return paper_books.paid(state, event)
        return paper_books.configured(state, event)

    def step(self, state: PaperState, event: VenueReport | VenueCommand) -> PaperState:
        """`evolve`, remembered for whoever evolves over the same again."""
        after = self._stepped(state, event)
        # Both are kept, so that nothing else can come to be in their places.
        self.steps[id(state), id(event)] = (state, event, after)
        return after

    def _stepped(self, state: PaperState, event: VenueReport | VenueCommand) -> PaperState:
        if isinstance(event, VenueReport):
            return paper_books.reported(state, event)
        return self._commanded(state, event)

    def _looked(self, state: PaperState, now_ns: int) -> PaperState:
        if state.due_ns is None:
            return state
        owed = accruals.nightly(state, now_ns, self.derived)
        state = accruals.accrued(missing.with_told(state, _lacking(owed)), now_ns)
        due_ns = arrival.earliest(arrival.next_due_ns(state, now_ns), state.accrual_ns)
        return replace(state, due_ns=due_ns)

    def _commanded(self, state: PaperState, command: VenueCommand) -> PaperState:
        order_id, arrives_ns = command.client_order_id, arrival.arrival_ns(state, command)
        is_on_its_way = arrives_ns > command.ts_event_ns
        due_ns = arrives_ns if is_on_its_way else None
        if command.is_amendment and order_id in state.orders:
            amendment = PaperAmendment(
                command_id=command.command_id, arrival_ns=arrives_ns, order=order_of(command)
            )
            held = replace(state.orders[order_id], amendment=amendment)
        elif command.kind is CommandKind.CANCEL and order_id in state.orders:
            held = state.orders[order_id]
            held = replace(held, cancel_ns=arrival.earliest(held.cancel_ns, arrives_ns))
        elif command.kind is CommandKind.SUBMIT and order_id not in state.orders:
            held = self._held(state, command)
            state = missing.with_told(state, missing.for_order(state, held.order))
            name = held.order.instrument_id
            ids = (*state.by_instrument.get(name, ()), order_id)
            return replace(
                state,
                sequence=held.sequence,
                by_instrument={**state.by_instrument, name: ids},
                orders={**state.orders, order_id: held},
                due_ns=arrival.earliest(state.due_ns, due_ns, held.expires_ns),
            )
        else:
            return state
        return replace(
            state,
            orders={**state.orders, order_id: held},
            due_ns=arrival.earliest(state.due_ns, due_ns),
        )

    def _held(self, state: PaperState, command: VenueCommand) -> PaperOrder:
        """The venue's record of a submitted order."""
        order, arrives_ns = order_of(command), arrival.arrival_ns(state, command)
        return PaperOrder(
            order=order,
            venue_order_id=self.derived(command.venue, command.client_order_id, "VenueOrder"),
            sequence=state.sequence + 1,
            arrival_ns=arrives_ns,
            expires_ns=arrival.expires_ns(order, arrives_ns),
        )

    def derived(self, venue: str, cause: str, kind: str, index: int = 0) -> str:
        """An id as the venue gives it."""
        return derive_id(self.run_id, f"venue/{venue}", cause, kind, index)


def _lacking(said: Iterable[Said]) -> tuple[Missing, ...]:
    return tuple(one for one in said if isinstance(one, Missing))


def _new(state: PaperState, said: Iterable[Said]) -> tuple[Said, ...]:
    """Without what was told before, or is told twice."""
    told: set[str] = set(state.told)
    found: list[Said] = []
    for one in said:
        if not isinstance(one, Missing):
            found.append(one)
        elif one.name not in told:
            told.add(one.name)
            found.append(one)
    return tuple(found)


@dataclass(slots=True)
class _Visit:
    """One event's way through the venue: a local state, and the reports so far."""

    venue: PaperVenue
    state: PaperState
    session_ns: int
    before: PaperState = field(init=False)
    """as it was when the event came"""
    reports: list[Said] = field(default_factory=list)
    taken: dict[tuple[Side, int], Decimal] = field(default_factory=dict)
    """of the tick's size, by our orders: side and level"""
    prices: dict[str, Prices] = field(default_factory=dict)
    """of the tick, by venue"""

    def __post_init__(self) -> None:
        self.before = self.state

    # ---- events

    def command(self, command: VenueCommand) -> tuple[Said, ...]:
        if command.is_amendment:
            self._take_amendment(command)
        elif command.kind is CommandKind.SUBMIT:
            self._submit(command)
        elif command.kind is CommandKind.CANCEL:
            self._cancel(command)
        else:
            self._query(command)
        return tuple(self.reports)

    def _submit(self, command: VenueCommand) -> None:
        known = self.state.orders.get(command.client_order_id)
        if known is not None:
            self.reports.append(self._answer(command, known, ReportKind.ACCEPTED, ""))
            return
        order = order_of(command)
        reason = missing.refusal(self.state, order)
        lacking = missing.for_order(self.state, order)
        self.reports += missing.untold(self.state, lacking)
        self.state = self.venue.step(self.state, command)
        held = self.state.orders[command.client_order_id]
        reason = arrival.fault(self.state, held) or reason
        if reason:
            self._report(held, ReportKind.REJECTED, command.ts_event_ns, reason)
        elif held.arrival_ns <= self.session_ns:
            self._arrive(held)

    def _cancel(self, command: VenueCommand) -> None:
        held = self.state.orders.get(command.client_order_id)
        if held is None:
            kind, reason = ReportKind.CANCEL_REJECTED, "the order is not open"
            self.reports.append(self._answer(command, None, kind, reason))
        elif (arrives_ns := arrival.arrival_ns(self.state, command)) <= self.session_ns:
            self._report(held, ReportKind.CANCELED, arrives_ns)

    def _take_amendment(self, command: VenueCommand) -> None:
        if command.client_order_id not in self.state.orders:
            answer = self._answer(command, None, ReportKind.ACCEPTED, "the order is not open")
            self.reports.append(replace(answer, notice=ReportNotice.AMEND_REJECTED))
            return
        self.state = self.venue.evolve(self.state, command)
        held = self.state.orders[command.client_order_id]
        if arrival.arrival_ns(self.state, command) <= self.session_ns:
            self._amend(held)

    def _query(self, command: VenueCommand) -> None:
        held = self.state.orders.get(command.client_order_id)
        kind = ReportKind.NOT_FOUND if held is None else ReportKind.ACCEPTED
        self.reports.append(self._answer(command, held, kind, ""))

    def timer(self, event: TimerFired) -> tuple[Said, ...]:
        due = [
            held for held in self.state.orders.values() if arrival.is_due(held, event.ts_event_ns)
        ]
        for held in sorted(due, key=lambda held: held.sequence):
            self._advance(held, event.ts_event_ns, event.ts_event_ns)
        return tuple(self.reports)

    def tick(self, tick: Tick) -> tuple[Said, ...]:
        if missing.lacks_size(tick):
            self.reports += missing.untold(self.state, missing.in_tick(self.state, tick))
        is_halted = self.state.instruments[tick.instrument_id].is_halted
        for order_id in self.state.by_instrument[tick.instrument_id]:
            held = self.state.orders[order_id]
            # Arrivals and cancels at the instant of a tick come behind it, expiry before it.
            if not self._advance(held, tick.ts_event_ns - 1, tick.ts_event_ns):
                continue
            held = self.state.orders[order_id]
            if tick.ts_event_ns > held.arrival_ns and not is_halted:
                self._match(held, tick)
        return tuple(self.reports)

    # ---- one order

    def _advance(self, held: PaperOrder, arrived_ns: int, expired_ns: int) -> bool:
        """What has become of an order by now; False when it ended."""
        if not held.is_accepted and held.arrival_ns <= arrived_ns and not self._arrive(held):
            return False
        if held.amendment is not None and held.amendment.arrival_ns <= arrived_ns:
            self._amend(self.state.orders[held.order.client_order_id])
        if held.cancel_ns is not None and held.cancel_ns <= arrived_ns:
            self._report(held, ReportKind.CANCELED, held.cancel_ns)
            return False
        if held.expires_ns is not None and held.expires_ns <= expired_ns:
            self._report(held, ReportKind.EXPIRED, held.expires_ns, "its time is over")
            return False
        return True

    def _arrive(self, held: PaperOrder) -> bool:
        """Accepts an order, or rejects it and returns False."""
        is_post_only = held.order.is_post_only
        prices = paper_books.prices_before(self.state, held.order) if is_post_only else None
        reason = arrival.standing_fault(self.state, held.order, prices)
        kind = ReportKind.REJECTED if reason else ReportKind.ACCEPTED
        self._report(held, kind, held.arrival_ns, reason)
        return not reason

    def _amend(self, held: PaperOrder) -> None:
        """Gives an order its new terms, or leaves it as it is and says why."""
        amendment = held.amendment
        assert amendment is not None
        reason = arrival.amendment_fault(self.state, held)
        notice = ReportNotice.AMEND_REJECTED if reason else ReportNotice.AMENDED
        report = self._plain(
            held, ReportKind.ACCEPTED, amendment.arrival_ns, reason, cause=amendment.command_id
        )
        self._emit(replace(report, notice=notice))

    def _match(self, held: PaperOrder, tick: Tick) -> None:
        order = held.order
        now = self._prices(order, tick)
        stance = paper_books.stance_of(self.state, held, now)
        if stance is Stance.TAKING and order.is_post_only:
            reason = "post only: it would take liquidity"
            self._report(held, ReportKind.CANCELED, tick.ts_event_ns, reason)
            return
        meeting = Meeting(self.state, held, stance, tick, now, self.taken, self.before)
        if meeting.lacks_size():
            reason = "the size of the tick is not known and the venue's rules need it"
            self._report(held, ReportKind.CANCELED, tick.ts_event_ns, reason)
            return
        for offer, quantity, liquidity_side in meeting.fills():
            taken = fixed(self.taken.get((order.side, offer.level), ZERO) + quantity)
            self.taken[order.side, offer.level] = taken
            self._fill(held, quantity, (offer.price, liquidity_side), tick.ts_event_ns)
            held = self.state.orders.get(order.client_order_id, held)
        self._end_if_spent(order, tick.ts_event_ns)

    def _prices(self, order: Order, tick: Tick) -> Prices:
        """What the tick means at the order's venue; worked out once a tick."""
        found = self.prices.get(order.venue)
        if found is None:
            state, name = self.state, order.instrument_id
            found = prices_of(
                tick, state.quotes.get(name), state.instruments[name], state.venues[order.venue]
            )
            self.prices[order.venue] = found
        return found

    def _end_if_spent(self, order: Order, now_ns: int) -> None:
        held = self.state.orders.get(order.client_order_id)
        if held is None:
            return
        if order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
            reason = f"{order.time_in_force.value}: the first tick gave no more"
            self._report(held, ReportKind.CANCELED, now_ns, reason)
        elif order.is_reduce_only and not arrival.reducible(self.state, order):
            self._report(held, ReportKind.CANCELED, now_ns, "reduce only: nothing is left")

    # ---- reports

    def _fill(
        self,
        held: PaperOrder,
        quantity: Decimal,
        hit: tuple[Decimal, LiquiditySide],
        now_ns: int,
    ) -> None:
        order, (price, liquidity_side) = held.order, hit
        instrument, venue = (
            self.state.instruments[order.instrument_id],
            self.state.venues[order.venue],
        )
        is_maker = liquidity_side is LiquiditySide.MAKER
        account = self.state.accounts.get(order.account_id, _NOBODY)
        rate = fees.fee_rate(venue, account, now_ns, is_maker=is_maker)
        value = notional(quantity, price, instrument.multiplier)
        trade_id = self.venue.derived(order.venue, order.client_order_id, "Trade", held.fill_count)
        plain = self._plain(held, ReportKind.FILLED, now_ns, "", cause=trade_id)
        self._emit(
            replace(
                plain,
                trade_id=trade_id,
                price=fixed(price),
                quantity=fixed(quantity),
                commission=quantize_money(value * rate),
                currency=instrument.currency,
                liquidity_side=liquidity_side,
            )
        )

    def _report(self, held: PaperOrder, kind: ReportKind, now_ns: int, reason: str = "") -> None:
        self._emit(self._plain(held, kind, now_ns, reason, cause=held.order.client_order_id))

    def _plain(
        self, held: PaperOrder, kind: ReportKind, now_ns: int, reason: str, *, cause: str
    ) -> VenueReport:
        order = held.order
        return VenueReport(
            report_id=self.venue.derived(order.venue, cause, f"VenueReport/{kind}"),
            account_id=order.account_id,
            venue=order.venue,
            kind=kind,
            client_order_id=order.client_order_id,
            venue_order_id=held.venue_order_id,
            trade_id="",
            currency="",
            reason=reason,
            ts_event_ns=now_ns,
            ts_init_ns=self.session_ns,
        )

    def _answer(
        self, command: VenueCommand, held: PaperOrder | None, kind: ReportKind, reason: str
    ) -> VenueReport:
        """An answer to a command that changes nothing at the venue."""
        cause = command.command_id
        return VenueReport(
            report_id=self.venue.derived(command.venue, cause, f"VenueReport/{kind}"),
            account_id=command.approved.order.account_id,
            venue=command.venue,
            kind=kind,
            client_order_id=command.client_order_id,
            venue_order_id="" if held is None else held.venue_order_id,
            trade_id="",
            currency="",
            reason=reason,
            ts_event_ns=command.ts_event_ns,
            ts_init_ns=self.session_ns,
        )

    def _emit(self, report: VenueReport) -> None:
        self.reports.append(report)
        self.state = self.venue.step(self.state, report)
