"""Slices of recorded topics: as they were marked, or cut by width where nobody marked them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_log import MemoryLog

from tapeline.backtest.paced.setup import ALL, Choice, MacroInput, MarketSlice
from tapeline.backtest.paced.windows import NothingThere
from tapeline.backtest.tape import topic_slices
from tapeline.backtest.tape.bulk_frame import BulkFrames
from tapeline.backtest.tape.decoded import EVERYTHING
from tapeline.backtest.tape.slice_tape import SliceTape, keep
from tapeline.backtest.tape.store import Tape, TapeHole
from tapeline.backtest.tape.topic_slices import TopicSlices
from tapeline.contracts.market import (
    AggressorSide,
    FundingRate,
    MacroReading,
    TickOrigin,
    Trade,
)
from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import encode
from tapeline.runtime.intake import Resolve

WIDTH_NS = 100
TICK = Trade(
    instrument_id="A.B",
    feed="f",
    feed_sequence=0,
    trade_id="",
    price=1.0,
    size=1.0,
    side=AggressorSide.NONE,
    origin=TickOrigin.EXCHANGE,
    quality=(),
    ts_event_ns=0,
    ts_init_ns=0,
)


def tick(ts_ns: int, instrument_id: str = "A.B") -> Trade:
    return replace(TICK, ts_event_ns=ts_ns, instrument_id=instrument_id)


def mark(number: int, *, is_paced: bool = True, is_final: bool = False) -> Watermark:
    end_ns = number * WIDTH_NS
    return Watermark(
        source="feed/f",
        slice=number,
        is_paced=is_paced,
        is_final=is_final,
        ts_event_ns=end_ns,
        ts_init_ns=end_ns,
    )


def sliced(
    folder: Path, *partitions: Sequence[Trade | Watermark | bytes], choice: Choice = ALL
) -> list[MarketSlice]:
    log = MemoryLog()
    for number, records in enumerate(partitions):
        for record in records:
            value = record if isinstance(record, bytes) else encode(record)
            log.add(("ticks", number), value)
    tape = Tape(folder)
    tape.pull(log, ["ticks"])

    async def all_of() -> list[MarketSlice]:
        return [part async for part in TopicSlices(tape, WIDTH_NS, choice)]

    return asyncio.run(all_of())


def times(parts: list[MarketSlice]) -> list[tuple[int, int, bool, dict[int, list[int]]]]:
    return [
        (
            part.number,
            part.end_ns,
            part.is_final,
            {place: [tick.ts_event_ns for tick in found] for place, found in part.ticks.items()},
        )
        for part in parts
    ]


def test_a_paced_run_has_its_own_slices(tmp_path: Path) -> None:
    found = sliced(
        tmp_path,
        [tick(5), tick(9), mark(1), mark(2), mark(3, is_final=True)],
        [mark(1), tick(150), mark(2), mark(3, is_final=True)],
    )
    assert times(found) == [
        (1, 100, False, {0: [5, 9]}),
        (2, 200, False, {1: [150]}),
        (3, 300, True, {}),
    ]


def test_a_run_that_was_stopped_within_a_slice_ends_with_the_one_before(tmp_path: Path) -> None:
    found = sliced(tmp_path, [tick(5), mark(1), mark(2)], [mark(1), tick(150)])
    assert times(found) == [(1, 100, False, {0: [5]}), (2, 200, True, {})]


def test_a_watermark_said_twice_ends_one_slice(tmp_path: Path) -> None:
    found = sliced(tmp_path, [tick(5), mark(1), mark(1), tick(101), mark(2, is_final=True)])
    assert times(found) == [(1, 100, False, {0: [5]}), (2, 200, True, {0: [101]})]


def test_partitions_that_do_not_mark_the_same_slice_are_named(tmp_path: Path) -> None:
    with pytest.raises(TapeHole, match="Slice 1 is not marked on ticks-1, which goes on with"):
        sliced(tmp_path, [mark(1), mark(2)], [mark(2)])


def test_a_run_in_real_time_is_cut_by_width_in_order_of_event_time(tmp_path: Path) -> None:
    found = sliced(
        tmp_path,
        [tick(5), tick(90), mark(1, is_paced=False), tick(420)],
        [tick(80), mark(1, is_paced=False), tick(130), tick(60)],
    )
    assert times(found) == [
        (1, 100, False, {0: [5, 90], 1: [60, 80]}),
        (2, 200, False, {1: [130]}),
        (3, 500, False, {0: [420]}),
        (4, 600, True, {}),
    ]


@pytest.mark.parametrize("is_paced", [True, False])
def test_what_is_in_quarantine_is_in_no_slice(tmp_path: Path, is_paced: bool) -> None:
    broken = encode(tick(7))[:-1]
    end = mark(1, is_paced=is_paced, is_final=is_paced)
    found = sliced(tmp_path, [tick(5), broken, tick(9), end, b""], [b"?", end])
    assert times(found)[0] == (1, 100, is_paced, {0: [5, 9]})


def test_only_what_was_chosen_is_played(tmp_path: Path) -> None:
    records: list[Trade | Watermark] = [
        tick(5), mark(1), tick(120), tick(180), tick(190, "C.D"), mark(2), tick(210), mark(3),
    ]  # fmt: skip
    choice = Choice(start_ns=150, end_ns=200, instruments=frozenset({"A.B"}))
    assert times(sliced(tmp_path, records, choice=choice)) == [
        (1, 200, False, {0: [180]}),
        (2, 300, True, {}),
    ]


def test_a_time_without_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingThere):
        sliced(tmp_path, [tick(5), mark(1)], choice=Choice(start_ns=10_000))


def test_funding_rates_are_in_the_slice_in_which_they_were_marked(tmp_path: Path) -> None:
    rates = [
        FundingRate(
            instrument_id=name,
            feed="f",
            rate=0.001,
            interval_ns=8,
            ts_event_ns=ts_ns,
            ts_init_ns=ts_ns,
            feed_sequence=ts_ns,
        )
        for ts_ns, name in ((7, "A.B"), (110, "A.B"), (120, "C.D"))
    ]
    log = MemoryLog()
    for record in (tick(5), mark(1), tick(120), mark(2), mark(3, is_final=True)):
        log.add(("ticks", 0), encode(record))
    for rate in (rates[0], mark(1), *rates[1:], mark(2), mark(3, is_final=True)):
        log.add(("funding-rates", 0), encode(rate), (("event_id", b"id"),))
    tape = Tape(tmp_path)
    tape.pull(log, ["ticks", "funding-rates"])

    async def all_of(choice: Choice) -> list[list[FundingRate | MacroReading]]:
        slices = TopicSlices(tape, WIDTH_NS, choice)
        return [[item.record for item in part.funding] async for part in slices]

    assert asyncio.run(all_of(ALL)) == [rates[:1], rates[1:], []]
    only = Choice(instruments=frozenset({"A.B"}))
    assert asyncio.run(all_of(only)) == [rates[:1], rates[1:2], []]


def test_slices_that_were_kept_as_columns_have_their_funding_rates(tmp_path: Path) -> None:
    rate = FundingRate(
        instrument_id="A.B",
        feed="f",
        rate=0.001,
        interval_ns=8,
        ts_event_ns=7,
        ts_init_ns=7,
        feed_sequence=3,
    )
    part = MarketSlice(
        number=1,
        end_ns=WIDTH_NS,
        is_final=True,
        ticks={0: [tick(5)]},
        macro=[],
        funding=[MacroInput(rate, "id")],
    )

    async def there_and_back() -> list[MarketSlice]:
        async def parts() -> AsyncIterator[MarketSlice]:
            yield part

        await keep(parts(), tmp_path, "kept")
        return [one async for one in SliceTape(tmp_path / "kept", WIDTH_NS).played()]

    assert asyncio.run(there_and_back()) == [part]


AT_EDGES = [(ts_ns, "A.B", 0) for ts_ns in (99, 100, 149, 150, 199, 200)]
EDGES = st.sampled_from([0, 99, 100, 101, 149, 150, 199, 200, 250, 300, 10**6])


@settings(max_examples=80, deadline=None)
@example(ticks=AT_EDGES, is_paced=True, edges=(100, 150), names=("A.B",))
@example(ticks=AT_EDGES, is_paced=False, edges=(100, 150), names=("A.B",))
@given(
    ticks=st.lists(
        st.tuples(st.integers(0, 299), st.sampled_from(["A.B", "C.D"]), st.integers(0, 1)),
        max_size=20,
    ),
    is_paced=st.booleans(),
    edges=st.tuples(EDGES, EDGES),
    names=st.sampled_from([(), ("A.B",), ("C.D", "A.B"), ("X.Y",)]),
)
def test_ticks_that_are_not_played_are_never_made_and_the_slices_stay_the_same(
    ticks: list[tuple[int, str, int]],
    is_paced: bool,
    edges: tuple[int, int],
    names: tuple[str, ...],
) -> None:
    """Beside slices of all ticks, of which those that are not chosen are taken out behind."""
    partitions: list[list[Trade | Watermark]] = [[], []]
    for number in range(1, 4):
        for ts_ns, name, place in ticks:
            if ts_ns // WIDTH_NS == number - 1:
                partitions[place].append(tick(ts_ns, name))
        for one in partitions:
            one.append(mark(number, is_paced=is_paced, is_final=is_paced and number == 3))
    choice = Choice(start_ns=edges[0], end_ns=edges[1], instruments=frozenset(names))
    made: list[int] = []

    def found(wanted: Callable[[Choice], pl.Expr]) -> object:
        records = BulkFrames.records

        def counted(self: BulkFrames, frame: pl.DataFrame, resolve: Resolve | None = None) -> Any:
            made[-1] += frame.filter(frame["record"] == "Trade").height
            return records(self, frame, resolve)

        made.append(0)
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
            patch.setattr(topic_slices, "_played", wanted)
            patch.setattr(BulkFrames, "records", counted)
            try:
                parts = sliced(Path(folder), *partitions, choice=choice)
                # A partition without ticks and one that is not there are the same to all readers.
                return [
                    replace(part, ticks={at: one for at, one in part.ticks.items() if one})
                    for part in parts
                ]
            except NothingThere:
                return None

    assert found(topic_slices._played) == found(lambda _choice: EVERYTHING)
    slice_start, slice_end = edges[0] // WIDTH_NS * WIDTH_NS, -(-edges[1] // WIDTH_NS) * WIDTH_NS
    assert made[0] <= sum(
        choice.is_played(ts_ns, name) if is_paced else slice_start <= ts_ns < slice_end
        for ts_ns, name, _ in ticks
    )
