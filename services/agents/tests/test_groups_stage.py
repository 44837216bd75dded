"""The stage of a group: transcripts, configuration, and a crash at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from zlib import crc32

import pytest
from agents_samples import (
    DAY_NS,
    IXIC,
    SPX,
    Crash,
    HeldConfig,
    MemoryDriver,
    account_config,
    group_config,
    inputs,
    signal,
    watermark,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapeline.agents import cycles, groups_stage
from tapeline.agents.algorithmic import AlgorithmicGroup
from tapeline.agents.group import Cycle, Group, GroupResult, GroupSetup, TargetWish, target_decision
from tapeline.agents.groups_stage import GroupStage
from tapeline.agents.plugins import BadConfig
from tapeline.contracts import topics
from tapeline.contracts.agents import AgentMessage, Decision, Direction, GroupState, MessageType
from tapeline.contracts.system import SliceDone, Watermark
from tapeline.runtime.core import Output

A, B = "triggers/bars/0", "triggers/macro/0"
PROMPT = {"cycle_interval_ns": "0"}
GROUP = group_config(parameters=PROMPT)


def stage_of(config: HeldConfig, sources: tuple[str, ...] = (A,)) -> GroupStage:
    return GroupStage(
        run_id="run",
        group_id="momentum",
        config=config,
        sources=sources,
        signals_partition_count=1,
    )


def started(config: HeldConfig, sources: tuple[str, ...] = (A,)) -> GroupStage:
    stage = stage_of(config, sources)
    assert stage.restore(topics.SIGNALS, 0, 0, ()) == 0
    return stage


async def stepped(stage: GroupStage, records: Sequence[Any], first: int = 0) -> list[Output]:
    return list(await stage.step(topics.SIGNALS, 0, inputs(topics.SIGNALS, 0, records, first)))


def told(outputs: Sequence[Output]) -> list[str]:
    """One line a record."""
    return [line_of(output.record) for output in outputs]


def line_of(record: Any) -> str:
    match record:
        case Decision():
            day = record.cycle_ns // DAY_NS
            return f"{day}.{record.index} {record.instrument_id} {record.target_weight}"
        case Watermark() | SliceDone():
            return f"{type(record).__name__} {record.slice}"
        case _:
            return type(record).__name__


async def test_a_cycle_ends_with_its_watermark_and_its_report() -> None:
    stage = started(HeldConfig.of(GROUP, account_config()), (A, B))
    outputs = await stepped(
        stage,
        [
            signal(1),
            watermark(A, 1),
            signal(1, instrument_id=IXIC, direction=Direction.SHORT),
            signal(1),
            watermark(B, 1),
            watermark(B, 1),
            watermark(A, 2, is_final=True),
            watermark(B, 2, is_final=True),
        ],
    )
    assert told(outputs) == [
        f"1.0 {IXIC} -0.040000",
        f"1.1 {SPX} 0.040000",
        "Watermark 1",
        "SliceDone 1",
        "Watermark 2",
        "SliceDone 2",
    ]
    places = [(output.topic, output.partition) for output in outputs[:4]]
    shard = 3
    assert places == [("decisions", shard)] * 3 + [("progress", 0)]
    assert {output.record.source for output in outputs if isinstance(output.record, Watermark)} == {
        "group/momentum"
    }
    assert (outputs[3].record.is_final, outputs[5].record.is_final) == (False, True)
    assert all(output.record.ts_init_ns == DAY_NS for output in outputs[:4])


async def test_a_decision_names_the_signal_it_follows_from() -> None:
    stage = started(HeldConfig.of(GROUP, account_config()))
    records = [signal(1), signal(1, trigger="rsi", confidence=0.99, expected_return=0.0)]
    first, *_ = await stepped(stage, [*records, watermark(A, 1)])
    assert first.event_id == first.record.decision_id
    assert first.causation_id == f"sma-{SPX}-1"
    assert first.correlation_id == f"sma-{SPX}-1"


async def test_live_runs_report_no_slices() -> None:
    stage = started(HeldConfig.of(GROUP, account_config()))
    outputs = await stepped(stage, [watermark(A, 1, is_paced=False)])
    assert told(outputs) == ["Watermark 1"]


async def test_a_target_is_told_once_and_closed_when_its_opinion_ends() -> None:
    stage = started(HeldConfig.of(GROUP, account_config()))
    records: list[Any] = [signal(1, horizon_ns=3 * DAY_NS)]
    records += [watermark(A, day) for day in range(1, 6)]
    decisions = [item for item in await stepped(stage, records) if item.topic == "decisions"]
    assert told(decisions) == [
        f"1.0 {SPX} 0.040000",
        "Watermark 1",
        "Watermark 2",
        "Watermark 3",
        f"4.0 {SPX} 0.000000",
        "Watermark 4",
        "Watermark 5",
    ]


async def test_a_disabled_group_is_silent_but_does_not_hold_up_the_run() -> None:
    config = HeldConfig.of(GROUP, account_config())
    stage = started(config)
    config.publish(replace(GROUP, is_enabled=False, version=2))
    outputs = await stepped(stage, [signal(1), watermark(A, 1)])
    config.publish(replace(GROUP, version=3))
    later = await stepped(stage, [signal(2), watermark(A, 2)], first=2)
    assert told(outputs) == ["Watermark 1", "SliceDone 1"]
    assert told(later) == [f"2.0 {SPX} 0.040000", "Watermark 2", "SliceDone 2"]


async def test_a_change_of_the_group_takes_effect_behind_the_slice() -> None:
    config = HeldConfig.of(GROUP, account_config())
    stage = started(config)
    await stepped(stage, [signal(1), watermark(A, 1)])
    config.publish(replace(GROUP, target_weight=Decimal("0.02"), version=2))
    outputs = await stepped(stage, [signal(2), watermark(A, 2)], first=2)
    assert told(outputs)[0] == f"2.0 {SPX} 0.016000"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"parameters": {"bandd": "1"}}, "bandd"),
        ({"implementation": "algorithmical"}, "algorithmical"),
        ({"parameters": {"cycle_interval_ns": "-1"}}, "cycle_interval_ns"),
        ({"account_id": "paper-2"}, "paper-2"),
    ],
)
async def test_a_record_that_cannot_work_refuses_the_start_and_leaves_what_runs(
    change: dict[str, Any], named: str
) -> None:
    bad = replace(GROUP, version=2, **change)
    with pytest.raises(BadConfig, match=named):
        stage_of(HeldConfig.of(bad, account_config()))
    config = HeldConfig.of(GROUP, account_config())
    stage = started(config)
    config.publish(bad)
    outputs = await stepped(stage, [signal(1), watermark(A, 1), watermark(A, 2)])
    assert told(outputs) == [
        "Incident",
        f"1.0 {SPX} 0.040000",
        "Watermark 1",
        "SliceDone 1",
        "Watermark 2",
        "SliceDone 2",
    ]
    assert named in outputs[0].record.reason


async def test_a_move_to_another_universe_waits_for_a_restart() -> None:
    config = HeldConfig.of(GROUP, account_config())
    stage = started(config)
    config.publish(replace(GROUP, universe="other", version=2))
    outputs = await stepped(stage, [signal(1), watermark(A, 1)])
    assert told(outputs)[:2] == ["Incident", f"1.0 {SPX} 0.040000"]


def test_a_group_that_is_not_configured_refuses_to_start() -> None:
    with pytest.raises(BadConfig, match="momentum"):
        stage_of(HeldConfig.of(account_config()))


@dataclass(slots=True)
class Stubborn:
    """A group that asks for instruments that are not its own, and notes that it was closed."""

    setup: GroupSetup
    closed: list[str] = field(default_factory=list)

    async def decide(self, cycle: Cycle) -> GroupResult:
        wishes = [
            TargetWish(
                instrument_id=name,
                target_weight=Decimal("0.01"),
                confidence=1.0,
                reference_price=1.0,
                reason="Because.",
            )
            for name in ("OTHER.X", SPX)
        ]
        return GroupResult(
            decisions=tuple(
                target_decision(self.setup, cycle, index, wish) for index, wish in enumerate(wishes)
            )
        )

    async def close(self) -> None:
        self.closed.append(self.setup.group.group_id)


async def test_a_decision_on_a_foreign_instrument_is_dropped_and_told(monkeypatch: Any) -> None:
    made: list[Stubborn] = []

    def make(setup: GroupSetup) -> Group:
        made.append(Stubborn(setup))
        return made[-1]

    monkeypatch.setattr(groups_stage, "make_group", make)
    stage = started(HeldConfig.of(GROUP, account_config()))
    outputs = await stepped(stage, [signal(1), watermark(A, 1)])
    assert told(outputs) == [f"1.1 {SPX} 0.01", "Incident", "Watermark 1", "SliceDone 1"]
    assert "OTHER.X" in outputs[1].record.reason
    await stage.stop()
    assert made[0].closed == ["momentum"]


async def test_another_universe_s_partition_is_not_touched() -> None:
    stage = GroupStage(
        run_id="run",
        group_id="momentum",
        config=HeldConfig.of(GROUP, account_config()),
        sources=(A,),
        signals_partition_count=7,
    )
    mine = next(number for number in range(7) if stage.restore(topics.SIGNALS, number, 5, ()) == 0)
    other = (mine + 1) % 7
    events = inputs(topics.SIGNALS, other, [signal(1), watermark(A, 1)])
    assert list(await stage.step(topics.SIGNALS, other, events)) == []
    assert list(stage.checkpoint(topics.SIGNALS, other)) == []
    assert stage.low_water(topics.SIGNALS, other, 9) == 9


def the_stage() -> GroupStage:
    return stage_of(HeldConfig.of(GROUP, account_config()), (A, B))


async def test_a_state_keeps_targets_and_where_its_opinions_begin() -> None:
    records = [watermark(A, 1), watermark(B, 1), signal(2), watermark(A, 2), watermark(B, 2)]
    driver = MemoryDriver(the_stage, topics.SIGNALS, 0, records, batch_size=5)
    stage = await driver.run()
    (kept,) = driver.kept.values()
    assert isinstance(kept.record, GroupState)
    assert kept.record.next_offset == 5
    assert stage.low_water(topics.SIGNALS, 0, 5) == 2
    again = the_stage()
    assert again.restore(topics.SIGNALS, 0, 5, (kept,)) == 2
    assert not again.is_warm()
    await stepped(again, records[2:], first=2)
    more = [watermark(A, 9), watermark(B, 9)]
    assert told(await stepped(again, more, first=5))[0] == f"9.0 {SPX} 0.000000"
    assert again.is_warm()


async def test_states_of_other_groups_are_left_alone() -> None:
    records = [signal(2), watermark(A, 2), watermark(B, 2)]
    driver = MemoryDriver(the_stage, topics.SIGNALS, 0, records)
    await driver.run()
    (kept,) = driver.kept.values()
    for changes in ({"group_id": "other"}, {"partition": 1}, {"topic": topics.BARS}):
        other = replace(kept, record=replace(kept.record, **changes))
        assert the_stage().restore(topics.SIGNALS, 0, 3, (other,)) == 0


@dataclass(slots=True)
class Diarist:
    """An algorithmic group that also says all it was given, so that no difference stays unseen."""

    group: Group

    async def decide(self, cycle: Cycle) -> GroupResult:
        result = await self.group.decide(cycle)
        message = AgentMessage(
            message_id=f"diary-{cycle.cycle_ns}",
            group_id=cycle.group_id,
            cycle_ns=cycle.cycle_ns,
            sender="diarist",
            recipient="",
            type=MessageType.STATUS,
            content=repr((cycle.signals, cycle.opinions, sorted(cycle.targets.items()))),
            is_offline_model=False,
            ts_event_ns=cycle.cycle_ns,
            ts_init_ns=cycle.cycle_ns,
        )
        return replace(result, messages=(message,))


def diary_stage() -> GroupStage:
    return stage_of(HeldConfig.of(replace(GROUP, implementation="diary"), account_config()), (A, B))


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_stage, "make_group", lambda setup: Diarist(AlgorithmicGroup(setup)))


@st.composite
def partitions(draw: st.DrawFn) -> list[Any]:
    """Slices of two sources with opinions that change, repeat and lapse."""
    records: list[Any] = []
    for day in range(1, draw(st.integers(2, 10))):
        for source in draw(st.permutations([A, B])):
            for instrument_id in draw(st.lists(st.sampled_from([SPX, IXIC]), max_size=3)):
                item = signal(
                    max(1, day - draw(st.sampled_from([0, 0, 0, 1, 2]))),
                    trigger=draw(st.sampled_from(["sma", "rsi"])),
                    instrument_id=instrument_id,
                    horizon_ns=2 * DAY_NS,
                )
                changes: dict[str, Any] = {
                    "direction": draw(st.sampled_from(list(Direction))),
                    "confidence": draw(st.sampled_from([0.2, 0.5, 0.56, 0.9])),
                }
                changed = replace(item, **changes)
                records += [replace(changed, signal_id=str(crc32(repr(changed).encode())))]
                records += records[-1:] * draw(st.integers(0, 1))
            records.append(watermark(source, day))
    return records


crashes = st.lists(
    st.builds(Crash, batch=st.integers(0, 4), sent_count=st.integers(0, 12)), max_size=5
)


@pytest.mark.usefixtures("diary")
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the same for all examples
)
@given(partitions(), crashes, st.integers(1, 9))
def test_a_crash_anywhere_leaves_the_same_decisions_byte_for_byte(
    records: list[Any], deaths: list[Crash], batch_size: int
) -> None:
    whole = MemoryDriver(diary_stage, topics.SIGNALS, 0, records, batch_size)
    asyncio.run(whole.run())
    broken = MemoryDriver(diary_stage, topics.SIGNALS, 0, records, batch_size)
    for death in deaths:
        asyncio.run(broken.run(death))
    asyncio.run(broken.run())
    assert broken.first_of_each() == whole.first_of_each()
    ids = [
        (output.record.cycle_ns, output.record.index)
        for output in whole.sent
        if isinstance(output.record, Decision)
    ]
    assert ids == sorted(set(ids))


@pytest.mark.usefixtures("diary")
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the same for all examples
)
@given(partitions(), st.integers(1, 3), st.sampled_from([1, 2, 3, cycles.WAITING_COUNT_MAX]))
def test_a_process_for_each_batch_says_what_one_for_all_does(
    records: list[Any], batch_size: int, waiting_max: int
) -> None:
    """Signals that were dropped, for too many waited, are not heard behind a restart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cycles, "WAITING_COUNT_MAX", waiting_max)
        say_the_same_in_lives(records, batch_size)


def say_the_same_in_lives(records: list[Any], batch_size: int) -> None:
    whole = MemoryDriver(diary_stage, topics.SIGNALS, 0, records, batch_size)
    asyncio.run(whole.run())
    broken = MemoryDriver(diary_stage, topics.SIGNALS, 0, records, batch_size)
    asyncio.run(broken.run_in_lives())
    assert broken.sent == whole.sent
