from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.contracts.market import (
    AggressorSide,
    Bar,
    MarkPrice,
    QualityFlag,
    Quote,
    TickOrigin,
    Trade,
)
from tapeline.contracts.system import Watermark
from tapeline.market_data.bars_core import PartitionBars, is_ladder
from tapeline.runtime.codec import encode
from tapeline.runtime.core import Input, Output, Undecodable

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
LADDER = (MINUTE, 5 * MINUTE, 20 * MINUTE)


def trade(
    sequence: int,
    ts_ns: int,
    price: float = 100.0,
    size: float = 1.0,
    instrument_id: str = "A.X",
    quality: tuple[QualityFlag, ...] = (),
) -> Trade:
    return Trade(
        instrument_id=instrument_id,
        feed="f",
        feed_sequence=sequence,
        trade_id="",
        price=price,
        size=size,
        side=AggressorSide.NONE,
        origin=TickOrigin.EXCHANGE,
        quality=quality,
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def quote(sequence: int, ts_ns: int, bid: float, ask: float) -> Quote:
    return Quote(
        instrument_id="A.X",
        feed="f",
        feed_sequence=sequence,
        bid_price=bid,
        ask_price=ask,
        bid_size=0.0,
        ask_size=0.0,
        origin=TickOrigin.EXCHANGE,
        quality=(),
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def watermark(number: int, ts_ns: int) -> Watermark:
    return Watermark(
        source="feed/f",
        slice=number,
        is_paced=True,
        is_final=False,
        ts_event_ns=ts_ns,
        ts_init_ns=ts_ns,
    )


def inputs(records: Sequence[object], start: int = 0) -> list[Input]:
    return [
        Input(record=record, topic="ticks", partition=3, offset=start + index, session_ns=0)
        for index, record in enumerate(records)
    ]


def run(records: Sequence[object], start: int = 0) -> list[Output]:
    return PartitionBars(3, LADDER).step(inputs(records, start))


def bars_of(outputs: Sequence[Output], interval_ns: int | None = MINUTE) -> list[Bar]:
    found = [output.record for output in outputs if isinstance(output.record, Bar)]
    return [bar for bar in found if interval_ns in (None, bar.interval_ns)]


def marks_of(outputs: Sequence[Output]) -> list[MarkPrice]:
    return [output.record for output in outputs if isinstance(output.record, MarkPrice)]


def test_a_watermark_at_the_end_of_the_interval_closes_the_bar() -> None:
    records = [trade(0, 5, 10.0, 2.0), trade(1, 6, 12.0, 3.0), trade(2, 7, 9.0, 1.0)]
    assert bars_of(run([*records, watermark(1, MINUTE - 1)])) == []
    (bar,) = bars_of(run([*records, watermark(1, MINUTE)]))
    assert (bar.open, bar.high, bar.low, bar.close) == (10.0, 12.0, 9.0, 9.0)
    assert (bar.volume, bar.tick_count, bar.late_count) == (6.0, 3, 0)
    assert (bar.ts_open_ns, bar.ts_event_ns, bar.is_complete) == (0, MINUTE, True)


def test_the_first_tick_of_a_later_interval_closes_the_bar_before_any_watermark() -> None:
    outputs = run([trade(0, 5), trade(1, MINUTE)])
    assert [bar.ts_event_ns for bar in bars_of(outputs)] == [MINUTE]


def test_a_bar_closed_by_a_tick_is_not_emitted_again_by_the_watermark() -> None:
    outputs = run([trade(0, 5), trade(1, MINUTE), watermark(1, MINUTE), watermark(2, 2 * MINUTE)])
    assert [bar.ts_event_ns for bar in bars_of(outputs)] == [MINUTE, 2 * MINUTE]


def test_minutes_without_ticks_have_no_bar() -> None:
    outputs = run([trade(0, 5), trade(1, 3 * MINUTE), watermark(1, 20 * MINUTE)])
    assert [bar.ts_open_ns for bar in bars_of(outputs)] == [0, 3 * MINUTE]
    assert [bar.ts_open_ns for bar in bars_of(outputs, 5 * MINUTE)] == [0]


def test_a_tick_on_the_boundary_belongs_to_the_later_interval() -> None:
    outputs = run([trade(0, MINUTE - 1), trade(1, MINUTE), watermark(1, 2 * MINUTE)])
    assert [(bar.ts_open_ns, bar.tick_count) for bar in bars_of(outputs)] == [(0, 1), (MINUTE, 1)]


def test_a_late_tick_is_counted_in_the_next_bar_and_merged_only_where_an_interval_is_open() -> None:
    outputs = run(
        [
            trade(0, 5, 10.0),
            watermark(1, MINUTE),
            trade(1, 7, 99.0),
            trade(2, MINUTE + 1, 11.0),
            watermark(2, 5 * MINUTE),
        ]
    )
    assert [(bar.high, bar.late_count) for bar in bars_of(outputs)] == [(10.0, 0), (11.0, 1)]
    (five,) = bars_of(outputs, 5 * MINUTE)
    assert (five.high, five.tick_count, five.late_count, five.close) == (99.0, 3, 0, 11.0)


def test_a_tick_older_than_the_open_interval_is_late_without_any_watermark() -> None:
    outputs = run([trade(0, 5), trade(1, MINUTE), trade(2, 6), watermark(1, 2 * MINUTE)])
    assert [bar.late_count for bar in bars_of(outputs)] == [0, 1]


def test_a_tick_out_of_order_inside_its_interval_does_not_become_the_close() -> None:
    outputs = run([trade(0, 50, 10.0), trade(1, 40, 8.0), watermark(1, MINUTE)])
    (bar,) = bars_of(outputs)
    assert (bar.open, bar.close, bar.low) == (8.0, 10.0, 8.0)


def test_duplicated_ticks_are_dropped() -> None:
    bars = PartitionBars(3, LADDER)
    records = [trade(4, 5), trade(4, 5), trade(3, 6), watermark(1, MINUTE)]
    (bar,) = bars_of(bars.step(inputs(records)))
    assert (bar.tick_count, bars.duplicate_total) == (1, 2)


def test_bars_over_a_known_gap_are_incomplete_on_both_sides() -> None:
    gap = (QualityFlag.GAP_BEFORE,)
    outputs = run(
        [
            trade(0, 5),
            trade(1, 2 * MINUTE + 7, quality=gap),
            trade(2, 3 * MINUTE),
            watermark(1, 20 * MINUTE),
        ]
    )
    assert [bar.is_complete for bar in bars_of(outputs)] == [False, False, True]
    assert [bar.is_complete for bar in bars_of(outputs, 5 * MINUTE)] == [False]


def test_a_gap_that_ends_on_the_boundary_leaves_the_new_bar_complete() -> None:
    outputs = run(
        [
            trade(0, 5),
            trade(1, 20 * MINUTE, quality=(QualityFlag.GAP_BEFORE,)),
            watermark(1, 40 * MINUTE),
        ]
    )
    assert [bar.is_complete for bar in bars_of(outputs, 20 * MINUTE)] == [False, True]


def test_a_gap_before_the_first_tick_of_a_longer_interval_makes_that_one_incomplete() -> None:
    outputs = run(
        [trade(1, 2 * MINUTE, quality=(QualityFlag.GAP_BEFORE,)), watermark(1, 20 * MINUTE)]
    )
    assert [bar.is_complete for bar in bars_of(outputs, None)] == [True, False, False]


def test_an_interval_in_which_building_began_is_incomplete() -> None:
    outputs = run([trade(7, 90 * SECOND), trade(8, 2 * MINUTE), watermark(1, 20 * MINUTE)], 100)
    assert [bar.is_complete for bar in bars_of(outputs)] == [False, True]
    assert [bar.is_complete for bar in bars_of(outputs, 20 * MINUTE)] == [False]


def test_a_partition_read_from_its_first_record_misses_nothing() -> None:
    outputs = run([trade(7, 90 * SECOND), watermark(1, 20 * MINUTE)], 0)
    assert [bar.is_complete for bar in bars_of(outputs, None)] == [True, True, True]


def test_a_tick_that_could_not_be_read_makes_the_open_bars_incomplete() -> None:
    lost = Undecodable(key="A.X", code="TRUNCATED", reason="ends too early")
    outputs = run([trade(0, 5), trade(1, 5, instrument_id="B.X"), lost, watermark(1, MINUTE)])
    assert [bar.is_complete for bar in bars_of(outputs)] == [False, True]


def test_suspicious_ticks_are_in_no_bar_and_no_mark() -> None:
    bad = trade(1, 6, 50.0, quality=(QualityFlag.SUSPICIOUS,))
    outputs = run([trade(0, 5, 10.0), bad, watermark(1, MINUTE)])
    assert [bar.high for bar in bars_of(outputs)] == [10.0]
    assert [mark.price for mark in marks_of(outputs)] == [10.0]


def test_quotes_build_bars_from_mid_unless_the_interval_has_trades() -> None:
    quotes = [quote(0, 5, 10.0, 12.0), quote(1, 6, 11.0, 13.0)]
    (bar,) = bars_of(run([*quotes, watermark(1, MINUTE)]))
    assert (bar.open, bar.close, bar.volume, bar.tick_count) == (11.0, 12.0, 0.0, 2)
    (bar,) = bars_of(run([*quotes, trade(2, 7, 30.0, 4.0), watermark(1, MINUTE)]))
    assert (bar.open, bar.close, bar.volume, bar.tick_count) == (30.0, 30.0, 4.0, 1)


def test_marks_are_the_last_price_of_a_second_and_prefer_quotes() -> None:
    outputs = run(
        [
            trade(0, 5, 10.0),
            trade(1, 6, 11.0),
            quote(2, SECOND + 1, 9.0, 10.0),
            trade(3, SECOND + 2, 30.0),
            watermark(1, MINUTE),
        ]
    )
    first, second = marks_of(outputs)
    assert (first.price, first.bid_price, first.ts_event_ns) == (11.0, None, 6)
    assert (second.price, second.bid_price, second.ask_price) == (9.5, 9.0, 10.0)


def test_the_mark_of_a_slice_comes_before_its_watermark() -> None:
    outputs = run([trade(0, 5, 10.0), watermark(1, MINUTE)])
    on_marks = [output.record for output in outputs if output.topic == "marks"]
    assert [type(record) for record in on_marks] == [MarkPrice, Watermark]


def test_watermarks_are_passed_on_after_the_outputs_on_both_topics_of_the_same_partition() -> None:
    outputs = run([trade(0, 5), watermark(4, MINUTE)])
    passed = [output for output in outputs if isinstance(output.record, Watermark)]
    assert [output.topic for output in passed] == ["bars", "marks"]
    assert outputs[-2:] == passed
    assert {output.partition for output in outputs} == {3}
    assert {output.record.source for output in passed} == {"bars/3"}
    assert {output.record.slice for output in passed} == {4}


def test_a_watermark_that_does_not_advance_the_clock_is_dropped() -> None:
    outputs = run([watermark(2, MINUTE), watermark(1, MINUTE - 1), watermark(2, MINUTE)])
    assert len(outputs) == 2


@pytest.mark.parametrize(
    ("intervals", "is_one"),
    [
        (LADDER, True),
        ((MINUTE,), True),
        ((), False),
        ((MINUTE, MINUTE), False),
        ((5 * MINUTE, MINUTE), False),
        ((2 * MINUTE, 3 * MINUTE, 6 * MINUTE), False),
        ((MINUTE, 2 * MINUTE, 3 * MINUTE), False),
        ((SECOND // 2, MINUTE), False),
    ],
)
def test_intervals_form_a_ladder(intervals: tuple[int, ...], is_one: bool) -> None:
    assert is_ladder(intervals) is is_one


# ---- against a simple builder, and across restarts


class OneInterval:
    """The rules said plainly: one dictionary of ticks an open bar, trades only."""

    def __init__(self, interval_ns: int) -> None:
        self.interval_ns = interval_ns
        self.clock_ns = -1
        self.open: dict[str, tuple[int, list[Trade]]] = {}
        self.late: dict[str, int] = {}
        self.bars: list[tuple[object, ...]] = []

    def close(self, instrument_id: str) -> None:
        start_ns, ticks = self.open.pop(instrument_id)
        in_time = sorted(ticks, key=lambda tick: tick.ts_event_ns)
        prices = [tick.price for tick in in_time]
        late = self.late.pop(instrument_id, 0)
        self.bars.append(
            (
                instrument_id,
                start_ns,
                (prices[0], max(prices), min(prices), prices[-1]),
                sum(tick.size for tick in ticks),
                len(ticks),
                late,
            )
        )

    def tick(self, tick: Trade) -> None:
        name = tick.instrument_id
        start_ns = tick.ts_event_ns // self.interval_ns * self.interval_ns
        opened = self.open.get(name)
        if opened is None:
            is_late = start_ns + self.interval_ns <= self.clock_ns
        else:
            is_late = start_ns < opened[0]
        if is_late:
            self.late[name] = self.late.get(name, 0) + 1
            return
        if opened is not None and start_ns > opened[0]:
            self.close(name)
        self.open.setdefault(name, (start_ns, []))[1].append(tick)

    def watermark(self, record: Watermark) -> None:
        if record.ts_event_ns <= self.clock_ns:
            return
        self.clock_ns = record.ts_event_ns
        for name in sorted(self.open):
            if self.open[name][0] + self.interval_ns <= self.clock_ns:
                self.close(name)
        if self.clock_ns // LADDER[-1] > getattr(self, "epoch", self.clock_ns // LADDER[-1]):
            self.late.clear()
        self.epoch = self.clock_ns // LADDER[-1]


moves = st.lists(
    st.tuples(
        st.sampled_from(["tick", "tick", "tick", "tick", "late", "mark", "quote", "repeat", "gap"]),
        st.integers(0, 2),
        st.integers(0, 6 * 60).map(lambda tenths: tenths * SECOND // 4),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=120,
)


def stream(plan: Sequence[tuple[str, int, int, int]]) -> list[Trade | Quote | Watermark]:
    """A stream with ticks ahead of the clock, late ones, repeats, gaps, and a growing clock."""
    now_ns, records, number = 0, [], 0
    for sequence, (kind, who, step_ns, price) in enumerate(plan):
        name = ("A.X", "B.X", "C.X")[who]
        if kind == "mark":
            number += 1
            records.append(watermark(number, now_ns // SECOND * SECOND - (who - 1) * 2 * SECOND))
            continue
        if kind == "repeat":
            ticks = [record for record in records if not isinstance(record, Watermark)]
            records.extend(ticks[-1 - who : len(ticks) - who])
            continue
        now_ns += step_ns
        ts_ns = max(0, now_ns - price * MINUTE // 8) if kind == "late" else now_ns
        if kind == "quote":
            tick = quote(sequence, ts_ns, float(price), price + 1.0)
            records.append(replace(tick, instrument_id=name))
            continue
        quality = (QualityFlag.GAP_BEFORE,) if kind == "gap" else ()
        records.append(trade(sequence, ts_ns, float(price), price / 4, name, quality))
    return records


@settings(max_examples=150, deadline=None)
@given(moves)
def test_bars_equal_those_of_a_simple_builder_of_each_interval(
    plan: list[tuple[str, int, int, int]],
) -> None:
    kept = [move for move in plan if move[0] not in ("repeat", "quote")]
    records = stream(kept)
    outputs = run(records)
    for interval_ns in LADDER:
        plain = OneInterval(interval_ns)
        for record in records:
            if isinstance(record, Watermark):
                plain.watermark(record)
            elif isinstance(record, Trade):
                plain.tick(record)
        found = [
            (
                bar.instrument_id,
                bar.ts_open_ns,
                (bar.open, bar.high, bar.low, bar.close),
                bar.volume,
                bar.tick_count,
                bar.late_count,
            )
            for bar in bars_of(outputs, interval_ns)
        ]
        assert found == plain.bars


def assert_restarts_repeat(
    records: Sequence[object], ladder: tuple[int, ...], data: st.DataObject
) -> None:
    """Restarts at random offsets, stepping again from the low water, change no byte."""
    first = data.draw(st.sampled_from([0, 1000]))
    whole = inputs(records, first)
    expected = [encode(output.record) for output in PartitionBars(3, ladder).step(whole)]
    bars, low, done, found = PartitionBars(3, ladder), first, 0, []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    if data.draw(st.integers(0, 3)) == 0:
        cuts = list(range(1, len(whole)))  # a process for each record
    for start, stop in pairwise([0, *cuts, len(whole)]):
        if start:
            bars = PartitionBars(3, ladder)
            bars.step(whole[low - first : done])
        found += [encode(output.record) for output in bars.step(whole[start:stop])]
        done, low = stop, bars.low_water(first + stop)
        assert low <= first + stop
    assert found == expected


@settings(max_examples=150, deadline=None)
@given(moves, st.data())
def test_a_restart_at_any_offset_repeats_the_same_bytes(
    plan: list[tuple[str, int, int, int]], data: st.DataObject
) -> None:
    assert_restarts_repeat(stream(plan), LADDER, data)


def quick_stream(plan: Sequence[tuple[str, int, int]]) -> list[object]:
    """Many epochs in a short stream: ticks around a clock that lags, halts and jumps."""
    now_ns, records, number = 0, [], 0
    for sequence, (kind, who, quarters) in enumerate(plan):
        name = ("A.X", "B.X")[who]
        if kind == "mark":
            number += 1
            records.append(watermark(number, (now_ns // SECOND - quarters // 4) * SECOND))
            continue
        now_ns += quarters * SECOND // 4 if kind != "old" else 0
        ts_ns = max(0, now_ns - quarters * SECOND) if kind == "old" else now_ns
        quality = (QualityFlag.GAP_BEFORE,) if kind == "gap" else ()
        records.append(trade(sequence, ts_ns, 10.0 + sequence, 0.25, name, quality))
    return records


quick_moves = st.lists(
    st.tuples(
        st.sampled_from(["tick", "tick", "tick", "old", "gap", "mark", "mark"]),
        st.integers(0, 1),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=80,
)


@settings(max_examples=400, deadline=None)
@given(quick_moves, st.data())
def test_a_restart_repeats_the_same_bytes_across_the_ends_of_the_longest_interval(
    plan: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    assert_restarts_repeat(quick_stream(plan), (SECOND, 2 * SECOND, 4 * SECOND), data)


def test_a_bar_opened_ahead_of_the_clock_is_whole_again_after_a_restart() -> None:
    early = trade(0, LADDER[-1] + 5, 10.0)
    records = [
        watermark(1, LADDER[-1] - SECOND),
        early,
        watermark(2, LADDER[-1]),
        trade(1, LADDER[-1] + 7, 11.0),
        watermark(3, LADDER[-1] + MINUTE),
    ]
    whole = inputs(records)
    bars = PartitionBars(3, LADDER)
    bars.step(whole[:3])
    low = bars.low_water(3)
    again = PartitionBars(3, LADDER)
    again.step(whole[low:3])
    (bar,) = bars_of(again.step(whole[3:]))
    assert (bar.open, bar.tick_count, bar.is_complete) == (10.0, 2, True)


def test_late_ticks_of_one_longest_interval_are_not_counted_in_the_next() -> None:
    end = LADDER[-1]
    records = [
        trade(0, end - 3 * MINUTE),
        watermark(1, end - MINUTE),
        trade(1, end - 3 * MINUTE + 1),
        watermark(2, end - SECOND),
        trade(2, end + 5),
        watermark(3, end),
        watermark(4, end + MINUTE),
    ]
    whole = inputs(records)
    bars = PartitionBars(3, LADDER)
    before = bars.step(whole[:6])
    low = bars.low_water(6)
    last = bars.step(whole[6:])
    assert [bar.late_count for bar in bars_of([*before, *last])] == [0, 0]
    again = PartitionBars(3, LADDER)
    again.step(whole[low:6])
    assert low == 3
    assert again.step(whole[6:]) == last


@settings(max_examples=100, deadline=None)
@given(moves)
def test_no_two_bars_and_no_two_marks_have_one_content_key(
    plan: list[tuple[str, int, int, int]],
) -> None:
    outputs = [output.record for output in run(stream(plan))]
    keys = [record.content_key() for record in outputs if not isinstance(record, Watermark)]
    assert len(keys) == len(set(keys))


def test_the_low_water_moves_on_with_the_longest_interval() -> None:
    bars = PartitionBars(3, LADDER)
    offset = 0
    for minute in range(1, 90):
        ticks = [trade(minute, minute * MINUTE - 1), watermark(minute, minute * MINUTE)]
        bars.step(inputs(ticks, offset))
        offset += 2
    assert bars.low_water(offset) == 2 * 80 - 1


def test_a_partition_that_does_not_begin_with_its_first_record_is_known_from_there_on() -> None:
    minutes = [trade(number, number * MINUTE) for number in (1, 2, 3)]
    # Behind a watermark the minute that begins there is whole; behind a tick its own is not.
    for first, is_whole in ((watermark(1, MINUTE), True), (minutes[0], False)):
        found = bars_of(run([first, *minutes[1:]] if first is minutes[0] else [first, *minutes], 5))
        assert [bar.is_complete for bar in found] == [is_whole, True]


def test_records_of_no_interest_are_passed_over() -> None:
    assert run([object(), trade(1, 0), watermark(1, MINUTE)]) == run(
        [trade(1, 0), watermark(1, MINUTE)]
    )


def test_a_tick_with_remarks_counts_where_it_is_not_suspicious() -> None:
    odd = trade(2, SECOND, price=101.0, quality=(QualityFlag.OUT_OF_ORDER,))
    (bar,) = bars_of(run([trade(1, 0), odd, watermark(1, MINUTE)]))
    assert (bar.close, bar.tick_count, bar.is_complete) == (101.0, 2, True)


def test_a_late_tick_behind_a_gap_spoils_no_open_bar() -> None:
    late = trade(3, MINUTE - SECOND, quality=(QualityFlag.GAP_BEFORE, QualityFlag.OUT_OF_ORDER))
    (first, second) = bars_of(
        run([trade(1, 0), trade(2, MINUTE), late, trade(4, 2 * MINUTE), trade(5, 3 * MINUTE)])
    )[:2]
    assert (first.is_complete, second.is_complete) == (True, False)


@pytest.mark.parametrize(
    ("ticks", "bar"),
    [
        (TickOrigin.EXCHANGE, TickOrigin.EXCHANGE),
        (TickOrigin.SYNTHETIC, TickOrigin.SYNTHETIC),
        (TickOrigin.UNKNOWN, TickOrigin.UNKNOWN),
        (TickOrigin.BAR_LOW, TickOrigin.BAR_CLOSE),
        (TickOrigin.BAR_OPEN, TickOrigin.BAR_CLOSE),
    ],
)
def test_a_bar_says_where_its_ticks_are_from(ticks: TickOrigin, bar: TickOrigin) -> None:
    (found,) = bars_of(run([replace(trade(1, 0), origin=ticks), watermark(1, MINUTE)]))
    assert found.origin is bar
