"""A recorded run as it is needed to play it again: configuration, answers of models, slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tapeline.agents.groups_stage import Outside
from tapeline.backtest.paced.interventions import Intervention, Word, of_run
from tapeline.backtest.paced.setup import Known
from tapeline.backtest.recorded_calls import RecordedCalls
from tapeline.backtest.tape.decoded import Decoded
from tapeline.backtest.tape.journaled import check_journaled
from tapeline.backtest.tape.order_names import order_names
from tapeline.backtest.tape.recorded_words import TOLD, Words, words_of
from tapeline.backtest.tape.store import Log, OnPulled, Tape, TapeHole
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import GroupKind, TradingGroup, Trigger

MARKET = (topics.TICKS, topics.MACRO, topics.FUNDING_RATES)
PULLED = (*MARKET, *TOLD, topics.LLM_CALLS, topics.JOURNAL)


def pull_run(tape: Tape, log: Log, on_pulled: OnPulled) -> int:
    """Brings the tape of a run up to date and checks it; gives the number of journaled ranges."""
    tape.pull(log, PULLED, on_pulled)
    # A service publishes its schemas before its first record: so all that they are needed for.
    tape.pull(log, (topics.SCHEMAS,))
    return check_journaled(tape, (*MARKET, *TOLD))


@dataclass(frozen=True)
class RecordedRun:
    """What the tape of a run says beside its market data."""

    tape: Tape

    def market_ends(self) -> dict[str, int]:
        """topic-partition -> the offset behind its last record of market data on the tape."""
        return {
            f"{topic}-{number}": self.tape.end((topic, number))
            for topic in MARKET
            for number in range(self.tape.partition_count(topic))
        }

    @cached_property
    def words(self) -> Words:
        """What it was told besides its market data."""
        return words_of(self.tape)

    def known(self) -> tuple[Known, ...]:
        """The topic config as it was at the start; raises TapeHole where it is empty."""
        found = tuple(
            Known(record=event.record, event_id=event.event_id)
            for event in self._events(topics.CONFIG)
            if event.offset in self.words.at_start
        )
        if not found:
            raise TapeHole("The run has no configuration.", "Choose a run that was started.")
        return found

    def meant_for(
        self, interventions: Sequence[Intervention], run_ids: tuple[str, str]
    ) -> tuple[Intervention, ...]:
        """What was said to it, as said to another run; `run_ids`: its own, the other's."""
        is_named = any(_names_an_order(item) for item in interventions)
        names = order_names(self._decisions(), self._universes(), run_ids) if is_named else {}
        return of_run(interventions, run_ids, names)

    def outside(self, records: Sequence[Any]) -> Mapping[str, Outside]:
        """The recorded answers, for the groups of language models."""
        calls = RecordedCalls(event.record for event in self._events(topics.LLM_CALLS))
        return {
            record.group_id: Outside(call_log=calls)
            for record in records
            if isinstance(record, TradingGroup) and record.kind is GroupKind.LLM
        }

    def warnings(self) -> tuple[str, ...]:
        """What cannot be repeated where it was, record by record."""
        found = {
            (item.event.offset, item.event.record)
            for item in self.words.interventions
            if isinstance(item, Word) and isinstance(item.event.record, TradingGroup | Trigger)
        }
        return tuple(
            f"{type(record).__name__} {name_of(record)} was changed to version {record.version} "
            "within the run; nobody noted when its process read that, so here it has it from the "
            "start"
            for _, record in sorted(found, key=lambda item: item[0])
        )

    def _decisions(self) -> Iterator[tuple[int, Decision]]:
        """(shard, decision)"""
        for event in self._events(topics.DECISIONS):
            if isinstance(event.record, Decision):
                yield event.partition, event.record

    def _universes(self) -> dict[str, str]:
        """group -> the universe that it decides over."""
        records = (event.record for event in self._events(topics.CONFIG))
        return {item.group_id: item.universe for item in records if isinstance(item, TradingGroup)}

    def _events(self, topic: str) -> Any:
        decoded = Decoded(self.tape)
        for number in range(self.tape.partition_count(topic)):
            for _, event in decoded.inputs((topic, number)):
                yield event


def _names_an_order(item: Intervention) -> bool:
    record = item.event.record if isinstance(item, Word) else None
    return isinstance(record, Decision) and bool(record.client_order_id)


def name_of(record: TradingGroup | Trigger) -> str:
    """As people call it."""
    return record.group_id if isinstance(record, TradingGroup) else record.trigger
