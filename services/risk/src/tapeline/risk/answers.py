"""The records risk emits, with their derived ids."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import bounded
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.frozen import quick
from tapeline.contracts.orders import Approval, ApprovedOrder, Mode, Order, OrderAction
from tapeline.contracts.risk import Denial, DenialCode, LimitWarning
from tapeline.contracts.system import Incident
from tapeline.risk.question import Refusal
from tapeline.runtime.core import Context, Input, Output
from tapeline.runtime.ids import derive_id

APPROVAL_TTL_NS: Final = 5_000_000_000
"""Where no mandate says otherwise (flattening)."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """Writes the answers to one input."""

    context: Context
    event: Input

    ttl_ns: int = APPROVAL_TTL_NS

    @property
    def now_ns(self) -> int:
        """Session time."""
        return self.event.session_ns

    def derived(self, cause: str, kind: str, index: int = 0) -> str:
        """Id of an output of this core."""
        return derive_id(self.context.run_id, self.context.instance, cause, kind, index)

    def approval(
        self, cause: str, decision_id: str, account_id: str, ttl_ns: int, index: int = 0
    ) -> Approval:
        """A permission for one plain order, still without key and code."""
        expires_ns = self.now_ns + ttl_ns
        return Approval(
            approval_id=self.derived(cause, ApprovedOrder.AVRO, index),
            decision_id=decision_id,
            run_id=self.context.run_id,
            mode=Mode(self.context.mode),
            account_id=account_id,
            key_id="",
            issued_ns=self.now_ns,
            expires_ns=expires_ns,
            last_send_ns=expires_ns,
            child_count=1,
            mac=b"",
        )

    def approved(self, action: OrderAction, order: Order, approval: Approval) -> Output:
        """The command to execution."""
        record = ApprovedOrder(
            action=action,
            order=order,
            approval=approval,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        return Output(
            topic=topics.APPROVED_ORDERS,
            key=order.account_id,
            record=record,
            event_id=approval.approval_id,
        )

    def denied(self, decision: Decision, refusal: Refusal) -> Output:
        """The no to a decision."""
        record = Denial(
            decision_id=decision.decision_id,
            account_id=decision.account_id,
            group_id=decision.group_id,
            instrument_id=decision.instrument_id,
            code=refusal.code,
            measured=shown(refusal.measured),
            limit=shown(refusal.limit),
            reason=refusal.reason,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        return self.risk_event(record, cause_of(decision), Denial.AVRO)

    def malformed(self, account_id: str, code: str, reason: str) -> Output:
        """The no to a decision that could not be read."""
        record = Denial(
            decision_id=self.event.event_id,
            account_id=account_id,
            group_id="",
            instrument_id="",
            code=DenialCode.MALFORMED,
            reason=f"The decision could not be read ({code}): {reason}",
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        # Copies of what cannot be read share an id; their answers differ, as they name a place.
        place = f"{self.event.topic}/{self.event.partition}/{self.event.offset}"
        return self.risk_event(record, f"{self.event.event_id}@{place}", Denial.AVRO)

    def reduced(
        self, decision: Decision, refusal: Refusal, asked: Decimal, granted: Decimal
    ) -> Output:
        """The note that an order was approved for less than was asked."""
        record = LimitWarning(
            account_id=decision.account_id,
            code=refusal.code,
            measured=shown(refusal.measured) or Decimal(0),
            limit=shown(refusal.limit) or Decimal(0),
            reason=f"Decision {decision.decision_id} was reduced from {asked.normalize():f} to "
            f"{granted.normalize():f}: {refusal.reason}",
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        return self.risk_event(record, cause_of(decision), LimitWarning.AVRO)

    def risk_event(
        self, record: Denial | LimitWarning, cause: str, kind: str, index: int = 0
    ) -> Output:
        """A record for risk-events."""
        return Output(
            topic=topics.RISK_EVENTS,
            key=record.account_id,
            record=record,
            event_id=self.derived(cause, kind, index),
        )

    def incident(self, severity: str, code: str, reason: str) -> Output:
        """Something a person should know about the input."""
        record = Incident(
            service=self.context.instance,
            severity=severity,
            code=code,
            reason=reason,
            topic=self.event.topic,
            partition=self.event.partition,
            offset=self.event.offset,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        return Output(
            topic=topics.INCIDENTS,
            key=self.context.instance,
            record=record,
            event_id=self.derived(self.event.event_id, f"{Incident.AVRO}/{code}"),
            partition=0,
        )


def cause_of(decision: Decision) -> str:
    """What an answer's id is derived from. A group's numbers ascend strictly, so no second
    decision has the same, even if it repeated an id."""
    return f"{decision.decision_id}/{decision.group_id}/{decision.cycle_ns}/{decision.index}"


def shown(value: Decimal | None) -> Decimal | None:
    """A figure as the wire can hold it."""
    return None if value is None else bounded(value)
