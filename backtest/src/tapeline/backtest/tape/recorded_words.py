"""What the journal of a recorded run tells about records that no stage of the run made.

A shard journals every batch that it stepped: the ranges of offsets, the session clock, what was
found wrong with a record, and trips by file or signal. So every control record, decision by hand,
later configuration and book has its place in time, shard by shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tapeline.backtest.paced.interventions import Intervention, Pull, Word
from tapeline.backtest.tape.decoded import Decoded
from tapeline.backtest.tape.store import Tape
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.system import Consumed, ConsumedBatch, ConsumedRange, Watermark
from tapeline.runtime.batches import LOCAL_DECODER, NOWHERE
from tapeline.runtime.core import Input
from tapeline.runtime.log import TopicPartition

TOLD: Final = (topics.CONTROL, topics.CONFIG, topics.DECISIONS, topics.BOOKS)
"""topics on which others than the stages of a run are heard"""
Heard = Mapping[TopicPartition, Mapping[int, Word]]
"""place -> offset -> the record, as nobody has heard it yet"""


@dataclass(frozen=True, slots=True)
class Words:
    """What a run was told besides its market data."""

    at_start: frozenset[int]
    """offsets of the topic config that every shard had before its first slice"""
    interventions: tuple[Intervention, ...]


@dataclass(slots=True)
class _Reading:
    """The journals, as they are read."""

    records: Heard
    found: list[Intervention] = field(default_factory=list)
    first: dict[str, frozenset[int]] = field(default_factory=dict)
    """shard -> offsets of config in its first batch"""


def words_of(tape: Tape) -> Words:
    """Reads the journals of all shards; raises what the tape raises."""
    decoded = Decoded(tape)
    reading = _Reading(_records(tape, decoded))
    for consumed in decoded.journal():
        _read(reading, consumed)
    at_start = frozenset.intersection(*reading.first.values()) if reading.first else frozenset()
    interventions = [item for item in reading.found if not _is_start(item, at_start)]
    return Words(at_start, tuple(interventions))


def _is_start(item: Intervention, at_start: frozenset[int]) -> bool:
    if isinstance(item, Pull) or item.event.topic != topics.CONFIG:
        return False
    return item.event.offset in at_start


def _records(tape: Tape, decoded: Decoded) -> Heard:
    found: dict[TopicPartition, dict[int, Word]] = {}
    for topic in TOLD:
        for number in range(tape.partition_count(topic)):
            place = (topic, number)
            for raw, event in decoded.inputs(place):
                producer = raw.header("producer")
                if is_from_outside(event, producer):
                    word = Word(
                        instance="", heard_ns=0, session_ns=0, event=event, producer=producer
                    )
                    found.setdefault(place, {})[raw.offset] = word
    return found


def is_from_outside(event: Input, producer: str) -> bool:
    """Whether a record is none that a stage of the run makes anew."""
    if isinstance(event.record, Watermark):
        return False
    return not isinstance(event.record, Decision) or producer != f"group/{event.record.group_id}"


def _read(reading: _Reading, consumed: Consumed) -> None:
    instance = f"{consumed.service}/{consumed.shard}"
    for batch in consumed.batches:
        if batch.local:
            reading.found.append(_pull(instance, batch))
        heard = list(_heard(reading.records, instance, batch))
        reading.found += heard
        if batch.ranges and instance not in reading.first:
            reading.first[instance] = frozenset(
                word.event.offset for word in heard if word.event.topic == topics.CONFIG
            )


def _pull(instance: str, batch: ConsumedBatch) -> Pull:
    found = {item.offset: item.verdict for item in batch.verdicts if item.topic == NOWHERE[0]}
    return Pull(
        instance=instance,
        heard_ns=batch.session_ns,
        trips=tuple(LOCAL_DECODER.decode(value) for value in batch.local),
        verdicts=tuple(found.get(index, "") for index in range(len(batch.local))),
    )


def _heard(records: Heard, instance: str, batch: ConsumedBatch) -> Iterator[Word]:
    verdicts = {(item.topic, item.partition, item.offset): item.verdict for item in batch.verdicts}
    # A paced slice ends with its session clock: what it holds is before that.
    heard_ns = batch.session_ns - 1 if batch.slice else batch.session_ns
    for item in batch.ranges:
        for offset, word in _within(records, item):
            verdict = verdicts.get((item.topic, item.partition, offset), "")
            yield Word(
                instance=instance,
                heard_ns=heard_ns,
                session_ns=batch.session_ns,
                event=replace(word.event, verdict=verdict),
                producer=word.producer,
            )


def _within(records: Heard, item: ConsumedRange) -> Iterator[tuple[int, Word]]:
    """Few are said by hand among many ranges: the shorter of both is gone through."""
    found = records.get((item.topic, item.partition), {})
    if item.next_offset - item.from_offset < len(found):
        offsets = range(item.from_offset, item.next_offset)
        yield from ((offset, found[offset]) for offset in offsets if offset in found)
        return
    for offset, word in found.items():
        if item.from_offset <= offset < item.next_offset:
            yield offset, word
