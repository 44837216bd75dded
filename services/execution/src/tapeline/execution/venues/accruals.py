"""What a position pays while it is held: funding of perpetual contracts, borrowing for shorts.

Funding: a FundingRate pays at once, each group's line by itself: -quantity x price x multiplier x
rate; longs pay a positive rate, shorts receive it. Borrow: at each midnight UTC that the session
clock passes a short position (the account's net one) owes worth x borrow_rate / 365 for the night,
as it is held when the clock passes. The price is the last one that the venue has seen: the trade,
or the middle of the quote where that is newer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final, TypeAlias

from tapeline.accounting.numbers import (
    decimal_from_float,
    divide_rounded,
    fixed,
    notional,
    price_from_float,
    product,
    quantize_money,
)
from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.config import AssetClass, Venue
from tapeline.contracts.frozen import replace
from tapeline.contracts.market import FundingRate
from tapeline.execution.venues.arrival import DAY_NS, earliest
from tapeline.execution.venues.missing import DERIVATIVES, FUNDING_RATE, Missing, borrow_rate
from tapeline.execution.venues.paper_state import FundingSeen, PaperAccount, PaperState

Accrual: TypeAlias = CashAdjustment | FundingPayment
Derive: TypeAlias = Callable[[str, str, str], str]
"""venue, cause, kind -> id"""
YEAR_DAYS: Final = Decimal(365)
FUNDING_GAP: Final = 1.5
"""A rate that is later than so many of its intervals behind the last one follows a gap."""


def funded(
    state: PaperState, rate: FundingRate, session_ns: int, derive: Derive
) -> tuple[Accrual | Missing, ...]:
    """What a funding rate makes accounts pay and receive; one that is not new pays nothing."""
    seen = state.funding.get(rate.instrument_id)
    if seen is not None and rate.ts_event_ns <= seen.ts_event_ns:
        return ()
    found: list[Accrual | Missing] = []
    for account_id, account, venue in _accounts(state):
        lines = account.lines.get(rate.instrument_id, {})
        held = {group: lines[group] for group in sorted(lines) if lines[group]}
        if not held or not venue.is_funding_charged:
            continue
        if seen is not None and rate.ts_event_ns - seen.ts_event_ns > _gap_ns(rate.interval_ns):
            found.append(_gap(rate.instrument_id, seen.ts_event_ns, rate.ts_event_ns))
        for group_id, quantity in held.items():
            cause = f"{rate.content_key()}/{account_id}/{group_id}"
            found.append(
                FundingPayment(
                    payment_id=derive(venue.venue, cause, "FundingPayment"),
                    account_id=account_id,
                    group_id=group_id,
                    instrument_id=rate.instrument_id,
                    currency=state.instruments[rate.instrument_id].currency,
                    amount=_funding(state, rate, quantity),
                    ts_event_ns=rate.ts_event_ns,
                    ts_init_ns=session_ns,
                )
            )
    return tuple(found)


def _funding(state: PaperState, rate: FundingRate, quantity: Decimal) -> Decimal:
    multiplier = state.instruments[rate.instrument_id].multiplier
    worth = notional(quantity, last_price(state, rate.instrument_id), multiplier)
    return fixed(quantize_money(-product(worth, decimal_from_float(rate.rate))))


def after_rate(state: PaperState, rate: FundingRate) -> PaperState:
    """With a funding rate as its contract's last."""
    seen = state.funding.get(rate.instrument_id)
    if seen is not None and rate.ts_event_ns <= seen.ts_event_ns:
        return state
    new = FundingSeen(ts_event_ns=rate.ts_event_ns, interval_ns=rate.interval_ns)
    return replace(state, funding={**state.funding, rate.instrument_id: new})


def last_price(state: PaperState, instrument_id: str) -> Decimal:
    """What the venue values one unit at; what is held was filled by a tick, so there is one."""
    trade, quote = state.trades.get(instrument_id), state.quotes.get(instrument_id)
    has_trade = trade is not None and trade.price > 0
    is_quoted = quote is not None and quote.bid_price > 0 and quote.ask_price > 0
    if quote is not None and is_quoted:
        is_newer = not has_trade or trade is None or quote.ts_event_ns > trade.ts_event_ns
        if is_newer:
            sides = price_from_float(quote.bid_price) + price_from_float(quote.ask_price)
            return divide_rounded(sides, Decimal(2))
    assert trade is not None, f"{instrument_id} is held and was never priced"
    return price_from_float(trade.price)


def nightly(state: PaperState, now_ns: int, derive: Derive) -> tuple[CashAdjustment | Missing, ...]:
    """What is owed for the nights up to now, and which funding rates are overdue."""
    if state.accrual_ns is None or state.accrual_ns > now_ns:
        return ()
    nights = (now_ns - state.accrual_ns) // DAY_NS + 1
    midnight_ns = state.accrual_ns + (nights - 1) * DAY_NS
    found: list[CashAdjustment | Missing] = []
    for account_id, account, venue in _accounts(state):
        for name, cost in _borrowings(state, account, venue):
            amount = fixed(-quantize_money(product(cost, Decimal(nights))))
            found.append(
                CashAdjustment(
                    adjustment_id=derive(
                        venue.venue, f"{account_id}/{name}/{midnight_ns}", "CashAdjustment"
                    ),
                    account_id=account_id,
                    currency=state.instruments[name].currency,
                    amount=amount,
                    reason=f"borrow: {name}, {nights} night{'s' if nights > 1 else ''}",
                    ts_event_ns=midnight_ns,
                    ts_init_ns=now_ns,
                )
            )
        if venue.is_funding_charged:
            found += _overdue(state, account, midnight_ns)
    return tuple(found)


def _borrowings(
    state: PaperState, account: PaperAccount, venue: Venue
) -> Iterator[tuple[str, Decimal]]:
    """Instrument and cost of one night, of each short position that costs something."""
    for name in sorted(account.positions):
        instrument, quantity = state.instruments[name], account.positions[name]
        rate = borrow_rate(instrument, venue)
        if quantity < 0 and rate and instrument.asset_class not in DERIVATIVES:
            worth = notional(-quantity, last_price(state, name), instrument.multiplier)
            yield name, divide_rounded(product(worth, rate), YEAR_DAYS)


def _overdue(state: PaperState, account: PaperAccount, now_ns: int) -> Iterator[Missing]:
    for name in sorted(account.lines):
        seen = state.funding.get(name)
        is_held = any(account.lines[name].values())
        if is_held and seen and now_ns - seen.ts_event_ns > _gap_ns(seen.interval_ns):
            yield _gap(name, seen.ts_event_ns, now_ns)


def _gap(name: str, from_ns: int, until_ns: int) -> Missing:
    return Missing(
        FUNDING_RATE,
        f"{name} {from_ns}",
        f"Between {from_ns} and {until_ns} (nanoseconds UTC) no funding rate of {name} came while "
        "it was held: what was paid then is left out. Load the missing rates.",
    )


def _gap_ns(interval_ns: int) -> int:
    return int(interval_ns * FUNDING_GAP)


def begun(state: PaperState, account: PaperAccount, name: str, now_ns: int) -> PaperState:
    """After a fill: the clock is needed at midnight where something is owed for what is held."""
    if state.accrual_ns is not None or not _owes(state, account, name):
        return state
    midnight_ns = (now_ns // DAY_NS + 1) * DAY_NS
    due_ns = earliest(state.due_ns, midnight_ns)
    return replace(state, accrual_ns=midnight_ns, due_ns=due_ns)


def accrued(state: PaperState, now_ns: int) -> PaperState:
    """After a timer: the next midnight, while something is owed."""
    if state.accrual_ns is None or state.accrual_ns > now_ns:
        return state
    is_owing = any(
        _owes(state, account, name)
        for account in state.accounts.values()
        for name in account.positions
    )
    midnight_ns = (now_ns // DAY_NS + 1) * DAY_NS
    return replace(state, accrual_ns=midnight_ns if is_owing else None)


def _owes(state: PaperState, account: PaperAccount, name: str) -> bool:
    venue, instrument = state.venues.get(account.venue), state.instruments[name]
    if venue is None:
        return False
    if instrument.asset_class is AssetClass.CRYPTO_PERPETUAL:
        return venue.is_funding_charged and any(account.lines.get(name, {}).values())
    is_short = account.positions[name] < 0 and instrument.asset_class not in DERIVATIVES
    return is_short and bool(borrow_rate(instrument, venue))


def _accounts(state: PaperState) -> Iterator[tuple[str, PaperAccount, Venue]]:
    for account_id in sorted(state.accounts):
        account = state.accounts[account_id]
        venue = state.venues.get(account.venue)
        if venue is not None:
            yield account_id, account, venue
