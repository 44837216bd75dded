"""What a run was told besides its market data: found in the journals, heard again in its place."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from memory_log import MemoryLog

from tapeline.backtest.paced.interventions import Hearing, Pull, Word, during, moved, of_run
from tapeline.backtest.tape.journaled import check_journaled
from tapeline.backtest.tape.order_names import order_name, order_names
from tapeline.backtest.tape.recorded_words import TOLD, Words, words_of
from tapeline.backtest.tape.store import Tape, TapeHole
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Account
from tapeline.contracts.control import (
    CancelAll,
    LocalTrip,
    ScopeKind,
    SetTradingState,
    SwitchLevel,
)
from tapeline.contracts.orders import Mode, OrderType, Side, TimeInForce
from tapeline.contracts.risk import TradingState
from tapeline.contracts.system import Consumed, ConsumedBatch, ConsumedRange, RecordVerdict
from tapeline.runtime.codec import encode
from tapeline.runtime.core import Input
from tapeline.runtime.ids import derive_id
from tapeline.runtime.log import TopicPartition, values_digest

RUN, OTHER = "recorded", "another"
CONTROL, CONFIG, DECISIONS = (topics.CONTROL, 0), (topics.CONFIG, 0), (topics.DECISIONS, 0)
HALT = SetTradingState(
    scope=ScopeKind.ALL,
    scope_id="",
    state=TradingState.HALTED,
    sequence=1,
    operator="o",
    reason="",
    issued_ns=0,
    run_id=RUN,
    key_id="o",
    signature=b"x",
)
SWEEP = CancelAll(
    command_id="c",
    scope=ScopeKind.ALL,
    scope_id="",
    sequence=1,
    spares_protective=True,
    operator="o",
    reason="",
    issued_ns=0,
    expires_ns=1_000,
    run_id=RUN,
    key_id="o",
    signature=b"x",
)
TRIP = LocalTrip(
    trip_id="t",
    origin="file halt",
    scope=ScopeKind.ALL,
    scope_id="",
    level=SwitchLevel.CANCEL_ALL,
    spares_protective=True,
    reason="",
    sequence=1,
    expires_ns=9,
)
ACCOUNT = Account(
    account_id="A",
    shard=0,
    base_currency="USD",
    initial_cash=Decimal(1),
    venue="V",
    mode=Mode.PAPER,
    version=1,
)
BY_HAND = Decision(
    decision_id="d",
    account_id="A",
    group_id="MANUAL",
    cycle_ns=5,
    index=0,
    kind=DecisionKind.ORDER,
    instrument_id="I.V",
    target_weight=None,
    side=Side.BUY,
    quantity=Decimal(1),
    order_type=OrderType.MARKET,
    limit_price=None,
    time_in_force=TimeInForce.GTC,
    is_reduce_only=False,
    is_post_only=False,
    client_order_id=None,
    confidence=1.0,
    reference_price=0.0,
    model="",
    is_offline_model=False,
    reason="",
    ts_event_ns=5,
    ts_init_ns=5,
)
OF_A_GROUP = replace(BY_HAND, group_id="trend")


class Recorded:
    """A log with journals of two shards, written batch by batch."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        for topic in TOLD:
            self.log.records[topic, 0] = []
        self.next: dict[tuple[str, TopicPartition], int] = {}
        self.sequences: dict[str, int] = {}

    def say(self, place: TopicPartition, record: Any, producer: str = "cli") -> None:
        headers = (("producer", producer.encode()), ("event_id", b"e"))
        self.log.add(place, encode(record), headers)

    def step(self, instance: str, number: int, *, at_ns: int = 0, **more: Any) -> None:
        """Journals a batch of all that the shard has not consumed yet."""
        service, _, shard = instance.partition("/")
        ranges = []
        for place in (CONTROL, CONFIG, DECISIONS):
            start, found = self.next.get((instance, place), 0), self.log.records[place]
            fresh = [raw for raw in found if raw.offset >= start]
            if fresh and (service == "risk" or place != DECISIONS):
                behind = fresh[-1].offset + 1
                self.next[instance, place] = behind
                ranges.append(
                    ConsumedRange(
                        topic=place[0],
                        partition=place[1],
                        from_offset=start,
                        next_offset=behind,
                        count=len(fresh),
                        digest=values_digest(fresh),
                    )
                )
        self.sequences[instance] = self.sequences.get(instance, 0) + 1
        values: dict[str, Any] = {"timers": (), "verdicts": (), "local": (), **more}
        batch = ConsumedBatch(
            session_ns=at_ns or number * 100, slice=number, ranges=tuple(ranges), **values
        )
        record = Consumed(
            service=service,
            shard=int(shard),
            sequence=self.sequences[instance],
            run_id=RUN,
            build_id="b",
            batches=(batch,),
            output_count=0,
            output_digest=bytes(32),
            ts_init_ns=0,
        )
        slot = 0 if service == "risk" else 1
        self.log.records.setdefault((topics.JOURNAL, 1 - slot), [])
        self.log.add((topics.JOURNAL, slot), encode(record))

    def tape(self, folder: Path) -> Tape:
        tape = Tape(folder)
        tape.pull(self.log, [*TOLD, topics.JOURNAL])
        return tape

    def words(self, folder: Path) -> Words:
        return words_of(self.tape(folder))


def told(words: Words) -> list[tuple[str, int, str]]:
    """(shard, when, what) of each, in the order of the journals"""
    return [
        (item.instance, item.heard_ns, "pull" if isinstance(item, Pull) else _name(item))
        for item in words.interventions
    ]


def _name(word: Word) -> str:
    return type(word.event.record).__name__


def test_each_shard_hears_a_record_in_the_slice_in_which_it_heard_it(tmp_path: Path) -> None:
    run = Recorded()
    run.say(CONFIG, ACCOUNT)
    run.step("risk/0", 1)
    run.step("execution/0", 1)
    run.say(CONTROL, HALT)
    run.say(DECISIONS, BY_HAND)
    run.step("execution/0", 2)
    run.step("risk/0", 2)
    run.say(CONTROL, SWEEP)
    run.step("risk/0", 3)
    run.step("execution/0", 3)
    run.step("execution/0", 4)
    words = run.words(tmp_path)
    assert words.at_start == {0}
    assert told(words) == [
        ("risk/0", 199, "SetTradingState"),
        ("risk/0", 199, "Decision"),
        ("risk/0", 299, "CancelAll"),
        ("execution/0", 199, "SetTradingState"),
        ("execution/0", 299, "CancelAll"),
    ]


def test_what_a_group_decides_is_decided_anew(tmp_path: Path) -> None:
    run = Recorded()
    run.say(DECISIONS, OF_A_GROUP, "group/trend")
    run.say(DECISIONS, OF_A_GROUP, "cli")
    run.say(DECISIONS, BY_HAND, "group/trend")
    run.step("risk/0", 1)
    offsets = [item.event.offset for item in run.words(tmp_path).interventions if _is_word(item)]
    assert offsets == [1, 2], "an author is who wrote the record, whatever name it bears"


def _is_word(item: Any) -> bool:
    return isinstance(item, Word)


def test_a_later_configuration_is_heard_later(tmp_path: Path) -> None:
    run = Recorded()
    run.say(CONFIG, ACCOUNT)
    run.step("risk/0", 1)
    run.say(CONFIG, replace(ACCOUNT, version=2))
    run.step("execution/0", 1)
    run.step("risk/0", 2)
    words = run.words(tmp_path)
    assert words.at_start == {0}, "only what all of them had"
    assert told(words) == [("risk/0", 199, "Account"), ("execution/0", 99, "Account")]


def test_verdicts_and_trips_are_those_of_then(tmp_path: Path) -> None:
    run = Recorded()
    run.say(DECISIONS, BY_HAND)
    bad = RecordVerdict(topic=DECISIONS[0], partition=0, offset=0, verdict="AUTHOR_BAD_MAC")
    run.step("risk/0", 1, verdicts=(bad,))
    unsealed = RecordVerdict(topic="", partition=-1, offset=0, verdict="KEY_MISSING")
    run.step("risk/0", 0, at_ns=100, local=(encode(TRIP),), verdicts=(unsealed,))
    word, pull = run.words(tmp_path).interventions
    assert isinstance(word, Word)
    assert word.event.verdict == "AUTHOR_BAD_MAC"
    assert pull == Pull(instance="risk/0", heard_ns=100, trips=(TRIP,), verdicts=("KEY_MISSING",))


def test_in_real_time_the_session_clock_is_the_place(tmp_path: Path) -> None:
    run = Recorded()
    run.say(CONTROL, HALT)
    run.step("risk/0", 0, at_ns=142)
    assert told(run.words(tmp_path)) == [("risk/0", 142, "SetTradingState")]


@pytest.mark.parametrize("topic", [topics.CONTROL, topics.DECISIONS])
def test_a_record_that_is_gone_is_an_error_and_no_silence(tmp_path: Path, topic: str) -> None:
    run = Recorded()
    run.say(CONTROL, HALT)
    run.say(DECISIONS, BY_HAND)
    run.step("risk/0", 1)
    run.log.records[topic, 0] = []
    run.say((topic, 0), HALT if topic == topics.CONTROL else BY_HAND, "another")
    raw = run.log.records[topic, 0][0]
    run.log.records[topic, 0][0] = replace(raw, value=(raw.value or b"")[:-1] + b"?")
    with pytest.raises(TapeHole, match=f"{topic}-0, offsets 0 to 0"):
        check_journaled(run.tape(tmp_path), TOLD)


# ---- hearing


def word(heard_ns: int, record: Any, topic: str = topics.CONTROL, session_ns: int = 0) -> Word:
    event = Input(record=record, topic=topic, partition=0, offset=heard_ns)
    return Word(
        instance="risk/0", heard_ns=heard_ns, session_ns=session_ns or heard_ns + 1, event=event
    )


def test_a_slice_hears_what_lies_before_its_end_and_each_thing_once() -> None:
    pull = Pull(instance="risk/0", heard_ns=100, trips=(TRIP,), verdicts=("",))
    hearing = Hearing([word(199, SWEEP), word(99, HALT), pull])
    assert hearing.words("execution/0", 1_000) == []
    assert [item.heard_ns for item in hearing.words("risk/0", 100)] == [99]
    assert hearing.pulls("risk/0", 100) == [], "it came behind this slice"
    assert hearing.pulls("risk/0", 200) == [pull]
    assert [item.heard_ns for item in hearing.words("risk/0", 200)] == [199]
    assert hearing.words("risk/0", 10**9) == []


def test_a_part_begins_with_what_was_in_force() -> None:
    pull = Pull(instance="risk/0", heard_ns=100, trips=(TRIP,), verdicts=("",))
    config = word(3, ACCOUNT, topics.CONFIG)
    halt, sweep, order = word(1, HALT), word(2, SWEEP), word(4, BY_HAND, topics.DECISIONS)
    within, behind = word(250, SWEEP), word(300, HALT)
    said = (halt, sweep, config, order, pull, within, behind)
    assert during(said, 200, 300) == (halt, config, pull, within)
    assert during(said, 0, 10**9) == said


def test_what_was_in_time_then_is_in_time_in_a_longer_slice() -> None:
    assert moved(SWEEP, 60).expires_ns == 1_060
    assert moved(BY_HAND, 60).ts_event_ns == 65
    assert moved(BY_HAND, 60).cycle_ns == 5, "the order of decisions stays"
    assert moved(HALT, 60) == HALT
    assert word(142, SWEEP, session_ns=142).told_at(200).record.expires_ns == 1_058
    assert word(199, SWEEP, session_ns=200).told_at(200).record is SWEEP


# ---- under another run's id


def test_what_was_meant_for_the_run_is_meant_for_the_other() -> None:
    foreign = word(5, replace(HALT, run_id="third"))
    one, three = of_run([word(1, HALT), foreign], (RUN, OTHER), {})
    assert isinstance(one, Word)
    assert one.event.record == replace(HALT, run_id=OTHER)
    assert three == foreign


def test_an_order_is_canceled_under_the_name_that_it_has_in_the_other_run() -> None:
    cycle = "cycle/main/5"
    mine = derive_id(RUN, "group/trend", cycle, "Decision", 0)
    theirs = derive_id(OTHER, "group/trend", cycle, "Decision", 0)
    of_group = replace(OF_A_GROUP, decision_id=mine)
    names = order_names([(0, BY_HAND), (0, of_group)], {"trend": "main"}, (RUN, OTHER))
    assert names == {
        order_name(RUN, 0, BY_HAND, "d"): order_name(OTHER, 0, BY_HAND, "d"),
        order_name(RUN, 0, of_group, mine): order_name(OTHER, 0, of_group, theirs),
    }
    cancel = replace(BY_HAND, client_order_id=order_name(RUN, 0, of_group, mine))
    (renamed,) = of_run([word(9, cancel, topics.DECISIONS)], (RUN, OTHER), names)
    assert isinstance(renamed, Word)
    assert renamed.event.record.client_order_id == order_name(OTHER, 0, of_group, theirs)


def test_under_the_same_id_nothing_changes() -> None:
    names = order_names([(0, BY_HAND)], {}, (RUN, RUN))
    assert all(name == other for name, other in names.items())
