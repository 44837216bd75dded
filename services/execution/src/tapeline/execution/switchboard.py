"""The kill switch as execution reads it: the strictest trading state of all scopes an order is in.

Control records ascend per scope and record type; what is not above the last, not signed by a known
operator, of another run, or (commands) expired, changes nothing and is reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from tapeline.contracts.control import (
    AcceptVenueTruth,
    CancelAll,
    Flatten,
    ScopeKind,
    SetLiveSwitch,
    SetTradingState,
)
from tapeline.contracts.orders import ApprovedOrder, Order, OrderAction
from tapeline.contracts.risk import TradingState
from tapeline.runtime.core import Input

ControlRecord: TypeAlias = SetTradingState | CancelAll | Flatten | SetLiveSwitch | AcceptVenueTruth
CONTROL_RECORDS: Final = (SetTradingState, CancelAll, Flatten, SetLiveSwitch, AcceptVenueTruth)
LASTING: Final = (SetTradingState, SetLiveSwitch)
"""They hold until the next one; the others are commands, which expire."""
_STRICTNESS: Final = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switchboard:
    """What the accepted control records have set."""

    states: dict[str, TradingState] = field(default_factory=dict)
    """by scope, such as ACCOUNT/a1; a scope without entry is ACTIVE"""
    sequences: dict[str, int] = field(default_factory=dict)
    """last accepted number by scope and record type"""
    flattens: dict[str, int] = field(default_factory=dict)
    """expiry of accepted Flatten commands by command_id, nanoseconds UTC"""


def scope_key(kind: ScopeKind, scope_id: str) -> str:
    """Name of a scope: ALL/, ACCOUNT/a1."""
    return f"{kind.value}/{scope_id}"


def _sequence_key(record: ControlRecord) -> str:
    return f"{type(record).__name__}/{scope_key(record.scope, record.scope_id)}"


def ignored_because(board: Switchboard, event: Input, run_id: str) -> str:
    """Code of why a control record is ignored, or empty when it counts."""
    record: ControlRecord = event.record
    if event.verdict:
        return f"CONTROL_{event.verdict}"
    if record.run_id != run_id:
        return "CONTROL_WRONG_RUN"
    if record.sequence <= board.sequences.get(_sequence_key(record), -1):
        return "CONTROL_OLD_SEQUENCE"
    if not isinstance(record, LASTING) and event.session_ns >= record.expires_ns:
        return "CONTROL_EXPIRED"
    return ""


def evolved(board: Switchboard, event: Input, run_id: str) -> Switchboard:
    """The board after a control record."""
    if ignored_because(board, event, run_id):
        return board
    record: ControlRecord = event.record
    board = replace(board, sequences={**board.sequences, _sequence_key(record): record.sequence})
    if isinstance(record, SetTradingState):
        scope = scope_key(record.scope, record.scope_id)
        return replace(board, states={**board.states, scope: record.state})
    if isinstance(record, Flatten):
        alive = {key: end for key, end in board.flattens.items() if end > event.session_ns}
        return replace(board, flattens={**alive, record.command_id: record.expires_ns})
    return board


def scopes_of(order: Order) -> tuple[str, ...]:
    """Every scope that an order is in. An order names its group, which stands for the strategy."""
    return (
        scope_key(ScopeKind.ALL, ""),
        scope_key(ScopeKind.ACCOUNT, order.account_id),
        scope_key(ScopeKind.GROUP, order.group_id),
        scope_key(ScopeKind.STRATEGY, order.group_id),
        scope_key(ScopeKind.INSTRUMENT, order.instrument_id),
        scope_key(ScopeKind.VENUE, order.venue),
    )


def trading_state(board: Switchboard, order: Order) -> TradingState:
    """The strictest state of the order's scopes."""
    states = [board.states.get(scope, TradingState.ACTIVE) for scope in scopes_of(order)]
    return max(states, key=_STRICTNESS.index)


def is_covered(record: CancelAll | Flatten, order: Order) -> bool:
    """Whether a command's scope holds an order."""
    return scope_key(record.scope, record.scope_id) in scopes_of(order)


def permits(board: Switchboard, approved: ApprovedOrder) -> bool:
    """Whether the trading state lets an order through.

    REDUCING lets through what risk has marked as reducing. HALTED lets through only the
    reduce-only orders that carry out an accepted Flatten, named as their decision.
    """
    state = trading_state(board, approved.order)
    if state is TradingState.ACTIVE:
        return True
    if state is TradingState.REDUCING:
        return approved.order.is_reduce_only or approved.action is OrderAction.CLOSE
    return approved.order.is_reduce_only and approved.approval.decision_id in board.flattens
