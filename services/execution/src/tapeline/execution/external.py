"""External venues in the core: what their reports beyond a single order mean, and who may trade.

A NotSent ends an order as denied by our side. A bust undoes a fill by corrections, never by a fill
of its own. A statement books what is new and finds drift (venue_truth.py). An operator's
AcceptVenueTruth books exactly the differences it names. All of it leads to account-events.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from tapeline.accounting.ledger import Booking
from tapeline.accounting.numbers import ONE, fixed
from tapeline.contracts.accounts import (
    CashAdjustment,
    FundingPayment,
    PositionCorrection,
    VenueDrift,
)
from tapeline.contracts.control import AcceptVenueTruth
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    ApprovedOrder,
    Fill,
    NotSent,
    Order,
    OrderAction,
    OrderStatus,
    Side,
    TradeBust,
    VenueEntry,
    VenueStatement,
)
from tapeline.execution import life_cycle, venue_truth
from tapeline.execution.external_state import (
    Difference,
    Drift,
    ExternalBook,
    ExternalState,
    is_external,
)
from tapeline.execution.order_table import TERMINAL, Trigger, next_status
from tapeline.execution.state import ExecutionState, LiveOrder
from tapeline.execution.transcript import Transcript
from tapeline.execution.venue_truth import ENTRY_KEPT_NS

MANUAL: Final = "MANUAL"
"""The line that corrections without an order go to: the operators'."""
FUNDING: Final = "funding"
AccountEvent = CashAdjustment | FundingPayment | PositionCorrection | VenueDrift


def goes_outside(state: ExecutionState, mode: str, venue: str) -> bool:
    """Whether a venue is reached through an adapter."""
    record = state.venues.get(venue)
    return record is not None and is_external(mode, record.adapter)


def uncertain_because(state: ExecutionState, order: Order) -> str:
    """Why an order's instrument only reduces for its account, or empty. Of several reasons the
    first by name: maps have no order once they have been in a snapshot."""
    unknown = [
        held.order.client_order_id
        for held in state.orders.values()
        if held.status is OrderStatus.UNKNOWN
        and held.order.account_id == order.account_id
        and held.order.instrument_id == order.instrument_id
    ]
    if unknown:
        return f"Order {min(unknown)} is unknown at its venue."
    book = state.external.books.get(order.account_id)
    differing = [
        drift.difference.subject
        for drift in (() if book is None else book.drifts.values())
        if drift.difference.instrument_id in ("", order.instrument_id)
    ]
    return f"The venue and our books differ: {min(differing)}." if differing else ""


def is_reducing(approved: ApprovedOrder) -> bool:
    """Whether risk has marked an order as one that reduces."""
    return approved.order.is_reduce_only or approved.action is OrderAction.CLOSE


# ---- decide


def not_sent(talk: Transcript, record: NotSent) -> None:
    """Ends an order that certainly does not live at its venue."""
    order = talk.state.orders.get(record.client_order_id)
    if order is None:
        return
    status = next_status(order.status, Trigger.NOT_SENT)
    if status is None or order.filled_quantity:
        talk.incident(
            life_cycle.Oddity.UNEXPECTED,
            f"{record.client_order_id} was not sent, and yet is {order.status.value}.",
            "critical",
        )
        return
    cancels = order.cancels
    update = life_cycle.update_of(order, status, talk.session_ns)
    update = replace(update, code=record.code, reason=record.reason)
    talk.update(update, order.correlation_id)
    life_cycle.end_cancels(talk, order, cancels, None)


def busted(talk: Transcript, record: TradeBust) -> None:
    """Takes a fill back; one that was never booked needs nothing but to be remembered."""
    order = talk.state.known_order(record.client_order_id)
    book = talk.state.external.books.get(record.account_id)
    if order is None or book is None:
        talk.incident(
            life_cycle.Oddity.UNKNOWN_ORDER,
            f"{record.venue} busts fill {record.trade_id} of {record.client_order_id}, which is "
            "not known here; the next statement shows what differs.",
            "critical",
        )
        return
    if record.trade_id in book.busted or record.trade_id not in order.trade_ids:
        return
    reason = f"{record.venue} busted fill {record.trade_id} of {record.client_order_id}"
    talk.incident("VENUE_BUSTED_FILL", f"{reason}.")
    is_purchase = order.order.side is Side.BUY
    quantity = -record.quantity if is_purchase else record.quantity
    _correct(talk, order.order, quantity, record.price, reason)
    if record.commission:
        _adjust(talk, record.account_id, (record.currency, record.commission), f"fee: {reason}")


def stated(talk: Transcript, record: VenueStatement) -> None:
    """Books new entries, tells of drift that has lasted and of drift that is settled."""
    book = talk.state.external.books.get(record.account_id)
    if book is None:
        talk.incident("ACCOUNT_NOT_HERE", f"{record.venue} states account {record.account_id}.")
        return
    found = venue_truth.look(book, record, talk.state.orders, talk.session_ns)
    for entry in found.entries:
        _book_entry(talk, record, entry)
    for entry in found.overdue:
        talk.incident(
            "VENUE_ENTRY_TOO_OLD",
            f"{record.venue} lists {entry.kind} {entry.entry_id}, too old to book by itself.",
        )
    for difference in found.opened:
        _tell_drift(talk, record, difference, is_open=True)
    for drift in found.settled:
        _tell_drift(talk, record, drift.difference, is_open=False)


def accepted(talk: Transcript, record: AcceptVenueTruth) -> None:
    """Books the named differences, if they are still exactly those."""
    book = talk.state.external.books.get(record.scope_id)
    drifts = {} if book is None else {drift.drift_id: drift for drift in book.drifts.values()}
    account = talk.state.accounts.get(record.scope_id)
    missing = [name for name in record.drift_ids if name not in drifts]
    if missing or account is None or book is None:
        talk.incident(
            "VENUE_TRUTH_CHANGED",
            f"{record.operator} accepted {', '.join(missing) or 'nothing known'}, which is not, or "
            f"no longer, a difference of {record.scope_id}; nothing was booked.",
        )
        return
    chosen = [drifts[name] for name in sorted(record.drift_ids)]
    fault = next((found for drift in chosen if (found := _fault(book, drift))), "")
    if fault:
        talk.incident("VENUE_TRUTH_UNUSABLE", f"{fault} Nothing was booked.")
        return
    reason = f"{record.operator} accepted the venue's figure: {record.reason}"
    cash = {**book.ledger.cash}
    cash.update(
        {
            drift.difference.subject.removeprefix("cash/"): drift.difference.theirs
            for drift in chosen
            if drift.difference.subject.startswith("cash/")
        }
    )
    for drift in chosen:
        if drift.difference.subject.startswith("position/"):
            _accept_position(talk, record, drift.difference, reason)
    for currency in sorted(cash):
        ours = talk.state.external.books[record.scope_id].cash(currency)
        if amount := fixed(cash[currency] - ours):
            _adjust(talk, record.scope_id, (currency, amount), f"correction: {reason}")
    for drift in chosen:
        _say_drift(talk, (record.scope_id, account.venue), drift, is_open=False, reason=reason)


def _accept_position(
    talk: Transcript, record: AcceptVenueTruth, difference: Difference, reason: str
) -> None:
    book = talk.state.external.books[record.scope_id]
    price = book.prices[difference.instrument_id]
    correction = PositionCorrection(
        correction_id=talk.derived("PositionCorrection"),
        account_id=record.scope_id,
        group_id=MANUAL,
        instrument_id=difference.instrument_id,
        quantity=fixed(difference.theirs - difference.ours),
        price=price,
        reason=reason,
        ts_event_ns=talk.session_ns,
        ts_init_ns=talk.session_ns,
    )
    talk.account_event(correction, correction.correction_id)


def _fault(book: ExternalBook, drift: Drift) -> str:
    difference = drift.difference
    if difference.subject.startswith("order/"):
        return f"{difference.subject} is open at the venue and unknown here: cancel it there."
    is_position = difference.subject.startswith("position/")
    if is_position and difference.instrument_id not in book.prices:
        return f"There is no price at which to book {difference.subject}."
    return ""


def _book_entry(talk: Transcript, record: VenueStatement, entry: VenueEntry) -> None:
    common: dict[str, Any] = {
        "account_id": record.account_id,
        "currency": entry.currency,
        "amount": entry.amount,
        "ts_event_ns": entry.ts_event_ns,
        "ts_init_ns": talk.session_ns,
    }
    if entry.kind == FUNDING:
        payment = FundingPayment(
            payment_id=talk.derived("FundingPayment"),
            group_id=MANUAL,
            instrument_id=entry.instrument_id,
            **common,
        )
        talk.account_event(payment, payment.payment_id)
        return
    adjustment = CashAdjustment(
        adjustment_id=talk.derived("CashAdjustment"),
        reason=f"{entry.kind}: {record.venue} {entry.entry_id}",
        **common,
    )
    talk.account_event(adjustment, adjustment.adjustment_id)


def _correct(
    talk: Transcript, order: Order, quantity: Decimal, price: Decimal, reason: str
) -> None:
    correction = PositionCorrection(
        correction_id=talk.derived("PositionCorrection"),
        account_id=order.account_id,
        group_id=order.group_id,
        instrument_id=order.instrument_id,
        quantity=fixed(quantity),
        price=price,
        reason=reason,
        ts_event_ns=talk.session_ns,
        ts_init_ns=talk.session_ns,
    )
    talk.account_event(correction, correction.correction_id)


def _adjust(talk: Transcript, account_id: str, money: tuple[str, Decimal], reason: str) -> None:
    currency, amount = money
    adjustment = CashAdjustment(
        adjustment_id=talk.derived("CashAdjustment"),
        account_id=account_id,
        currency=currency,
        amount=amount,
        reason=reason,
        ts_event_ns=talk.session_ns,
        ts_init_ns=talk.session_ns,
    )
    talk.account_event(adjustment, adjustment.adjustment_id)


def _tell_drift(
    talk: Transcript, record: VenueStatement, difference: Difference, *, is_open: bool
) -> None:
    name = venue_truth.drift_id(talk.context.run_id, record.account_id, difference)
    drift = Drift(drift_id=name, difference=difference)
    ours, theirs = difference.ours.normalize(), difference.theirs.normalize()
    figures = f"we have {ours:f}, {record.venue} has {theirs:f}"
    reason = f"{difference.subject}: {figures}" if is_open else f"{difference.subject}: agreed"
    _say_drift(talk, (record.account_id, record.venue), drift, is_open=is_open, reason=reason)
    if is_open:
        what = difference.instrument_id or "the whole account"
        talk.incident(
            "VENUE_DRIFT",
            f"Account {record.account_id}, {reason}; {what} only reduces. Compare with `tapeline "
            "reconcile`.",
            "critical",
        )


def _say_drift(
    talk: Transcript, place: tuple[str, str], drift: Drift, *, is_open: bool, reason: str
) -> None:
    account_id, venue = place
    record = VenueDrift(
        drift_id=drift.drift_id,
        account_id=account_id,
        venue=venue,
        subject=drift.difference.subject,
        instrument_id=drift.difference.instrument_id,
        ours=drift.difference.ours,
        theirs=drift.difference.theirs,
        is_open=is_open,
        reason=reason,
        ts_event_ns=talk.session_ns,
        ts_init_ns=talk.session_ns,
    )
    talk.account_event(record, talk.derived("VenueDrift"))


# ---- evolve


def after_statement(state: ExecutionState, record: VenueStatement, now_ns: int) -> ExecutionState:
    """What a statement made us suspect, and the entries that are booked with it."""
    book = state.external.books.get(record.account_id)
    if book is None:
        return state
    found = venue_truth.look(book, record, state.orders, now_ns)
    book = venue_truth.looked(book, record, state.orders, now_ns)
    known = {entry.entry_id: entry.ts_event_ns + ENTRY_KEPT_NS for entry in found.entries}
    # A drifting position may have no fill of ours: then it is booked at what the venue says.
    prices = {
        item.instrument_id: fixed(item.price) for item in found.opened if item.price is not None
    }
    book = replace(book, entries={**book.entries, **known}, prices={**book.prices, **prices})
    return _with_book(state, record.account_id, book)


def after_bust(state: ExecutionState, record: TradeBust, kept_until_ns: int) -> ExecutionState:
    """The fill counts as undone; one that comes later is not booked."""
    order = state.known_order(record.client_order_id)
    book = state.external.books.get(record.account_id)
    if order is None or book is None:
        return state
    book = replace(book, busted={**book.busted, record.trade_id: kept_until_ns})
    state = _with_book(state, record.account_id, book)
    if record.trade_id in order.trade_ids:
        return state
    return _with_order(state, replace(order, trade_ids=(*order.trade_ids, record.trade_id)))


def after_fill(state: ExecutionState, fill: Fill) -> ExecutionState:
    """The book after a fill."""
    book = state.external.books.get(fill.account_id)
    if book is None:
        return state
    signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
    booking = Booking(
        group_id=fill.group_id,
        instrument_id=fill.instrument_id,
        quantity=signed,
        price=fill.price,
        currency=fill.currency,
        multiplier=_multiplier(state, fill.instrument_id),
        commission=fill.commission,
    )
    book = replace(
        book,
        ledger=book.ledger.book(booking),
        bookings=book.bookings + 1,
        prices={**book.prices, fill.instrument_id: fixed(fill.price)},
    )
    return _with_book(state, fill.account_id, book)


def after_account_event(state: ExecutionState, record: AccountEvent) -> ExecutionState:
    """The book after an event of our own."""
    book = state.external.books[record.account_id]
    match record:
        case VenueDrift():
            return _with_book(state, record.account_id, _drifted(book, record))
        case PositionCorrection():
            ledger = book.ledger.book(_correction(state, record))
        case _:
            ledger = book.ledger.deposit(record.currency, record.amount)
    book = replace(book, ledger=ledger, bookings=book.bookings + 1)
    return _with_book(state, record.account_id, book)


def _drifted(book: ExternalBook, record: VenueDrift) -> ExternalBook:
    drifts = {name: drift for name, drift in book.drifts.items() if name != record.subject}
    if record.is_open:
        difference = Difference(
            subject=record.subject,
            instrument_id=record.instrument_id,
            ours=fixed(record.ours),
            theirs=fixed(record.theirs),
        )
        drifts[record.subject] = Drift(drift_id=record.drift_id, difference=difference)
    return replace(book, drifts=drifts)


def _correction(state: ExecutionState, record: PositionCorrection) -> Booking:
    instrument = state.instruments.get(record.instrument_id)
    account = state.accounts[record.account_id]
    return Booking(
        group_id=record.group_id,
        instrument_id=record.instrument_id,
        quantity=record.quantity,
        price=record.price,
        currency=account.base_currency if instrument is None else instrument.currency,
        multiplier=_multiplier(state, record.instrument_id),
    )


def configured(state: ExecutionState, mode: str, shard: int) -> ExecutionState:
    """A book for every account of this shard whose venue is outside; it begins as risk's does."""
    books = state.external.books
    for account_id, account in sorted(state.accounts.items()):
        if (
            account_id not in books
            and account.shard == shard
            and goes_outside(state, mode, account.venue)
        ):
            ledger = ExternalBook().ledger.deposit(account.base_currency, account.initial_cash)
            books = {**books, account_id: ExternalBook(ledger=ledger)}
    return replace(state, external=replace(state.external, books=books))


def switched(state: ExecutionState, account_id: str, is_on: bool) -> ExecutionState:
    """After an accepted live switch."""
    switches = {**state.external.live_switches, account_id: is_on}
    return replace(state, external=replace(state.external, live_switches=switches))


def _multiplier(state: ExecutionState, instrument_id: str) -> Decimal:
    instrument = state.instruments.get(instrument_id)
    return ONE if instrument is None else instrument.multiplier


def _with_book(state: ExecutionState, account_id: str, book: ExternalBook) -> ExecutionState:
    external: ExternalState = state.external
    return replace(state, external=replace(external, books={**external.books, account_id: book}))


def _with_order(state: ExecutionState, order: LiveOrder) -> ExecutionState:
    name = order.name
    if order.status in TERMINAL:
        return replace(state, ended={**state.ended, name: order})
    return replace(state, orders={**state.orders, name: order})
