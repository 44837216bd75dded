"""Raw records of a feed to ticks and macro readings, addressed and numbered.

In:  raw records of one feed, in its order (and, live, the session time of each).
Out: Trade and Quote on `ticks`, MacroReading on `macro`, FundingRate on `funding-rates`,
     Quarantined on `quarantine`; a Watermark on every partition of `ticks`, on `macro` and on
     `funding-rates` behind each slice or second.

Invariants:
- feed_sequence is the number of the record in the source, refused ones included, so that a second
  reading of a recorded feed numbers it the same.
- Slices follow each other in event time and never go back: a record older than the open slice
  belongs to it. Slices without an accepted record do not exist, but for the last one: it is empty
  and closes the run, so that what comes back from a later service, such as the fills of the last
  slice with data, is taken in by those before it.
- The outputs of a paced run depend on the feed and the settings alone. A restart makes them again
  from the start and leaves out what is on the topics already (`Resume`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from tapeline.contracts import topics
from tapeline.contracts.market import FundingRate, MacroReading, QualityFlag, Quote, Trade
from tapeline.contracts.system import Quarantined, Watermark
from tapeline.market_data.feeds.interface import (
    RawFunding,
    RawMacro,
    RawQuote,
    RawRecord,
    RawUnreadable,
)
from tapeline.market_data.quality import TS_NS_MAX, Gate, Refusal
from tapeline.runtime.ids import content_id, derive_id

MACRO_PARTITION = 0
FUNDING_PARTITION = 0
QUARANTINE_PARTITION = 0
QUARANTINE_BYTES_MAX = 32 * 1024
SETTLING_NS = 1
"""the end of a slice that settles"""
Place = tuple[str, int]
"""topic without prefix, partition"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One record to publish."""

    topic: str
    partition: int
    key: str
    record: Trade | Quote | MacroReading | FundingRate | Quarantined | Watermark
    event_id: str = ""
    """empty on bulk topics"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A raw record with its number and what the gate said."""

    raw: RawRecord
    sequence: int
    flags: tuple[QualityFlag, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """All records of a slice of event time."""

    number: int
    """from 1"""
    end_ns: int
    is_final: bool
    records: tuple[Sent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """What of this feed is on the topics already."""

    sequences: Mapping[Place, int] = field(default_factory=dict)
    """highest feed_sequence of each partition"""
    slices: Mapping[Place, int] = field(default_factory=dict)
    """highest slice whose watermark is there"""
    quarantined: frozenset[str] = frozenset()
    """ids of the records in quarantine"""

    def is_missing(self, sent: Sent) -> bool:
        """True for a record that has not been published yet."""
        place, record = (sent.topic, sent.partition), sent.record
        if isinstance(record, Watermark):
            return record.slice > self.slices.get(place, 0)
        if isinstance(record, Quarantined):
            return sent.event_id not in self.quarantined
        return record.feed_sequence > self.sequences.get(place, -1)

    def next_sequence(self) -> int:
        """The number behind all that were used; for feeds that cannot be read again."""
        return max(self.sequences.values(), default=-1) + 1

    def slice_begun(self) -> int:
        """The last slice with a watermark anywhere; the slices before it have been released."""
        return max(self.slices.values(), default=0)


class FeedCore:
    """Numbers, judges and addresses the records of one feed."""

    def __init__(
        self,
        feed: str,
        run_id: str,
        partition_count: int,
        partition_of: Callable[[str, int], int],
        gate: Gate,
        next_sequence: int = 0,
    ) -> None:
        self._feed = feed
        self.source = f"feed/{feed}"
        self._run_id = run_id
        self._partition_count = partition_count
        self._partition_of = partition_of
        self._partitions: dict[str, int] = {}
        self._gate = gate
        self._sequence = next_sequence
        self.refused: dict[str, int] = {}
        """records that went to quarantine, by code"""

    def judge(self, raw: RawRecord, now_ns: int | None) -> Judged:
        """Numbers a record and asks the gate; `now_ns` is the session clock of a live feed."""
        sequence = self._sequence
        self._sequence += 1
        if isinstance(raw, RawUnreadable):
            verdict: tuple[QualityFlag, ...] | Refusal = Refusal(code=raw.code, reason=raw.reason)
        elif isinstance(raw, RawMacro):
            verdict = self._gate.judge_macro(raw, now_ns)
        elif isinstance(raw, RawFunding):
            verdict = self._gate.judge_funding(raw, now_ns)
        else:
            verdict = self._gate.judge(raw, now_ns)
        if isinstance(verdict, Refusal):
            self.refused[verdict.code] = self.refused.get(verdict.code, 0) + 1
            return Judged(raw=raw, sequence=sequence, refusal=verdict)
        return Judged(raw=raw, sequence=sequence, flags=verdict)

    def sent(self, judged: Judged, init_ns: int, event_ns: int | None = None) -> Sent:
        """The record to publish; `event_ns` replaces the event time of a feed played now."""
        raw = judged.raw
        if judged.refusal is not None:
            return self._quarantined(judged, judged.refusal, init_ns)
        ts_ns = raw.ts_event_ns if event_ns is None else event_ns
        if isinstance(raw, RawMacro):
            return self._macro(raw, judged.sequence, ts_ns, init_ns)
        if isinstance(raw, RawFunding):
            return self._funding(raw, judged.sequence, ts_ns, init_ns)
        assert not isinstance(raw, RawUnreadable), "the gate refuses what cannot be read"
        record = (
            self._quote(raw, judged, ts_ns, init_ns)
            if isinstance(raw, RawQuote)
            else Trade(
                instrument_id=raw.instrument_id,
                feed=self._feed,
                feed_sequence=judged.sequence,
                trade_id=raw.trade_id,
                price=raw.price,
                size=raw.size,
                side=raw.side,
                origin=raw.origin,
                quality=judged.flags,
                ts_event_ns=ts_ns,
                ts_init_ns=init_ns,
            )
        )
        key = raw.instrument_id
        return Sent(topic=topics.TICKS, partition=self._partition(key), key=key, record=record)

    def watermarks(
        self, number: int, ts_ns: int, init_ns: int, is_paced: bool, is_final: bool = False
    ) -> list[Sent]:
        """The watermark of a slice or second on every partition of `ticks`, on `macro` and on
        `funding-rates`."""
        record = Watermark(
            source=self.source,
            slice=number,
            is_paced=is_paced,
            is_final=is_final,
            ts_event_ns=ts_ns,
            ts_init_ns=init_ns,
        )
        ticks = [
            Sent(topic=topics.TICKS, partition=partition, key=self.source, record=record)
            for partition in range(self._partition_count)
        ]
        beside = (
            (topics.MACRO, MACRO_PARTITION, "Watermark"),
            (topics.FUNDING_RATES, FUNDING_PARTITION, "Watermark/funding"),
        )
        others = [
            Sent(
                topic=topic,
                partition=at,
                key=self.source,
                record=record,
                event_id=derive_id(self._run_id, self.source, str(number), kind),
            )
            for topic, at, kind in beside
        ]
        return [*ticks, *others]

    def _partition(self, instrument_id: str) -> int:
        partition = self._partitions.get(instrument_id)
        if partition is None:
            partition = self._partition_of(instrument_id, self._partition_count)
            self._partitions[instrument_id] = partition
        return partition

    def _quote(self, raw: RawQuote, judged: Judged, ts_ns: int, init_ns: int) -> Quote:
        return Quote(
            instrument_id=raw.instrument_id,
            feed=self._feed,
            feed_sequence=judged.sequence,
            bid_price=raw.bid_price,
            ask_price=raw.ask_price,
            bid_size=raw.bid_size,
            ask_size=raw.ask_size,
            origin=raw.origin,
            quality=judged.flags,
            ts_event_ns=ts_ns,
            ts_init_ns=init_ns,
        )

    def _macro(self, raw: RawMacro, sequence: int, ts_ns: int, init_ns: int) -> Sent:
        record = MacroReading(
            series=raw.series,
            feed=self._feed,
            feed_sequence=sequence,
            value=raw.value,
            ts_event_ns=ts_ns,
            ts_init_ns=init_ns,
        )
        return Sent(
            topic=topics.MACRO,
            partition=MACRO_PARTITION,
            key=raw.series,
            record=record,
            event_id=content_id(record.content_key()),
        )

    def _funding(self, raw: RawFunding, sequence: int, ts_ns: int, init_ns: int) -> Sent:
        record = FundingRate(
            instrument_id=raw.instrument_id,
            feed=self._feed,
            rate=raw.rate,
            interval_ns=raw.interval_ns,
            feed_sequence=sequence,
            ts_event_ns=ts_ns,
            ts_init_ns=init_ns,
        )
        return Sent(
            topic=topics.FUNDING_RATES,
            partition=FUNDING_PARTITION,
            key=raw.instrument_id,
            record=record,
            event_id=content_id(record.content_key()),
        )

    def _quarantined(self, judged: Judged, refusal: Refusal, init_ns: int) -> Sent:
        raw = judged.raw
        in_range = 0 <= raw.ts_event_ns < TS_NS_MAX
        record = Quarantined(
            source_topic=self.source,
            source_partition=-1,
            source_offset=-1,
            code=refusal.code,
            reason=f"record {judged.sequence}: {refusal.reason}",
            raw=_raw_bytes(raw)[:QUARANTINE_BYTES_MAX],
            ts_event_ns=raw.ts_event_ns if in_range else init_ns,
            ts_init_ns=init_ns,
        )
        return Sent(
            topic=topics.QUARANTINE,
            partition=QUARANTINE_PARTITION,
            key=self.source,
            record=record,
            event_id=derive_id(self._run_id, self.source, str(judged.sequence), "Quarantined"),
        )


class Slicer:
    """Cuts a feed at its own pace into slices of `width_ns` of event time."""

    def __init__(self, core: FeedCore, width_ns: int, *, settles: bool = False) -> None:
        assert width_ns > SETTLING_NS
        self._core = core
        self._width_ns = width_ns
        self._settling_ns = SETTLING_NS if settles else 0
        self._number = 0
        self._end_ns = -1
        self._open: list[Judged] = []

    def push(self, raw: RawRecord) -> tuple[Slice, ...]:
        """Takes a record; returns what it ends by beginning a later slice."""
        judged = self._core.judge(raw, None)
        if judged.refusal is not None or raw.ts_event_ns < self._end_ns:
            self._open.append(judged)
            return ()
        finished: list[Slice] = []
        if self._number:
            finished.append(self._finished(is_final=False))
            if self._is_settled_before(raw.ts_event_ns):
                finished.append(self._settled())
        behind_ns = (raw.ts_event_ns // self._width_ns + 1) * self._width_ns
        is_settling = raw.ts_event_ns >= behind_ns - self._settling_ns
        self._number += 1
        self._end_ns = behind_ns if is_settling else behind_ns - self._settling_ns
        self._open.append(judged)
        return tuple(finished)

    def _is_settled_before(self, ts_ns: int) -> bool:
        """Whether the slice is to be followed by its last nanosecond, without a record."""
        settled_ns = self._end_ns + self._settling_ns
        return settled_ns % self._width_ns == 0 and self._settling_ns > 0 and ts_ns >= settled_ns

    def _settled(self) -> Slice:
        self._number += 1
        self._end_ns += self._settling_ns
        return self._finished(is_final=False)

    def finish(self) -> tuple[Slice, ...]:
        """The last slice with data and the closing one; nothing where no record was accepted."""
        if not self._number:
            return ()
        last = [self._finished(is_final=False)]
        if self._is_settled_before(self._end_ns + self._width_ns):
            last.append(self._settled())
        self._number += 1
        self._end_ns += self._width_ns
        return *last, self._finished(is_final=True)

    def _finished(self, is_final: bool) -> Slice:
        end_ns = self._end_ns
        records = [self._core.sent(judged, end_ns) for judged in self._open]
        records += self._core.watermarks(self._number, end_ns, end_ns, True, is_final)
        self._open = []
        return Slice(number=self._number, end_ns=end_ns, is_final=is_final, records=tuple(records))


def _raw_bytes(raw: RawRecord) -> bytes:
    """The record as it came, or as JSON where the feed had parsed it already."""
    if isinstance(raw, RawUnreadable):
        return raw.raw
    return json.dumps(asdict(raw), sort_keys=True, default=str).encode()
