"""The stage of one group: signals of its universe in, decisions out, a cycle at a time.

In:  Signal and Watermark on its universe's partition of signals; config through a ConfigSource.
Out: LlmCall and AgentMessage of the cycle, Decision on its account's shard, then Watermark
     "group/<id>" there and, in paced runs, SliceDone on progress; GroupState.
Invariants: (cycle_ns, index) of decisions ascends strictly; a cycle met again after a crash gives
the same decisions; every complete slice is passed on, with or without a cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Protocol

from tapeline.agents.config_book import ConfigBook
from tapeline.agents.cycles import Closing, CycleTracker, Heard
from tapeline.agents.group import (
    CallLog,
    ClosableGroup,
    Cycle,
    Group,
    GroupResult,
    GroupSetup,
    instance_of,
)
from tapeline.agents.group_outputs import CycleOutputs
from tapeline.agents.group_state import apply, record_of, restored, standing_of
from tapeline.agents.incidents import config_unusable
from tapeline.agents.llm.endpoint import Endpoint
from tapeline.agents.plugins import BadConfig, make_group
from tapeline.agents.triggers_stage import ConfigSource
from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind, Signal
from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Input, Output
from tapeline.runtime.partition import partition_of

CHECKPOINT_INPUT_COUNT: Final = 200
"""Inputs without a cycle between two checkpoints."""
STEP_S: Final = 60.0
CYCLES_A_STEP: Final = 10
"""Cycles of language models that one batch of a backlog may hold; the driver waits so long."""
CYCLE_INTERVAL: Final = "cycle_interval_ns"
"""Parameter of every group: smallest time between two of its cycles."""
CYCLE_INTERVAL_NS: Final = 60_000_000_000


class ReadBackLog(CallLog, Protocol):
    """A call log that looks at the topic anew when a partition comes (back) to this process."""

    def forget(self) -> None:
        """What was read so far may be old."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What groups of language models need from outside."""

    call_log: ReadBackLog | None = None
    llm: Endpoint | None = None


@dataclass(slots=True)
class Lane:
    """The partition of the group's universe."""

    partition: int
    tracker: CycleTracker
    targets: dict[str, Decimal]
    next_offset: int
    rebuild_until: int
    """below it, signals are only heard again"""
    recorded: list[Heard] = field(default_factory=list)
    is_rebuilt: bool = False
    input_count: int = 0
    """inputs since the last checkpoint"""
    has_cycle: bool = False
    """a cycle was held since the last checkpoint"""


class GroupStage:
    """One group with its own consumer group, so that groups do not wait for each other."""

    input_topics: tuple[str, ...] = (topics.SIGNALS,)
    state_topic: str | None = topics.GROUP_STATE

    def __init__(
        self,
        *,
        run_id: str,
        group_id: str,
        config: ConfigSource,
        sources: tuple[str, ...],
        signals_partition_count: int,
        outside: Outside | None = None,
    ) -> None:
        """`sources` are those whose watermarks complete a slice. Raises BadConfig."""
        self.name = instance_of(group_id)
        self._run_id = run_id
        self._group_id = group_id
        self._config = config
        self._sources = sources
        self._outside = outside or Outside()
        self._book = config.book
        self._setup = setup_of(self._book, group_id, run_id, self._outside)
        interval_ns_of(self._setup)
        self._group: Group = make_group(self._setup)
        self._partition = partition_of(self._setup.group.universe, signals_partition_count)
        deadline_s = 0.0 if self._outside.llm is None else self._outside.llm.deadline_s
        self.step_seconds_max = max(STEP_S, CYCLES_A_STEP * deadline_s)
        self._lane: Lane | None = None

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        """Takes the targets back; returns the first offset that the opinions need."""
        if partition != self._partition:
            return committed
        if self._outside.call_log is not None:
            self._outside.call_log.forget()
        next_offset, standing = restored(self._group_id, partition, kept)
        tracker = CycleTracker(
            universe=self._setup.group.universe,
            sources=self._sources,
            interval_ns=interval_ns_of(self._setup),
        )
        apply(standing, tracker)
        self._lane = Lane(
            partition=partition,
            tracker=tracker,
            targets=dict(standing.targets),
            next_offset=next_offset,
            rebuild_until=next_offset,
        )
        return standing.low_water

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """Decisions of every cycle that the batch completes."""
        lane = self._lane
        if lane is None or partition != lane.partition:
            return ()
        outputs: list[Output] = []
        for event in events:
            if event.offset < lane.rebuild_until:
                _record(lane, event)
                continue
            _rebuild(lane)
            outputs += await self._stepped(lane, event)
            lane.next_offset = event.offset + 1
            lane.input_count += 1
        return outputs

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        """The state after every batch with a cycle, and now and then without."""
        lane = self._lane
        if lane is None or partition != lane.partition or not lane.is_rebuilt:
            return ()
        if not lane.has_cycle and lane.input_count < CHECKPOINT_INPUT_COUNT:
            return ()
        lane.has_cycle, lane.input_count = False, 0
        standing = standing_of(lane.tracker, lane.targets, lane.next_offset)
        return (record_of(self._group_id, partition, lane.next_offset, standing, self._run_id),)

    def low_water(self, topic: str, partition: int, position: int) -> int:
        """First offset that the opinions held at `position` need."""
        lane = self._lane
        if lane is None or partition != lane.partition or not lane.is_rebuilt:
            return position
        return lane.tracker.low_water(position)

    def is_warm(self) -> bool:
        """Opinions warm up in the triggers; a group only needs to have heard again what it held."""
        lane = self._lane
        return lane is None or lane.is_rebuilt or lane.rebuild_until == 0

    async def stop(self) -> None:
        """Closes what the group holds open."""
        await _closed(self._group)

    async def _stepped(self, lane: Lane, event: Input) -> Sequence[Output]:
        match event.record:
            case Signal():
                lane.tracker.hear(_heard(event, event.record))
            case Watermark():
                closing = lane.tracker.pass_(event.record, event.offset)
                if closing is not None:
                    return await self._slice(lane, closing)
            case _:
                pass  # in quarantine already
        return ()

    async def _slice(self, lane: Lane, closing: Closing) -> Sequence[Output]:
        incidents = await self._adopt(lane, closing.ts_event_ns)
        outputs = CycleOutputs(setup=self._setup, closing=closing, opinions=lane.tracker.standing())
        if closing.new is None or not self._setup.group.is_enabled:
            return (*incidents, *outputs.of(GroupResult()))
        cycle = Cycle(
            group_id=self._group_id,
            universe=self._setup.group.universe,
            cycle_ns=closing.ts_event_ns,
            slice=closing.slice,
            signals=tuple(heard.signal for heard in closing.new),
            opinions=tuple(heard.signal for heard in lane.tracker.standing()),
            targets=dict(lane.targets),
        )
        result = await self._group.decide(cycle)
        lane.has_cycle = True
        for decision in outputs.permitted(result):
            if decision.kind is DecisionKind.TARGET_WEIGHT and decision.target_weight is not None:
                lane.targets[decision.instrument_id] = decision.target_weight
        lane.targets.update(result.noted)
        return (*incidents, *outputs.of(result))

    async def _adopt(self, lane: Lane, end_ns: int) -> Sequence[Output]:
        """Takes a change of the configuration over between two slices.

        A record that cannot work leaves the group as it is; a start on it would be refused.
        """
        book = self._config.book
        if book is self._book:
            return ()
        self._book = book
        try:
            setup = setup_of(book, self._group_id, self._run_id, self._outside)
            if setup == self._setup:
                return ()
            _require_same_universe(self._setup, setup)
            interval_ns, group = interval_ns_of(setup), make_group(setup)
        except BadConfig as fault:
            return (config_unusable(self.name, fault.sentence, end_ns, self._run_id),)
        await _closed(self._group)
        self._setup, self._group = setup, group
        lane.tracker.interval_ns = interval_ns
        return ()


def setup_of(book: ConfigBook, group_id: str, run_id: str, outside: Outside) -> GroupSetup:
    """What the configuration says of a group; raises BadConfig."""
    group = book.groups.get(group_id)
    if group is None:
        known = ", ".join(sorted(book.groups)) or "none"
        raise BadConfig(
            f"There is no group {group_id} on the topic config.",
            f"Publish its TradingGroup record; there are: {known}.",
        )
    account = book.accounts.get(group.account_id)
    if account is None:
        raise BadConfig(
            f"Group {group_id} decides for account {group.account_id}, which does not exist.",
            "Publish its Account record.",
        )
    instruments = {
        name: book.instruments[name] for name in group.instruments if name in book.instruments
    }
    return GroupSetup(
        run_id=run_id,
        group=group,
        account=account,
        instruments=instruments,
        call_log=outside.call_log,
        llm=outside.llm,
    )


def interval_ns_of(setup: GroupSetup) -> int:
    """Smallest time between two cycles; raises BadConfig."""
    text = setup.group.parameters.get(CYCLE_INTERVAL, str(CYCLE_INTERVAL_NS))
    if not text.isdigit():
        raise BadConfig(
            f"Group {setup.group.group_id}: {CYCLE_INTERVAL} is {text!r}.",
            "It takes nanoseconds, a whole number from 0.",
        )
    return int(text)


def _require_same_universe(before: GroupSetup, after: GroupSetup) -> None:
    if before.group.universe != after.group.universe:
        raise BadConfig(
            f"Group {after.group.group_id} moves to the universe {after.group.universe}.",
            "It reads that after a restart.",
        )


async def _closed(group: Group) -> None:
    if isinstance(group, ClosableGroup):
        await group.close()


def _heard(event: Input, signal: Signal) -> Heard:
    correlation_id = event.correlation_id or signal.signal_id
    return Heard(signal=signal, offset=event.offset, correlation_id=correlation_id)


def _record(lane: Lane, event: Input) -> None:
    if isinstance(event.record, Signal):
        lane.recorded.append(_heard(event, event.record))


def _rebuild(lane: Lane) -> None:
    if not lane.is_rebuilt:
        lane.tracker.rebuild(lane.recorded)
        lane.recorded, lane.is_rebuilt = [], True
