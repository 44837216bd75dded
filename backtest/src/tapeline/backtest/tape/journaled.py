"""Checks the tape against the journal of the money path: what it consumed is what we have.

Every range that a shard journaled has a number of records and a digest over their values. Offsets
without records (markers of transactions, aborted records) are in neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapeline.backtest.tape.decoded import Decoded
from tapeline.backtest.tape.store import Tape, TapeHole
from tapeline.contracts.system import Consumed, ConsumedRange
from tapeline.runtime.log import Raw, TopicPartition, values_digest
from tapeline.runtime.log_reader import slicer


def check_journaled(tape: Tape, names: Sequence[str]) -> int:
    """Compares all journaled ranges of these topics; gives their number, raises TapeHole."""
    wanted: dict[TopicPartition, dict[tuple[int, int], ConsumedRange]] = {}
    for consumed in Decoded(tape).journal():
        _note(consumed, names, wanted)
    for place, ranges in wanted.items():
        _check(tape, place, list(ranges.values()))
    return sum(map(len, wanted.values()))


def _note(
    consumed: Consumed,
    names: Sequence[str],
    wanted: dict[TopicPartition, dict[tuple[int, int], ConsumedRange]],
) -> None:
    for batch in consumed.batches:
        for item in batch.ranges:
            if item.topic in names:
                place = wanted.setdefault((item.topic, item.partition), {})
                place[item.from_offset, item.next_offset] = item


def _check(tape: Tape, place: TopicPartition, ranges: Sequence[ConsumedRange]) -> None:
    behind = max(item.next_offset for item in ranges)
    records: dict[TopicPartition, Sequence[Raw]] = {place: tape.read(*place, 0, behind)}
    read = slicer(records)
    for item in ranges:
        found = read(*place, item.from_offset, item.next_offset)
        if len(found) == item.count and values_digest(found) == item.digest:
            continue
        what = "others" if len(found) == item.count else f"{len(found)} of {item.count}"
        raise TapeHole(
            f"{place[0]}-{place[1]}, offsets {item.from_offset} to {item.next_offset - 1}: the "
            f"journal tells of {item.count} records, the tape has {what}.",
            "The topic was changed behind the run's back, or the tape was: delete its folder to "
            "pull it again; if it stays so, the run cannot be repeated.",
        )
