"""Where an order came from and what became of it: from ticks over decisions to fills.

A fill leads by its order and decision to the decision's cause; causes are followed by their ids.
A cause in a bulk topic is named id@topic/partition/offset and read from there; its id is computed
anew from what is read, so a wrong position does not pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapeline.audit.bulk import BulkReader
from tapeline.audit.history import History, Step
from tapeline.audit.origin import TickRange, origin_of
from tapeline.audit.queries import reading_connection
from tapeline.contracts.agents import AgentMessage, Decision, LlmCall, Signal
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderUpdate, VenueReport
from tapeline.contracts.risk import Denial


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """One order or decision, from its ticks to its fills; each part in the order it happened."""

    identifier: str
    """what was asked for"""
    ticks: tuple[TickRange, ...] = ()
    bars: tuple[Step, ...] = ()
    causes: tuple[Step, ...] = ()
    """other records on the way to the decision, such as macro readings"""
    signals: tuple[Step, ...] = ()
    llm_calls: tuple[Step, ...] = ()
    discussion: tuple[Step, ...] = ()
    decisions: tuple[Step, ...] = ()
    denials: tuple[Step, ...] = ()
    approvals: tuple[Step, ...] = ()
    order_updates: tuple[Step, ...] = ()
    venue_reports: tuple[Step, ...] = ()
    fills: tuple[Step, ...] = ()
    gaps: tuple[str, ...] = ()
    """what could not be found, one sentence each"""

    @property
    def is_complete(self) -> bool:
        """True when the way leads from the fills, if any, back to ticks without a gap."""
        return bool(self.decisions and self.ticks) and not self.gaps


def trace(
    database_url: str, run_id: str, identifier: str, bulk: BulkReader | None = None
) -> Lineage | None:
    """The lineage of an order, decision, approval, fill, denial or order update, by its id.

    None where the run has no such id. Without `bulk` bars and ticks are named but not read.
    Raises DatabaseAway.
    """
    with reading_connection(database_url) as connection:
        history = History(connection, run_id)
        steps = history.related(identifier)
        if not steps:
            return None
        decisions = _of(steps, Decision.AVRO)
        causes = history.causes(step.causation_id for step in decisions)
        cycles = {
            (str(step.body["group_id"]), str(step.body["cycle_ns"])): None for step in decisions
        }
        spoken = [step for cycle in cycles for step in history.cycle(*cycle)]
    origin = origin_of(history.bulk_causes, bulk)
    gaps = [*history.gaps, *origin.gaps]
    if not decisions:
        gaps.append(f"The decision behind {identifier} is not in the audit.")
    return Lineage(
        identifier=identifier,
        ticks=origin.ticks,
        bars=origin.bars,
        causes=tuple(step for step in causes if step.record_type != Signal.AVRO),
        signals=_of(causes, Signal.AVRO),
        llm_calls=_of(spoken, LlmCall.AVRO),
        discussion=_of(spoken, AgentMessage.AVRO),
        decisions=decisions,
        denials=_of(steps, Denial.AVRO),
        approvals=_of(steps, ApprovedOrder.AVRO),
        order_updates=_of(steps, OrderUpdate.AVRO),
        venue_reports=_of(steps, VenueReport.AVRO),
        fills=_of(steps, Fill.AVRO),
        gaps=tuple(gaps),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What became of a decision, in one line."""

    decision_id: str
    outcome: str
    """DENIED, an order's status, APPROVED (no order update yet), or UNANSWERED"""
    code: str
    """denial code or EXECUTION_* code, or empty"""
    measured: str
    """what was measured, in the limit's unit, or empty"""
    limit: str
    """the limit, or empty"""
    reason: str
    """one sentence"""
    client_order_id: str
    filled_quantity: str
    """decimal, or empty"""
    account_id: str
    group_id: str
    instrument_id: str


def why(database_url: str, run_id: str, decision_id: str) -> Why | None:
    """What a decision became; None where the run has no such decision."""
    with reading_connection(database_url) as connection:
        steps = History(connection, run_id).related(decision_id)
    decisions = [step for step in _of(steps, Decision.AVRO) if step.event_id == decision_id]
    denials = [step for step in _of(steps, Denial.AVRO) if _answers(step.body, decision_id)]
    approvals = _of(steps, ApprovedOrder.AVRO)
    updates = [
        step for step in _of(steps, OrderUpdate.AVRO) if step.body["decision_id"] == decision_id
    ]
    approved = [step for step in approvals if step.body["approval"]["decision_id"] == decision_id]
    if not (decisions or denials or approved):
        return None
    if denials:
        return _denied(decision_id, denials[0].body)
    subject = (decisions or approved)[-1].body
    return _answered(decision_id, subject, approved, updates)


def _denied(decision_id: str, body: Mapping[str, Any]) -> Why:
    return Why(
        decision_id=decision_id,
        outcome="DENIED",
        code=str(body["code"]),
        measured=_text(body["measured"]),
        limit=_text(body["limit"]),
        reason=str(body["reason"]),
        client_order_id="",
        filled_quantity="",
        account_id=str(body["account_id"]),
        group_id=str(body["group_id"]),
        instrument_id=str(body["instrument_id"]),
    )


def _answered(
    decision_id: str, subject: Mapping[str, Any], approved: Sequence[Step], updates: Sequence[Step]
) -> Why:
    outcome, code, reason, filled, order_id = "UNANSWERED", "", "Risk has not answered.", "", ""
    subject = subject.get("order", subject)
    if approved:
        order = approved[-1].body["order"]
        outcome, order_id = "APPROVED", str(order["client_order_id"])
        reason = f"Approved: {order['side']} {order['quantity']} {order['instrument_id']}."
    if updates:
        last = updates[-1].body
        outcome, order_id = str(last["status"]), str(last["client_order_id"])
        code, filled = str(last["code"]), str(last["filled_quantity"])
        reason = str(last["reason"]) or reason
    return Why(
        decision_id=decision_id,
        outcome=outcome,
        code=code,
        measured="",
        limit="",
        reason=reason,
        client_order_id=order_id,
        filled_quantity=filled,
        account_id=str(subject["account_id"]),
        group_id=str(subject["group_id"]),
        instrument_id=str(subject["instrument_id"]),
    )


def _of(steps: Iterable[Step], record_type: str) -> tuple[Step, ...]:
    return tuple(step for step in steps if step.record_type == record_type)


def _answers(body: Mapping[str, Any], decision_id: str) -> bool:
    return body["decision_id"] == decision_id or decision_id in body["also_decision_ids"]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
