"""The kill switch as execution reads it: the strictest trading state of all scopes an order is in.

Control records ascend per scope and record type; what is not above the last, not signed by a known
operator, of another run, or (commands) expired, changes nothing and is reported. A trip by file or
signal only tightens, and counts whatever its number; what supersedes it must be above it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tapeline.contracts.control import (
    AcceptVenueTruth,
    CancelAll,
    Flatten,
    LocalTrip,
    ScopeKind,
    SetLiveSwitch,
    SetTradingState,
    SwitchLevel,
)
from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.orders import ApprovedOrder, Order, OrderAction
from tapeline.contracts.risk import TradingState
from tapeline.runtime.core import Input

ControlRecord: TypeAlias = SetTradingState | CancelAll | Flatten | SetLiveSwitch | AcceptVenueTruth
CONTROL_RECORDS: Final = (SetTradingState, CancelAll, Flatten, SetLiveSwitch, AcceptVenueTruth)
Sweep: TypeAlias = CancelAll | Flatten | LocalTrip
"""What takes orders off the book."""
LASTING: Final = (SetTradingState, SetLiveSwitch)
"""They hold until the next one; the others are commands, which expire."""
_STRICTNESS: Final = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED)
SAID_LOCALLY: Final = "CONTROL_SAID_LOCALLY"
"""the record says by topic what a trip has said by file: ignored, and nothing to report"""
TRIPS_MAX: Final = 64


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Switchboard:
    """What the accepted control records have set."""

    states: dict[str, TradingState] = field(default_factory=dict)
    """by scope, such as ACCOUNT/a1; a scope without entry is ACTIVE"""
    sequences: dict[str, int] = field(default_factory=dict)
    """last accepted number by scope and record type"""
    flattens: dict[str, int] = field(default_factory=dict)
    """expiry of accepted Flatten commands by command_id, nanoseconds UTC"""
    trips: dict[str, int] = field(default_factory=dict)
    """number that supersedes must be above, by trip_id"""


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
        is_said = record.sequence in board.trips.values() and not _resumes(record)
        return SAID_LOCALLY if is_said else "CONTROL_OLD_SEQUENCE"
    if not isinstance(record, LASTING) and event.session_ns >= record.expires_ns:
        return "CONTROL_EXPIRED"
    return ""


def _resumes(record: ControlRecord) -> bool:
    return isinstance(record, SetTradingState) and record.state is TradingState.ACTIVE


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


def tripped(board: Switchboard, trip: LocalTrip) -> Switchboard:
    """The board after a trip by file or signal; one that was taken before changes nothing."""
    if trip.trip_id in board.trips:
        return board
    scope = scope_key(trip.scope, trip.scope_id)
    names = [f"{kind.__name__}/{scope}" for kind in (SetTradingState, CancelAll, Flatten)]
    numbers = {name: max(board.sequences.get(name, -1), trip.sequence) for name in names}
    is_entries = trip.level is SwitchLevel.STOP_ENTRIES
    asked = TradingState.REDUCING if is_entries else TradingState.HALTED
    known = board.states.get(scope, TradingState.ACTIVE)
    # By number, not by arrival: a map has no order once it has been in a snapshot.
    latest = sorted(board.trips.items(), key=lambda one: (one[1], one[0]), reverse=True)
    kept = dict(latest[: TRIPS_MAX - 1])
    board = replace(
        board,
        states={**board.states, scope: max(asked, known, key=_STRICTNESS.index)},
        sequences={**board.sequences, **numbers},
        trips={**kept, trip.trip_id: numbers[names[0]]},
    )
    if trip.level is SwitchLevel.FLATTEN:
        board = replace(board, flattens={**board.flattens, trip.trip_id: trip.expires_ns})
    return board


def is_released(board: Switchboard, trip: LocalTrip) -> bool:
    """Whether a signed record has superseded a trip."""
    number = board.trips.get(trip.trip_id)
    key = f"{SetTradingState.__name__}/{scope_key(trip.scope, trip.scope_id)}"
    return number is not None and board.sequences[key] > number


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
    if not board.states:
        return TradingState.ACTIVE
    states = [board.states.get(scope, TradingState.ACTIVE) for scope in scopes_of(order)]
    return max(states, key=_STRICTNESS.index)


def spares_protective(record: Sweep) -> bool:
    """Whether a command or trip leaves orders that only reduce at work."""
    match record:
        case CancelAll():
            return record.spares_protective
        case LocalTrip():
            return record.spares_protective and record.level is not SwitchLevel.FLATTEN
    # Positions are closed: what protects them has nothing left to do, and would be in the way.
    return False


def is_swept(board: Switchboard, record: Sweep, order: Order, decision_id: str) -> bool:
    """Whether a command or trip cancels an order: it is in the scope, and is not spared.

    Orders that carry out a Flatten are always spared.
    """
    if isinstance(record, LocalTrip) and record.level is SwitchLevel.STOP_ENTRIES:
        return False
    if scope_key(record.scope, record.scope_id) not in scopes_of(order):
        return False
    if order.is_reduce_only and decision_id in board.flattens:
        return False
    return not (spares_protective(record) and order.is_reduce_only)


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
