"""The stage of triggers: watermarks, configuration, and a restart at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from agents_samples import (
    DAY_NS,
    IXIC,
    SPX,
    Crash,
    HeldConfig,
    MemoryDriver,
    bar,
    inputs,
    trigger_config,
    vix,
    watermark,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.agents.plugins import BadConfig
from tapeline.agents.triggers_stage import TriggersStage
from tapeline.contracts import topics
from tapeline.contracts.agents import Signal, TriggerState
from tapeline.contracts.system import Incident, Watermark
from tapeline.runtime.core import Output
from tapeline.runtime.partition import partition_of

SMA = trigger_config("sma", "sma_cross", {"fast": "1", "slow": "2"})
RSI = trigger_config("rsi", "rsi_reversal", {"period": "2"})
REGIME = trigger_config("regime", "market_regime", {"momentum": "1"}, interval_ns=0)


def stage_of(config: HeldConfig, partitions: int = 1, every: int = 200) -> TriggersStage:
    return TriggersStage(
        run_id="run",
        config=config,
        signals_partition_count=partitions,
        checkpoint_input_count=every,
    )


async def stepped(
    stage: TriggersStage, records: Sequence[Any], first: int = 0, topic: str = topics.BARS
) -> list[Output]:
    return list(await stage.step(topic, 0, inputs(topic, 0, records, first)))


def kinds(outputs: Sequence[Output]) -> list[str]:
    return [
        f"{item.record.trigger} {item.record.instrument_id} {item.record.ts_event_ns // DAY_NS}"
        if isinstance(item.record, Signal)
        else f"{item.record.source} {item.record.slice}"
        if isinstance(item.record, Watermark)
        else type(item.record).__name__
        for item in outputs
    ]


async def test_a_signal_for_every_trigger_instrument_and_bar_then_the_watermark() -> None:
    stage = stage_of(HeldConfig.of(SMA, RSI))
    assert stage.restore(topics.BARS, 0, 0, ()) == 0
    records = [
        bar(1, 10.0),
        bar(1, 20.0, instrument_id=IXIC),
        watermark("bars/0", 1),
        bar(2, 11.0),
        bar(2, 19.0, instrument_id=IXIC),
        bar(2, 11.0),
        watermark("bars/0", 2),
        bar(3, 12.0),
        watermark("bars/0", 3, is_final=True),
    ]
    outputs = await stepped(stage, records)
    assert kinds(outputs) == [
        "triggers/bars/0 1",
        f"sma {SPX} 2",
        f"sma {IXIC} 2",
        "triggers/bars/0 2",
        f"rsi {SPX} 3",
        f"sma {SPX} 3",
        "triggers/bars/0 3",
    ]
    assert all(item.event_id == item.record.signal_id for item in outputs if is_signal(item))
    assert [item.causation_id for item in outputs if is_signal(item)] == [
        f"bars/0/{offset}" for offset in (3, 4, 7, 7)
    ]
    assert outputs[-1].record.is_final
    assert [item.record.ts_init_ns // DAY_NS for item in outputs] == [1, 2, 2, 2, 3, 3, 3]


def is_signal(output: Output) -> bool:
    return isinstance(output.record, Signal)


async def test_a_watermark_is_passed_once_to_every_partition_of_signals() -> None:
    config = HeldConfig.of(SMA, replace(RSI, universe="other"))
    stage = stage_of(config, partitions=3)
    stage.restore(topics.BARS, 0, 0, ())
    marks = [watermark("bars/0", 4), watermark("bars/0", 4), watermark("bars/0", 3)]
    outputs = await stepped(stage, marks)
    assert [(item.partition, item.record.slice) for item in outputs] == [(0, 4), (1, 4), (2, 4)]
    assert len({item.event_id for item in outputs}) == 3
    days = [bar(day, close) for day, close in ((5, 1.0), (6, 2.0), (7, 3.0))]
    told = await stepped(stage, days, first=3)
    assert {(item.record.trigger, item.partition) for item in told} == {
        ("sma", partition_of("main", 3)),
        ("rsi", partition_of("other", 3)),
    }


async def test_macro_readings_have_their_own_watermark() -> None:
    stage = stage_of(HeldConfig.of(SMA, REGIME))
    stage.restore(topics.MACRO, 0, 0, ())
    records = [vix(1, 19.0), watermark("feed/x", 1), vix(2, 18.0), watermark("feed/x", 2)]
    outputs = await stepped(stage, records, topic=topics.MACRO)
    assert kinds(outputs) == ["triggers/macro/0 1", "regime  2", "triggers/macro/0 2"]


async def test_a_first_start_is_not_warm_until_the_longest_window_is_filled() -> None:
    stage = stage_of(HeldConfig.of(SMA, RSI))
    assert not stage.is_warm()
    stage.restore(topics.BARS, 0, 0, ())
    assert not stage.is_warm()
    warm = []
    for day in (1, 2, 3):
        await stepped(stage, [bar(day, 10.0 + day)], first=day)
        warm.append(stage.is_warm())
    assert warm == [False, False, True]


async def test_a_new_trigger_starts_behind_the_next_watermark() -> None:
    config = HeldConfig.of(RSI)
    stage = stage_of(config)
    stage.restore(topics.BARS, 0, 0, ())
    await stepped(stage, [bar(1, 10.0)])
    config.publish(SMA)
    before = await stepped(stage, [bar(2, 11.0), watermark("bars/0", 2)], first=1)
    after = await stepped(stage, [bar(3, 12.0), bar(4, 13.0)], first=3)
    assert kinds(before) == ["triggers/bars/0 2"]
    assert kinds(after) == [f"rsi {SPX} 3", f"rsi {SPX} 4", f"sma {SPX} 4"]


async def test_a_disabled_trigger_is_silent_and_starts_anew_when_it_is_enabled() -> None:
    config = HeldConfig.of(SMA, RSI)
    stage = stage_of(config)
    stage.restore(topics.BARS, 0, 0, ())
    await stepped(stage, [bar(1, 10.0), bar(2, 11.0)])
    config.publish(replace(SMA, is_enabled=False, version=2))
    await stepped(stage, [watermark("bars/0", 2)], first=2)
    silent = await stepped(stage, [bar(3, 12.0)], first=3)
    config.publish(replace(SMA, version=3))
    await stepped(stage, [watermark("bars/0", 3)], first=4)
    again = await stepped(stage, [bar(4, 13.0), bar(5, 14.0)], first=5)
    assert kinds(silent) == [f"rsi {SPX} 3"]
    assert kinds(again) == [f"rsi {SPX} 4", f"rsi {SPX} 5", f"sma {SPX} 5"]


async def test_an_unchanged_trigger_goes_on_when_another_changes() -> None:
    config = HeldConfig.of(SMA)
    stage = stage_of(config)
    stage.restore(topics.BARS, 0, 0, ())
    await stepped(stage, [bar(1, 10.0)])
    config.publish(RSI)
    await stepped(stage, [watermark("bars/0", 1)], first=1)
    assert kinds(await stepped(stage, [bar(2, 11.0)], first=2)) == [f"sma {SPX} 2"]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (replace(SMA, implementation="sma_crosss"), "sma_crosss"),
        (replace(SMA, parameters={"fasst": "2"}), "fasst"),
        (replace(SMA, parameters={"name": "x"}), "name"),
        (replace(SMA, parameters={"fast": "two"}), "fast"),
        (replace(SMA, parameters={"fast": "2.5"}), "fast"),
        (replace(SMA, parameters={"fast": "40"}), "fast < slow"),
    ],
)
def test_a_record_that_cannot_work_refuses_the_start_and_is_named(config: Any, named: str) -> None:
    with pytest.raises(BadConfig, match=named) as caught:
        stage_of(HeldConfig.of(config))
    assert "sma" in caught.value.cause
    assert caught.value.remedy
    stage_of(HeldConfig.of(replace(config, is_enabled=False)))


async def test_a_record_that_cannot_work_leaves_the_running_one_and_is_told_once() -> None:
    config = HeldConfig.of(SMA)
    stage = stage_of(config)
    stage.restore(topics.BARS, 0, 0, ())
    await stepped(stage, [bar(1, 10.0)])
    config.publish(replace(SMA, parameters={"slow": "0"}, version=2))
    first = await stepped(stage, [watermark("bars/0", 1)], first=1)
    second = await stepped(stage, [bar(2, 11.0), watermark("bars/0", 2)], first=2)
    assert kinds(first) == ["triggers/bars/0 1", "Incident"]
    assert isinstance(first[1].record, Incident)
    assert "fast < slow" in first[1].record.reason
    assert kinds(second) == [f"sma {SPX} 2", "triggers/bars/0 2"]


def the_stage() -> TriggersStage:
    return stage_of(HeldConfig.of(SMA, RSI), every=4)


async def test_all_states_of_a_partition_are_kept_with_a_marker_behind_them() -> None:
    records = [bar(day, 10.0 + day % 3) for day in range(1, 8)]
    driver = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size=4)
    await driver.run()
    kept = [event.record for event in driver.kept.values()]
    assert all(isinstance(record, TriggerState) for record in kept)
    assert [(record.trigger, record.instrument_id, record.next_offset) for record in kept] == [
        ("rsi", SPX, 4),
        ("sma", SPX, 4),
        ("", "@bars/0", 4),
    ]


async def test_stepping_starts_again_at_the_oldest_of_the_kept_positions() -> None:
    records = [bar(day, 10.0 + day % 3) for day in range(1, 13)]
    early = MemoryDriver(the_stage, topics.BARS, 0, records[:4], batch_size=4)
    late = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size=4)
    await early.run()
    await late.run()
    stage, key = the_stage(), f"sma/{SPX}"
    assert stage.restore(topics.BARS, 0, 12, tuple(late.kept.values())) == 12
    # One that had lost the partition wrote its old state last.
    mixed = {**late.kept, key: early.kept[key]}
    assert stage.restore(topics.BARS, 0, 12, tuple(mixed.values())) == 4
    # Without a marker nothing says whether all states are there.
    del mixed["/@bars/0"]
    assert stage.restore(topics.BARS, 0, 12, tuple(mixed.values())) == 0
    assert not stage.is_warm()


async def test_the_last_slice_and_its_time_are_taken_back() -> None:
    records = [watermark("bars/0", day) for day in range(1, 5)]
    driver = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size=4)
    await driver.run()
    stage = the_stage()
    assert stage.restore(topics.BARS, 0, 4, tuple(driver.kept.values())) == 4
    late = [bar(1, 10.0), bar(2, 11.0), watermark("bars/0", 4)]
    (told,) = await stepped(stage, late, first=4)
    assert told.record.ts_init_ns == 4 * DAY_NS


async def test_states_of_another_partition_or_topic_are_left_alone() -> None:
    records = [bar(day, 10.0 + day % 3) for day in range(1, 13)]
    driver = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size=4)
    await driver.run()
    stage = the_stage()
    assert stage.restore(topics.MACRO, 0, 12, tuple(driver.kept.values())) == 0
    assert stage.restore(topics.BARS, 1, 12, tuple(driver.kept.values())) == 0


async def test_the_state_of_a_trigger_that_is_gone_holds_nobody_back() -> None:
    records = [bar(day, 10.0 + day % 3) for day in range(1, 13)]
    early = MemoryDriver(the_stage, topics.BARS, 0, records[:4], batch_size=4)
    late = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size=4)
    await early.run()
    await late.run()
    key = f"rsi/{SPX}"
    mixed = tuple({**late.kept, key: early.kept[key]}.values())
    assert stage_of(HeldConfig.of(SMA), every=4).restore(topics.BARS, 0, 12, mixed) == 12
    assert the_stage().restore(topics.BARS, 0, 12, mixed) == 4


@st.composite
def partitions(draw: st.DrawFn) -> list[Any]:
    """Days of bars of two instruments, some missing, twice, late or incomplete."""
    records: list[Any] = []
    for day in range(1, draw(st.integers(3, 12))):
        for instrument_id in (SPX, IXIC):
            close = draw(st.floats(1.0, 1e4))
            repeats = draw(st.sampled_from([0, 1, 1, 1, 2]))
            is_complete = draw(st.booleans())
            found = bar(day, close, instrument_id=instrument_id, is_complete=is_complete)
            records += [found] * repeats
        if draw(st.booleans()):
            records.append(bar(max(day - 2, 1), 5.0))
        records.append(watermark("bars/0", day))
    return records


crashes = st.lists(
    st.builds(
        Crash,
        batch=st.integers(0, 4),
        sent_count=st.integers(0, 20),
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(partitions(), crashes, st.integers(1, 7))
def test_restarts_at_any_point_give_the_same_signals_byte_for_byte(
    records: list[Any], deaths: list[Crash], batch_size: int
) -> None:
    whole = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size)
    asyncio.run(whole.run())
    broken = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size)
    for death in deaths:
        asyncio.run(broken.run(death))
    asyncio.run(broken.run())
    assert broken.first_of_each() == whole.first_of_each()


@settings(max_examples=100, deadline=None)
@given(partitions(), st.integers(1, 3))
def test_a_process_for_each_batch_says_what_one_for_all_does(
    records: list[Any], batch_size: int
) -> None:
    whole = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size)
    asyncio.run(whole.run())
    broken = MemoryDriver(the_stage, topics.BARS, 0, records, batch_size)
    asyncio.run(broken.run_in_lives())
    assert broken.sent == whole.sent
