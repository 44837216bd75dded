"""What the kill switch does to orders, beyond the trading states of the switchboard."""

from __future__ import annotations

from collections.abc import Iterator

from tapeline.contracts.control import CancelAll, Flatten, LocalTrip
from tapeline.contracts.frozen import replace
from tapeline.execution import parents, switchboard
from tapeline.execution.state import ExecutionState
from tapeline.execution.switchboard import ControlRecord, Sweep, Switchboard
from tapeline.execution.transcript import Transcript


def ignored(talk: Transcript, record: ControlRecord, code: str) -> None:
    """Tells of a control record that does not count, but for one that a trip has said before."""
    if code != switchboard.SAID_LOCALLY:
        talk.incident(code, f"A {type(record).__name__} of {record.operator} was ignored.")


def tell(talk: Transcript, trip: LocalTrip) -> None:
    """Tells of a trip by file or signal."""
    scope = switchboard.scope_key(trip.scope, trip.scope_id)
    talk.incident(
        "SWITCH_PULLED",
        f"{trip.level.value} of {scope} by {trip.origin}: {trip.reason}. It stays until an "
        "operator resumes.",
        "critical",
    )


def swept_parents(state: ExecutionState, record: Sweep) -> Iterator[str]:
    """Orders with a schedule that a command or trip takes off the book."""
    for name, parent in state.parents.items():
        decision_id = parent.approved.approval.decision_id
        order = parent.approved.order
        if not parent.is_over and switchboard.is_swept(
            state.switchboard, record, order, decision_id
        ):
            yield name


def after(
    state: ExecutionState, record: ControlRecord | LocalTrip, board: Switchboard
) -> ExecutionState:
    """The state after a control record or trip; one that does not count has left the board."""
    if board is state.switchboard:
        return state
    state = replace(state, switchboard=board)
    if not isinstance(record, CancelAll | Flatten | LocalTrip):
        return state
    if switchboard.spares_protective(record):
        return state
    return parents.unprotected(state, swept_parents(state, record))
