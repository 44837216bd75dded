"""Cycles: transcripts of interleaved and repeated sources, and independence of the order."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from agents_samples import DAY_NS, IXIC, SPX, UNIVERSE, signal, watermark
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.agents import cycles
from tapeline.agents.cycles import Closing, CycleTracker, Heard
from tapeline.contracts.agents import Signal
from tapeline.contracts.system import Watermark

A, B = "triggers/bars/0", "triggers/macro/0"


def tracker_of(sources: tuple[str, ...] = (A, B), interval_ns: int = 0) -> CycleTracker:
    return CycleTracker(universe=UNIVERSE, sources=sources, interval_ns=interval_ns)


def fed(tracker: CycleTracker, records: Sequence[Any], first: int = 0) -> list[Closing]:
    found = []
    for offset, record in enumerate(records, start=first):
        match record:
            case Signal():
                tracker.hear(Heard(signal=record, offset=offset, correlation_id=""))
            case Watermark():
                found.append(tracker.pass_(record, offset))
    return [closing for closing in found if closing is not None]


def news(closings: Sequence[Closing]) -> list[tuple[int, list[str] | None]]:
    return [
        (
            closing.slice,
            None if closing.new is None else [heard.signal.signal_id for heard in closing.new],
        )
        for closing in closings
    ]


def test_a_slice_is_complete_when_every_source_has_reached_it() -> None:
    records = [
        signal(1),
        watermark(A, 1),
        watermark(B, 1),
        watermark(A, 2),
        watermark(A, 3),
        watermark(B, 2),
        watermark(B, 3),
    ]
    closings = fed(tracker_of(), records)
    assert news(closings) == [(1, [f"sma-{SPX}-1"]), (2, None), (3, None)]
    assert [closing.ts_event_ns for closing in closings] == [DAY_NS, 2 * DAY_NS, 3 * DAY_NS]


def test_a_source_that_skips_slices_takes_them_all_at_once() -> None:
    closings = fed(tracker_of(), [watermark(A, 5), watermark(B, 1), watermark(B, 7)])
    assert [(closing.slice, closing.ts_event_ns) for closing in closings] == [
        (1, DAY_NS),
        (5, 5 * DAY_NS),
    ]


def test_repeated_and_unknown_watermarks_complete_nothing() -> None:
    records = [
        watermark(A, 1),
        watermark("triggers/bars/9", 1),
        watermark(A, 1),
        watermark(B, 1),
        watermark(A, 1),
        watermark(B, 1),
        watermark(B, 0),
    ]
    assert news(fed(tracker_of(), records)) == [(1, None)]


def test_repeated_signals_are_dropped_within_a_cycle_and_across_cycles() -> None:
    one, two = signal(1), signal(2)
    records = [one, one, watermark(A, 1), one, watermark(A, 2), two, one, two, watermark(A, 3)]
    assert news(fed(tracker_of((A,)), records)) == [
        (1, [one.signal_id]),
        (2, None),
        (3, [two.signal_id]),
    ]


def test_a_signal_dated_behind_the_slice_waits_for_its_own() -> None:
    early = signal(2)
    records = [early, signal(1), watermark(A, 1), watermark(A, 2)]
    assert news(fed(tracker_of((A,)), records)) == [
        (1, [f"sma-{SPX}-1"]),
        (2, [early.signal_id]),
    ]


def test_only_the_latest_of_a_trigger_on_an_instrument_counts() -> None:
    records = [
        signal(2),
        signal(1),
        signal(1, instrument_id=IXIC),
        signal(1, trigger="rsi"),
        watermark(A, 2),
    ]
    (closing,) = fed(tracker_of((A,)), records)
    assert news([closing]) == [(2, [f"rsi-{SPX}-1", f"sma-{IXIC}-1", f"sma-{SPX}-2"])]


def test_an_opinion_holds_for_its_horizon_and_its_end_makes_a_cycle_due() -> None:
    tracker = tracker_of((A,))
    records = [signal(1, horizon_ns=3 * DAY_NS), watermark(A, 1), watermark(A, 2), watermark(A, 3)]
    assert news(fed(tracker, records)) == [(1, [f"sma-{SPX}-1"]), (2, None), (3, None)]
    assert len(tracker.standing()) == 1
    assert news(fed(tracker, [watermark(A, 4), watermark(A, 5)])) == [(4, []), (5, None)]
    assert tracker.standing() == ()


def test_a_signal_that_came_after_its_horizon_is_dropped() -> None:
    tracker = tracker_of((A,))
    records = [signal(9), watermark(A, 9), signal(1, trigger="rsi"), watermark(A, 10)]
    assert news(fed(tracker, records)) == [(9, [f"sma-{SPX}-9"]), (10, None)]


def test_signals_of_another_universe_are_not_heard() -> None:
    records = [signal(1, universe="other"), watermark(A, 1)]
    assert news(fed(tracker_of((A,)), records)) == [(1, None)]


def test_cycles_keep_their_interval_and_lose_nothing() -> None:
    tracker = tracker_of((A,), interval_ns=3 * DAY_NS)
    records: list[Any] = []
    for day in range(1, 8):
        records += [signal(day, trigger=f"t{day}", horizon_ns=99 * DAY_NS), watermark(A, day)]
    assert news(fed(tracker, records)) == [
        (1, [f"t1-{SPX}-1"]),
        (2, None),
        (3, None),
        (4, [f"t2-{SPX}-2", f"t3-{SPX}-3", f"t4-{SPX}-4"]),
        (5, None),
        (6, None),
        (7, [f"t5-{SPX}-5", f"t6-{SPX}-6", f"t7-{SPX}-7"]),
    ]


def test_so_many_signals_wait_that_the_furthest_dated_are_dropped(monkeypatch: Any) -> None:
    monkeypatch.setattr(cycles, "WAITING_COUNT_MAX", 2)
    tracker = tracker_of((A,))
    fed(tracker, [signal(5), signal(9), signal(7), signal(1)])
    assert sorted(heard.signal.ts_event_ns // DAY_NS for heard in tracker.waiting.values()) == [
        1,
        5,
    ]


days = st.integers(1, 6)
told = st.builds(
    lambda day, trigger, instrument_id: signal(
        day, trigger=trigger, instrument_id=instrument_id, horizon_ns=3 * DAY_NS
    ),
    days,
    st.sampled_from(["sma", "rsi"]),
    st.sampled_from([SPX, IXIC]),
)


@given(
    st.lists(told, max_size=12).flatmap(
        lambda items: st.tuples(st.just(items), st.permutations(items))
    )
)
def test_a_cycle_does_not_depend_on_the_order_of_its_signals(
    orders: tuple[list[Signal], list[Signal]],
) -> None:
    found = []
    for records in orders:
        tracker = tracker_of((A,))
        closings = fed(tracker, [*records, watermark(A, 4), *records, watermark(A, 6)])
        found.append((news(closings), [heard.signal for heard in tracker.standing()]))
    assert found[0] == found[1]


@st.composite
def partitions(draw: st.DrawFn) -> list[Any]:
    """Signals and watermarks of two sources, interleaved, repeated, early and late."""
    records: list[Any] = []
    slices = {A: 0, B: 0}
    for _ in range(draw(st.integers(1, 30))):
        if draw(st.booleans()):
            source = draw(st.sampled_from([A, B]))
            slices[source] += draw(st.integers(0, 2))
            records.append(watermark(source, slices[source]))
        else:
            day = max(1, min(slices.values()) + draw(st.integers(-1, 3)))
            item = draw(told)
            signal_id = f"{item.trigger}-{item.instrument_id}-{day}"
            records.append(replace(item, ts_event_ns=day * DAY_NS, signal_id=signal_id))
    return records


@settings(max_examples=200)
@given(partitions(), st.integers(0, 30), st.sampled_from([0, 2 * DAY_NS]))
def test_a_tracker_rebuilt_from_its_low_water_goes_on_as_if_nothing_had_happened(
    records: list[Any], cut: int, interval_ns: int
) -> None:
    cut = min(cut, len(records))
    whole = tracker_of(interval_ns=interval_ns)
    fed(whole, records[:cut])
    low_water = whole.low_water(cut)
    rebuilt = tracker_of(interval_ns=interval_ns)
    rebuilt.marks, rebuilt.last_slice = dict(whole.marks), whole.last_slice
    rebuilt.last_cycle_ns = whole.last_cycle_ns
    rebuilt.last_cycle_offset = whole.last_cycle_offset
    rebuilt.rebuild(
        Heard(signal=record, offset=offset, correlation_id="")
        for offset, record in enumerate(records[low_water:cut], start=low_water)
        if isinstance(record, Signal)
    )
    assert rebuilt.opinions == whole.opinions
    assert rebuilt.waiting == whole.waiting
    expected = fed(deepcopy(whole), records[cut:], first=cut)
    assert fed(rebuilt, records[cut:], first=cut) == expected


def test_a_slice_that_ends_no_later_than_the_last_cycle_is_none_of_its_own() -> None:
    tracker = tracker_of((A,))
    repeated = replace(watermark(A, 2), ts_event_ns=DAY_NS)
    records = [signal(1), watermark(A, 1), signal(1, trigger="rsi"), repeated, watermark(A, 3)]
    assert news(fed(tracker, records)) == [
        (1, [f"sma-{SPX}-1"]),
        (2, None),
        (3, [f"rsi-{SPX}-1"]),
    ]
