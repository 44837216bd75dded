"""A recorded run as it is needed to play it again: configuration, answers of models, slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapeline.agents.groups_stage import Outside
from tapeline.backtest.paced.setup import Known
from tapeline.backtest.recorded_calls import RecordedCalls
from tapeline.backtest.tape.journaled import check_journaled
from tapeline.backtest.tape.store import Log, OnPulled, Tape, TapeHole
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import GroupKind, TradingGroup
from tapeline.contracts.system import Watermark
from tapeline.runtime.intake import Intake

MARKET = (topics.TICKS, topics.MACRO)
UNPLAYED = (topics.BOOKS, topics.FUNDING_RATES)
"""what is not played from the tape: it is told how much is left out"""
PULLED = (
    topics.CONFIG,
    topics.CONTROL,
    *MARKET,
    *UNPLAYED,
    topics.DECISIONS,
    topics.LLM_CALLS,
    topics.JOURNAL,
)


def pull_run(tape: Tape, log: Log, on_pulled: OnPulled) -> int:
    """Brings the tape of a run up to date and checks it; gives the number of journaled ranges."""
    tape.pull(log, PULLED, on_pulled)
    return check_journaled(tape, MARKET)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What the tape of a run says beside its market data."""

    tape: Tape

    def known(self) -> tuple[Known, ...]:
        """The topic config; raises TapeHole where it is empty."""
        found = tuple(
            Known(record=event.record, event_id=event.event_id)
            for event in self._events(topics.CONFIG)
        )
        if not found:
            raise TapeHole("The run has no configuration.", "Choose a run that was started.")
        return found

    def outside(self, records: Sequence[Any]) -> Mapping[str, Outside]:
        """The recorded answers, for the groups of language models."""
        calls = RecordedCalls(event.record for event in self._events(topics.LLM_CALLS))
        return {
            record.group_id: Outside(call_log=calls)
            for record in records
            if isinstance(record, TradingGroup) and record.kind is GroupKind.LLM
        }

    def warnings(self) -> tuple[str, ...]:
        """What was said by hand in the run; a backtest does not repeat it."""
        left_out = {
            topic: sum(
                1 for event in self._events(topic) if not isinstance(event.record, Watermark)
            )
            for topic in (topics.CONTROL, *UNPLAYED)
        }
        found = [
            f"{count} records of {topic} are left out" for topic, count in left_out.items() if count
        ]
        groups = {
            known.record.group_id
            for known in self.known()
            if isinstance(known.record, TradingGroup) and known.record.kind is not GroupKind.MANUAL
        }
        by_hand = sum(
            1
            for event in self._events(topics.DECISIONS)
            if isinstance(event.record, Decision) and event.record.group_id not in groups
        )
        if by_hand:
            found.append(f"{by_hand} decisions made by hand or from outside are left out")
        return tuple(found)

    def _events(self, topic: str) -> Any:
        intake = Intake((topic,))
        for number in range(self.tape.partition_count(topic)):
            for raws in self.tape.chunks((topic, number)):
                yield from intake.inputs_of(topic, raws)
