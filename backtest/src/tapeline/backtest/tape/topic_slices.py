"""Slices of a recorded run: ticks, macro readings and funding rates, cut as they were.

A paced run has its slices marked by watermarks. One in real time has none of use: it is cut into
slices of a width of event time, as a feed would cut it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

import polars as pl

from tapeline.backtest.paced.setup import ALL, Choice, MacroInput, MarketSlice
from tapeline.backtest.paced.windows import windowed
from tapeline.backtest.tape.bulk_frame import frames_of
from tapeline.backtest.tape.decoded import EVERYTHING, Decoded
from tapeline.backtest.tape.store import Tape, TapeHole
from tapeline.contracts import topics
from tapeline.contracts.market import FundingRate, MacroReading, Quote, Trade
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import DecodeError
from tapeline.runtime.core import Undecodable
from tapeline.runtime.log import TopicPartition

IS_PACED: Final = "is_paced"
"""column of a watermark"""
Heard = tuple[Any, int, str]
"""(record, partition, event_id); ticks are not asked for theirs"""


@dataclass(slots=True)
class Gathering:
    """A slice on its way."""

    number: int
    end_ns: int
    is_final: bool
    ticks: dict[int, list[Trade | Quote]] = field(default_factory=dict)
    macro: list[MacroInput] = field(default_factory=list)
    funding: list[MacroInput] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a slice on one partition."""

    number: int
    end_ns: int
    is_final: bool


@dataclass(slots=True)
class TopicSlices:
    """Reads the tape of a run once."""

    tape: Tape
    width_ns: int
    """of a slice, for runs in real time"""
    choice: Choice = ALL
    _left_out: Counter[str] = field(default_factory=Counter, init=False)
    _first: dict[str, str] = field(default_factory=dict, init=False)
    _decoded: Decoded = field(init=False)
    _wanted: pl.Expr = field(default=EVERYTHING, init=False)
    """the ticks that are made into records at all"""

    def __post_init__(self) -> None:
        """Makes what decodes the records of the tape."""
        self._decoded = Decoded(self.tape)

    def left_out(self) -> tuple[str, ...]:
        """What could not be decoded when the slices were read last, a line each partition."""
        return tuple(
            f"{count} records of {name} cannot be decoded and are left out, as the services put "
            f"them aside; the first: {self._first[name]}"
            for name, count in sorted(self._left_out.items())
        )

    async def __aiter__(self) -> AsyncIterator[MarketSlice]:
        """The slices, numbered from 1; raises NothingThere, RecordUnreadable and what the tape
        raises."""
        self._left_out.clear()
        self._first.clear()
        parts = (_market_slice(part) for part in self._cut())
        for part in windowed(parts, self.choice, self.width_ns):
            yield part

    def _cut(self) -> Iterator[Gathering]:
        places = [
            (topic, number)
            for topic in (topics.TICKS, topics.MACRO, topics.FUNDING_RATES)
            for number in range(self.tape.partition_count(topic))
        ]
        if any(map(self._is_marked, places)):
            self._wanted = _played(self.choice)
            return self._as_marked(places)
        # Where slices begin and end follows from all of their events: only whole ones are left out.
        self._wanted = _played(_whole_slices(self.choice, self.width_ns))
        return self._by_width(places)

    def _is_marked(self, place: TopicPartition) -> bool:
        if frames_of(place[0]) is None:
            records: Iterable[Any] = (event.record for _, event in self._decoded.inputs(place))
            return any(map(_is_paced, records))
        return any(
            frame[IS_PACED].any() or any(map(_is_paced, odd))
            for frame, odd in self._decoded.odd_records(place)
        )

    # ---- paced

    def _as_marked(self, places: list[TopicPartition]) -> Iterator[Gathering]:
        """All partitions side by side, up to the next watermark of each."""
        lanes = {place: self._by_mark(place) for place in places}
        while True:
            heads = {place: next(lane, None) for place, lane in lanes.items()}
            if any(head is None for head in heads.values()):
                return  # the run was ended within a slice: a part of it decides nothing
            found = {place: head for place, head in heads.items() if head is not None}
            mark = next(iter(found.values()))[0]
            part = Gathering(mark.number, mark.end_ns, mark.is_final)
            for place, (other, events) in found.items():
                if other != mark:
                    raise TapeHole(
                        f"Slice {mark.number} is not marked on {place[0]}-{place[1]}, which goes "
                        f"on with slice {other.number}.",
                        "The topic was changed behind the run's back: choose another run.",
                    )
                _gather(part, events)
            yield part

    def _by_mark(self, place: TopicPartition) -> Iterator[tuple[Mark, list[Heard]]]:
        events: list[Heard] = []
        last = 0
        for event in self._heard(place):
            record = event[0]
            if not isinstance(record, Watermark):
                events.append(event)
            elif record.slice > last:
                last = record.slice
                yield _mark_of(record), events
                events = []

    # ---- in real time

    def _by_width(self, places: list[TopicPartition]) -> Iterator[Gathering]:
        """In order of event time; ties by topic, partition and offset."""
        events = [
            event
            for place in places
            for event in self._heard(place)
            if not isinstance(event[0], Watermark)
        ]
        events.sort(key=lambda event: event[0].ts_event_ns)
        part: Gathering | None = None
        for event in events:
            ts_ns = event[0].ts_event_ns
            if part is None or ts_ns >= part.end_ns:
                if part is not None:
                    yield part
                end_ns = (ts_ns // self.width_ns + 1) * self.width_ns
                part = Gathering(0 if part is None else part.number + 1, end_ns, False)
            _gather(part, [event])
        if part is not None:
            yield part

    def _heard(self, place: TopicPartition) -> Iterator[Heard]:
        """What can be read; the rest is in quarantine, and counted."""
        topic, number = place
        if frames_of(topic) is not None:
            for frame, records in self._decoded.columns(place, self._wanted):
                found = [record for record in records if not isinstance(record, DecodeError)]
                if len(found) < len(records):
                    self._count(place, frame["offset"].to_list(), records)
                yield from zip(found, repeat(number), repeat(""), strict=False)
            return
        for raw, event in self._decoded.inputs(place):
            if isinstance(event.record, Undecodable):
                self._leave_out(place, raw.offset, event.record.reason.partition(": ")[2])
            else:
                yield event.record, event.partition, event.event_id

    def _count(self, place: TopicPartition, offsets: list[int], records: list[Any]) -> None:
        for offset, record in zip(offsets, records, strict=True):
            if isinstance(record, DecodeError):
                self._leave_out(place, offset, record.reason)

    def _leave_out(self, place: TopicPartition, offset: int, reason: str) -> None:
        name = f"{place[0]}-{place[1]}"
        self._left_out[name] += 1
        self._first.setdefault(name, f"offset {offset}: {reason}")


def _market_slice(part: Gathering) -> MarketSlice:
    return MarketSlice(
        number=part.number,
        end_ns=part.end_ns,
        is_final=part.is_final,
        ticks=part.ticks,
        macro=part.macro,
        funding=part.funding,
    )


def _played(choice: Choice) -> pl.Expr:
    """The same as `choice.is_played`, of the columns of ticks."""
    if choice == ALL:
        return EVERYTHING
    # Literals of their own kind: the last nanosecond is no float.
    start = pl.lit(choice.start_ns, dtype=pl.Int64)
    end = pl.lit(choice.end_ns, dtype=pl.Int64)
    wanted = (pl.col("ts_event_ns") >= start) & (pl.col("ts_event_ns") < end)
    if choice.instruments:
        wanted &= pl.col("instrument_id").is_in(sorted(choice.instruments))
    return wanted


def _whole_slices(choice: Choice, width_ns: int) -> Choice:
    """All of the slices that a part of the time lies in, and all instruments."""
    start = choice.start_ns // width_ns * width_ns
    end = -(-choice.end_ns // width_ns) * width_ns
    return Choice(start_ns=start, end_ns=min(end, ALL.end_ns))


def _is_paced(record: Any) -> bool:
    return isinstance(record, Watermark) and record.is_paced


def _mark_of(record: Watermark) -> Mark:
    return Mark(record.slice, record.ts_event_ns, record.is_final)


def _gather(part: Gathering, events: Iterable[Heard]) -> None:
    for record, partition, event_id in events:
        if isinstance(record, Trade | Quote):
            part.ticks.setdefault(partition, []).append(record)
        elif isinstance(record, MacroReading):
            part.macro.append(MacroInput(record, event_id))
        elif isinstance(record, FundingRate):
            part.funding.append(MacroInput(record, event_id))
