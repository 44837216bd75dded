"""The kill switch as risk reads it, by the same rules as execution.

Control records ascend per scope and record type; what is not above the last, not signed by a known
operator, of another run, or (commands) expired, changes nothing and is reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from tapeline.contracts.control import (
    AcceptVenueTruth,
    CancelAll,
    Flatten,
    ScopeKind,
    SetLiveSwitch,
    SetTradingState,
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
        return "CONTROL_OLD_SEQUENCE"
    if not isinstance(record, LASTING) and event.session_ns >= record.expires_ns:
        return "CONTROL_EXPIRED"
    return ""


def switch(state: RiskState, event: Input, run_id: str) -> None:
    """Takes a control record into the state."""
    if ignored_because(state, event, run_id):
        return
    record: ControlRecord = event.record
    state.sequences[sequence_key(record)] = record.sequence
    if isinstance(record, SetTradingState):
        state.trading_states[scope_key(record.scope, record.scope_id)] = record.state
    elif isinstance(record, SetLiveSwitch):
        venue_trust.switched(state, record)


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
