"""Bars and ticks that a decision goes back to, read by their positions from Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tapeline.audit.bulk import BulkReader
from tapeline.audit.chain import Record
from tapeline.audit.history import BulkCause, Step
from tapeline.contracts import topics
from tapeline.contracts.market import Bar, Quote, Trade
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.ids import content_id

TICK_CHUNK: Final = 4000
TICKS_READ_MAX: Final = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRange:
    """The ticks a bar was made of."""

    instrument_id: str
    partition: int
    first_offset: int
    last_offset: int
    count: int
    """ticks found"""
    expected_count: int
    """what the bar says"""
    first: Mapping[str, Any]
    last: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What was found in the bulk topics."""

    bars: tuple[Step, ...] = ()
    ticks: tuple[TickRange, ...] = ()
    gaps: tuple[str, ...] = ()


def origin_of(causes: Iterable[BulkCause], bulk: BulkReader | None) -> Origin:
    """The records that these causes name, and the ticks of the bars among them."""
    bars: list[Step] = []
    ticks: list[TickRange] = []
    gaps: list[str] = []
    for cause in dict.fromkeys(causes):
        where = f"{cause.topic}/{cause.partition}/{cause.offset}"
        if bulk is None or cause.topic not in TOPICS:
            gaps.append(f"{where} was not read.")
            continue
        found = bulk.read(cause.topic, cause.partition, cause.offset, cause.offset + 1)
        record = _decoded(found[0]) if found else None
        if record is None or not hasattr(record, "content_key"):
            gaps.append(f"{where} is no longer kept, or cannot be decoded.")
        elif content_id(record.content_key()) != cause.event_id:
            gaps.append(f"{where} holds another record than the one named as the cause.")
        else:
            bars.append(_bulk_step(cause, found[0], record))
            if isinstance(record, Bar):
                _add_ticks(ticks, gaps, bulk, found[0], record)
    return Origin(bars=tuple(bars), ticks=tuple(ticks), gaps=tuple(gaps))


def _add_ticks(
    ticks: list[TickRange], gaps: list[str], bulk: BulkReader, at: Record, bar: Bar
) -> None:
    found = ticks_of(bulk, at, bar)
    if found is None:
        gaps.append(f"The ticks of {at.topic}/{at.partition}/{at.offset} are no longer kept.")
    else:
        ticks.append(found)


def ticks_of(bulk: BulkReader, at: Record, bar: Bar) -> TickRange | None:
    """The ticks of a bar, which stands at a place of `bars`.

    They were appended before the bar, to the partition of the same number; so they are looked for
    from the time of the bar's append backwards, until the bar's count is reached or a whole chunk
    holds none of it.
    """
    behind = bulk.offset_at(topics.TICKS, at.partition, at.append_ms + 1)
    found: list[tuple[int, Trade | Quote]] = []
    read = 0
    while behind > 0 and len(found) < bar.tick_count and read < TICKS_READ_MAX:
        start = max(0, behind - TICK_CHUNK)
        records = bulk.read(topics.TICKS, at.partition, start, behind)
        decoded = [(record.offset, _decoded(record)) for record in records]
        mine = [(offset, tick) for offset, tick in decoded if _belongs(tick, bar)]
        found = mine + found
        read += TICK_CHUNK
        if found and not mine:
            break
        behind = start
    if not found:
        return None
    return TickRange(
        instrument_id=bar.instrument_id,
        partition=at.partition,
        first_offset=found[0][0],
        last_offset=found[-1][0],
        count=len(found),
        expected_count=bar.tick_count,
        first=found[0][1].to_avro(),
        last=found[-1][1].to_avro(),
    )


def _belongs(tick: Any, bar: Bar) -> bool:
    return (
        isinstance(tick, Trade | Quote)
        and tick.instrument_id == bar.instrument_id
        and tick.feed == bar.feed
        and bar.ts_open_ns <= tick.ts_event_ns <= bar.ts_event_ns
    )


def _decoded(record: Record) -> Any:
    try:
        return Decoder(TOPICS[record.topic].records).decode(record.value)
    except DecodeError:
        return None


def _bulk_step(cause: BulkCause, at: Record, record: Any) -> Step:
    return Step(
        record_type=record.AVRO,
        topic=cause.topic,
        partition=cause.partition,
        offset=cause.offset,
        event_id=cause.event_id,
        causation_id="",
        append_ms=at.append_ms,
        body=record.to_avro(),
    )
