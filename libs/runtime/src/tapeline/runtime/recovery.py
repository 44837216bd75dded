"""How a shard finds back to where it was: snapshot, then the journal to its end, by evolve only.

The caller has fenced the shard's transactional id before, so that nobody else writes any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.system import Consumed, Snapshot
from tapeline.runtime.codec import Decoder
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.log_reader import LogReader, slicer
from tapeline.runtime.shard import JournalError, Shard

JOURNAL_DECODER = Decoder((Consumed.AVRO,))
SNAPSHOT_DECODER = Decoder((Snapshot.AVRO,))
FIRST_LOOK_BACK = 16


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did, for the log."""

    sequence: int
    snapshot_sequence: int
    journal_records: int
    inputs: int


def last_snapshot(reader: LogReader, partition: int) -> Snapshot | None:
    """The last committed snapshot; searched backwards: behind it lie markers and aborted ones."""
    place = (topics.SNAPSHOTS, partition)
    low, high = reader.starts([place])[place], reader.ends([place])[place]
    back = FIRST_LOOK_BACK
    while high > low:
        start = max(low, high - back)
        found = reader.read({place: (start, high)})[place]
        if found:
            snapshot = SNAPSHOT_DECODER.decode(found[-1].value)
            assert isinstance(snapshot, Snapshot)
            return snapshot
        if start == low:
            return None
        back *= 4
    return None


def read_journal(reader: LogReader, partition: int, start: int) -> list[tuple[Raw, Consumed]]:
    """The journal of a shard from an offset to its end."""
    place = (topics.JOURNAL, partition)
    low, high = reader.starts([place])[place], reader.ends([place])[place]
    raws = reader.read({place: (max(low, start), high)})[place]
    return [(raw, JOURNAL_DECODER.decode(raw.value)) for raw in raws]


def ranges_of(consumed: list[Consumed]) -> dict[TopicPartition, tuple[int, int]]:
    """For each input partition the one range that covers all batches."""
    ranges: dict[TopicPartition, tuple[int, int]] = {}
    for record in consumed:
        for batch in record.batches:
            for item in batch.ranges:
                place = (item.topic, item.partition)
                start, behind = ranges.get(place, (item.from_offset, item.next_offset))
                ranges[place] = (
                    min(start, item.from_offset),
                    max(behind, item.next_offset),
                )
    return ranges


def recover(shard: Shard[Any], reader: LogReader) -> Recovered:
    """Brings a fresh shard to the end of its journal."""
    snapshot = last_snapshot(reader, shard.slot_partition)
    if snapshot is not None:
        shard.restore(snapshot)
    hint = shard.journal_offset if snapshot is not None else 0
    journal = read_journal(reader, shard.slot_partition, max(hint, 0))
    # Of builds whose snapshots do not say which slice was the last.
    for _, consumed in journal:
        if consumed.sequence <= shard.sequence:
            shard.last_slice = max([shard.last_slice, *(item.slice for item in consumed.batches)])
    tail = [consumed for _, consumed in journal if consumed.sequence > shard.sequence]
    if snapshot is None and tail and tail[0].sequence != 1:
        raise JournalError(
            f"{shard.context.instance}: the journal begins at {tail[0].sequence} and there is no "
            "snapshot; its beginning was deleted"
        )
    records = reader.read(ranges_of(tail))
    outputs = _read_outputs(shard, reader)
    read = slicer(records)
    for consumed in tail:
        shard.absorb(consumed, read, outputs)
    if journal:
        shard.journal_offset = journal[-1][0].offset
    return Recovered(
        sequence=shard.sequence,
        snapshot_sequence=0 if snapshot is None else snapshot.sequence,
        journal_records=len(tail),
        inputs=sum(map(len, records.values())),
    )


def _read_outputs(shard: Shard[Any], reader: LogReader) -> dict[tuple[int, int, int], Any]:
    """The shard's own outputs since the snapshot."""
    places = [(topic, shard.context.shard) for topic in shard.core.outputs]
    starts, ends = reader.starts(places), reader.ends(places)
    wanted = {
        place: (max(shard.output_offsets.get(place, 0), starts[place]), ends[place])
        for place in places
    }
    found = reader.read(wanted)
    for place, raws in found.items():
        if raws:
            shard.output_offsets[place] = raws[-1].offset + 1
    return shard.own_outputs(raw for raws in found.values() for raw in raws)
