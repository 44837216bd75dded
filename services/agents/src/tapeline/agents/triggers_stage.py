"""The stage of all triggers: bars and macro readings in, signals out.

In:  Bar on bars, MacroReading on macro, Watermark on both; config through a ConfigSource.
Out: Signal on the partition of its universe; then Watermark "triggers/bars/<p>" or
     "triggers/macro/<p>" on every partition of signals; TriggerState; Incident for a config record
     that cannot be put to work.
Invariants: one signal per (trigger, instrument, bar), with the same id and bytes however often the
bar is met; a change of the configuration takes effect behind a watermark, never within a slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tapeline.agents.analysis import Standing, Watch, analyse, initial, signal_of, subject_of
from tapeline.agents.config_book import ConfigBook
from tapeline.agents.incidents import config_unusable
from tapeline.agents.plugins import BadConfig
from tapeline.agents.trigger import Reading
from tapeline.agents.trigger_state import Key, Marker, Place, records_of, restored
from tapeline.agents.watches import adopted, watches_of
from tapeline.contracts import topics
from tapeline.contracts.agents import Signal
from tapeline.contracts.market import Bar, MacroReading
from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Input, Output
from tapeline.runtime.ids import derive_id
from tapeline.runtime.partition import partition_of

INSTANCE: Final = "triggers"
CHECKPOINT_INPUT_COUNT: Final = 200
"""Inputs of a partition between two checkpoints: stepping them again takes milliseconds."""


class ConfigSource(Protocol):
    """Where the configuration comes from; complete before the first step."""

    @property
    def book(self) -> ConfigBook:
        """As of now; the same object while nothing has changed."""
        ...


@dataclass(slots=True)
class Lane:
    """One input partition."""

    place: Place
    book: ConfigBook
    watches: tuple[Watch, ...]
    standings: dict[Key, Standing]
    marker: Marker
    next_offset: int
    is_fresh: bool
    """nothing was kept for it, and nothing has come yet"""
    faults: tuple[BadConfig, ...] = ()
    """config records that cannot be put to work, told with the next watermark"""
    input_count: int = 0
    """inputs since the last checkpoint"""


class TriggersStage:
    """Serves any number of input partitions; each has its own states."""

    name: str = INSTANCE
    input_topics: tuple[str, ...] = (topics.BARS, topics.MACRO)
    state_topic: str | None = topics.TRIGGER_STATE

    def __init__(
        self,
        *,
        run_id: str,
        config: ConfigSource,
        signals_partition_count: int,
        checkpoint_input_count: int = CHECKPOINT_INPUT_COUNT,
    ) -> None:
        self._run_id = run_id
        self._config = config
        self._partition_count = signals_partition_count
        self._checkpoint_input_count = checkpoint_input_count
        self._lanes: dict[tuple[str, int], Lane] = {}
        # Refuses to start on a record that cannot be put to work.
        self._first_watches = watches_of(config.book)

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        """Takes the states back; returns the offset behind which they are complete."""
        place, book = Place(topic=topic, partition=partition), self._config.book
        watches, faults = adopted(self._first_watches, book)
        found = restored(place, kept, watches)
        self._lanes[topic, partition] = Lane(
            place=place,
            book=book,
            watches=watches,
            standings=found.standings,
            marker=found.marker,
            next_offset=found.next_offset,
            is_fresh=found.next_offset == 0,
            faults=faults,
        )
        return found.next_offset

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """Signals of the readings; each watermark behind the signals of its slice."""
        lane = self._lanes[topic, partition]
        outputs: list[Output] = []
        for event in events:
            match event.record:
                case Bar() | MacroReading():
                    outputs += self._analysed(lane, event.record, event.event_id)
                case Watermark():
                    outputs += self._passed(lane, event.record)
                case _:
                    pass  # in quarantine already
            lane.next_offset = event.offset + 1
            lane.input_count += 1
            lane.is_fresh = False
        return outputs

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        """All states of the partition when it is time, so that there is less than one an input."""
        lane = self._lanes[topic, partition]
        if lane.input_count < max(self._checkpoint_input_count, len(lane.standings)):
            return ()
        lane.input_count = 0
        by_name = {watch.config.trigger: watch for watch in lane.watches}
        standings = [
            (by_name[trigger], subject, standing)
            for (trigger, subject), standing in lane.standings.items()
        ]
        return records_of(lane.place, lane.next_offset, lane.marker, standings, self._run_id)

    def low_water(self, topic: str, partition: int, position: int) -> int:
        """The states are kept, so nothing before the position is needed."""
        return position

    def is_warm(self) -> bool:
        """When something has come, and every trigger has its longest window on what it watches."""
        lanes = self._lanes.values()
        return any(not lane.is_fresh for lane in lanes) and all(
            watch.core.is_warm(standing.core_state)
            for lane in lanes
            for watch in lane.watches
            for (name, _), standing in lane.standings.items()
            if name == watch.config.trigger
        )

    def _analysed(self, lane: Lane, reading: Reading, cause_id: str) -> list[Output]:
        outputs = []
        for watch in lane.watches:
            if not watch.concerns(reading):
                continue
            key = (watch.config.trigger, subject_of(reading))
            before = lane.standings.get(key) or initial(watch)
            after, opinion, share = analyse(watch, before, reading)
            if after is before:
                continue
            lane.standings[key] = after
            if opinion is not None:
                session_ns = lane.marker.session_ns
                signal = signal_of(watch, opinion, reading, self._run_id, session_ns, share)
                outputs.append(self._signal_output(signal, cause_id))
        return outputs

    def _signal_output(self, signal: Signal, cause_id: str) -> Output:
        return Output(
            topic=topics.SIGNALS,
            key=signal.universe,
            record=signal,
            event_id=signal.signal_id,
            partition=partition_of(signal.universe, self._partition_count),
            causation_id=cause_id,
            correlation_id=signal.signal_id,
        )

    def _passed(self, lane: Lane, watermark: Watermark) -> list[Output]:
        """The watermark under our name, once a slice; then the configuration as it is now."""
        self._adopt(lane)
        incidents = [
            config_unusable(INSTANCE, fault.sentence, watermark.ts_event_ns, self._run_id)
            for fault in lane.faults
        ]
        lane.faults = ()
        if watermark.slice <= lane.marker.last_slice:
            return incidents
        session_ns = max(lane.marker.session_ns, watermark.ts_event_ns)
        lane.marker = Marker(last_slice=watermark.slice, session_ns=session_ns)
        source = f"{INSTANCE}/{lane.place.name}"
        passed = Watermark(
            source=source,
            slice=watermark.slice,
            is_paced=watermark.is_paced,
            is_final=watermark.is_final,
            ts_event_ns=watermark.ts_event_ns,
            ts_init_ns=session_ns,
        )
        cause = f"{source}/{watermark.slice}"
        marks = [
            Output(
                topic=topics.SIGNALS,
                key=source,
                record=passed,
                event_id=derive_id(self._run_id, INSTANCE, cause, "Watermark", partition),
                partition=partition,
            )
            for partition in range(self._partition_count)
        ]
        return [*marks, *incidents]

    def _adopt(self, lane: Lane) -> None:
        """A changed trigger starts anew; one that is unchanged goes on."""
        book = self._config.book
        if book is lane.book:
            return
        before = {watch.config.trigger: watch for watch in lane.watches}
        lane.watches, lane.faults = adopted(lane.watches, book)
        lane.book = book
        kept = {
            watch.config.trigger
            for watch in lane.watches
            if before.get(watch.config.trigger) is watch
        }
        lane.standings = {key: lane.standings[key] for key in lane.standings if key[0] in kept}
