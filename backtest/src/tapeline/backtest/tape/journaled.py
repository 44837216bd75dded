"""Checks the tape against the journal of the money path: what it consumed is what we have.

Every range that a shard journaled has a number of records and a digest over their values. Offsets
without records (markers of transactions, aborted records) are in neither. The tape is read once,
file by file; no more than a file of it is in memory, and the digests that are under way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tapeline.backtest.tape.decoded import Decoded
from tapeline.backtest.tape.store import Tape, TapeHole
from tapeline.contracts.system import Consumed, ConsumedRange
from tapeline.runtime.log import TopicPartition, ValuesDigest

Wanted = dict[TopicPartition, dict[tuple[int, int, int, bytes], None]]
"""place -> (from, to, count, digest) of each different range"""


@dataclass(slots=True)
class _Range:
    """A journaled range, as the files of the tape go by."""

    start: int
    behind: int
    count: int
    digest: bytes
    found: ValuesDigest = field(default_factory=ValuesDigest)


def check_journaled(tape: Tape, names: Sequence[str]) -> int:
    """Compares all journaled ranges of these topics; gives their number, raises TapeHole."""
    wanted: Wanted = {}
    for consumed in Decoded(tape).journal():
        _note(consumed, names, wanted)
    for place, ranges in wanted.items():
        _check(tape, place, [_Range(*item) for item in sorted(ranges)])
    return sum(map(len, wanted.values()))


def _note(consumed: Consumed, names: Sequence[str], wanted: Wanted) -> None:
    for batch in consumed.batches:
        for item in batch.ranges:
            if item.topic in names:
                wanted.setdefault((item.topic, item.partition), {})[_key(item)] = None


def _key(item: ConsumedRange) -> tuple[int, int, int, bytes]:
    return item.from_offset, item.next_offset, item.count, item.digest


def _check(tape: Tape, place: TopicPartition, ranges: Sequence[_Range]) -> None:
    """`ranges` begin in ascending order."""
    waiting = iter(ranges)
    item = next(waiting, None)
    under_way: list[_Range] = []
    for end, offsets, values in tape.values(place, max(item.behind for item in ranges)):
        while item is not None and item.start < end:
            under_way.append(item)
            item = next(waiting, None)
        for one in under_way:
            low, high = bisect_left(offsets, one.start), bisect_left(offsets, one.behind)
            one.found.add(values[low:high])
        _compare(place, (one for one in under_way if one.behind <= end))
        under_way = [one for one in under_way if one.behind > end]
    # Empty ranges at the end of the tape, and broken ones.
    _compare(place, under_way if item is None else (item, *waiting))


def _compare(place: TopicPartition, ranges: Iterable[_Range]) -> None:
    for item in ranges:
        count = item.found.count
        if count == item.count and item.found.digest() == item.digest:
            continue
        what = "others" if count == item.count else f"{count} of {item.count}"
        raise TapeHole(
            f"{place[0]}-{place[1]}, offsets {item.start} to {item.behind - 1}: the "
            f"journal tells of {item.count} records, the tape has {what}.",
            "The topic was changed behind the run's back, or the tape was: delete its folder to "
            "pull it again; if it stays so, the run cannot be repeated.",
        )
