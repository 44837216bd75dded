"""What a group's stage sends at the end of a slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tapeline.agents.cycles import Closing, Heard
from tapeline.agents.group import GroupResult, GroupSetup, instance_of
from tapeline.agents.incidents import decision_outside_group
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.system import SliceDone, Watermark
from tapeline.runtime.core import Output
from tapeline.runtime.ids import derive_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleOutputs:
    """Makes the records of one slice in the name of a group."""

    setup: GroupSetup
    closing: Closing
    opinions: tuple[Heard, ...]
    """what held when the group decided"""

    def of(self, result: GroupResult) -> tuple[Output, ...]:
        """Calls, messages, decisions; then the watermark, and the report of a paced run."""
        decisions = self.permitted(result)
        _assert_in_order(decisions, self.setup, self.closing)
        calls = [self._spoken(topics.LLM_CALLS, call, call.call_id) for call in result.llm_calls]
        messages = [
            self._spoken(topics.DISCUSSIONS, message, message.message_id)
            for message in result.messages
        ]
        refused = [item for item in result.decisions if item not in decisions]
        return (
            *calls,
            *messages,
            *(self._decided(decision, result) for decision in decisions),
            *(self._incident(decision) for decision in refused),
            self._watermark(),
            *([self._slice_done()] if self.closing.is_paced else []),
        )

    def permitted(self, result: GroupResult) -> tuple[Decision, ...]:
        """Decisions on the group's own instruments."""
        instruments = self.setup.group.instruments
        return tuple(item for item in result.decisions if item.instrument_id in instruments)

    @property
    def _instance(self) -> str:
        return instance_of(self.setup.group.group_id)

    def _spoken(self, topic: str, record: Any, event_id: str) -> Output:
        return Output(
            topic=topic,
            key=self.setup.group.group_id,
            record=record,
            event_id=event_id,
            partition=0,
        )

    def _decided(self, decision: Decision, result: GroupResult) -> Output:
        cause = self._cause(decision, result)
        return Output(
            topic=topics.DECISIONS,
            key=decision.account_id,
            record=decision,
            event_id=decision.decision_id,
            partition=self.setup.account.shard,
            causation_id=cause.signal.signal_id if cause else None,
            correlation_id=cause.correlation_id if cause else None,
        )

    def _cause(self, decision: Decision, result: GroupResult) -> Heard | None:
        """The signal it follows from: the group's word, else the strongest on the instrument."""
        named = result.causes.get(decision.decision_id)
        about = [
            heard
            for heard in self.opinions
            if named == heard.signal.signal_id
            or (named is None and heard.signal.instrument_id == decision.instrument_id)
        ]
        return max(about, key=lambda heard: (heard.signal.confidence, heard.age_key), default=None)

    def _incident(self, decision: Decision) -> Output:
        return decision_outside_group(
            self._instance,
            decision.instrument_id,
            self.closing.ts_event_ns,
            self.setup.run_id,
        )

    def _watermark(self) -> Output:
        record = Watermark(
            source=self._instance,
            slice=self.closing.slice,
            is_paced=self.closing.is_paced,
            is_final=self.closing.is_final,
            ts_event_ns=self.closing.ts_event_ns,
            ts_init_ns=self.closing.ts_event_ns,
        )
        return Output(
            topic=topics.DECISIONS,
            key=self._instance,
            record=record,
            event_id=self._derived("Watermark"),
            partition=self.setup.account.shard,
        )

    def _slice_done(self) -> Output:
        record = SliceDone(
            reporter=self._instance,
            slice=self.closing.slice,
            is_final=self.closing.is_final,
            ts_event_ns=self.closing.ts_event_ns,
            ts_init_ns=self.closing.ts_event_ns,
        )
        return Output(
            topic=topics.PROGRESS,
            key=self._instance,
            record=record,
            event_id=self._derived("SliceDone"),
            partition=0,
        )

    def _derived(self, kind: str, index: int = 0) -> str:
        cause = f"slice/{self.closing.slice}"
        return derive_id(self.setup.run_id, self._instance, cause, kind, index)


def _assert_in_order(decisions: Sequence[Decision], setup: GroupSetup, closing: Closing) -> None:
    last = -1
    for decision in decisions:
        assert decision.group_id == setup.group.group_id, decision
        assert decision.account_id == setup.account.account_id, decision
        assert decision.cycle_ns == closing.ts_event_ns, decision
        assert decision.index > last, f"indices must ascend: {decision}"
        last = decision.index
