"""A paced shard steps complete slices: what waits for whom, and what is taken along."""

from __future__ import annotations

from tapeline.contracts import topics
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import encode
from tapeline.runtime.core import InputTopic, Pacing
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.shard import Batch
from tapeline.runtime.slices import SliceGate

MARKS, DECISIONS, FILLS = (topics.MARKS, 0), (topics.DECISIONS, 0), (topics.FILLS, 0)
CONTROL = (topics.CONTROL, 0)
INPUTS = (
    InputTopic(topic=topics.CONTROL, is_own=False, pacing=Pacing.UNPACED),
    InputTopic(topic=topics.FILLS, is_own=True, pacing=Pacing.PREVIOUS),
    InputTopic(topic=topics.MARKS, is_own=False),
    InputTopic(topic=topics.DECISIONS, is_own=True),
)
EVERYBODY = {
    MARKS: frozenset({"bars/0"}),
    DECISIONS: frozenset({"group/a", "group/b"}),
    FILLS: frozenset({"execution/0"}),
}


class Gate:
    """A gate with offsets that ascend by themselves."""

    def __init__(
        self,
        expected: dict[TopicPartition, frozenset[str]],
        unpaced_until: dict[TopicPartition, int] | None = None,
    ) -> None:
        self._gate = SliceGate(
            INPUTS,
            (MARKS, DECISIONS, FILLS, CONTROL),
            expected=expected,
            last_slice=0,
            unpaced_until=unpaced_until or {},
        )
        self._offsets: dict[TopicPartition, int] = {}

    def says(self, place: TopicPartition, text: str) -> Gate:
        """A record; the gate looks at watermarks only."""
        return self._add(place, text.encode())

    def passes(self, place: TopicPartition, source: str, number: int) -> Gate:
        """A watermark."""
        mark = Watermark(
            source=source,
            slice=number,
            is_paced=True,
            is_final=number == 3,
            ts_event_ns=number * 1000,
            ts_init_ns=number * 1000,
        )
        return self._add(place, encode(mark))

    def next(self) -> dict[str, list[str]] | None:
        """Texts by topic of the next slice, or None."""
        batch = self._gate.next_batch()
        return None if batch is None else texts(batch)

    def _add(self, place: TopicPartition, value: bytes) -> Gate:
        offset = self._offsets.get(place, 0)
        self._offsets[place] = offset + 1
        self._gate.add(
            Raw(
                topic=place[0], partition=place[1], offset=offset, append_ms=0, key=b"", value=value
            )
        )
        return self


def texts(batch: Batch) -> dict[str, list[str]]:
    """What a batch holds beside watermarks."""
    found = {
        topic: [raw.value.decode() for raw in records if raw.value and len(raw.value) < 10]
        for (topic, _), records in batch.records.items()
    }
    return {topic: said for topic, said in found.items() if said}


def test_a_slice_waits_for_its_last_source_and_ends_there() -> None:
    gate = Gate(EVERYBODY).says(MARKS, "m1").passes(MARKS, "bars/0", 1).says(MARKS, "m2")
    gate.says(DECISIONS, "a1").passes(DECISIONS, "group/a", 1).says(DECISIONS, "a2")
    assert gate.next() is None
    gate.says(DECISIONS, "b1").passes(DECISIONS, "group/b", 1).says(DECISIONS, "a3")
    # What group a said ahead of b's watermark comes along; that is sorted by event time later.
    assert gate.next() == {topics.MARKS: ["m1"], topics.DECISIONS: ["a1", "a2", "b1"]}
    assert gate.next() is None


def test_what_comes_back_belongs_to_the_slice_before() -> None:
    gate = Gate(EVERYBODY)
    for number in (1, 2):
        gate.passes(MARKS, "bars/0", number)
        gate.passes(DECISIONS, "group/a", number).passes(DECISIONS, "group/b", number)
    assert gate.next() == {}
    gate.says(FILLS, "f1")
    assert gate.next() is None
    gate.passes(FILLS, "execution/0", 1)
    assert gate.next() == {topics.FILLS: ["f1"]}


def test_control_is_read_to_its_end_first_and_then_taken_along() -> None:
    gate = Gate({**EVERYBODY, DECISIONS: frozenset({"group/a"})}, {CONTROL: 2})
    gate.passes(MARKS, "bars/0", 1).passes(DECISIONS, "group/a", 1).says(CONTROL, "c1")
    assert gate.next() is None
    gate.says(CONTROL, "c2")
    assert gate.next() == {topics.CONTROL: ["c1", "c2"]}


def test_where_no_source_is_expected_what_is_there_is_taken_along() -> None:
    gate = Gate({**EVERYBODY, DECISIONS: frozenset()})
    gate.says(DECISIONS, "by hand").passes(MARKS, "bars/0", 1)
    assert gate.next() == {topics.DECISIONS: ["by hand"]}
    gate.passes(MARKS, "bars/0", 2).passes(FILLS, "execution/0", 1).says(DECISIONS, "again")
    assert gate.next() == {topics.DECISIONS: ["again"]}
    assert gate.next() is None
