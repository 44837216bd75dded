"""Booking of what happened: approvals reserve, fills move positions, ends release."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.accounting.ledger import Booking
from tapeline.accounting.numbers import ONE, ZERO, converted, fixed, notional
from tapeline.contracts.accounts import (
    CashAdjustment,
    CorporateAction,
    FundingPayment,
    PositionCorrection,
)
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    ApprovedOrder,
    ChildRole,
    Fill,
    Order,
    OrderAction,
    OrderUpdate,
    Side,
)
from tapeline.risk.state import NOTHING, AccountState, OpenOrder, Reserve, RiskState
from tapeline.risk.worth import rate_of

PROTECTIVE: Final = (ChildRole.TAKE_PROFIT, ChildRole.STOP_LOSS)
"""Roles of the legs that close what their order opened."""
SNAPSHOT_GAP_NS: Final = 1_000_000_000
"""At most one PortfolioSnapshot a second and account."""
LOOK_AGAIN_NS: Final = 10_000_000_000
"""How often the worth of an account that holds something is looked at."""
_NO_CHANGE: Final = (ZERO, ZERO)
CAPITAL_REASONS: Final = ("deposit", "withdrawal")
"""Cash adjustments that are neither profit nor loss."""


def closable(account: AccountState, group_id: str, instrument_id: str, side: Side) -> Decimal:
    """How much an order on `side` may still close of a group's line, open orders deducted."""
    held = account.ledger.line(group_id, instrument_id).quantity
    against = -held if side is Side.BUY else held
    reserve = account.reserve(group_id, instrument_id)
    return max(against - reserve.closing(side), ZERO)


def reservation_price(order: Order) -> Decimal:
    """The worst of mark, limit and stop: what the order may cost."""
    return max(order.arrival_price, order.limit_price or ZERO, order.stop_price or ZERO)


def approve(state: RiskState, approved: ApprovedOrder, now_ns: int) -> Decimal:
    """Reserves what an approved order may do; returns how much of it opens or enlarges."""
    order = approved.order
    account = state.accounts.get(order.account_id)
    assert account is not None, "approvals are for accounts of this shard"
    if approved.action in (OrderAction.CANCEL, OrderAction.AMEND):
        return ZERO
    quantity = fixed(order.quantity)
    against = closable(account, order.group_id, order.instrument_id, order.side)
    opening = max(quantity - against, ZERO)
    open_order = OpenOrder(
        order=order,
        remaining=quantity,
        opening=opening,
        price=reservation_price(order),
        is_scheduled=approved.approval.schedule is not None,
    )
    state.open_orders[approved.approval.approval_id] = open_order
    state.approval_ids[order.client_order_id] = approved.approval.approval_id
    # One new value in the place of four: this is done for every order.
    state.accounts[order.account_id] = replace(
        account,
        open_order_count=account.open_order_count + 1,
        approved_count=account.approved_count + 1,
        reserves=_reserves(state, account, open_order, (quantity, opening)),
        is_changed=True,
        due_ns=_due_ns(account, now_ns, LOOK_AGAIN_NS),
    )
    return opening


def deny(state: RiskState, account_id: str, now_ns: int, count: int) -> None:
    """Counts denied decisions."""
    account = state.accounts.get(account_id)
    if account is not None:
        state.accounts[account_id] = replace(
            account,
            denied_count=account.denied_count + count,
            is_changed=True,
            due_ns=_due_ns(account, now_ns, LOOK_AGAIN_NS),
        )


def changed(account: AccountState, now_ns: int, gap_ns: int = SNAPSHOT_GAP_NS) -> AccountState:
    """Marks an account for a new snapshot, `gap_ns` after the last one or now."""
    return replace(account, is_changed=True, due_ns=_due_ns(account, now_ns, gap_ns))


def _due_ns(account: AccountState, now_ns: int, gap_ns: int) -> int:
    due_ns = max(now_ns, account.snapshot_ns + gap_ns)
    return due_ns if account.due_ns is None else min(due_ns, account.due_ns)


def fill(state: RiskState, record: Fill, now_ns: int) -> None:
    """Moves position and cash, and gives back what the fill used of its reservation."""
    account = state.accounts.get(record.account_id)
    if account is None:
        return
    signed = record.quantity if record.side is Side.BUY else -record.quantity
    ledger = account.ledger.book(
        Booking(
            group_id=record.group_id,
            instrument_id=record.instrument_id,
            quantity=signed,
            price=record.price,
            currency=record.currency,
            multiplier=_multiplier(state, record.instrument_id),
            commission=record.commission,
        )
    )
    state.fill_prices[record.instrument_id] = fixed(record.price)
    reserves, open_order = account.reserves, state.open_orders.get(record.approval_id)
    if open_order is not None and record.role in PROTECTIVE:
        _protected(state, record, open_order)
    elif open_order is not None:
        filled = fixed(open_order.filled + record.quantity)
        left = max(open_order.remaining - record.quantity, ZERO)
        opening = min(open_order.opening, left)
        after = replace(open_order, filled=filled, remaining=left, opening=opening)
        reserves = _shrunk(state, account, record.approval_id, after)
    state.accounts[record.account_id] = replace(
        account,
        ledger=ledger,
        reserves=reserves,
        is_changed=True,
        due_ns=_due_ns(account, now_ns, SNAPSHOT_GAP_NS),
    )


def end(state: RiskState, record: OrderUpdate, now_ns: int) -> None:
    """Releases an order that ended, but for fills it says it had that are still to come."""
    if not record.is_terminal:
        return
    account = state.accounts.get(record.account_id)
    open_order = state.open_orders.get(record.approval_id)
    if account is None or open_order is None or open_order.has_ended:
        return
    announced = record.protective_filled_quantity or ZERO
    protective_left = max(fixed(announced - open_order.protective_filled), ZERO)
    outstanding = max(record.filled_quantity - open_order.filled, ZERO)
    left = min(open_order.remaining, fixed(outstanding))
    after = replace(
        open_order,
        has_ended=True,
        protective_left=protective_left,
        remaining=left,
        opening=min(open_order.opening, left),
    )
    state.accounts[record.account_id] = replace(
        account,
        open_order_count=account.open_order_count - 1,
        reserves=_shrunk(state, account, record.approval_id, after),
        is_changed=True,
        due_ns=_due_ns(account, now_ns, SNAPSHOT_GAP_NS),
    )


def account_event(
    state: RiskState,
    record: CashAdjustment | FundingPayment | CorporateAction | PositionCorrection,
    now_ns: int,
) -> None:
    """Books cash and positions that moved by other than fills."""
    account = state.accounts.get(record.account_id)
    if account is None:
        return
    match record:
        case CashAdjustment():
            account = _adjusted(state, account, record)
        case FundingPayment():
            ledger = account.ledger.deposit(record.currency, record.amount)
            account = replace(account, ledger=ledger)
        case CorporateAction():
            ledger = account.ledger.corporate_action(
                record.instrument_id,
                split_ratio=record.split_ratio,
                dividend=record.dividend,
                currency=record.currency,
            )
            account = replace(account, ledger=ledger)
        case _:
            account = _corrected(state, account, record)
    state.accounts[record.account_id] = changed(account, now_ns)


def _adjusted(state: RiskState, account: AccountState, record: CashAdjustment) -> AccountState:
    account = replace(account, ledger=account.ledger.deposit(record.currency, record.amount))
    rate = rate_of(state, record.currency, account.account.base_currency)
    if rate is not None and record.reason.lower().startswith(CAPITAL_REASONS):
        moved = converted(fixed(record.amount), rate)
        account = replace(account, curve=account.curve.shift(moved))
    return account


def _corrected(state: RiskState, account: AccountState, record: PositionCorrection) -> AccountState:
    instrument = state.instruments.get(record.instrument_id)
    currency = account.account.base_currency if instrument is None else instrument.currency
    state.fill_prices.setdefault(record.instrument_id, fixed(record.price))
    ledger = account.ledger.book(
        Booking(
            group_id=record.group_id,
            instrument_id=record.instrument_id,
            quantity=record.quantity,
            price=record.price,
            currency=currency,
            multiplier=_multiplier(state, record.instrument_id),
        )
    )
    return replace(account, ledger=ledger)


def _shrunk(
    state: RiskState, account: AccountState, approval_id: str, after: OpenOrder
) -> dict[str, dict[str, Reserve]]:
    """What is reserved once an open order has less to go; closing parts are used up first."""
    before = state.open_orders[approval_id]
    freed = (after.remaining - before.remaining, after.opening - before.opening)
    _keep(state, approval_id, after)
    return _reserves(state, account, after, freed) if any(freed) else account.reserves


def _keep(state: RiskState, approval_id: str, open_order: OpenOrder) -> None:
    """An order is forgotten when it has ended and all fills that it announced have come."""
    if open_order.has_ended and not open_order.remaining and not open_order.protective_left:
        del state.open_orders[approval_id]
        state.approval_ids.pop(open_order.order.client_order_id, None)
    else:
        state.open_orders[approval_id] = open_order


def _protected(state: RiskState, record: Fill, open_order: OpenOrder) -> None:
    """Notes a fill of a protective leg: it closes what was opened and had nothing reserved."""
    open_order = replace(
        open_order,
        protective_filled=fixed(open_order.protective_filled + record.quantity),
        protective_left=max(fixed(open_order.protective_left - record.quantity), ZERO),
    )
    _keep(state, record.approval_id, open_order)


def reserved(
    state: RiskState, account: AccountState, open_order: OpenOrder, change: tuple[Decimal, Decimal]
) -> AccountState:
    """The account with a line's reservation changed by (quantity, opening part) of an order."""
    return replace(account, reserves=_reserves(state, account, open_order, change))


def _reserves(
    state: RiskState, account: AccountState, open_order: OpenOrder, change: tuple[Decimal, Decimal]
) -> dict[str, dict[str, Reserve]]:
    order, (_, opening) = open_order.order, change
    old = account.reserve(order.group_id, order.instrument_id)
    multiplier = _multiplier(state, order.instrument_id)
    cost = notional(opening, open_order.price, multiplier)
    buys, sells = (change, _NO_CHANGE) if order.side is Side.BUY else (_NO_CHANGE, change)
    opening_buying = fixed(old.opening_buying + buys[1])
    opening_selling = fixed(old.opening_selling + sells[1])
    is_opening = opening_buying or opening_selling
    new = Reserve(
        buying=fixed(old.buying + buys[0]),
        selling=fixed(old.selling + sells[0]),
        opening_buying=opening_buying,
        opening_selling=opening_selling,
        opening_cost=fixed(old.opening_cost + cost) if is_opening else ZERO,
    )
    groups = {**account.reserves.get(order.instrument_id, {}), order.group_id: new}
    if new == NOTHING:
        del groups[order.group_id]
    reserves = {**account.reserves, order.instrument_id: groups}
    if not groups:
        del reserves[order.instrument_id]
    return reserves


def _multiplier(state: RiskState, instrument_id: str) -> Decimal:
    instrument = state.instruments.get(instrument_id)
    return ONE if instrument is None else instrument.multiplier
