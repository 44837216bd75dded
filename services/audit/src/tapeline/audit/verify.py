"""Proves that the database holds what was chained: nothing edited, removed, added, moved or cut.

Every link is recomputed from the bytes beside it; every link must follow the one before; every
anchor must be met. What each fault looks like:

    ROW_EDITED       a row's bytes or columns do not give its head (edited, moved, or forged)
    RANGE_EDITED     the same for a range of a bulk topic
    ROWS_MISSING     the chain index jumps: that many links before this one were removed
    CHAIN_BROKEN     a link does not follow the one stored before it
    TAIL_MISSING     the chain ends before its anchor: cut, or an old backup
    HEAD_MISMATCH    the chain passes an anchor with another head: rewritten as a whole
    KEY_UNKNOWN      a link names a key that is not in the folder
    RANGE_MISMATCH   what Kafka holds of a range does not give the chained digest
    ANCHORS_DAMAGED  lines of the anchor file are not anchors

Records that Kafka holds behind a chain are no fault of the database: they are counted as pending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tapeline.audit.anchors import Anchor, Anchors
from tapeline.audit.chain import (
    EMPTY_DIGEST,
    Chain,
    ChainKey,
    Place,
    Record,
    digest_of,
    message_digest,
    range_digest,
)
from tapeline.audit.database import CONNECT_S, database_away, psycopg_url
from tapeline.audit.keys import ChainKeys
from tapeline.audit.reading import canonical, reading_digest

CHUNK_ROWS: Final = 2000
FINDINGS_MAX: Final = 100
"""kept of one chain; the count goes on"""
ROWS: Final = """
SELECT topic, partition, kafka_offset, chain_index, record_type, event_id, causation_id,
    correlation_id, producer, decision_id, client_order_id, is_duplicate, append_ms, key, headers,
    value, body::text AS body, key_id, previous_head, head
FROM audit.audit_row WHERE run_id = %s
ORDER BY topic, partition, kafka_offset
"""
RANGES: Final = """
SELECT topic, partition, first_offset, next_offset, chain_index, record_count, digest, key_id,
    previous_head, head
FROM audit.audit_range WHERE run_id = %s
ORDER BY topic, partition, first_offset
"""

ReadRange = Callable[[str, int, int, int], Iterable[Record]]
"""(topic, partition, from, to) -> the records that Kafka still holds of these offsets"""


class StoredRow(NamedTuple):
    """One row as ROWS selects it."""

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


class StoredRange(NamedTuple):
    """One range as RANGES selects it."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    chain_index: int
    record_count: int
    digest: bytes
    key_id: str
    previous_head: bytes
    head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault."""

    code: str
    topic: str
    partition: int
    offset: int
    """of the first bad row; for a missing tail the first missing offset; -1 for a whole file"""
    reason: str
    """one sentence"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at and what was found."""

    run_id: str
    row_count: int
    range_count: int
    chain_count: int
    anchor_count: int
    findings: tuple[Finding, ...]
    """in the order of topic, partition, offset"""
    finding_count: int
    pending: Mapping[Place, int] = field(default_factory=dict)
    """records that Kafka holds behind the chains (of a bulk topic: behind its last whole range);
    while the service runs there are some, after it none outside open ranges of bulk topics"""

    @property
    def is_intact(self) -> bool:
        """True when nothing was found."""
        return self.finding_count == 0

    @property
    def first_bad(self) -> Finding | None:
        """The first fault, or None."""
        return self.findings[0] if self.findings else None


@dataclass(slots=True)
class _Walk:
    """State of walking along one chain."""

    place: Place
    anchors: Mapping[int, Sequence[Anchor]]
    """by the index they were taken at"""
    index: int = 0
    head: bytes | None = None
    next_offset: int = 0
    findings: list[Finding] = field(default_factory=list)
    finding_count: int = 0

    def note(self, code: str, offset: int, reason: str) -> None:
        self.finding_count += 1
        if len(self.findings) < FINDINGS_MAX:
            topic, partition = self.place
            self.findings.append(
                Finding(code=code, topic=topic, partition=partition, offset=offset, reason=reason)
            )


def verify(
    database_url: str,
    run_id: str,
    keys: ChainKeys,
    anchors: Anchors,
    *,
    ends: Mapping[Place, int] | None = None,
    read_range: ReadRange | None = None,
) -> Report:
    """Walks along every chain of a run, in one consistent view of the database.

    `anchors` must have been read before: those of the file and, where wanted, of the topic.
    `ends` are Kafka's (read before as well): what lies behind the chains is counted. With
    `read_range` it is counted exactly, and the ranges of bulk topics are compared with what Kafka
    still holds. Raises DatabaseAway.
    """
    by_place: dict[Place, dict[int, list[Anchor]]] = {}
    for anchor in anchors.anchors:
        by_place.setdefault(anchor.place, {}).setdefault(anchor.row_count, []).append(anchor)
    walks: dict[Place, _Walk] = {}
    url = psycopg_url(database_url)
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S})
    verifier = _Verifier(run_id, keys, read_range)
    counts = [0, 0]
    try:
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            driver.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            driver.read_only = True
            for number, (query, check) in enumerate(
                ((ROWS, verifier.check_row), (RANGES, verifier.check_range))
            ):
                for place, links in groupby(_stream(driver, query, run_id), itemgetter(0, 1)):
                    walk = _Walk(place, by_place.get(place, {}))
                    walks[place] = walk
                    for link in links:
                        counts[number] += 1
                        check(walk, link)
            driver.rollback()
    except OperationalError as error:
        raise database_away(url, error) from error
    finally:
        engine.dispose()
    for place, anchored in by_place.items():
        walk = walks.setdefault(place, _Walk(place, anchored))
        _check_tail(walk, anchored)
    pending = _pending(walks, ends or {}, read_range)
    return _report(run_id, walks, counts, anchors, pending)


class _Verifier:
    """Checks single links under the keys of a folder."""

    def __init__(self, run_id: str, keys: ChainKeys, read_range: ReadRange | None) -> None:
        self._run_id = run_id
        self._keys: Mapping[str, ChainKey] = keys.known
        self._read_range = read_range
        self._chains: dict[tuple[Place, str], Chain | None] = {}

    def check_row(self, walk: _Walk, values: tuple[Any, ...]) -> None:
        row = StoredRow._make(values)
        chain = self._chain(walk, row.key_id, row.kafka_offset)
        if chain is not None:
            message = message_digest(row.key, row.headers, row.value, row.append_ms)
            reading = reading_digest(row, row.is_duplicate, _canonical(row.body))
            head = chain.row_head(
                row.kafka_offset, row.chain_index, row.previous_head, message, reading
            )
            if head != row.head:
                walk.note("ROW_EDITED", row.kafka_offset, "The row does not give its own head.")
            self._follow(walk, chain, row.chain_index, row.kafka_offset, row.previous_head)
        _advance(walk, row.chain_index, row.kafka_offset + 1, row.head)

    def check_range(self, walk: _Walk, values: tuple[Any, ...]) -> None:
        link = StoredRange._make(values)
        chain = self._chain(walk, link.key_id, link.first_offset)
        if chain is not None:
            offsets = (link.first_offset, link.next_offset)
            head = chain.range_head(
                offsets, link.record_count, link.chain_index, link.previous_head, link.digest
            )
            if head != link.head:
                walk.note("RANGE_EDITED", link.first_offset, "The range does not give its head.")
            self._follow(walk, chain, link.chain_index, link.first_offset, link.previous_head)
            self._compare_with_kafka(walk, link)
        _advance(walk, link.chain_index, link.next_offset, link.head)

    def _chain(self, walk: _Walk, key_id: str, offset: int) -> Chain | None:
        name = (walk.place, key_id)
        if name not in self._chains:
            key = self._keys.get(key_id)
            self._chains[name] = Chain(key, self._run_id, walk.place) if key else None
        chain = self._chains[name]
        if chain is None:
            walk.note("KEY_UNKNOWN", offset, f"The chain key {key_id!r} is not in the folder.")
        return chain

    def _follow(self, walk: _Walk, chain: Chain, index: int, offset: int, previous: bytes) -> None:
        expected = chain.genesis() if walk.head is None else walk.head
        if index > walk.index + 1:
            missing = index - walk.index - 1
            where = f"between offsets {walk.next_offset - 1} and {offset}"
            walk.note(
                "ROWS_MISSING",
                offset,
                f"{missing} link(s) {where if walk.index else f'before offset {offset}'} are gone.",
            )
        elif previous != expected or index != walk.index + 1:
            walk.note("CHAIN_BROKEN", offset, "It does not follow the link stored before it.")

    def _compare_with_kafka(self, walk: _Walk, link: StoredRange) -> None:
        """Only where Kafka still holds the whole range: retention and compaction are not faults."""
        if self._read_range is None:
            return
        digest, count = EMPTY_DIGEST, 0
        records = self._read_range(link.topic, link.partition, link.first_offset, link.next_offset)
        for record in records:
            digest = range_digest(digest, record.offset, digest_of(record))
            count += 1
        if count == link.record_count and digest != link.digest:
            walk.note("RANGE_MISMATCH", link.first_offset, "Kafka holds other records.")
        elif count > link.record_count:
            walk.note("RANGE_MISMATCH", link.first_offset, "Kafka holds more records.")


def _stream(driver: psycopg.Connection[Any], query: str, run_id: str) -> Iterator[Any]:
    # Chunks come while the last one is looked at; a named cursor would wait for each.
    with driver.cursor(binary=True) as cursor:
        yield from cursor.stream(query, (run_id,), size=CHUNK_ROWS)


def _canonical(body: str) -> str:
    try:
        return canonical(body)
    except (ValueError, msgspec.MsgspecError):
        return body  # figures we never write: the head will not fit


def _advance(walk: _Walk, index: int, next_offset: int, head: bytes) -> None:
    # What follows is measured against what is stored, so that one fault is not reported for ever.
    walk.index, walk.next_offset, walk.head = index, next_offset, head
    for anchor in walk.anchors.get(index, ()):
        if anchor.head != head.hex() or anchor.next_offset != next_offset:
            walk.note("HEAD_MISMATCH", next_offset - 1, "Another head was anchored here.")


def _check_tail(walk: _Walk, anchored: Mapping[int, Sequence[Anchor]]) -> None:
    furthest = max(anchored)
    if walk.index < furthest:
        anchor = anchored[furthest][0]
        reason = (
            f"{furthest - walk.index} link(s) up to offset {anchor.next_offset - 1} were anchored "
            "and are gone."
        )
        walk.note("TAIL_MISSING", walk.next_offset, reason)


def _pending(
    walks: Mapping[Place, _Walk], ends: Mapping[Place, int], read_range: ReadRange | None
) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for place, end in sorted(ends.items()):
        walk = walks.get(place)
        start = 0 if walk is None else walk.next_offset
        if end <= start:
            continue
        # Offsets are counted where records cannot be: markers of transactions are among them.
        count = end - start
        if read_range is not None:
            count = sum(1 for _ in read_range(*place, start, end))
        if count:
            found[place] = count
    return found


def _report(
    run_id: str,
    walks: Mapping[Place, _Walk],
    counts: Sequence[int],
    anchors: Anchors,
    pending: Mapping[Place, int],
) -> Report:
    findings = [finding for _, walk in sorted(walks.items()) for finding in walk.findings]
    total = sum(walk.finding_count for walk in walks.values())
    if anchors.damaged_lines:
        total += 1
        lines = ", ".join(str(number) for number in anchors.damaged_lines[:10])
        reason = f"Lines {lines} of the anchor file are not anchors."
        findings.append(
            Finding(code="ANCHORS_DAMAGED", topic="", partition=-1, offset=-1, reason=reason)
        )
    return Report(
        run_id=run_id,
        row_count=counts[0],
        range_count=counts[1],
        chain_count=sum(1 for walk in walks.values() if walk.index),
        anchor_count=len(anchors.anchors),
        findings=tuple(findings),
        finding_count=total,
        pending=pending,
    )
