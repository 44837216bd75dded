"""Flatten: reduce-only orders for everything a scope holds, once, in the name of the command."""

from __future__ import annotations

from decimal import Decimal

from tapeline.accounting.numbers import ZERO, fixed, round_down_to_lot
from tapeline.contracts.control import Flatten
from tapeline.contracts.orders import Order, OrderAction, OrderType, Side, TimeInForce
from tapeline.risk import books, routes
from tapeline.risk.answers import Scribe
from tapeline.risk.state import NOTHING, AccountState, RiskState
from tapeline.risk.switchboard import scope_key, scopes_of
from tapeline.risk.worth import combined, price_of
from tapeline.runtime.core import Output


def orders(state: RiskState, scribe: Scribe, command: Flatten) -> tuple[Output, ...]:
    """One order for each line in the scope that the account's own position allows to reduce."""
    found: list[Output] = []
    for account_id in sorted(state.accounts):
        account = state.accounts[account_id]
        for instrument_id in sorted(account.ledger.lines):
            for group_id, quantity in _closes(state, account, instrument_id, command):
                place = (group_id, instrument_id)
                found.append(_order(state, scribe, command, account, place, quantity, len(found)))
    return tuple(found)


def _closes(
    state: RiskState, account: AccountState, instrument_id: str, command: Flatten
) -> list[tuple[str, Decimal]]:
    """(group, signed quantity) for each line; offsetting groups are left alone: the venue, which
    knows no groups, has nothing to close there."""
    net = account.ledger.net_quantity(instrument_id)
    side = Side.SELL if net > 0 else Side.BUY
    reserves = account.reserves.get(instrument_id)
    pending = NOTHING if reserves is None else combined(reserves)
    left = max(abs(net) - pending.on(side), ZERO)
    instrument = state.instruments.get(instrument_id)
    if instrument is None:
        return []
    found = []
    for group_id in sorted(account.ledger.lines[instrument_id]):
        scopes = scopes_of(
            account.account.account_id, group_id, instrument_id, account.account.venue
        )
        if scope_key(command.scope, command.scope_id) not in scopes:
            continue
        quantity = min(books.closable(account, group_id, instrument_id, side), left)
        quantity = round_down_to_lot(quantity, instrument.lot_size)
        if quantity > 0:
            left -= quantity
            found.append((group_id, quantity if side is Side.BUY else -quantity))
    return found


def _order(
    state: RiskState,
    scribe: Scribe,
    command: Flatten,
    account: AccountState,
    place: tuple[str, str],
    quantity: Decimal,
    index: int,
) -> Output:
    group_id, instrument_id = place
    account_id = account.account.account_id
    price = price_of(state, instrument_id)
    assert price is not None, "what is held was filled"
    mandate = state.mandates.get(account_id)
    ttl_ns = scribe.ttl_ns if mandate is None else mandate.approval_ttl_ns
    approval = scribe.approval(command.command_id, command.command_id, account_id, ttl_ns, index)
    order = Order(
        client_order_id=scribe.derived(command.command_id, Order.AVRO, index),
        account_id=account_id,
        group_id=group_id,
        instrument_id=instrument_id,
        venue=account.account.venue,
        side=Side.BUY if quantity > 0 else Side.SELL,
        order_type=OrderType.MARKET,
        quantity=fixed(abs(quantity)),
        limit_price=None,
        stop_price=None,
        time_in_force=TimeInForce.GTC,
        expire_time_ns=None,
        is_reduce_only=True,
        is_post_only=False,
        take_profit_price=None,
        stop_loss_price=None,
        arrival_price=price,
        venue_symbol=routes.venue_symbol(state, account.account, state.instruments[instrument_id]),
    )
    return scribe.approved(OrderAction.CLOSE, order, approval)
