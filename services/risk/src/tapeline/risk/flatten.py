"""Flatten: reduce-only orders for everything a scope holds, in the name of the command.

A command is carried out once. While it is in force its scope is looked at again every second: what
an order that was being canceled had reserved, what a late fill opened, and what was refused on the
way is closed too.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ZERO, fixed, round_down_to_lot
from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.orders import Order, OrderAction, OrderType, Side, TimeInForce
from tapeline.risk import books, routes
from tapeline.risk.answers import Scribe
from tapeline.risk.state import NOTHING, AccountState, Flattening, RiskState
from tapeline.risk.switchboard import scopes_of
from tapeline.risk.worth import combined, price_of
from tapeline.runtime.core import Output

LOOK_AGAIN_NS: Final = 1_000_000_000


@acyclic
@dataclass(frozen=True, slots=True)
class Place:
    """One line of the ledger."""

    account: AccountState
    group_id: str
    instrument_id: str


def orders(state: RiskState, scribe: Scribe, command_id: str, scope: str) -> tuple[Output, ...]:
    """One order for each line in the scope that the account's own position allows to reduce."""
    running = state.flattening.get(command_id)
    first = 0 if running is None else running.approved_count
    found: list[Output] = []
    for account_id in sorted(state.accounts):
        account = state.accounts[account_id]
        for instrument_id in sorted(account.ledger.lines):
            for group_id, quantity in _closes(state, account, instrument_id, scope):
                place = Place(account, group_id, instrument_id)
                found.append(_order(state, scribe, command_id, place, quantity, first + len(found)))
    return tuple(found)


def due(state: RiskState, now_ns: int) -> list[str]:
    """Commands whose scope is to be looked at again."""
    return sorted(name for name, running in state.flattening.items() if running.look_ns <= now_ns)


def follow_up(state: RiskState, scribe: Scribe) -> tuple[Output, ...]:
    """Orders for what is left under the commands that are due."""
    found: list[Output] = []
    for command_id in due(state, scribe.now_ns):
        running = state.flattening[command_id]
        if scribe.now_ns < running.expires_ns:
            found += orders(state, scribe, command_id, running.scope)
    return tuple(found)


def begin(state: RiskState, command_id: str, scope: str, now_ns: int, expires_ns: int) -> None:
    """Notes that a command is being carried out."""
    state.flattening.setdefault(
        command_id, Flattening(scope=scope, expires_ns=expires_ns, look_ns=now_ns + LOOK_AGAIN_NS)
    )


def look(state: RiskState, now_ns: int) -> None:
    """Notes when to look again; what has expired, or has nothing left to close, is over."""
    for command_id in due(state, now_ns):
        running = state.flattening[command_id]
        if now_ns >= running.expires_ns:
            del state.flattening[command_id]
        else:
            state.flattening[command_id] = replace(running, look_ns=now_ns + LOOK_AGAIN_NS)


def end(state: RiskState, scope: str) -> None:
    """Notes that an operator has said what a scope's trading state is: nothing more is closed."""
    for command_id in [name for name, run in state.flattening.items() if run.scope == scope]:
        del state.flattening[command_id]


def approve(state: RiskState, decision_id: str) -> None:
    """Counts an order in a command's name, so that the next has an id of its own."""
    running = state.flattening.get(decision_id)
    if running is not None:
        count = running.approved_count + 1
        state.flattening[decision_id] = replace(running, approved_count=count)


def next_due_ns(state: RiskState) -> int | None:
    """When the first scope is to be looked at again."""
    return min((running.look_ns for running in state.flattening.values()), default=None)


def _closes(
    state: RiskState, account: AccountState, instrument_id: str, scope: str
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
        if scope not in scopes:
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
    command_id: str,
    place: Place,
    quantity: Decimal,
    index: int,
) -> Output:
    account, instrument_id = place.account, place.instrument_id
    account_id = account.account.account_id
    price = price_of(state, instrument_id)
    assert price is not None, "what is held was filled"
    mandate = state.mandates.get(account_id)
    ttl_ns = scribe.ttl_ns if mandate is None else mandate.approval_ttl_ns
    approval = scribe.approval(command_id, command_id, account_id, ttl_ns, index)
    order = Order(
        client_order_id=scribe.derived(command_id, Order.AVRO, index),
        account_id=account_id,
        group_id=place.group_id,
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
