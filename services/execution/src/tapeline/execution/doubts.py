"""Approvals that do not verify: never carried out, and never in the way of the genuine one.

Whoever can write on approved-orders can write any approval id. So a record that does not verify
uses no id up: it is an incident, and what it names goes on untouched. It may also be risk's own,
sealed with a key that was revoked or has not arrived; then its reservation must end. Therefore it
is denied once the genuine one, if there is any, has expired.
"""

from __future__ import annotations

from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import ApprovedOrder, OrderUpdate
from tapeline.execution import life_cycle
from tapeline.execution.state import Doubt, ExecutionState, LiveOrder, ParentOrder
from tapeline.execution.transcript import Transcript
from tapeline.execution.venues.arrival import earliest


def code_of(verdict: str) -> str:
    """The stable code of a shell's verdict: EXECUTION_BAD_MAC."""
    return f"EXECUTION_{verdict}"


def raised(talk: Transcript, approved: ApprovedOrder) -> None:
    """Tells of an approval that does not verify."""
    talk.incident(
        code_of(talk.event.verdict),
        f"Approval {approved.approval.approval_id} does not verify: {talk.event.verdict}. Nothing "
        "was sent; the genuine one is waited for.",
        "critical",
    )


def denied(talk: Transcript) -> None:
    """Denies what nobody waits for any more, in answer to a timer."""
    for approval_id in sorted(talk.state.doubts):
        doubt = talk.state.doubts[approval_id]
        if doubt.is_denied or doubt.until_ns > talk.session_ns:
            continue
        reason = f"The approval does not verify: {doubt.verdict}; no other of its id has come."
        update = life_cycle.denied(doubt.approved, code_of(doubt.verdict), reason, talk.session_ns)
        talk.update(update, doubt.correlation_id)


def after_approval(state: ExecutionState, doubt: Doubt) -> ExecutionState:
    """After an approval that does not verify; the first of an id is kept."""
    approval_id = doubt.approved.approval.approval_id
    if approval_id in state.doubts or is_held(state, approval_id):
        return state
    return replace(
        state,
        doubts={**state.doubts, approval_id: doubt},
        housekeeping_ns=earliest(state.housekeeping_ns, doubt.until_ns),
    )


def settled(state: ExecutionState, approval_id: str) -> ExecutionState:
    """After the genuine approval."""
    if approval_id not in state.doubts:
        return state
    left = {key: doubt for key, doubt in state.doubts.items() if key != approval_id}
    return replace(state, doubts=left)


def updated(state: ExecutionState, update: OrderUpdate, forget_ns: int) -> ExecutionState:
    """After an update; while an id is in doubt only its denial bears it."""
    doubt = state.doubts.get(update.approval_id)
    if doubt is None:
        return state
    doubt = replace(doubt, is_denied=True, until_ns=forget_ns)
    return replace(state, doubts={**state.doubts, update.approval_id: doubt})


def kept(state: ExecutionState, now_ns: int) -> dict[str, Doubt]:
    """What is not forgotten by a timer; those it denies go on until their denial is said."""
    return {
        key: doubt
        for key, doubt in state.doubts.items()
        if not doubt.is_denied or doubt.until_ns > now_ns
    }


def is_held(state: ExecutionState, approval_id: str) -> bool:
    """Whether something was sent or asked for under an approval, however long ago, and lives."""
    if approval_id in state.used:
        return True
    known: tuple[LiveOrder | ParentOrder, ...] = (
        *state.orders.values(),
        *state.ended.values(),
        *state.parents.values(),
    )
    return any(
        approval_id == one.approval_id
        or any(approval_id == cancel.approval_id for cancel in one.cancels)
        for one in known
    )
