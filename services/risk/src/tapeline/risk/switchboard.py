"""The kill switch as risk reads it, by the same rules as execution.

Control records ascend per scope and record type; what is not above the last, not signed by a known
operator, of another run, or (commands) expired, changes nothing and is reported. A trip by file or
signal only tightens, and counts whatever its number; what supersedes it must be above it.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from tapeline.contracts.risk import TradingState
from tapeline.risk import venue_trust
from tapeline.risk.state import RiskState
from tapeline.runtime.core import Input

ControlRecord: TypeAlias = SetTradingState | CancelAll | Flatten | SetLiveSwitch | AcceptVenueTruth
CONTROL_RECORDS: Final = (SetTradingState, CancelAll, Flatten, SetLiveSwitch, AcceptVenueTruth)
LASTING: Final = (SetTradingState, SetLiveSwitch)
"""They hold until the next one; the others are commands, which expire."""
_STRICTNESS: Final = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED)
SAID_LOCALLY: Final = "CONTROL_SAID_LOCALLY"
"""the record says by topic what a trip has said by file: ignored, and nothing to report"""
TRIPS_MAX: Final = 64


def scope_key(kind: ScopeKind, scope_id: str) -> str:
    """Name of a scope: ALL/, ACCOUNT/PAPER-1."""
    return f"{kind.value}/{scope_id}"


def sequence_key(record: ControlRecord) -> str:
    """Records of one type and scope ascend."""
    return f"{type(record).__name__}/{scope_key(record.scope, record.scope_id)}"


def ignored_because(state: RiskState, event: Input, run_id: str) -> str:
    """Code of why a control record is ignored, or empty when it counts."""
    record: ControlRecord = event.record
    if event.verdict:
        return f"CONTROL_{event.verdict}"
    if record.run_id != run_id:
        return "CONTROL_WRONG_RUN"
    if record.sequence <= state.sequences.get(sequence_key(record), -1):
        is_said = record.sequence in state.trips.values() and not _resumes(record)
        return SAID_LOCALLY if is_said else "CONTROL_OLD_SEQUENCE"
    if not isinstance(record, LASTING) and event.session_ns >= record.expires_ns:
        return "CONTROL_EXPIRED"
    return ""


def _resumes(record: ControlRecord) -> bool:
    return isinstance(record, SetTradingState) and record.state is TradingState.ACTIVE


def switch(state: RiskState, event: Input) -> None:
    """Takes a control record that counts (`ignored_because`) into the state."""
    record: ControlRecord = event.record
    state.sequences[sequence_key(record)] = record.sequence
    if isinstance(record, SetTradingState):
        state.trading_states[scope_key(record.scope, record.scope_id)] = record.state
    elif isinstance(record, SetLiveSwitch):
        venue_trust.switched(state, record)


def state_after(state: RiskState, trip: LocalTrip) -> TradingState:
    """What a trip leaves its scope in: never looser than it was."""
    is_entries = trip.level is SwitchLevel.STOP_ENTRIES
    asked = TradingState.REDUCING if is_entries else TradingState.HALTED
    known = state.trading_states.get(scope_key(trip.scope, trip.scope_id), TradingState.ACTIVE)
    return max(asked, known, key=_STRICTNESS.index)


def trip(state: RiskState, record: LocalTrip) -> None:
    """Takes a trip by file or signal into the state; one that was taken before changes nothing."""
    if record.trip_id in state.trips:
        return
    scope = scope_key(record.scope, record.scope_id)
    state.trading_states[scope] = state_after(state, record)
    names = [f"{kind.__name__}/{scope}" for kind in (SetTradingState, CancelAll, Flatten)]
    for name in names:
        state.sequences[name] = max(state.sequences.get(name, -1), record.sequence)
    # By number, not by arrival: a map has no order once it has been in a snapshot.
    latest = sorted(state.trips, key=lambda name: (state.trips[name], name), reverse=True)
    for forgotten in latest[TRIPS_MAX - 1 :]:
        del state.trips[forgotten]
    state.trips[record.trip_id] = state.sequences[names[0]]


def is_released(state: RiskState, trip: LocalTrip) -> bool:
    """Whether a signed record has superseded a trip."""
    number = state.trips.get(trip.trip_id)
    key = f"{SetTradingState.__name__}/{scope_key(trip.scope, trip.scope_id)}"
    return number is not None and state.sequences[key] > number


def scopes_of(account_id: str, group_id: str, instrument_id: str, venue: str) -> tuple[str, ...]:
    """Every scope an order is in. An order names its group, which stands for the strategy."""
    return (
        scope_key(ScopeKind.ALL, ""),
        scope_key(ScopeKind.ACCOUNT, account_id),
        scope_key(ScopeKind.GROUP, group_id),
        scope_key(ScopeKind.STRATEGY, group_id),
        scope_key(ScopeKind.INSTRUMENT, instrument_id),
        scope_key(ScopeKind.VENUE, venue),
    )


def strictest(state: RiskState, scopes: Iterable[str]) -> TradingState:
    """The strictest state of some scopes."""
    if not state.trading_states:
        return TradingState.ACTIVE
    found = [state.trading_states.get(scope, TradingState.ACTIVE) for scope in scopes]
    return max(found, key=_STRICTNESS.index)
