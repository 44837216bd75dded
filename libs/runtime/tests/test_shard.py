"""The I/O-free driver: order, journal, recovery by evolve only, replay."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import copier
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import sample

from tapeline.contracts import topics
from tapeline.contracts.system import Consumed, Snapshot
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.core import Context
from tapeline.runtime.intake import CriticalUndecodable, Intake
from tapeline.runtime.log import Message, Raw, TopicPartition, values_digest
from tapeline.runtime.log_reader import slicer
from tapeline.runtime.replay import ShardReplay, follow
from tapeline.runtime.shard import Batch, JournalError, Shard
from tapeline.runtime.trips import signal_trip

CONTEXT = Context(run_id="r", service="risk", shard=0, mode="PAPER")
PARTITIONS = {topics.CONFIG: 1, topics.MARKS: 2, topics.DECISIONS: 1, topics.JOURNAL: 2}


def new_shard(core: Any = None) -> Shard[Any]:
    core = core or copier.Copier(CONTEXT)
    names = tuple(spec.topic for spec in core.inputs)
    intake = Intake(names, critical=frozenset({topics.CONFIG}))
    return Shard(core, CONTEXT, intake, build_id="test", partitions=PARTITIONS, slot_partition=0)


def raw(
    topic: str, offset: int, record: Any, *, partition: int = 0, append_ms: int = 0, by: str = ""
) -> Raw:
    headers = (("event_id", f"{topic}{offset}".encode()), ("producer", by.encode()))
    value = record if isinstance(record, bytes) else encode(record)
    return Raw(topic, partition, offset, append_ms, b"k", value, headers)


class Log:
    """A log in memory: what transactions wrote, and what was consumed."""

    def __init__(self) -> None:
        self.inputs: dict[TopicPartition, list[Raw]] = {}
        self.outputs: list[Raw] = []
        self.journal: list[Consumed] = []
        self.snapshots: list[Snapshot] = []

    def write(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.topic == topics.JOURNAL:
                self.journal.append(Decoder((Consumed.AVRO,)).decode(message.value))
            elif message.topic == topics.SNAPSHOTS:
                self.snapshots.append(Decoder((Snapshot.AVRO,)).decode(message.value))
            elif message.topic == topics.RISK_EVENTS:
                offset = len(self.outputs)
                self.outputs.append(
                    Raw(message.topic, 0, offset, 0, message.key, message.value, message.headers)
                )


def run(log: Log, batches: Sequence[Batch], commit_every: int = 1) -> Shard[Any]:
    """Steps batches as the Kafka driver would, committing every few."""
    shard = new_shard()
    for number, batch in enumerate(batches):
        for place, raws in batch.records.items():
            log.inputs.setdefault(place, []).extend(raws)
        shard.step(batch, None)
        if (number + 1) % commit_every == 0:
            log.write(shard.transaction(with_snapshot=number % 3 == 2, watermark=None))
    return shard


def live_batches(indexes: Sequence[int]) -> list[Batch]:
    batches = []
    for number, index in enumerate(indexes):
        now = (number + 1) * 1_000
        records = {
            (topics.MARKS, number % 2): [
                raw(
                    topics.MARKS, number // 2, copier.mark(float(number), now), partition=number % 2
                )
            ],
            (topics.DECISIONS, 0): [raw(topics.DECISIONS, number, copier.decision(index))],
        }
        batches.append(Batch(now, records))
    return batches


def with_trips(batches: Sequence[Batch], numbers: Sequence[int]) -> list[Batch]:
    """The batches, with what came by no topic in some of them."""
    return [
        replace(batch, local=(signal_trip(10, number, "test"),)) if number in numbers else batch
        for number, batch in enumerate(batches)
    ]


def recovered(log: Log) -> Shard[Any]:
    shard = new_shard()
    if log.snapshots:
        shard.restore(log.snapshots[-1])
    outputs = shard.own_outputs(log.outputs)
    for consumed in log.journal:
        if consumed.sequence > shard.sequence:
            shard.absorb(consumed, slicer(log.inputs), outputs)
    return shard


def replayed(log: Log, core: Any = None) -> ShardReplay:
    shard = new_shard(core)
    result = ShardReplay("risk/0")
    recorded: Any = {}
    for (sequence, batch, index), said in shard.own_outputs(log.outputs).items():
        recorded.setdefault((sequence, batch), {})[index] = said
    for consumed in log.journal:
        follow(shard, consumed, slicer(log.inputs), recorded, result)
        if result.difference is not None:
            break
        shard.transaction(with_snapshot=False, watermark=None)
    return result


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=25), st.integers(1, 4))
def test_recovery_by_evolve_alone_reaches_the_state_of_the_uninterrupted_run(
    indexes: list[int], commit_every: int
) -> None:
    log = Log()
    whole = len(indexes) // commit_every * commit_every
    live = run(log, live_batches(indexes)[:whole], commit_every)
    again = recovered(log)
    assert again.core.dump(again.state) == live.core.dump(live.state)
    assert (again.sequence, again.digest) == (live.sequence, live.digest)
    assert again.positions == live.positions or not log.journal


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=25), st.integers(1, 4))
def test_replay_along_the_journal_says_the_same_bytes(indexes: list[int], every: int) -> None:
    log = Log()
    run(log, live_batches(indexes), every)
    assert replayed(log).difference is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=12),
    st.lists(st.integers(0, 11), max_size=4),
    st.integers(1, 3),
)
def test_what_came_by_no_topic_is_recovered_and_replayed_like_everything_else(
    indexes: list[int], trips: list[int], every: int
) -> None:
    log = Log()
    batches = with_trips(live_batches(indexes), trips)[: len(indexes) // every * every]
    live = run(log, batches, every)
    again = recovered(log)
    assert live.state.local == len({number for number in trips if number < len(batches)})
    assert again.core.dump(again.state) == live.core.dump(live.state)
    assert replayed(log).difference is None


def test_what_came_by_no_topic_is_stepped_first_and_alone_if_need_be() -> None:
    log = Log()
    quiet = Batch(500, {}, local=(signal_trip(10, 1, "a"), signal_trip(10, 2, "b")))
    live = run(log, [quiet, *with_trips(live_batches([0]), [0])])
    assert live.state.local == 3
    assert live.state.local_before_answers == 3
    assert recovered(log).state == live.state


def test_a_changed_core_makes_replay_name_the_first_differing_output() -> None:
    log = Log()
    run(log, live_batches([0, 1, 2, 3]))

    class Changed(copier.Copier):
        def _answer(self, state: Any, event: Any, decision: Any) -> Any:
            shift = 1 if decision.index == 2 else 0
            changed = replace(state, count=state.count + shift)
            return super()._answer(changed, event, decision)

    difference = replayed(log, Changed(CONTEXT)).difference
    assert difference is not None
    assert difference.sequence == 3
    assert "Decimal('3" in difference.recorded
    assert "Decimal('4" in difference.replayed


def test_a_journal_record_that_does_not_follow_halts() -> None:
    log = Log()
    run(log, live_batches([0, 1, 2]))
    del log.journal[1]
    log.snapshots.clear()
    with pytest.raises(JournalError, match="does not follow"):
        recovered(log)


def test_an_input_that_vanished_from_its_topic_halts() -> None:
    log = Log()
    run(log, live_batches([0, 1]))
    del log.inputs[topics.DECISIONS, 0][1]
    with pytest.raises(JournalError, match="decisions-0 offsets 1 to 2 hold 0 records, 1"):
        recovered(log)


def test_an_output_that_vanished_from_its_topic_halts() -> None:
    log = Log()
    run(log, live_batches([0, 1]))
    del log.outputs[0]
    with pytest.raises(JournalError, match="not those that were written"):
        recovered(log)


def test_a_damaged_snapshot_is_refused() -> None:
    log = Log()
    run(log, live_batches([0, 1, 2]))
    good = log.snapshots[-1]
    log.snapshots[-1] = replace(good, state_digest=hashlib.sha256(b"x").digest())
    with pytest.raises(JournalError, match="damaged"):
        recovered(log)


def test_live_partitions_merge_by_append_time_and_are_never_reordered() -> None:
    shard = new_shard()
    records = {
        (topics.DECISIONS, 0): [
            raw(topics.DECISIONS, 0, copier.decision(0), append_ms=20),
            raw(topics.DECISIONS, 1, copier.decision(1), append_ms=10),
        ],
        (topics.MARKS, 0): [raw(topics.MARKS, 0, copier.mark(1.0, 1), append_ms=15)],
        (topics.MARKS, 1): [raw(topics.MARKS, 0, copier.mark(2.0, 1), partition=1, append_ms=20)],
    }
    order = [(event.topic, event.offset) for event in shard.ordered(Batch(1, records), None)]
    assert order == [
        (topics.MARKS, 0),
        (topics.MARKS, 0),
        (topics.DECISIONS, 0),
        (topics.DECISIONS, 1),
    ]


def test_live_what_is_first_comes_before_what_was_stored_earlier() -> None:
    shard = new_shard()
    records = {
        (topics.CONFIG, 0): [
            raw(topics.CONFIG, 0, sample("tapeline.config.Instrument"), append_ms=9)
        ],
        (topics.MARKS, 0): [raw(topics.MARKS, 0, copier.mark(1.0, 1), append_ms=5)],
    }
    order = [event.topic for event in shard.ordered(Batch(1, records), None)]
    assert order == [topics.CONFIG, topics.MARKS]


def test_a_digest_of_values_is_over_each_with_its_length() -> None:
    values = [None, *(bytes([1]) * size for size in (*range(3), 1022, 1023, 1024, 1025, 70_000))]
    whole = hashlib.sha256()
    for value in values:
        whole.update(len(value or b"").to_bytes(4, "big") + (value or b""))
    raws = [Raw("ticks", 0, offset, 0, b"", value) for offset, value in enumerate(values)]
    assert values_digest(raws) == whole.digest()[:16]


def test_slices_are_sorted_by_event_time_then_writer() -> None:
    shard = new_shard()
    records = {
        (topics.DECISIONS, 0): [
            raw(topics.DECISIONS, 0, copier.decision(5, ts_event_ns=9), by="group/b"),
            raw(topics.DECISIONS, 1, copier.decision(4, ts_event_ns=9), by="group/a"),
        ],
        (topics.MARKS, 0): [raw(topics.MARKS, 0, copier.mark(1.0, 8))],
    }
    batch = Batch(10, records, slice=1)
    order = [(event.topic, event.offset) for event in shard.ordered(batch, None)]
    assert order == [(topics.MARKS, 0), (topics.DECISIONS, 1), (topics.DECISIONS, 0)]


def test_a_foreign_record_that_cannot_be_decoded_goes_to_quarantine_and_is_journaled() -> None:
    log = Log()
    shard = new_shard()
    bad = raw(topics.DECISIONS, 0, b"\xc3\x01rubbish")
    shard.step(Batch(5, {(topics.DECISIONS, 0): [bad]}), None)
    messages = shard.transaction(with_snapshot=False, watermark=None)
    log.write(messages)
    assert [message.topic for message in messages] == [topics.QUARANTINE, topics.JOURNAL]
    assert [v.verdict for v in log.journal[0].batches[0].verdicts] == ["NOT_AVRO"]


def test_a_configuration_record_that_cannot_be_decoded_halts_the_shard() -> None:
    shard = new_shard()
    bad = raw(topics.CONFIG, 0, b"rubbish")
    with pytest.raises(CriticalUndecodable, match="config-0 offset 0"):
        shard.step(Batch(5, {(topics.CONFIG, 0): [bad]}), None)
