"""Scopes of the kill switch as a run has them: which names exist, which of them are not ACTIVE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tapeline.cli.records import TopicRecords
from tapeline.contracts import topics
from tapeline.contracts.config import Account, Instrument, TradingGroup, Venue
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.risk import TradingState, TradingStateChanged

NAMED_BY: Final[dict[ScopeKind, tuple[type[Any], str]]] = {
    ScopeKind.ACCOUNT: (Account, "account_id"),
    ScopeKind.GROUP: (TradingGroup, "group_id"),
    ScopeKind.STRATEGY: (TradingGroup, "group_id"),
    ScopeKind.INSTRUMENT: (Instrument, "instrument_id"),
    ScopeKind.VENUE: (Venue, "venue"),
}
BY_HAND: Final = "MANUAL"


@dataclass(frozen=True, slots=True)
class InForce:
    """A scope that is not ACTIVE."""

    scope: str
    """as commands take it: all, account:PAPER-1"""
    state: TradingState
    reason: str

    def __str__(self) -> str:
        return f"{self.state.value} {self.scope} ({self.reason})"


def known_names(records: TopicRecords, kind: ScopeKind) -> list[str]:
    """What the run's configuration has of a kind; nothing is left out of ALL."""
    if kind is ScopeKind.ALL:
        return [""]
    record, field = NAMED_BY[kind]
    found = {getattr(one.record, field) for one in records.all(topics.CONFIG, record)}
    if record is TradingGroup:
        found.add(BY_HAND)
    return sorted(found)


def in_force(records: TopicRecords, besides: tuple[ScopeKind, str] | None = None) -> list[InForce]:
    """The scopes that risk has in a state other than ACTIVE, by name, one left out."""
    left_out = "" if besides is None else f"{besides[0].value}/{besides[1]}"
    latest: dict[str, TradingStateChanged] = {}
    for item in records.all(topics.RISK_EVENTS, TradingStateChanged):
        change: TradingStateChanged = item.record
        known = latest.get(change.scope)
        if known is None or change.sequence >= known.sequence:
            latest[change.scope] = change
    return [
        InForce(as_asked(scope), latest[scope].state, latest[scope].reason)
        for scope in sorted(latest)
        if scope != left_out and latest[scope].state is not TradingState.ACTIVE
    ]


def as_asked(scope: str) -> str:
    """ACCOUNT/PAPER-1 as a command takes it."""
    kind, _, name = scope.partition("/")
    return f"{kind.lower()}:{name}" if name else kind.lower()
