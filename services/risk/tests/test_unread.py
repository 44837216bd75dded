"""Of what comes too fast only the head is read: live, in recovery and in replay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from risk_samples import (
    ACCOUNT,
    CONTEXT,
    GROUP,
    NOW,
    SECOND,
    TOPIC_OF,
    account,
    decision,
    group,
    instrument,
    mandate,
    mark,
    venue,
)

from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import Limits
from tapeline.contracts.orders import ApprovedOrder, OrderAction
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.contracts.system import Consumed
from tapeline.risk.core import RiskCore
from tapeline.risk.guards import AUTHOR_PREFIX
from tapeline.risk.state import RiskState
from tapeline.runtime.codec import Decoder, encode
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.log_reader import slicer
from tapeline.runtime.replay import ShardReplay, follow
from tapeline.runtime.shard import Batch, Shard

PARTITIONS = {topics.CONTROL: 1, topics.CONFIG: 1, topics.MARKS: 1, topics.BARS: 1, "journal": 2}
RATE = 3
WORLD = (
    instrument(),
    account(),
    replace(mandate(), limits=Limits(group_order_rate_max=RATE)),
    group(),
    venue(),
    mark(),
)
FORGED, DAMAGED, WHOLE = "forged", "damaged", "whole"
MILLISECOND = SECOND // 1_000


class Line:
    """A shard with its log in memory, and a shell that notes whose author it verifies."""

    def __init__(self) -> None:
        self.log: dict[TopicPartition, list[Raw]] = {}
        self.own: list[Raw] = []
        self.journal: list[Consumed] = []
        self.quarantined = 0
        self.verified: list[str] = []
        self.now_ns = NOW
        self.slice = 0
        self.shard = self.new_shard()
        self.step([encode(record) for record in WORLD], [TOPIC_OF[one.AVRO] for one in WORLD])

    def new_shard(self) -> Shard[RiskState]:
        names = tuple(spec.topic for spec in RiskCore.inputs)
        intake = Intake(names, verdict=self.verdict)
        return Shard(
            RiskCore(CONTEXT),
            CONTEXT,
            intake,
            build_id="test",
            partitions=PARTITIONS,
            slot_partition=0,
        )

    def verdict(self, topic: str, record: Any) -> str:
        if topic != topics.DECISIONS:
            return ""
        self.verified.append(record.decision_id)
        return f"{AUTHOR_PREFIX}BAD_MAC" if record.reason == FORGED else ""

    def step(self, values: Sequence[bytes], names: Sequence[str]) -> None:
        """Steps records as one batch and commits."""
        fresh: dict[TopicPartition, list[Raw]] = {}
        for topic, value in zip(names, values, strict=True):
            raws = fresh.setdefault((topic, 0), [])
            offset = len(self.log.get((topic, 0), ())) + len(raws)
            headers = (("event_id", f"{topic}-{offset}".encode()), ("producer", b"test"))
            raws.append(Raw(topic, 0, offset, 0, ACCOUNT.encode(), value, headers))
        for place, raws in fresh.items():
            self.log.setdefault(place, []).extend(raws)
        self.shard.step(Batch(self.now_ns, fresh, self.slice), None)
        for message in self.shard.transaction(with_snapshot=False, watermark=None):
            if message.topic == topics.JOURNAL:
                self.journal.append(Decoder((Consumed.AVRO,)).decode(message.value))
            self.quarantined += message.topic == topics.QUARANTINE
            if message.topic in RiskCore.outputs:
                place = (message.topic, message.partition, len(self.own), 0)
                self.own.append(Raw(*place, message.key, message.value, message.headers))

    def ask(self, *forms: str, first: int = 0, **changes: Any) -> None:
        """Decisions of a group in one batch."""
        asked = [value_of(form, first + number, **changes) for number, form in enumerate(forms)]
        self.step(asked, [topics.DECISIONS] * len(asked))

    def said(self, kind: Any) -> list[Any]:
        names = (topics.APPROVED_ORDERS, topics.RISK_EVENTS)
        decoder = Decoder(tuple(one for name in names for one in topics.TOPICS[name].records))
        found = [decoder.decode(raw.value) for raw in self.own if raw.topic in names]
        return [record for record in found if isinstance(record, kind)]

    def check_recovery(self) -> None:
        again = self.new_shard()
        outputs = again.own_outputs(self.own)
        for consumed in self.journal:
            again.absorb(consumed, slicer(self.log), outputs)
        assert again.core.dump(again.state) == self.shard.core.dump(self.shard.state)
        assert again.digest == self.shard.digest

    def check_replay(self) -> None:
        again, result = self.new_shard(), ShardReplay("risk/0")
        recorded: Any = {}
        for (sequence, batch, index), said in again.own_outputs(self.own).items():
            recorded.setdefault((sequence, batch), {})[index] = said
        for consumed in self.journal:
            follow(again, consumed, slicer(self.log), recorded, result)
            assert result.difference is None
            again.settle()
        assert again.core.dump(again.state) == self.shard.core.dump(self.shard.state)


def name_of(number: int) -> str:
    return f"{GROUP}-{NOW}-{number}"


def value_of(form: str, number: int, **changes: Any) -> bytes:
    """A decision as it is on the topic: whole, signed by somebody else, or with a tail that no one
    can read."""
    asked = decision(index=number, **changes)
    if form == FORGED:
        asked = replace(asked, reason=FORGED, key_id="k", mac=b"m" * 32)
    value = encode(asked)
    return value[:-9] if form == DAMAGED else value


def test_what_comes_too_fast_is_answered_by_its_head_alone() -> None:
    line = Line()
    line.ask(*[WHOLE] * RATE, WHOLE, DAMAGED, FORGED, FORGED)
    assert line.verified == [name_of(number) for number in range(RATE)]
    assert not line.quarantined
    line.now_ns += 2 * SECOND
    line.step([], [])
    (denial,) = [one for one in line.said(Denial) if one.code is DenialCode.ORDER_RATE]
    names = (denial.decision_id, *denial.also_decision_ids)
    assert names == tuple(name_of(number) for number in range(RATE, RATE + 4))
    line.check_recovery()
    line.check_replay()


def test_what_comes_in_time_is_read_whole() -> None:
    line = Line()
    line.ask(WHOLE, DAMAGED, FORGED)
    assert line.verified == [name_of(0), name_of(2)]
    assert line.quarantined == 1
    codes = [one.code for one in line.said(Denial)]
    assert codes == [DenialCode.MALFORMED, DenialCode.AUTHOR_UNVERIFIED]
    line.check_recovery()
    line.check_replay()


def test_a_cancel_is_read_however_many_come() -> None:
    line = Line()
    line.ask(*[WHOLE] * RATE)
    line.ask(WHOLE, WHOLE, first=RATE, kind=DecisionKind.CANCEL, client_order_id="none")
    assert [one.code for one in line.said(Denial)][-2:] == [DenialCode.ORDER_UNKNOWN] * 2
    line.check_replay()


def test_what_was_answered_is_not_answered_again_by_its_head() -> None:
    line = Line()
    line.ask(*[WHOLE] * RATE)
    line.ask(*[WHOLE] * RATE)
    line.now_ns += 2 * SECOND
    line.step([], [])
    assert not [one for one in line.said(Denial) if one.code is DenialCode.ORDER_RATE]


def test_in_a_paced_run_everything_is_read() -> None:
    line = Line()
    line.slice = 1
    line.ask(*[WHOLE] * RATE, WHOLE, FORGED, DAMAGED)
    assert len(line.verified) == RATE + 2
    assert line.quarantined == 1
    line.check_recovery()
    line.check_replay()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from((WHOLE, DAMAGED, FORGED)), max_size=8),
            st.integers(1, 1_500),
        ),
        max_size=8,
    )
)
def test_recovery_and_replay_pass_over_the_same(batches: list[tuple[list[str], int]]) -> None:
    line, count = Line(), 0
    for kinds, pause_ms in batches:
        line.ask(*kinds, first=count)
        count += len(kinds)
        line.now_ns += pause_ms * MILLISECOND
        line.step([], [])
    line.now_ns += 3 * SECOND
    line.step([], [])
    denials, approvals = line.said(Denial), line.said(ApprovedOrder)
    asked = [one for one in approvals if one.action is not OrderAction.CANCEL]
    answered = [one.approval.decision_id for one in asked]
    answered += [name for one in denials for name in (one.decision_id, *one.also_decision_ids)]
    assert len(answered) == len(set(answered)) == count
    line.check_recovery()
    line.check_replay()
