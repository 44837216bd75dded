"""Ticks to bars and marks, one partition at a time.

In:  Trade, Quote and Watermark of one partition of `ticks`, in offset order.
Out: Bar on `bars`, MarkPrice on `marks`, then the Watermark on both; same partition number.

Invariants:
- A bar is emitted once: by the session clock (the highest Watermark) at or past its end, or before
  the first tick of a later interval of its instrument, whichever comes first.
- A tick of an interval that is closed is late: counted, never merged. Lateness is judged for each
  interval length on its own: late for the minute, a tick may still belong to the hour.
- Outputs depend on nothing but the inputs since `low_water`: whatever reaches further back is
  dropped when the clock enters a new epoch (the longest interval). So a restart that steps again
  from there repeats the same bytes.

A mark is the last price of a second of event time, emitted like the bar of that second: at most
one a second, and always one by the end of a slice in which the instrument ticked (slices are whole
seconds). Where the second has quotes, it is the mid of the last one.

Ticks are folded into the shortest interval only; the longer ones take its sums when it closes.
State is mutable: this is the hot path, and a bar is a small book.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tapeline.contracts import topics
from tapeline.contracts.market import (
    Bar,
    MarkPrice,
    QualityFlag,
    Quote,
    TickOrigin,
    Trade,
)
from tapeline.contracts.system import Watermark
from tapeline.market_data.tally import Bucket, Builder
from tapeline.runtime.core import Input, Output, Undecodable

SECOND_NS: Final = 1_000_000_000


class PartitionBars:
    """Bars and marks of one partition of `ticks`.

    `intervals_ns` ascend, are whole seconds and each divides the longest; the shortest divides all.
    """

    def __init__(self, partition: int, intervals_ns: tuple[int, ...]) -> None:
        assert is_ladder(intervals_ns), f"{intervals_ns} is no ladder of intervals"
        self._partition = partition
        self._intervals_ns = intervals_ns
        self._fine_ns = intervals_ns[0]
        self._epoch_ns = intervals_ns[-1]
        self._builders: dict[tuple[str, str], Builder] = {}
        self._clock_ns = -1
        self._began_ns: int | None = None
        """an interval that opened earlier was not seen whole"""
        self._epoch_end_ns = -1
        self._low = -1
        self._next_low = -1
        self._is_next_low_fixed = False
        self.late_total = 0
        """late ticks of the shortest interval since the start of the process"""
        self.duplicate_total = 0

    def step(self, events: Sequence[Input]) -> list[Output]:
        """Outputs of a batch, in order."""
        out: list[Output] = []
        for event in events:
            record = event.record
            kind = type(record)
            if self._began_ns is None:
                self._begin(event)
            if kind is Trade or kind is Quote:
                self._tick(record, out)
            elif kind is Watermark:
                self._watermark(event.offset, record, out)
            elif kind is Undecodable:
                self._lose(record.key)
        return out

    def low_water(self, position: int) -> int:
        """First offset from which a blank instance must step again to stand where this one does."""
        return position if self._low < 0 else self._low

    def _begin(self, event: Input) -> None:
        """What lies before the first record of a partition that does not start at 0 is unknown."""
        self._low = self._next_low = event.offset
        record = event.record
        if event.offset == 0:
            self._began_ns = -1
        elif type(record) is Watermark:
            self._began_ns = record.ts_event_ns
        else:
            self._began_ns = getattr(record, "ts_event_ns", -1) + 1

    # ---- ticks

    def _tick(self, record: Trade | Quote, out: list[Output]) -> None:
        builder = self._builders.get((record.feed, record.instrument_id))
        if builder is None:
            builder = Builder(record.feed, record.instrument_id, len(self._intervals_ns))
            self._builders[record.feed, record.instrument_id] = builder
        if record.feed_sequence <= builder.last_sequence:
            self.duplicate_total += 1
            return
        builder.last_sequence = record.feed_sequence
        if record.ts_event_ns >= self._epoch_end_ns:
            self._is_next_low_fixed = True
        if record.quality:
            self._flagged(builder, record, out)
        else:
            self._merge(builder, record, out)

    def _flagged(self, builder: Builder, record: Trade | Quote, out: list[Output]) -> None:
        """A tick the quality gate let pass with remarks."""
        is_after_gap = QualityFlag.GAP_BEFORE in record.quality
        if is_after_gap:
            builder.lose()
        if QualityFlag.SUSPICIOUS not in record.quality:
            self._merge(builder, record, out)
            if is_after_gap:
                self._mark_gap(builder, record.ts_event_ns)

    def _merge(self, builder: Builder, record: Trade | Quote, out: list[Output]) -> None:
        ts_ns = record.ts_event_ns
        fine = builder.fine
        if fine is None or not fine.start_ns <= ts_ns < fine.end_ns:
            fine = self._open_for(builder, record, out)
        if fine is not None:
            fine.add(record)
            if not builder.mark_start_ns <= ts_ns < builder.mark_end_ns:
                self._turn_mark(builder, record, out)
            builder.price(record)

    def _open_for(
        self, builder: Builder, record: Trade | Quote, out: list[Output]
    ) -> Bucket | None:
        """The shortest bucket of a tick that is not in the open one; None for a late tick."""
        ts_ns = record.ts_event_ns
        start_ns = ts_ns - ts_ns % self._fine_ns
        end_ns = start_ns + self._fine_ns
        fine = builder.fine
        is_late = end_ns <= self._clock_ns if fine is None else ts_ns < fine.start_ns
        if is_late:
            self._late(builder, record)
            return None
        self._close_due(builder, start_ns, record.ts_init_ns, out)
        builder.fine = Bucket(start_ns, end_ns, self._is_whole(start_ns))
        return builder.fine

    def _late(self, builder: Builder, record: Trade | Quote) -> None:
        """Counts a tick that is late for the shortest interval; longer ones may still take it."""
        self.late_total += 1
        builder.late[0] += 1
        for index in range(1, len(self._intervals_ns)):
            bucket = self._coarse_for(builder, index, record.ts_event_ns)
            if bucket is None:
                builder.late[index] += 1
            else:
                bucket.add(record)

    def _coarse_for(self, builder: Builder, index: int, ts_ns: int) -> Bucket | None:
        """The open bucket of a longer interval that a tick belongs to; None where it is closed."""
        interval_ns = self._intervals_ns[index]
        start_ns = ts_ns - ts_ns % interval_ns
        bucket = builder.coarse[index]
        if bucket is not None:
            return bucket if bucket.start_ns == start_ns else None
        fine = builder.fine
        if fine is not None:
            is_open = start_ns == fine.start_ns - fine.start_ns % interval_ns
        else:
            is_open = start_ns + interval_ns > self._clock_ns
        return self._open_coarse(builder, index, start_ns) if is_open else None

    def _open_coarse(self, builder: Builder, index: int, start_ns: int) -> Bucket:
        end_ns = start_ns + self._intervals_ns[index]
        bucket = builder.coarse[index] = Bucket(start_ns, end_ns, self._is_whole(start_ns))
        return bucket

    def _is_whole(self, start_ns: int) -> bool:
        assert self._began_ns is not None
        return start_ns >= self._began_ns

    def _mark_gap(self, builder: Builder, ts_ns: int) -> None:
        """The open buckets that started before the first tick behind a gap are not whole."""
        fine = builder.fine
        if fine is None or not fine.start_ns <= ts_ns < fine.end_ns:
            return
        fine.is_complete = fine.is_complete and ts_ns == fine.start_ns
        for index in range(1, len(self._intervals_ns)):
            interval_ns = self._intervals_ns[index]
            start_ns = fine.start_ns - fine.start_ns % interval_ns
            bucket = builder.coarse[index] or self._open_coarse(builder, index, start_ns)
            bucket.is_complete = bucket.is_complete and ts_ns == start_ns

    def _lose(self, key: str) -> None:
        """A tick of an instrument could not be read: what is open for it is not whole."""
        for (_, instrument_id), builder in self._builders.items():
            if instrument_id == key:
                builder.lose()

    # ---- closing

    def _close_due(self, builder: Builder, now_ns: int, init_ns: int, out: list[Output]) -> None:
        """Emits the bars of an instrument that end at `now_ns` or earlier, shortest first."""
        fine = builder.fine
        if fine is not None and fine.end_ns <= now_ns:
            self._emit(builder, 0, fine, init_ns, out)
            for index in range(1, len(self._intervals_ns)):
                interval_ns = self._intervals_ns[index]
                start_ns = fine.start_ns - fine.start_ns % interval_ns
                bucket = builder.coarse[index] or self._open_coarse(builder, index, start_ns)
                bucket.fold(fine)
            builder.fine = None
        for index in range(1, len(self._intervals_ns)):
            due = builder.coarse[index]
            if due is not None and due.end_ns <= now_ns:
                self._emit(builder, index, due, init_ns, out)
                builder.coarse[index] = None

    def _emit(
        self, builder: Builder, index: int, bucket: Bucket, init_ns: int, out: list[Output]
    ) -> None:
        tally = bucket.trades or bucket.quotes
        assert tally is not None, "a bucket is opened by a tick"
        bar = Bar(
            instrument_id=builder.instrument_id,
            feed=builder.feed,
            interval_ns=self._intervals_ns[index],
            ts_open_ns=bucket.start_ns,
            open=tally.open,
            high=tally.high,
            low=tally.low,
            close=tally.close,
            volume=tally.volume,
            tick_count=tally.count,
            late_count=builder.late[index],
            is_complete=bucket.is_complete,
            origin=_bar_origin(tally.origin),
            ts_event_ns=bucket.end_ns,
            ts_init_ns=init_ns,
        )
        builder.late[index] = 0
        out.append(self._output(topics.BARS, builder.instrument_id, bar))

    # ---- marks

    def _turn_mark(self, builder: Builder, record: Trade | Quote, out: list[Output]) -> None:
        """A tick that is not of the open second closes it and opens its own, unless it is late."""
        ts_ns = record.ts_event_ns
        start_ns = ts_ns - ts_ns % SECOND_NS
        if builder.mark_end_ns < 0:
            is_late = start_ns + SECOND_NS <= self._clock_ns
        else:
            is_late = ts_ns < builder.mark_start_ns
        if is_late:
            return
        self._emit_mark(builder, record.ts_init_ns, out)
        builder.open_mark(start_ns, start_ns + SECOND_NS)

    def _emit_mark(self, builder: Builder, init_ns: int, out: list[Output]) -> None:
        if builder.mark_end_ns < 0:
            return
        mark = MarkPrice(
            instrument_id=builder.instrument_id,
            feed=builder.feed,
            price=builder.mark_price,
            bid_price=builder.mark_bid_price,
            ask_price=builder.mark_ask_price,
            ts_event_ns=builder.mark_ts_ns,
            ts_init_ns=init_ns,
        )
        builder.close_mark()
        out.append(self._output(topics.MARKS, builder.instrument_id, mark))

    # ---- the session clock

    def _watermark(self, offset: int, record: Watermark, out: list[Output]) -> None:
        """Closes what is due and passes the watermark on; one that does not advance is dropped."""
        now_ns = record.ts_event_ns
        if now_ns <= self._clock_ns:
            return
        is_first = self._clock_ns < 0
        self._clock_ns = now_ns
        for key in sorted(self._builders):
            builder = self._builders[key]
            if 0 <= builder.mark_end_ns <= now_ns:
                self._emit_mark(builder, record.ts_init_ns, out)
            self._close_due(builder, now_ns, record.ts_init_ns, out)
        if not self._is_next_low_fixed and now_ns <= self._epoch_end_ns:
            self._next_low = offset
        if is_first or now_ns >= self._epoch_end_ns:
            self._enter_epoch(offset, is_first)
        passed = Watermark(
            source=f"bars/{self._partition}",
            slice=record.slice,
            is_paced=record.is_paced,
            is_final=record.is_final,
            ts_event_ns=now_ns,
            ts_init_ns=record.ts_init_ns,
        )
        out.append(self._output(topics.BARS, passed.source, passed))
        out.append(self._output(topics.MARKS, passed.source, passed))

    def _enter_epoch(self, offset: int, is_first: bool) -> None:
        """Forgets all but the open buckets, and moves the low water behind what they need."""
        self._epoch_end_ns = self._clock_ns - self._clock_ns % self._epoch_ns + self._epoch_ns
        if not is_first:
            self._low = self._next_low
            self._builders = {
                key: builder for key, builder in self._builders.items() if builder.is_open()
            }
            for builder in self._builders.values():
                builder.late = [0] * len(self._intervals_ns)
        self._is_next_low_fixed = any(
            builder.reaches(self._epoch_end_ns) for builder in self._builders.values()
        )
        if not self._is_next_low_fixed:
            self._next_low = offset

    def _output(self, topic: str, key: str, record: Bar | MarkPrice | Watermark) -> Output:
        return Output(topic=topic, key=key, record=record, event_id="", partition=self._partition)


def is_ladder(intervals_ns: tuple[int, ...]) -> bool:
    """Ascending whole seconds; the first divides all, and all divide the last."""
    return (
        len(intervals_ns) > 0
        and list(intervals_ns) == sorted(set(intervals_ns))
        and all(
            interval > 0
            and interval % SECOND_NS == 0
            and interval % intervals_ns[0] == 0
            and intervals_ns[-1] % interval == 0
            for interval in intervals_ns
        )
    )


def _bar_origin(origin: TickOrigin) -> TickOrigin:
    """How a bar names the origin of its ticks."""
    if origin in (TickOrigin.EXCHANGE, TickOrigin.SYNTHETIC, TickOrigin.UNKNOWN):
        return origin
    return TickOrigin.BAR_CLOSE
