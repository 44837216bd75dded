"""A money core for tests: answers each decision once, with a running count and sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import ClassVar

import msgspec

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.control import LocalTrip
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import OrderType, TimeInForce
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.runtime.core import Context, Input, InputTopic, Output, Pacing, TimerFired
from tapeline.runtime.ids import derive_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CopierState:
    """How many were answered, the sum of their indexes, the last mark, and what came back."""

    count: int = 0
    total: int = 0
    mark: float = 0.0
    last_index: int = -1
    due_ns: int = 0
    timers: int = 0
    local: int = 0
    """inputs that came by no topic"""
    local_before_answers: int = 0
    """of these, how many were there when the last decision came"""


class Copier:
    """Answers a decision with a Denial whose `measured` is the running count."""

    inputs: ClassVar[tuple[InputTopic, ...]] = (
        InputTopic(
            topic=topics.CONFIG,
            is_own=False,
            pacing=Pacing.UNPACED,
            is_first=True,
            is_critical=True,
        ),
        InputTopic(topic=topics.MARKS, is_own=False),
        InputTopic(topic=topics.DECISIONS, is_own=True),
    )
    outputs: ClassVar[tuple[str, ...]] = (topics.RISK_EVENTS,)
    watermark_topics: ClassVar[tuple[str, ...]] = (topics.APPROVED_ORDERS,)

    def __init__(self, context: Context) -> None:
        self.context = context

    def initial(self) -> CopierState:
        return CopierState()

    def decide(self, state: CopierState, event: Input) -> Sequence[Output]:
        if isinstance(event.record, Decision) and event.record.index > state.last_index:
            return (self._answer(state, event, event.record),)
        return ()

    def _answer(self, state: CopierState, event: Input, decision: Decision) -> Output:
        denial = Denial(
            decision_id=decision.decision_id,
            account_id=decision.account_id,
            group_id=decision.group_id,
            instrument_id=decision.instrument_id,
            code=DenialCode.NO_CHANGE,
            measured=Decimal(state.count + 1),
            limit=Decimal(repr(state.mark)),
            reason=f"timers {state.timers}",
            also_decision_ids=(),
            ts_event_ns=event.session_ns,
            ts_init_ns=event.session_ns,
        )
        event_id = derive_id(self.context.run_id, self.context.instance, event.event_id, "Denial")
        return Output(
            topic=topics.RISK_EVENTS, key=decision.account_id, record=denial, event_id=event_id
        )

    def evolve(self, state: CopierState, event: Input | Output) -> CopierState:
        record = event.record
        if isinstance(record, MarkPrice):
            return replace(state, mark=record.price)
        if isinstance(record, Decision):
            return replace(
                state,
                local_before_answers=state.local,
                total=state.total + record.index,
                last_index=max(state.last_index, record.index),
            )
        if isinstance(record, Denial):
            return replace(state, count=state.count + 1, due_ns=record.ts_event_ns + 1)
        if isinstance(record, LocalTrip):
            return replace(state, local=state.local + 1)
        if isinstance(record, TimerFired):
            return replace(state, due_ns=0, timers=state.timers + 1)
        return state

    def next_due_ns(self, state: CopierState) -> int | None:
        return state.due_ns or None

    def dump(self, state: CopierState) -> bytes:
        return msgspec.json.encode(state, order="deterministic")

    def load(self, data: bytes) -> CopierState:
        return msgspec.json.decode(data, type=CopierState)


def decision(index: int, *, group_id: str = "g", ts_event_ns: int = 1) -> Decision:
    """A decision that nobody could approve."""
    return Decision(
        decision_id=f"d{index}",
        account_id="A",
        group_id=group_id,
        cycle_ns=1,
        index=index,
        kind=DecisionKind.TARGET_WEIGHT,
        instrument_id="X.Y",
        target_weight=Decimal("0.01"),
        side=None,
        quantity=None,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.GTC,
        is_reduce_only=False,
        is_post_only=False,
        confidence=1.0,
        reference_price=0.0,
        model="",
        is_offline_model=False,
        reason="",
        ts_event_ns=ts_event_ns,
        ts_init_ns=ts_event_ns,
    )


def mark(price: float, ts_event_ns: int) -> MarkPrice:
    """A mark."""
    return MarkPrice(
        instrument_id="X.Y",
        feed="f",
        price=price,
        bid_price=None,
        ask_price=None,
        ts_event_ns=ts_event_ns,
        ts_init_ns=ts_event_ns,
    )
