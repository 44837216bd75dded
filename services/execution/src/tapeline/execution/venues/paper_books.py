"""How the paper venue's state moves: the market it saw, its orders, its ledger."""

from __future__ import annotations

from typing import Final

from tapeline.accounting.numbers import ZERO, fixed, notional
from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.config import Account, AssetClass, Instrument, QueueRule, Venue
from tapeline.contracts.frozen import replace
from tapeline.contracts.market import BookSnapshot, Quote
from tapeline.contracts.orders import Order, ReportKind, ReportNotice, Side, VenueReport
from tapeline.execution.venues import accruals, fees, liquidity, missing, queue
from tapeline.execution.venues.arrival import has_increments
from tapeline.execution.venues.matching import Prices, Tick, prices_of, quote_of, stance_at
from tapeline.execution.venues.paper_state import PaperAccount, PaperOrder, PaperState, Stance

_ENDS: Final = (ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED)


def prices_before(state: PaperState, order: Order) -> Prices | None:
    """The market as the venue last saw it, or None where it has not."""
    quote = state.quotes.get(order.instrument_id)
    last: Tick | None = state.trades.get(order.instrument_id)
    if quote is not None and (last is None or quote.ts_event_ns >= last.ts_event_ns):
        last = quote
    if last is None:
        return None
    instrument, venue = state.instruments[order.instrument_id], state.venues[order.venue]
    return prices_of(last, quote, instrument, venue)


def remember(state: PaperState, tick: Tick) -> bool:
    """Keeps a tick as its instrument's last, in place, and says that this was all there was to do;
    with an open order on the instrument, or one that took of what is displayed, it does nothing and
    returns False."""
    if tick.instrument_id in state.by_instrument or tick.instrument_id in state.consumed:
        return False
    _keep(state, tick)
    return True


def _keep(state: PaperState, tick: Tick) -> None:
    if isinstance(tick, Quote):
        state.quotes[tick.instrument_id] = tick
    elif isinstance(tick, BookSnapshot):
        state.books[tick.instrument_id] = tick
        state.quotes[tick.instrument_id] = quote_of(tick)
    else:
        state.trades[tick.instrument_id] = tick


def seen(state: PaperState, tick: Tick) -> PaperState:
    """After a tick: limit orders take or rest, and the tick is its instrument's last."""
    order_ids = state.by_instrument.get(tick.instrument_id, ())
    evolved = _with_stances(state, order_ids, tick)
    if evolved.consumed:
        evolved = liquidity.displayed(evolved, tick)
    evolved = missing.after_tick(evolved, tick)
    _keep(evolved, tick)
    return evolved


def stance_of(state: PaperState, held: PaperOrder, now: Prices) -> Stance:
    """How an order stands to a tick that the state has not seen yet."""
    order = held.order
    # What has no limit takes, whatever the market was.
    is_asked = held.stance is Stance.ARRIVING and order.limit_price is not None
    return stance_at(held, prices_before(state, order) if is_asked else None, now)


def _with_stances(state: PaperState, order_ids: tuple[str, ...], tick: Tick) -> PaperState:
    changed: dict[str, PaperOrder] = {}
    for order_id in order_ids:
        held = state.orders[order_id]
        if tick.ts_event_ns <= held.arrival_ns:
            continue
        order = held.order
        venue = state.venues[order.venue]
        is_queued = venue.queue_rule is QueueRule.AHEAD and order.limit_price is not None
        if held.stance is Stance.RESTING and not is_queued:
            continue
        quote = state.quotes.get(order.instrument_id)
        now = prices_of(tick, quote, state.instruments[order.instrument_id], venue)
        stance, ahead = stance_of(state, held, now), held.ahead
        if is_queued and stance is Stance.RESTING:
            ahead = queue.ahead_after(state, held, tick, now)
        if stance is not held.stance or ahead != held.ahead:
            changed[order_id] = replace(held, stance=stance, ahead=ahead)
    return replace(state, orders={**state.orders, **changed}) if changed else state


def reported(state: PaperState, report: VenueReport) -> PaperState:
    """After one of the venue's own reports."""
    held = state.orders.get(report.client_order_id)
    if held is None:
        return state
    if report.notice in (ReportNotice.AMENDED, ReportNotice.AMEND_REJECTED):
        return _amended(state, held, report.notice)
    if report.kind is ReportKind.ACCEPTED:
        held = replace(held, is_accepted=True)
        return replace(state, orders={**state.orders, report.client_order_id: held})
    if report.kind is ReportKind.FILLED:
        return _filled(state, held, report)
    return _without(state, held, state.accounts) if report.kind in _ENDS else state


def _amended(state: PaperState, held: PaperOrder, notice: ReportNotice) -> PaperState:
    """After the answer to an amendment. What gets better terms, or more, goes to the end of the
    queue and meets the market anew; what only gets less keeps its place."""
    amendment, order = held.amendment, held.order
    assert amendment is not None
    held = replace(held, amendment=None)
    name = order.client_order_id
    if notice is ReportNotice.AMEND_REJECTED:
        return replace(state, orders={**state.orders, name: held})
    new = amendment.order
    is_less = replace(order, quantity=new.quantity) == new and new.quantity < order.quantity
    if is_less:
        return replace(state, orders={**state.orders, name: replace(held, order=new)})
    is_stop_done = order.stop_price is not None and held.stance in (Stance.TAKING, Stance.RESTING)
    held = replace(
        held,
        order=new,
        sequence=state.sequence + 1,
        arrival_ns=amendment.arrival_ns,
        stance=held.stance if is_stop_done else Stance.ARRIVING,
        ahead=None,
    )
    others = [one for one in state.by_instrument[order.instrument_id] if one != name]
    return replace(
        state,
        orders={**state.orders, name: held},
        sequence=held.sequence,
        by_instrument={**state.by_instrument, order.instrument_id: (*others, name)},
    )


def _filled(state: PaperState, held: PaperOrder, report: VenueReport) -> PaperState:
    assert report.quantity is not None
    assert report.price is not None
    assert report.commission is not None
    order = held.order
    filled_quantity = fixed(held.filled_quantity + report.quantity)
    assert filled_quantity <= order.quantity, "the venue filled more than was ordered"
    account = _booked(state, order, report)
    accounts = {**state.accounts, order.account_id: account}
    state = accruals.begun(state, account, order.instrument_id, report.ts_event_ns)
    state = liquidity.taken(state, order, report)
    if filled_quantity == order.quantity:
        return _without(state, held, accounts)
    held = replace(held, filled_quantity=filled_quantity, fill_count=held.fill_count + 1)
    orders = {**state.orders, order.client_order_id: held}
    return replace(state, accounts=accounts, orders=orders)


def _booked(state: PaperState, order: Order, report: VenueReport) -> PaperAccount:
    """The account after a fill."""
    assert report.quantity is not None
    assert report.price is not None
    assert report.commission is not None
    name, currency = order.instrument_id, report.currency
    signed = report.quantity if order.side is Side.BUY else -report.quantity
    instrument, venue = state.instruments[name], state.venues[order.venue]
    account = state.accounts.get(order.account_id, PaperAccount())
    value = notional(signed, report.price, instrument.multiplier)
    cash = account.cash.get(currency, ZERO)
    position = account.positions.get(name, ZERO)
    lines, traded = account.lines, account.traded
    if instrument.asset_class is AssetClass.CRYPTO_PERPETUAL:
        groups = lines.get(name, {})
        held = fixed(groups.get(order.group_id, ZERO) + signed)
        lines = {**lines, name: {**groups, order.group_id: held}}
    if venue.fee_tiers and currency == account.base_currency:
        traded = fees.with_traded(account, report.ts_event_ns, value)
    return replace(
        account,
        cash={**account.cash, currency: fixed(cash - (value + report.commission))},
        positions={**account.positions, name: fixed(position + signed)},
        lines=lines,
        traded=traded,
    )


def paid(state: PaperState, record: FundingPayment | CashAdjustment) -> PaperState:
    """After cash that moved by other than a fill."""
    account = state.accounts.get(record.account_id)
    if account is None:
        return state
    balance = fixed(account.cash.get(record.currency, ZERO) + record.amount)
    account = replace(account, cash={**account.cash, record.currency: balance})
    return replace(state, accounts={**state.accounts, record.account_id: account})


def _without(state: PaperState, held: PaperOrder, accounts: dict[str, PaperAccount]) -> PaperState:
    """Without an order that has ended."""
    order = held.order
    orders = dict(state.orders)
    del orders[order.client_order_id]
    by_instrument = dict(state.by_instrument)
    left = tuple(
        order_id
        for order_id in by_instrument.pop(order.instrument_id)
        if order_id != order.client_order_id
    )
    if left:
        by_instrument[order.instrument_id] = left
    return replace(state, accounts=accounts, orders=orders, by_instrument=by_instrument)


def configured(state: PaperState, record: Account | Instrument | Venue) -> PaperState:
    """After a config record; an instrument without increments is not taken."""
    if isinstance(record, Instrument):
        if not has_increments(record):
            return state
        instruments = {**state.instruments, record.instrument_id: record}
        return replace(state, instruments=instruments)
    if isinstance(record, Venue):
        return replace(state, venues={**state.venues, record.venue: record})
    if record.account_id in state.accounts:
        return state
    opened = PaperAccount(
        cash={record.base_currency: fixed(record.initial_cash)},
        venue=record.venue,
        base_currency=record.base_currency,
    )
    return replace(state, accounts={**state.accounts, record.account_id: opened})
