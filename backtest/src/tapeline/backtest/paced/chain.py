"""A paced run in one process: bars, triggers, groups, risk, execution, slice after slice.

It follows the rule of paced runs on Kafka: a stage steps a slice when those before it have finished
it; a shard takes market data, decisions and approvals of slice n together with what execution said
in slice n - 1, sorted as `Order` says. So it says what such a run says, to the byte. What a
recorded run was told besides (`interventions`) each shard hears in the slice in which it heard it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tapeline.agents.app import sources_of
from tapeline.agents.config_book import ConfigBook
from tapeline.agents.groups_stage import GroupStage
from tapeline.agents.triggers_stage import TriggersStage
from tapeline.backtest.paced.interventions import Hearing
from tapeline.backtest.paced.paced_shard import PacedShard, Told
from tapeline.backtest.paced.setup import MarketSlice, Setup
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.system import Watermark
from tapeline.market_data.bars_stage import BarsStage
from tapeline.runtime.batches import Pending, Stamped
from tapeline.runtime.bulk import BulkInput, bulk_inputs
from tapeline.runtime.core import Context, Input, Output, Pacing, Stage
from tapeline.runtime.ids import derive_id
from tapeline.runtime.log import TopicPartition

Lanes = dict[TopicPartition, list[Told]]
OnOutput = Callable[[str, Output], None]
"""Hears everything that is said: (who, what); bars and marks among it."""


class FixedConfig:
    """The configuration of the whole run."""

    def __init__(self, book: ConfigBook) -> None:
        self.book = book


class Place:
    """Where a record would be stored: partitions are counted up as a topic would be."""

    __slots__ = ("offset", "partition")

    def __init__(self, partition: int, offset: int) -> None:
        self.partition = partition
        self.offset = offset


class Chain:
    """All parts of one run; `step` takes them through a slice."""

    def __init__(self, setup: Setup, on_output: OnOutput = lambda _who, _output: None) -> None:
        """Raises BadConfig for a configuration that cannot be put to work."""
        self.setup = setup
        self._on_output = on_output
        self._source = f"feed/{setup.feed}"
        self._offsets: dict[TopicPartition, int] = {}
        self._lanes: Lanes = {}
        """the slice that is under way"""
        self._previous: Lanes = {}
        """what came back in the slice before"""
        self._hearing = Hearing(setup.interventions)
        config = FixedConfig(setup.book())
        self._bars = BarsStage(setup.intervals_ns)
        self._triggers = TriggersStage(
            run_id=setup.run_id, config=config, signals_partition_count=setup.signals_partitions
        )
        self._groups = [
            GroupStage(
                run_id=setup.run_id,
                group_id=group.group_id,
                config=config,
                sources=sources_of(setup.instrument_partitions),
                signals_partition_count=setup.signals_partitions,
                outside=setup.outside.get(group.group_id),
            )
            for group in setup.groups()
        ]
        self._shards = {
            service: [self._shard(service, number) for number in setup.shards]
            for service in ("risk", "execution")
        }
        self._restore()

    async def step(self, part: MarketSlice) -> None:
        """One slice, from its ticks to the fills."""
        self._lanes = {}
        self._take_market(part)
        await self._run(self._bars, topics.TICKS)
        await self._run(self._triggers, topics.BARS)
        await self._run(self._triggers, topics.MACRO)
        for group in self._groups:
            await self._run(group, topics.SIGNALS)
        for shards in self._shards.values():
            for shard in shards:
                self._decide(shard, part)
        self._previous = self._lanes

    async def close(self) -> None:
        """Lets go of what groups hold open."""
        for group in self._groups:
            await group.stop()

    # ---- setting up

    def _shard(self, service: str, number: int) -> PacedShard:
        setup = self.setup
        context = Context(
            run_id=setup.run_id, service=service, shard=number, mode=setup.mode, is_paced=True
        )
        core = setup.money_cores[service](context)
        counts = {topics.CONTROL: 1, topics.CONFIG: 1}
        partitions = {
            spec.topic: counts.get(spec.topic, setup.instrument_partitions) for spec in core.inputs
        }
        return PacedShard(core, context, partitions)

    def _restore(self) -> None:
        for number in range(self.setup.instrument_partitions):
            self._bars.restore(topics.TICKS, number, 0, ())
            self._triggers.restore(topics.BARS, number, 0, ())
        self._triggers.restore(topics.MACRO, 0, 0, ())
        for group in self._groups:
            for number in range(self.setup.signals_partitions):
                group.restore(topics.SIGNALS, number, 0, ())

    # ---- market data

    def _take_market(self, part: MarketSlice) -> None:
        mark = Watermark(
            source=self._source,
            slice=part.number,
            is_paced=True,
            is_final=part.is_final,
            ts_event_ns=part.end_ns,
            ts_init_ns=part.end_ns,
        )
        for number in range(self.setup.instrument_partitions):
            records = [*part.ticks.get(number, ()), mark]
            self._tell_bulk(topics.TICKS, number, records, part.end_ns)
        place = (topics.MACRO, 0)
        for macro in part.macro:
            self._tell(place, macro.record, macro.event_id, "", self._source, part.end_ns)
        event_id = derive_id(self.setup.run_id, self._source, str(part.number), "Watermark")
        self._tell(place, mark, event_id, "", self._source, part.end_ns)
        place = (topics.FUNDING_RATES, 0)
        for funding in part.funding:
            self._tell(place, funding.record, funding.event_id, "", self._source, part.end_ns)
        kind = "Watermark/funding"
        event_id = derive_id(self.setup.run_id, self._source, str(part.number), kind)
        self._tell(place, mark, event_id, "", self._source, part.end_ns)
        if part.number == 1:
            for known in self.setup.config:
                place = (topics.CONFIG, 0)
                self._tell(place, known.record, known.event_id, "", "cli", part.end_ns)

    def _tell_bulk(
        self, topic: str, partition: int, records: Sequence[Any], session_ns: int
    ) -> None:
        """Puts records without headers on a topic."""
        place = (topic, partition)
        start = self._offsets.get(place, 0)
        self._offsets[place] = start + len(records)
        stored = [Place(partition, start + index) for index in range(len(records))]
        events: list[BulkInput] = bulk_inputs(
            records, topic, stored, [session_ns] * len(records), [""] * len(records)
        )
        lane = self._lanes.setdefault(place, [])
        lane += [Told(event, start + index) for index, event in enumerate(events)]

    def _tell(
        self,
        place: TopicPartition,
        record: Any,
        event_id: str,
        correlation_id: str,
        producer: str,
        session_ns: int,
    ) -> None:
        """Puts a record on a topic."""
        offset = self._offsets.get(place, 0)
        self._offsets[place] = offset + 1
        event = Input(
            record=record,
            topic=place[0],
            partition=place[1],
            offset=offset,
            event_id=event_id,
            correlation_id=correlation_id,
            session_ns=session_ns,
        )
        self._lanes.setdefault(place, []).append(Told(event, offset, producer))

    # ---- derived streams

    async def _run(self, stage: Stage, topic: str) -> None:
        for place in sorted(place for place in self._lanes if place[0] == topic):
            events = [told.event for told in self._lanes[place]]
            self._say(stage.name, await stage.step(topic, place[1], events), place[1], events)

    def _say(
        self, who: str, outputs: Iterable[Output], partition: int, events: Sequence[Input]
    ) -> None:
        session_ns = events[-1].session_ns
        for output in outputs:
            self._on_output(who, output)
            at = partition if output.partition is None else output.partition
            if topics.TOPICS[output.topic].is_bulk:
                self._tell_bulk(output.topic, at, [output.record], session_ns)
                continue
            place = (output.topic, at)
            correlation = output.correlation_id or ""
            self._tell(place, output.record, output.event_id, correlation, who, session_ns)

    # ---- the money path

    def _decide(self, shard: PacedShard, part: MarketSlice) -> None:
        for pull in self._hearing.pulls(shard.context.instance, part.end_ns):
            self._hear(shard, shard.pulled(pull), part)
        told = self._taken(shard, part.end_ns)
        self._hear(shard, shard.stepped(part.number, part.end_ns, part.is_final, told), part)
        self._pass_on(shard, part)

    def _hear(self, shard: PacedShard, pending: Pending, part: MarketSlice) -> None:
        """Puts what a shard said where those behind it read it."""
        who = shard.context.instance
        for stamped in pending.outputs:
            self._on_output(who, stamped.output)
            place = (stamped.output.topic, shard.context.shard)
            correlation = _correlation_of(stamped)
            record, event_id = stamped.output.record, stamped.output.event_id
            self._tell(place, record, event_id, correlation, who, part.end_ns)
        for stamped in pending.notes:
            self._on_output(who, stamped.output)

    def _taken(self, shard: PacedShard, end_ns: int) -> Mapping[TopicPartition, Sequence[Told]]:
        """The inputs of a shard for the slice."""
        found: dict[TopicPartition, list[Told]] = {}
        for place in shard.positions:
            if shard.specs[place[0]].pacing is Pacing.PREVIOUS:
                told = [_anew(item, end_ns) for item in self._previous.get(place, ())]
            else:
                told = list(self._lanes.get(place, ()))
            if told:
                found[place] = told
        for word in self._hearing.words(shard.context.instance, end_ns):
            event = word.told_at(end_ns)
            heard = Told(event, event.offset, word.producer)
            found.setdefault((event.topic, event.partition), []).append(heard)
            if isinstance(event.record, Decision):
                self._on_output(word.producer, _as_output(event))
        return found

    def _pass_on(self, shard: PacedShard, part: MarketSlice) -> None:
        """The watermark of a shard, behind what it said."""
        who = shard.context.instance
        mark = Watermark(
            source=who,
            slice=part.number,
            is_paced=True,
            is_final=part.is_final,
            ts_event_ns=part.end_ns,
            ts_init_ns=part.end_ns,
        )
        event_id = derive_id(self.setup.run_id, who, str(part.number), "SliceDone")
        for topic in shard.core.watermark_topics:
            place = (topic, shard.context.shard)
            self._tell(place, mark, event_id, "", who, part.end_ns)


def _anew(told: Told, session_ns: int) -> Told:
    """What comes back is taken in a slice later, at that slice's time."""
    event = told.event
    again = Input(
        record=event.record,
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
        event_id=event.event_id,
        correlation_id=event.correlation_id,
        session_ns=session_ns,
    )
    return Told(again, told.offset, told.producer)


def _as_output(event: Input) -> Output:
    """A decision that no group of the run has made."""
    decision: Decision = event.record
    return Output(
        topic=event.topic, key=decision.account_id, record=decision, event_id=event.event_id
    )


def _correlation_of(stamped: Stamped) -> str:
    """The workflow in the header of an output, as a shard writes it."""
    if stamped.output.correlation_id is not None:
        return stamped.output.correlation_id
    return stamped.cause.correlation_id or stamped.cause.event_id.partition("@")[0]
