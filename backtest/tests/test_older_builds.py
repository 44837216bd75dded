"""What another build wrote is read by its own schema, or missed by its name: never in silence."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from memory_log import MemoryLog
from samples import sample
from tape_samples import by_schema, published, released

from tapeline.backtest import run_replay
from tapeline.backtest.paced.interventions import Word
from tapeline.backtest.paced.setup import MarketSlice
from tapeline.backtest.recorded_topics import RecordedTopics
from tapeline.backtest.stage_replay import replay_stage
from tapeline.backtest.tape.decoded import Decoded, RecordUnreadable
from tapeline.backtest.tape.recorded_run import PULLED, RecordedRun, pull_run
from tapeline.backtest.tape.recorded_words import words_of
from tapeline.backtest.tape.slice_tape import SliceTape, keep
from tapeline.backtest.tape.store import Tape
from tapeline.backtest.tape.topic_slices import TopicSlices
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import Account
from tapeline.contracts.market import FundingRate, MacroReading, Trade
from tapeline.contracts.orders import Fill, Mode
from tapeline.contracts.registry import SCHEMAS
from tapeline.contracts.system import Consumed, ConsumedBatch, ConsumedRange, Watermark
from tapeline.execution.core import ExecutionCore
from tapeline.runtime.codec import encode, fingerprint_of
from tapeline.runtime.core import Context, Output
from tapeline.runtime.log import TopicPartition, values_digest
from tapeline.runtime.log_reader import LogReader

WIDTH_NS = 100
TICKS, FUNDING = (topics.TICKS, 0), (topics.FUNDING_RATES, 0)
RATE = FundingRate(
    instrument_id="A.B",
    feed="f",
    rate=0.001,
    interval_ns=8,
    ts_event_ns=7,
    ts_init_ns=7,
    feed_sequence=-1,
)
END = Watermark(
    source="f", slice=1, is_paced=True, is_final=True, ts_event_ns=WIDTH_NS, ts_init_ns=WIDTH_NS
)
TICK = replace(sample(Trade.AVRO), ts_event_ns=5, price=2.0, size=1.0)
ACCOUNT = Account(
    account_id="A",
    shard=0,
    base_currency="USD",
    initial_cash=Decimal(1),
    venue="V",
    mode=Mode.PAPER,
    version=1,
)
OLDER_RATE, OLDER_ACCOUNT = released(FundingRate.AVRO), released(Account.AVRO)


def newer(name: str) -> Any:
    """The schema of a build to come."""
    source = copy.deepcopy(SCHEMAS[name])
    source["fields"].append({"name": "mood", "type": "double", "default": 0.0})
    return source


class Written:
    """A run of some builds: its topics, its journal, its schemas."""

    def __init__(self) -> None:
        self.log = MemoryLog({(name, 0): [] for name in (*PULLED, topics.SCHEMAS)})

    def say(self, place: TopicPartition, *values: bytes) -> None:
        for value in values:
            self.log.add(place, value, (("event_id", b"id"), ("producer", b"cli")))

    def publish(self, *sources: Any) -> None:
        self.say((topics.SCHEMAS, 0), *map(published, sources))

    def pulled(self, folder: Path, *, with_schemas: bool = True) -> Tape:
        tape = Tape(folder)
        if with_schemas:
            pull_run(tape, self.log, lambda _done, _all: None)
        else:
            tape.pull(self.log, PULLED)
        return tape


def slices_of(tape: Tape) -> tuple[list[MarketSlice], tuple[str, ...]]:
    """(slices, what is left out)"""
    slices = TopicSlices(tape, WIDTH_NS)

    async def all_of() -> list[MarketSlice]:
        return [part async for part in slices]

    asyncio.run(all_of())
    # A backtest looks at the data first, and reads them again to play them.
    return asyncio.run(all_of()), slices.left_out()


def rates(parts: Sequence[MarketSlice]) -> list[Any]:
    return [item.record for part in parts for item in part.funding]


def test_the_first_release_wrote_other_schemas() -> None:
    """Else nothing here would be put to the test."""
    for source, name in ((OLDER_RATE, FundingRate.AVRO), (OLDER_ACCOUNT, Account.AVRO)):
        assert fingerprint_of(source) != fingerprint_of(SCHEMAS[name])


def test_funding_rates_of_the_first_release_are_played(tmp_path: Path) -> None:
    run = Written()
    run.publish(OLDER_RATE)
    run.say(TICKS, encode(TICK), encode(END))
    run.say((topics.MACRO, 0), encode(END))
    run.say(FUNDING, by_schema(OLDER_RATE, RATE), encode(END))
    parts, left_out = slices_of(run.pulled(tmp_path))
    assert rates(parts) == [RATE]
    assert left_out == ()


@pytest.mark.parametrize("is_marked", [True, False])
def test_ticks_and_watermarks_of_another_build_are_played_from_a_tape_of_columns(
    tmp_path: Path, is_marked: bool
) -> None:
    """Those that are no columns: of a build whose schemas this one does not have."""
    tick, end = newer(Trade.AVRO), newer(Watermark.AVRO)
    run = Written()
    run.publish(tick, end)
    mark = replace(END, is_paced=is_marked)
    run.say(TICKS, by_schema(tick, _With(TICK)), encode(replace(TICK, ts_event_ns=9)))
    run.say(TICKS, by_schema(end, _With(mark)))
    tape = Tape(tmp_path)
    tape.pull(run.log, (topics.TICKS, topics.SCHEMAS))
    parts, left_out = slices_of(tape)
    assert [tick.ts_event_ns for tick in parts[0].ticks[0]] == [5, 9]
    assert parts[0].ticks[0][0] == TICK
    assert [part.is_final for part in parts] == ([True] if is_marked else [False, True])
    assert left_out == ()


class _With:
    """A record with the field that it is to have."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def to_avro(self) -> dict[str, Any]:
        return {**self._record.to_avro(), "mood": 0.5}


def test_what_nobody_can_read_is_left_out_and_told_as_the_services_do(tmp_path: Path) -> None:
    unknown = newer(FundingRate.AVRO)
    run = Written()
    run.say(TICKS, encode(TICK), encode(TICK)[:-1], encode(END))
    run.say((topics.MACRO, 0), encode(END))
    run.say(FUNDING, by_schema(unknown, _With(RATE)), b"?", encode(RATE), encode(END))
    parts, (first, second) = slices_of(run.pulled(tmp_path))
    assert rates(parts) == [RATE]
    assert first.startswith("2 records of funding-rates-0 cannot be decoded and are left out")
    mark = f"{fingerprint_of(unknown):016x}"
    assert f"offset 0: no schema is known for fingerprint {mark}" in first
    assert second.startswith("1 records of ticks-0 ")
    assert "offset 1: tapeline.market.Trade" in second


def test_kept_slices_tell_what_is_left_out_of_them(tmp_path: Path) -> None:
    run = Written()
    run.say(TICKS, encode(TICK), b"?", encode(END))
    for name in (topics.MACRO, topics.FUNDING_RATES):
        run.say((name, 0), encode(END))
    slices = TopicSlices(run.pulled(tmp_path / "tape"), WIDTH_NS)
    folder = asyncio.run(keep(slices, tmp_path, "kept", slices.left_out))
    assert SliceTape(folder, WIDTH_NS).left_out() == list(slices.left_out())
    assert len(slices.left_out()) == 1


@pytest.mark.parametrize(
    ("place", "source", "record", "what"),
    [
        (FUNDING, OLDER_RATE, RATE, "funding-rates-0 offset 0"),
        (TICKS, newer(Trade.AVRO), _With(TICK), "ticks-0 offset 0"),
        ((topics.MACRO, 0), newer(MacroReading.AVRO), None, "macro-0 offset 0"),
    ],
)
def test_a_tape_without_schemas_names_what_it_cannot_read(
    tmp_path: Path, place: TopicPartition, source: Any, record: Any, what: str
) -> None:
    """Such a tape was pulled by a build that left them behind."""
    run = Written()
    run.publish(source)
    run.say(place, by_schema(source, record or _With(sample(MacroReading.AVRO))))
    for other in (TICKS, FUNDING, (topics.MACRO, 0)):
        run.say(other, encode(END))
    tape = run.pulled(tmp_path, with_schemas=False)
    mark = f"fingerprint {fingerprint_of(source):016x}"
    with pytest.raises(RecordUnreadable, match=f"{what} was written by another build .*{mark}"):
        slices_of(tape)
    # Once pulled again, with the schemas, it is read.
    assert slices_of(run.pulled(tmp_path))[1] == ()


@pytest.mark.parametrize(
    ("topic", "read"),
    [
        (topics.CONFIG, RecordedRun.known),
        (topics.CONTROL, lambda recorded: recorded.words),
        (topics.LLM_CALLS, lambda recorded: recorded.outside([])),
    ],
)
def test_what_a_run_cannot_be_repeated_without_is_an_error(
    tmp_path: Path, topic: str, read: Callable[[RecordedRun], object]
) -> None:
    run = Written()
    run.say((topic, 0), b"?")
    recorded = RecordedRun(run.pulled(tmp_path))
    with pytest.raises(RecordUnreadable, match=f"{topic}-0 offset 0 cannot be decoded"):
        read(recorded)


def journaled(*ranges: tuple[TopicPartition, Sequence[Any]]) -> Consumed:
    """What risk/0 consumed in its first slice."""
    found = [
        ConsumedRange(
            topic=topic,
            partition=number,
            from_offset=0,
            next_offset=len(raws),
            count=len(raws),
            digest=values_digest(raws),
        )
        for (topic, number), raws in ranges
    ]
    batch = ConsumedBatch(session_ns=1, timers=(), slice=1, ranges=tuple(found), verdicts=())
    return Consumed(
        service="risk",
        shard=0,
        sequence=1,
        run_id="r",
        build_id="b",
        batches=(batch,),
        output_count=0,
        output_digest=b"",
        ts_init_ns=1,
    )


def test_configuration_decisions_and_journal_of_the_first_release_are_read(tmp_path: Path) -> None:
    config, decisions = (topics.CONFIG, 0), (topics.DECISIONS, 0)
    decision = replace(sample(Decision.AVRO), group_id="MANUAL")
    older = [released(name) for name in (Account.AVRO, Decision.AVRO, Consumed.AVRO)]
    run = Written()
    run.publish(*older)
    run.say(config, by_schema(older[0], ACCOUNT))
    run.say(decisions, by_schema(older[1], decision))
    consumed = journaled(*((place, run.log.records[place]) for place in (config, decisions)))
    run.say((topics.JOURNAL, 0), by_schema(older[2], consumed))
    tape = run.pulled(tmp_path)
    assert [known.record for known in RecordedRun(tape).known()] == [ACCOUNT]
    (word,) = words_of(tape).interventions
    assert isinstance(word, Word)
    assert isinstance(word.event.record, Decision)
    assert word.event.record.decision_id == decision.decision_id
    assert list(Decoded(tape).journal()) == [consumed]


def test_a_journal_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    run = Written()
    run.say((topics.JOURNAL, 0), by_schema(newer(Consumed.AVRO), _With(journaled())))
    with pytest.raises(RecordUnreadable, match="journal-0 offset 0 cannot be decoded: no schema"):
        run.pulled(tmp_path)


# ---- from the topics themselves


def test_recorded_topics_of_the_first_release_are_read() -> None:
    source = released(Fill.AVRO)
    run = Written()
    run.publish(source)
    fill = replace(sample(Fill.AVRO), commission=Decimal(1))
    run.say((topics.FILLS, 0), by_schema(source, fill))
    recorded = RecordedTopics(cast("LogReader", run.log))
    (found,) = recorded.records(topics.FILLS)
    assert found.fill_id == fill.fill_id
    assert recorded.quarantined == 0


class Repeater:
    """A stage that says what it hears."""

    name = "repeater"
    input_topics = (topics.FUNDING_RATES,)
    state_topic = None

    def restore(self, *_state: Any) -> None:
        pass

    async def step(self, topic: str, _partition: int, events: Sequence[Any]) -> list[Output]:
        return [
            Output(
                topic=topics.MACRO,
                key="k",
                record=replace(sample(MacroReading.AVRO), value=event.record.rate),
                event_id="e",
                partition=0,
                causation_id="",
                correlation_id="",
            )
            for event in events
        ]


def test_a_stage_is_replayed_over_inputs_of_the_first_release() -> None:
    run = Written()
    run.publish(OLDER_RATE)
    run.say(FUNDING, by_schema(OLDER_RATE, RATE))
    said = replace(sample(MacroReading.AVRO), value=RATE.rate)
    run.log.add((topics.MACRO, 0), encode(said), (("event_id", b"e"),))
    result = asyncio.run(
        replay_stage(
            cast("Any", Repeater()),
            cast("LogReader", run.log),
            (topics.MACRO,),
            lambda _raw, _record: True,
        )
    )
    assert result.difference is None
    assert result.outputs == {topics.MACRO: 1}


def test_a_shard_is_replayed_over_inputs_of_the_first_release() -> None:
    run = Written()
    run.publish(OLDER_RATE)
    run.say(FUNDING, by_schema(OLDER_RATE, RATE))
    context = Context(run_id="r", service="execution", shard=0, mode="PAPER", is_paced=True)
    for name in topics.TOPICS:
        run.log.records.setdefault((name, 0), [])
    shard = run_replay._shard(ExecutionCore, context, 0, cast("LogReader", run.log))
    (raw,) = run.log.records[FUNDING]
    assert shard.intake.input_of(raw).record == RATE


def test_the_configuration_of_the_first_release_is_replayed() -> None:
    run = Written()
    run.publish(OLDER_ACCOUNT)
    run.say((topics.CONFIG, 0), by_schema(OLDER_ACCOUNT, ACCOUNT))
    assert run_replay._records(cast("LogReader", run.log), topics.CONFIG) == [ACCOUNT]
