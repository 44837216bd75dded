"""Replays a whole recorded run: risk and execution along their journals, triggers and groups over
their inputs, language models with their recorded answers. Nothing is written anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapeline.agents.app import sources_of
from tapeline.agents.config_book import ConfigBook, book_of
from tapeline.agents.group import instance_of
from tapeline.agents.groups_stage import GroupStage, Outside
from tapeline.agents.triggers_stage import INSTANCE, TriggersStage
from tapeline.backtest.recorded_calls import RecordedCalls
from tapeline.backtest.stage_replay import StageReplay, replay_stage
from tapeline.contracts import topics
from tapeline.contracts.config import GroupKind
from tapeline.execution.core import ExecutionCore
from tapeline.risk.core import RiskCore
from tapeline.runtime.core import Context, MoneyCore
from tapeline.runtime.intake import Intake
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log import Raw
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.recovery import JOURNAL_DECODER
from tapeline.runtime.replay import Difference, ShardReplay, replay_shard
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.shard import Shard
from tapeline.runtime.writer_schemas import schemas_on

MoneyCores = Sequence[tuple[str, int, Callable[[Context], MoneyCore[Any]]]]
"""Service, its slot in the journal, its core."""
MONEY_CORES: MoneyCores = (("risk", 0, RiskCore), ("execution", 1, ExecutionCore))
OnPart = Callable[[ShardReplay | StageReplay], None]
"""Hears each part when it has been replayed."""
STRETCH = 100
"""offsets of a journal that are read at once to find its first record"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReplay:
    """What came of replaying a run."""

    shards: tuple[ShardReplay, ...]
    stages: tuple[StageReplay, ...]
    seconds: float = 0.0

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The first difference of each part that has one."""
        return tuple(part.difference for part in self.parts() if part.difference is not None)

    @property
    def is_equal(self) -> bool:
        """True when something was compared and every byte was the same."""
        compared = sum(sum(part.outputs.values()) for part in self.shards)
        return compared > 0 and not self.differences

    @property
    def inputs(self) -> int:
        """Inputs stepped in all."""
        return sum(part.inputs for part in self.parts())

    def digests(self) -> dict[str, str]:
        """topic of each part -> digest, hex; equal runs have equal digests."""
        return {
            f"{name_of(part)} {topic}": digest
            for part in self.parts()
            for topic, digest in part.digests.items()
        }

    @property
    def digest(self) -> str:
        """One over all digests: that of a backtest which says the same."""
        return whole_digest(self.digests())

    def parts(self) -> list[ShardReplay | StageReplay]:
        """Stages, then shards."""
        return [*self.stages, *self.shards]


def whole_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 over the digests by name, sorted, hex."""
    text = "\n".join(f"{name} {digests[name]}" for name in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()


def name_of(part: ShardReplay | StageReplay) -> str:
    """Such as risk/0 or group/trend."""
    return part.instance if isinstance(part, ShardReplay) else part.name


async def replay_run(
    settings: KafkaSettings,
    run_id: str,
    shards: Sequence[int],
    *,
    mode: str = "PAPER",
    money_cores: MoneyCores = MONEY_CORES,
    on_part: OnPart = lambda _part: None,
) -> RunReplay:
    """Replays what the topics of `settings.topic_prefix` hold; raises JournalError."""
    reader = LogReader(confluent_config(settings), settings.topic_prefix)
    stages = await _replay_agents(reader, run_id, on_part)
    accounts = reader.partition_count(topics.JOURNAL) // 2
    found: list[ShardReplay] = []
    for name, slot, make_core in money_cores:
        for number in shards:
            slot_partition = slot * accounts + number
            context = Context(
                run_id=run_id,
                service=name,
                shard=number,
                mode=mode,
                is_paced=is_paced(reader, slot_partition),
            )
            shard = _shard(make_core, context, slot_partition, reader)
            found.append(replay_shard(shard, reader))
            on_part(found[-1])
    return RunReplay(shards=tuple(found), stages=tuple(stages))


def is_paced(reader: LogReader, slot_partition: int) -> bool:
    """Whether the first batch of a journal was a slice; False where it has none."""
    place = (topics.JOURNAL, slot_partition)
    start, end = reader.starts([place])[place], reader.ends([place])[place]
    for low in range(start, end, STRETCH):
        # A journal may begin with transactions that were aborted, or that consumed nothing.
        for raw in reader.read({place: (low, min(low + STRETCH, end))})[place]:
            for batch in JOURNAL_DECODER.decode(raw.value).batches:
                return bool(batch.slice)
    return False


def _shard(
    make_core: Callable[[Context], MoneyCore[Any]],
    context: Context,
    slot_partition: int,
    reader: LogReader,
) -> Shard[Any]:
    core = make_core(context)
    names = tuple(spec.topic for spec in core.inputs)
    return Shard(
        core,
        context,
        Intake(
            names,
            critical=frozenset(spec.topic for spec in core.inputs if spec.is_critical),
            resolve=schemas_on(reader).resolve,
        ),
        build_id="replay",
        partitions={name: reader.partition_count(name) for name in names},
        slot_partition=slot_partition,
    )


class FixedConfig:
    """The configuration as the topic has it."""

    def __init__(self, book: ConfigBook) -> None:
        self._book = book

    @property
    def book(self) -> ConfigBook:
        """Newest versions."""
        return self._book


async def _replay_agents(reader: LogReader, run_id: str, on_part: OnPart) -> list[StageReplay]:
    config = FixedConfig(book_of(_records(reader, topics.CONFIG)))
    count = reader.partition_count(topics.SIGNALS)
    triggers = TriggersStage(run_id=run_id, config=config, signals_partition_count=count)
    found = [await replay_stage(triggers, reader, (topics.SIGNALS,), said_by(INSTANCE))]
    on_part(found[-1])
    calls = RecordedCalls(_records(reader, topics.LLM_CALLS))
    for group_id, group in sorted(config.book.groups.items()):
        if group.kind is GroupKind.MANUAL or not group.is_enabled:
            continue
        is_llm = group.kind is GroupKind.LLM
        stage = GroupStage(
            run_id=run_id,
            group_id=group_id,
            config=config,
            sources=sources_of(reader.partition_count(topics.BARS)),
            signals_partition_count=count,
            outside=Outside(call_log=calls) if is_llm else Outside(),
        )
        compared = (topics.DECISIONS, topics.DISCUSSIONS) if is_llm else (topics.DECISIONS,)
        found.append(await replay_stage(stage, reader, compared, said_by(instance_of(group_id))))
        on_part(found[-1])
    return found


def said_by(producer: str) -> Callable[[Raw, Any], bool]:
    """Tells the records of one producer from others'."""
    return lambda raw, _record: raw.header("producer") == producer


def _records(reader: LogReader, topic: str) -> list[Any]:
    places = [(topic, number) for number in range(reader.partition_count(topic))]
    starts, ends = reader.starts(places), reader.ends(places)
    intake = Intake((topic,), resolve=schemas_on(reader).resolve)
    read = reader.read({place: (starts[place], ends[place]) for place in places})
    return [intake.input_of(raw, {}).record for raws in read.values() for raw in raws]
