"""Decisions that come faster than the rate that is set: answered together, and halted in the end.

What is above the rate is not looked at: it waits, and one Denial a second and group answers all of
it. A group that goes on like that is halted: when three windows in a row, a fifth of a second each,
have brought as much above the rate as the rate itself allows. A burst halts nothing.

A group that is halted and still comes as fast has none of its decisions looked at: each would be
denied on its own, while the others of the shard wait.

In an unpaced run only the head of such a decision is read: neither its other fields nor its author
are looked at, so that a group that runs away costs the others of its shard as little as can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final, TypeAlias

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.risk import Denial, DenialCode, TradingState
from tapeline.risk import halts
from tapeline.risk.answers import Scribe, shown
from tapeline.risk.in_force import Gathered
from tapeline.risk.pace_guards import order_rate
from tapeline.risk.question import Refusal
from tapeline.risk.state import RiskState, Rush
from tapeline.runtime.core import Output

WAIT_NS: Final = 1_000_000_000
WAITING_BYTES_MAX: Final = 800_000
"""answered at once when the ids are so long together: one record must be able to hold them"""
ID_BYTES: Final = 3
"""what an id costs beside its letters"""
WINDOW_NS: Final = 200_000_000
WINDOWS: Final = 3
WINDOW_COUNT_MIN: Final = 5


@acyclic
@dataclass(frozen=True, slots=True)
class DecisionHead:
    """The leading fields of a decision: all that is read of one above the rate."""

    AVRO: ClassVar[str] = Decision.AVRO
    decision_id: str
    account_id: str
    group_id: str
    cycle_ns: int
    index: int
    kind: str
    instrument_id: str


Asked: TypeAlias = Decision | DecisionHead


@acyclic
@dataclass(frozen=True, slots=True)
class PutOff:
    """A decision above its rate, of which only the head was read."""

    head: DecisionHead
    refused: Refusal


def key_of(decision: Asked) -> str:
    """Rushes are kept by account and group."""
    return f"{decision.account_id}/{decision.group_id}"


def refusal(state: RiskState, gathered: Gathered, decision: Asked, now_ns: int) -> Refusal | None:
    """Why a decision is not looked at now. Cancels are never too many; strangers have no rate."""
    account_id, group_id = decision.account_id, decision.group_id
    if decision.kind == DecisionKind.CANCEL or account_id not in state.accounts:
        return None
    limits = gathered.limits(state, (account_id, group_id, decision.instrument_id), now_ns)
    found = order_rate(state, limits, (account_id, group_id), now_ns)
    return found or _still_running(state, decision, now_ns)


def _still_running(state: RiskState, decision: Asked, now_ns: int) -> Refusal | None:
    """Why none is looked at of a group that was halted and has not slowed down since."""
    rush = state.rushes.get(key_of(decision))
    if rush is None or now_ns // WINDOW_NS > rush.window + 1:
        return None
    if not _hot_after(rush, rush.limit, now_ns):
        return None
    scope = halts.Scope(ScopeKind.GROUP, decision.group_id, decision.account_id)
    if state.trading_states.get(scope.key) is not TradingState.HALTED:
        return None
    return Refusal(
        code=DenialCode.ORDER_RATE,
        reason="The group is halted, and goes on as fast.",
        measured=rush.measured,
        limit=rush.limit,
    )


def hear(state: RiskState, scribe: Scribe, decision: Asked, refused: Refusal) -> list[Output]:
    """What follows from one more decision above the rate, mostly nothing yet."""
    rush = state.rushes.get(key_of(decision))
    if rush is None:
        return []
    found: list[Output] = []
    if rush.waiting and rush.waiting_bytes + _size(decision) > WAITING_BYTES_MAX:
        found.append(_denial(scribe, rush))
    is_new = scribe.now_ns // WINDOW_NS != rush.window
    limit = refused.limit or Decimal(0)
    if is_new and _hot_after(rush, limit, scribe.now_ns) >= WINDOWS:
        scope = halts.Scope(ScopeKind.GROUP, decision.group_id, decision.account_id)
        reason = (
            f"Automatic: far more than {refused.limit} decisions a second in each of {WINDOWS} "
            "windows in a row."
        )
        found += halts.automatic(state, scribe, scope, DenialCode.ORDER_RATE, reason)
    return found


def answers(state: RiskState, scribe: Scribe) -> list[Output]:
    """The Denials of the groups whose decisions have waited for a second."""
    rushes = [state.rushes[key] for key in due(state, scribe.now_ns)]
    return [_denial(scribe, rush) for rush in rushes if rush.waiting]


def _denial(scribe: Scribe, rush: Rush) -> Output:
    first, *others = rush.waiting
    record = Denial(
        decision_id=first,
        account_id=rush.account_id,
        group_id=rush.group_id,
        instrument_id=rush.instrument_id,
        code=DenialCode.ORDER_RATE,
        measured=shown(rush.measured),
        limit=shown(rush.limit),
        reason=f"{len(rush.waiting)} decisions came above the rate and were not looked at.",
        also_decision_ids=tuple(others),
        ts_event_ns=scribe.now_ns,
        ts_init_ns=scribe.now_ns,
    )
    return scribe.risk_event(record, f"{first}/{rush.first_ns}", f"{Denial.AVRO}/rush")


# ---- evolve


def wait(state: RiskState, decision: Asked, refused: Refusal, now_ns: int) -> None:
    """Notes a decision above the rate."""
    key = key_of(decision)
    rush = state.rushes.get(key)
    if rush is None:
        rush = state.rushes[key] = Rush(
            account_id=decision.account_id, group_id=decision.group_id, first_ns=now_ns
        )
    if not rush.waiting:
        rush.first_ns, rush.instrument_id = now_ns, decision.instrument_id
    rush.hot_windows = _hot_after(rush, refused.limit or Decimal(0), now_ns)
    window = now_ns // WINDOW_NS
    rush.window_count = rush.window_count + 1 if window == rush.window else 1
    rush.window = window
    rush.measured, rush.limit = refused.measured or Decimal(0), refused.limit or Decimal(0)
    rush.waiting.append(decision.decision_id)
    rush.waiting_bytes += _size(decision)


def _size(decision: Asked) -> int:
    return len(decision.decision_id.encode()) + ID_BYTES


def _hot_after(rush: Rush, limit: Decimal, now_ns: int) -> int:
    """Hot windows in a row, when a decision comes now; a window counts when it is over."""
    window = now_ns // WINDOW_NS
    if window == rush.window:
        return rush.hot_windows
    needed = max(int(limit) * WINDOW_NS // WAIT_NS, WINDOW_COUNT_MIN)
    is_hot = rush.window_count >= needed
    is_next = window == rush.window + 1
    if not is_hot:
        return 0
    return rush.hot_windows + 1 if is_next or not rush.hot_windows else 1


def answered(state: RiskState, denial: Denial) -> None:
    """Notes that decisions have had their answer."""
    rush = state.rushes.get(f"{denial.account_id}/{denial.group_id}")
    if denial.code is DenialCode.ORDER_RATE and rush is not None:
        rush.waiting = rush.waiting[1 + len(denial.also_decision_ids) :]
        rush.waiting_bytes = sum(len(name.encode()) + ID_BYTES for name in rush.waiting)
        rush.first_ns = denial.ts_init_ns


def look(state: RiskState, now_ns: int) -> None:
    """Forgets the rushes that are over."""
    for key in due(state, now_ns):
        # It was answered a second ago: no window of it counts any more.
        if not state.rushes[key].waiting:
            del state.rushes[key]


def due(state: RiskState, now_ns: int) -> list[str]:
    """Rushes that it is time to look at."""
    return sorted(key for key, rush in state.rushes.items() if rush.first_ns + WAIT_NS <= now_ns)


def next_due_ns(state: RiskState) -> int | None:
    """When the first of them is."""
    return min((rush.first_ns + WAIT_NS for rush in state.rushes.values()), default=None)
