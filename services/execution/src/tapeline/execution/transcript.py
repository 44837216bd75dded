"""What the core says about one input, in order, and the state that its words lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.accounts import CashAdjustment, FundingPayment
from tapeline.contracts.orders import Fill, OrderUpdate, VenueReport
from tapeline.contracts.system import Incident
from tapeline.execution.state import ExecutionState
from tapeline.execution.venues.missing import Missing
from tapeline.runtime.core import Context, Input, Output
from tapeline.runtime.ids import derive_id


@dataclass(slots=True)
class Transcript:
    """Collects outputs; each one is evolved over at once, as the driver will do again."""

    context: Context
    event: Input
    state: ExecutionState
    evolve: Callable[[ExecutionState, Output], ExecutionState]
    outputs: list[Output] = field(default_factory=list)
    session_ns: int = field(init=False)
    """session time of the input"""
    _counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.session_ns = self.event.session_ns

    @property
    def correlation_id(self) -> str:
        """The workflow that the input belongs to."""
        return self.event.correlation_id or self.event.event_id.partition("@")[0]

    def derived(self, kind: str) -> str:
        """The next id of a kind."""
        index = self._counts.get(kind, 0)
        self._counts[kind] = index + 1
        context = self.context
        return derive_id(context.run_id, context.instance, self.event.event_id, kind, index)

    def update(
        self, record: OrderUpdate, correlation_id: str, causation_id: str | None = None
    ) -> str:
        """Says a step of an order's life; returns its id."""
        event_id = self.derived("OrderUpdate")
        self._say(
            topics.ORDER_UPDATES, record.account_id, record, event_id, correlation_id, causation_id
        )
        return event_id

    def fill(self, record: Fill, correlation_id: str, causation_id: str | None) -> None:
        """Says an execution."""
        self._say(
            topics.FILLS, record.account_id, record, record.fill_id, correlation_id, causation_id
        )

    def report(self, record: VenueReport, correlation_id: str, causation_id: str | None) -> None:
        """Says what a venue inside the core answered."""
        self._say(
            topics.VENUE_REPORTS,
            record.account_id,
            record,
            record.report_id,
            correlation_id,
            causation_id,
        )

    def account_event(self, record: Any, event_id: str) -> None:
        """Says that cash or a position moved by other than a fill, or differs from the venue's."""
        self._say(
            topics.ACCOUNT_EVENTS, record.account_id, record, event_id, self.correlation_id, None
        )

    def beside(self, said: FundingPayment | CashAdjustment | Missing) -> None:
        """Says what a venue inside the core says besides its reports."""
        if isinstance(said, Missing):
            self.incident(said.code, said.reason)
        elif said.account_id in self.state.external.books:
            # A shadow run: the account's book is that of its real venue, where nothing is held.
            return
        elif isinstance(said, FundingPayment):
            self.account_event(said, said.payment_id)
        else:
            self.account_event(said, said.adjustment_id)

    def incident(self, code: str, reason: str, severity: str = "warning") -> None:
        """Says something that a person should know."""
        record = Incident(
            service=self.context.service,
            severity=severity,
            code=str(code),
            reason=reason,
            topic=self.event.topic,
            partition=self.event.partition,
            offset=self.event.offset,
            ts_event_ns=self.session_ns,
            ts_init_ns=self.session_ns,
        )
        event_id = self.derived("Incident")
        self._say(
            topics.INCIDENTS, self.context.service, record, event_id, self.correlation_id, None
        )

    def _say(
        self,
        topic: str,
        key: str,
        record: Any,
        event_id: str,
        correlation_id: str,
        causation_id: str | None,
    ) -> None:
        output = Output(
            topic=topic,
            key=key,
            record=record,
            event_id=event_id,
            causation_id=causation_id,
            correlation_id=correlation_id,
        )
        self.outputs.append(output)
        self.state = self.evolve(self.state, output)
