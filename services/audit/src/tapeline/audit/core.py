"""Audit: every record becomes a link of the chain of its topic partition.

In: records of all topics, in offset order per partition. Out: a Batch of rows (ordinary topics) and
closed ranges (bulk topics), to be stored in one transaction.

Invariants: an offset is chained once, in order; a range is recorded whole or not at all; the chain
is a function of the partition's records alone, so that reading them again (after a crash, or after
an old backup was restored) makes the same heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from tapeline.audit.chain import EMPTY_DIGEST, Chain, Place, Record, digest_of, range_digest
from tapeline.audit.reading import Reading, reading_digest
from tapeline.contracts.topics import TOPICS

RANGE_OFFSETS: Final = 10_000
"""length of a range; ranges end at multiples of it, or behind a final watermark"""
ROW_COLUMNS: Final = (
    "run_id",
    "topic",
    "partition",
    "kafka_offset",
    "chain_index",
    "record_type",
    "event_id",
    "causation_id",
    "correlation_id",
    "producer",
    "decision_id",
    "client_order_id",
    "is_duplicate",
    "append_ms",
    "key",
    "headers",
    "value",
    "body",
    "key_id",
    "previous_head",
    "head",
)
RANGE_COLUMNS: Final = (
    "run_id",
    "topic",
    "partition",
    "first_offset",
    "next_offset",
    "chain_index",
    "record_count",
    "digest",
    "first_append_ms",
    "last_append_ms",
    "key_id",
    "previous_head",
    "head",
)

NOWHERE: Final = -1
"""position of a partition nothing has been read of"""

Seen = AbstractSet[tuple[str, int, str]]
"""(topic, partition, event_id) that are in the database already"""


def is_bulk(topic: str) -> bool:
    """True for topics of which only digests of ranges are kept."""
    return TOPICS[topic].is_bulk


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """Where a chain ends."""

    next_offset: int
    """the next offset to read"""
    index: int
    """links so far"""
    head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRange:
    """The range of a bulk partition that is being filled; never stored."""

    place: Place
    first_offset: int
    next_offset: int
    count: int
    digest: bytes
    first_append_ms: int
    last_append_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record and what it says; bulk records are not read."""

    record: Record
    reading: Reading | None = None
    is_final: bool = False
    """a bulk topic's final watermark: the range ends behind it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One link of an ordinary topic's chain; the names are those of the table."""

    run_id: str
    topic: str
    partition: int
    kafka_offset: int
    chain_index: int
    record_type: str
    event_id: str | None
    causation_id: str | None
    correlation_id: str | None
    producer: str | None
    decision_id: str | None
    client_order_id: str | None
    is_duplicate: bool
    append_ms: int
    key: bytes | None
    headers: bytes
    value: bytes | None
    body: str
    key_id: str
    previous_head: bytes
    head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One link of a bulk topic's chain; the names are those of the table."""

    run_id: str
    topic: str
    partition: int
    first_offset: int
    next_offset: int
    chain_index: int
    record_count: int
    digest: bytes
    first_append_ms: int
    last_append_ms: int
    key_id: str
    previous_head: bytes
    head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Where every chain stands."""

    tips: Mapping[Place, Tip]
    open_ranges: Mapping[Place, OpenRange] = field(default_factory=dict)

    def position(self, place: Place) -> int:
        """The next offset to consume; NOWHERE before the first record."""
        return _position(self.tips.get(place), self.open_ranges.get(place))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction stores, and where the chains it touches stood and will stand."""

    rows: tuple[Row, ...]
    ranges: tuple[Range, ...]
    before: Mapping[Place, Tip | None]
    after: Mapping[Place, Tip]


class Scribe:
    """Writes links for one run under one key."""

    def __init__(self, run_id: str, chains: Mapping[Place, Chain]) -> None:
        self._run_id = run_id
        self._chains = chains

    def chain(self, ledger: Ledger, entries: Iterable[Entry], seen: Seen) -> tuple[Batch, Ledger]:
        """The links of a batch, and the ledger behind it. Records met before are passed over."""
        tips, open_ranges = dict(ledger.tips), dict(ledger.open_ranges)
        rows: list[Row] = []
        ranges: list[Range] = []
        met = set(seen)
        for entry in entries:
            record = entry.record
            place = record.place
            if record.offset < _position(tips.get(place), open_ranges.get(place)):
                continue
            if entry.reading is not None:
                row = self._row(tips.get(place), record, entry.reading, met)
                rows.append(row)
                tips[place] = _tip(row.kafka_offset + 1, row)
                continue
            closed, still_open = self._fill(tips.get(place), open_ranges.pop(place, None), entry)
            for link in closed:
                ranges.append(link)
                tips[place] = _tip(link.next_offset, link)
            if still_open is not None:
                open_ranges[place] = still_open
        after = {place: tip for place, tip in tips.items() if ledger.tips.get(place) != tip}
        before = {place: ledger.tips.get(place) for place in after}
        batch = Batch(rows=tuple(rows), ranges=tuple(ranges), before=before, after=after)
        return batch, Ledger(tips=tips, open_ranges=open_ranges)

    def _row(
        self, tip: Tip | None, record: Record, reading: Reading, met: set[tuple[str, int, str]]
    ) -> Row:
        chain = self._chains[record.place]
        previous = chain.genesis() if tip is None else tip.head
        index = 1 if tip is None else tip.index + 1
        is_duplicate = False
        if reading.event_id is not None:
            name = (record.topic, record.partition, reading.event_id)
            is_duplicate = name in met
            met.add(name)
        digest = reading_digest(reading, is_duplicate, reading.body)
        return Row(
            run_id=self._run_id,
            topic=record.topic,
            partition=record.partition,
            kafka_offset=record.offset,
            chain_index=index,
            record_type=reading.record_type,
            event_id=reading.event_id,
            causation_id=reading.causation_id,
            correlation_id=reading.correlation_id,
            producer=reading.producer,
            decision_id=reading.decision_id,
            client_order_id=reading.client_order_id,
            is_duplicate=is_duplicate,
            append_ms=record.append_ms,
            key=record.key,
            headers=record.headers,
            value=record.value,
            body=reading.body,
            key_id=chain.key_id,
            previous_head=previous,
            head=chain.row_head(record.offset, index, previous, digest_of(record), digest),
        )

    def _fill(
        self, tip: Tip | None, open_range: OpenRange | None, entry: Entry
    ) -> tuple[list[Range], OpenRange | None]:
        """Ranges that this record closes, and the one that stays open."""
        record, closed = entry.record, []
        if open_range is not None and record.offset >= _end_of(open_range.first_offset):
            # Offsets were left out (compaction, aborted transactions): the range ended before.
            closed.append(self._close(tip, open_range, _end_of(open_range.first_offset)))
            tip, open_range = _tip(closed[-1].next_offset, closed[-1]), None
        first = record.offset if tip is None else tip.next_offset
        if open_range is None and record.offset >= _end_of(first):
            first = record.offset - record.offset % RANGE_OFFSETS
        filled = _extended(open_range, first, record)
        if not entry.is_final and filled.next_offset < _end_of(filled.first_offset):
            return closed, filled
        closed.append(self._close(tip, filled, filled.next_offset))
        return closed, None

    def _close(self, tip: Tip | None, filled: OpenRange, next_offset: int) -> Range:
        place = filled.place
        chain = self._chains[place]
        previous = chain.genesis() if tip is None else tip.head
        index = 1 if tip is None else tip.index + 1
        offsets = (filled.first_offset, next_offset)
        return Range(
            run_id=self._run_id,
            topic=place[0],
            partition=place[1],
            first_offset=filled.first_offset,
            next_offset=next_offset,
            chain_index=index,
            record_count=filled.count,
            digest=filled.digest,
            first_append_ms=filled.first_append_ms,
            last_append_ms=filled.last_append_ms,
            key_id=chain.key_id,
            previous_head=previous,
            head=chain.range_head(offsets, filled.count, index, previous, filled.digest),
        )


def _position(tip: Tip | None, open_range: OpenRange | None) -> int:
    if open_range is not None:
        return open_range.next_offset
    return NOWHERE if tip is None else tip.next_offset


def _tip(next_offset: int, link: Row | Range) -> Tip:
    return Tip(next_offset=next_offset, index=link.chain_index, head=link.head)


def _end_of(first_offset: int) -> int:
    """Where a range that begins here ends at the latest."""
    return first_offset - first_offset % RANGE_OFFSETS + RANGE_OFFSETS


def _extended(open_range: OpenRange | None, first_offset: int, record: Record) -> OpenRange:
    """The range with one record more; a new one where none is open."""
    base = open_range or OpenRange(
        place=record.place,
        first_offset=first_offset,
        next_offset=first_offset,
        count=0,
        digest=EMPTY_DIGEST,
        first_append_ms=record.append_ms,
        last_append_ms=record.append_ms,
    )
    return OpenRange(
        place=base.place,
        first_offset=base.first_offset,
        next_offset=record.offset + 1,
        count=base.count + 1,
        digest=range_digest(base.digest, record.offset, digest_of(record)),
        first_append_ms=base.first_append_ms,
        last_append_ms=record.append_ms,
    )


def names_of(batch: Sequence[Entry]) -> set[tuple[str, int, str]]:
    """The (topic, partition, event_id) of a batch, to be looked up before it is chained."""
    return {
        (entry.record.topic, entry.record.partition, entry.reading.event_id)
        for entry in batch
        if entry.reading is not None and entry.reading.event_id is not None
    }
