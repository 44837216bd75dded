"""Automatic halts: like a manual one they latch, and only an operator resumes."""

from __future__ import annotations

from dataclasses import dataclass

from tapeline.contracts import topics
from tapeline.contracts.control import ScopeKind, SetTradingState
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.orders import OrderAction
from tapeline.contracts.risk import DenialCode, TradingState, TradingStateChanged
from tapeline.risk import switchboard
from tapeline.risk.answers import Scribe
from tapeline.risk.state import RiskState
from tapeline.runtime.core import Output


@acyclic
@dataclass(frozen=True, slots=True)
class Scope:
    """What is halted, and the account whose topic says so."""

    kind: ScopeKind
    scope_id: str
    account_id: str

    @property
    def key(self) -> str:
        """Name of the scope: ACCOUNT/PAPER-1."""
        return switchboard.scope_key(self.kind, self.scope_id)


def automatic(
    state: RiskState, scribe: Scribe, scope: Scope, code: DenialCode, reason: str
) -> tuple[Output, ...]:
    """HALTED for a scope, an incident, and cancels of its open orders but the protective ones."""
    if state.trading_states.get(scope.key) is TradingState.HALTED:
        return ()
    cause = f"{scribe.event.event_id}/{scope.key}/{code.value}"
    command_id = scribe.derived(cause, "Halt")
    number = state.sequences.get(f"{SetTradingState.__name__}/{scope.key}", -1)
    record = TradingStateChanged(
        account_id=scope.account_id,
        scope=scope.key,
        state=TradingState.HALTED,
        sequence=max(number, scribe.now_ns),
        reason=reason,
        ts_event_ns=scribe.now_ns,
        ts_init_ns=scribe.now_ns,
        command_id=command_id,
    )
    changed = Output(
        topic=topics.RISK_EVENTS,
        key=scope.account_id,
        record=record,
        event_id=scribe.derived(cause, TradingStateChanged.AVRO),
    )
    note = scribe.incident(
        "critical",
        f"AUTOMATIC_HALT_{code.value}",
        f"{scope.key} is halted until an operator resumes. {reason}",
    )
    return (changed, note, *_cancels(state, scribe, scope, command_id))


def _cancels(state: RiskState, scribe: Scribe, scope: Scope, command_id: str) -> tuple[Output, ...]:
    found: list[Output] = []
    for approval_id in sorted(state.open_orders):
        held = state.open_orders[approval_id]
        order = held.order
        scopes = switchboard.scopes_of(
            order.account_id, order.group_id, order.instrument_id, order.venue
        )
        if scope.key not in scopes or order.is_reduce_only or held.has_ended:
            continue
        mandate = state.mandates.get(order.account_id)
        ttl_ns = scribe.ttl_ns if mandate is None else mandate.approval_ttl_ns
        approval = scribe.approval(command_id, command_id, order.account_id, ttl_ns, len(found))
        found.append(scribe.approved(OrderAction.CANCEL, order, approval))
    return tuple(found)


def take(state: RiskState, record: TradingStateChanged) -> None:
    """Takes what was said of a scope; what a control record has set stands already."""
    state.trading_states[record.scope] = record.state
    key = f"{SetTradingState.__name__}/{record.scope}"
    state.sequences[key] = max(state.sequences.get(key, -1), record.sequence)
