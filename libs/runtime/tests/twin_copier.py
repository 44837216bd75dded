"""The copier as a process of the money path that answers each decision twice: on two topics.

Two topics, so that a transaction of which only a part were visible would show.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from copier import Copier, CopierState

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.orders import OrderStatus, OrderUpdate
from tapeline.runtime.core import Input, Output
from tapeline.runtime.ids import derive_id
from tapeline.runtime.money import MoneyService, run_money_service
from tapeline.runtime.settings import ServiceSettings, load_settings, main_guard

COPIED_TO = (topics.RISK_EVENTS, topics.ORDER_UPDATES)
"""Where each decision is answered."""


class TwinCopier(Copier):
    """Answers with a Denial, and with an OrderUpdate that holds the same running count."""

    outputs: ClassVar[tuple[str, ...]] = COPIED_TO

    def decide(self, state: CopierState, event: Input) -> Sequence[Output]:
        answers = super().decide(state, event)
        return (*answers, *(self._twin(state, event) for _ in answers))

    def _twin(self, state: CopierState, event: Input) -> Output:
        decision = event.record
        assert isinstance(decision, Decision)
        event_id = derive_id(self.context.run_id, self.context.instance, event.event_id, "Twin")
        record = twin_of(decision, state.count + 1, event.session_ns)
        return Output(
            topic=topics.ORDER_UPDATES,
            key=decision.account_id,
            record=record,
            event_id=event_id,
        )


def twin_of(decision: Decision, count: int, session_ns: int) -> OrderUpdate:
    """The second answer."""
    return OrderUpdate(
        client_order_id=decision.decision_id,
        venue_order_id="",
        account_id=decision.account_id,
        group_id=decision.group_id,
        instrument_id=decision.instrument_id,
        approval_id="",
        decision_id=decision.decision_id,
        status=OrderStatus.DENIED,
        previous_status=OrderStatus.APPROVED,
        is_terminal=True,
        code="",
        reason="",
        quantity=Decimal(count),
        filled_quantity=Decimal(0),
        ts_event_ns=session_ns,
        ts_init_ns=session_ns,
    )


def main() -> int:
    """Runs it with the settings of the environment."""
    service = MoneyService(name="risk", slot=0, make_core=TwinCopier)
    return main_guard(lambda: run_money_service(service, load_settings(ServiceSettings)))


if __name__ == "__main__":
    sys.exit(main())
