from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.contracts.market import FundingRate, MacroReading, Quote, Trade
from tapeline.contracts.system import Quarantined, Watermark
from tapeline.market_data.feed_core import FeedCore, Place, Resume, Sent, Slice, Slicer
from tapeline.market_data.feeds.interface import (
    RawFunding,
    RawMacro,
    RawQuote,
    RawRecord,
    RawTrade,
    RawUnreadable,
)
from tapeline.market_data.quality import Gate, Limits
from tapeline.runtime.codec import encode

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 28_000_000 * MINUTE


def spread(key: str, count: int) -> int:
    return crc32(key.encode()) % count


def core(next_sequence: int = 0) -> FeedCore:
    return FeedCore("test", "run", 2, spread, Gate(Limits()), next_sequence)


def trade(after_ns: int, price: float = 100.0, instrument_id: str = "A.X") -> RawTrade:
    return RawTrade(
        instrument_id=instrument_id, price=price, size=1.0, ts_event_ns=START + after_ns
    )


def whole(
    raws: Sequence[RawRecord], width_ns: int = MINUTE, *, settles: bool = False
) -> list[Slice]:
    slicer = Slicer(core(), width_ns, settles=settles)
    found = [part for raw in raws for part in slicer.push(raw)]
    return [*found, *slicer.finish()]


def slices(raws: Sequence[RawRecord]) -> list[Slice]:
    """Those with data."""
    return whole(raws)[:-1]


def of(part: Slice, kind: type) -> list[Sent]:
    return [sent for sent in part.records if isinstance(sent.record, kind)]


def test_slices_end_with_a_watermark_on_every_partition() -> None:
    first, second = slices([trade(0), trade(1), trade(MINUTE)])
    assert [part.number for part in (first, second)] == [1, 2]
    assert [part.end_ns - START for part in (first, second)] == [MINUTE, 2 * MINUTE]
    places = [(sent.topic, sent.partition) for sent in of(first, Watermark)]
    assert places == [("ticks", 0), ("ticks", 1), ("macro", 0), ("funding-rates", 0)]
    assert first.records[-4:] == tuple(of(first, Watermark))
    assert {sent.record.ts_event_ns for sent in of(first, Watermark)} == {START + MINUTE}
    assert {sent.record.source for sent in of(first, Watermark)} == {"feed/test"}


def test_an_empty_slice_closes_the_run_and_is_the_final_one() -> None:
    first, second, closing = whole([trade(0), trade(MINUTE)])
    assert (closing.number, closing.end_ns) == (3, second.end_ns + MINUTE)
    assert len(closing.records) == len(of(closing, Watermark)) == 4
    for part in (first, second, closing):
        is_final = part is closing
        assert part.is_final == is_final
        assert {sent.record.is_final for sent in of(part, Watermark)} == {is_final}


def test_slices_without_data_do_not_exist() -> None:
    parts = slices([trade(0), trade(100 * MINUTE)])
    assert [(part.number, part.end_ns - START) for part in parts] == [
        (1, MINUTE),
        (2, 101 * MINUTE),
    ]


def test_a_slice_that_settles_has_its_last_nanosecond_for_itself() -> None:
    raws = [trade(0), trade(MINUTE - 1), trade(MINUTE), trade(3 * MINUTE - 1), trade(3 * MINUTE)]
    parts = whole(raws, settles=True)
    assert [
        (part.number, part.end_ns - START, len(of(part, Trade)), part.is_final) for part in parts
    ] == [
        (1, MINUTE - 1, 1, False),
        (2, MINUTE, 1, False),
        (3, 2 * MINUTE - 1, 1, False),
        (4, 2 * MINUTE, 0, False),
        (5, 3 * MINUTE, 1, False),
        (6, 4 * MINUTE - 1, 1, False),
        (7, 4 * MINUTE, 0, False),
        (8, 5 * MINUTE, 0, True),
    ]
    for part in parts:
        assert {sent.record.ts_event_ns for sent in of(part, Watermark)} == {part.end_ns}
        assert {sent.record.slice for sent in of(part, Watermark)} == {part.number}


@given(times=st.lists(st.integers(0, 10 * MINUTE), min_size=1, max_size=30))
def test_settling_changes_neither_records_nor_their_order(times: list[int]) -> None:
    raws = [trade(after_ns) for after_ns in times]
    plain, settled = whole(raws), whole(raws, settles=True)

    def ticks(parts: list[Slice]) -> list[tuple[int, int]]:
        found = [sent.record for part in parts for sent in of(part, Trade)]
        return [(tick.feed_sequence, tick.ts_event_ns) for tick in found]

    assert ticks(settled) == ticks(plain)
    ends = [part.end_ns for part in settled]
    assert ends == sorted(set(ends))
    assert [part.number for part in settled] == list(range(1, len(settled) + 1))
    assert {part.end_ns for part in plain[:-1]} <= set(ends), "each slice still has its end"


def test_event_time_never_goes_back_over_a_slice() -> None:
    _, second = slices([trade(0), trade(MINUTE), trade(MINUTE - SECOND)])
    assert len(of(second, Trade)) == 2


def test_ticks_are_created_at_the_end_of_their_slice_in_session_time() -> None:
    (part,) = slices([trade(5)])
    (sent,) = of(part, Trade)
    assert (sent.record.ts_event_ns, sent.record.ts_init_ns) == (START + 5, START + MINUTE)
    assert (sent.partition, sent.key, sent.event_id) == (spread("A.X", 2), "A.X", "")


def test_sequence_numbers_count_refused_records_too() -> None:
    (part,) = slices([trade(1), trade(2, price=-1.0), trade(3)])
    assert [sent.record.feed_sequence for sent in of(part, Trade)] == [0, 2]
    (refused,) = of(part, Quarantined)
    assert (refused.record.code, refused.record.source_topic) == ("NOT_POSITIVE", "feed/test")
    assert b'"price": -1.0' in refused.record.raw
    assert "record 1:" in refused.record.reason
    assert refused.event_id != ""


def test_a_feed_that_starts_with_refused_records_keeps_them_in_its_first_slice() -> None:
    (part,) = slices([trade(0, price=float("nan")), trade(1)])
    assert len(of(part, Quarantined)) == 1


def test_a_feed_without_a_usable_record_has_no_slice() -> None:
    assert slices([]) == []
    assert slices([trade(0, price=0.0)]) == []


def test_a_refused_record_of_a_far_future_does_not_move_event_time() -> None:
    (part,) = slices([trade(0), trade(10**30), trade(1)])
    assert part.end_ns == START + MINUTE
    assert of(part, Quarantined)[0].record.ts_event_ns == START + MINUTE


def test_macro_readings_go_to_macro_with_an_id_of_their_content() -> None:
    (part,) = slices([RawMacro(series="VIX", value=15.0, ts_event_ns=START)])
    (sent,) = of(part, MacroReading)
    assert (sent.topic, sent.partition, sent.key) == ("macro", 0, "VIX")
    assert (
        sent.event_id
        == slices([RawMacro(series="VIX", value=15.0, ts_event_ns=START)])[0].records[0].event_id
    )


def test_funding_rates_go_to_their_topic_and_are_not_sent_twice() -> None:
    rates = [
        RawFunding(instrument_id="BTC.X", rate=0.0001, interval_ns=28_800, ts_event_ns=START),
        RawFunding(instrument_id="BTC.X", rate=0.0001, interval_ns=28_800, ts_event_ns=START),
        RawFunding(instrument_id="ETH.X", rate=-0.2, interval_ns=28_800, ts_event_ns=START),
        RawFunding(instrument_id="ETH.X", rate=1.5, interval_ns=28_800, ts_event_ns=START + 1),
        RawFunding(instrument_id="ETH.X", rate=0.1, interval_ns=0, ts_event_ns=START + 1),
    ]
    (part,) = slices(rates)
    found = of(part, FundingRate)
    assert [(one.key, one.record.rate, one.record.feed_sequence) for one in found] == [
        ("BTC.X", 0.0001, 0),
        ("ETH.X", -0.2, 2),
    ]
    assert {(one.topic, one.partition) for one in found} == {("funding-rates", 0)}
    assert len({one.event_id for one in found}) == 2
    assert [one.record.code for one in of(part, Quarantined)] == [
        "DUPLICATE",
        "OUT_OF_RANGE",
        "OUT_OF_RANGE",
    ]
    resume = Resume(sequences={("funding-rates", 0): 0})
    assert [resume.is_missing(one) for one in found] == [False, True]


def test_what_cannot_be_read_goes_to_quarantine_as_it_came() -> None:
    raw = RawUnreadable(raw=b"{half", code="UNREADABLE", reason="no JSON", ts_event_ns=START)
    judged = core().judge(raw, START)
    sent = core().sent(judged, START)
    assert isinstance(sent.record, Quarantined)
    assert (sent.record.raw, sent.record.code) == (b"{half", "UNREADABLE")


def test_played_in_real_time_a_record_takes_the_time_of_the_schedule() -> None:
    feed = core()
    sent = feed.sent(feed.judge(trade(5), None), 7, 7)
    assert isinstance(sent.record, Trade)
    assert (sent.record.ts_event_ns, sent.record.ts_init_ns) == (7, 7)


def test_a_live_feed_continues_its_numbers() -> None:
    resume = Resume(sequences={("ticks", 0): 41, ("ticks", 1): 17})
    assert resume.next_sequence() == 42
    assert core(42).judge(trade(0), START).sequence == 42
    assert Resume().next_sequence() == 0


plans = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.sampled_from(["A.X", "B.X", "C.X", "VIX"]),
        st.sampled_from([1, 1, -1]),
    ),
    min_size=1,
    max_size=60,
)


def raws_of(plan: list[tuple[int, str, int]]) -> list[RawRecord]:
    now_ns, raws = 0, []
    for step_s, name, sign in plan:
        now_ns += step_s * SECOND
        if name == "VIX":
            raws.append(RawMacro(series=name, value=1.0, ts_event_ns=START + now_ns + len(raws)))
        else:
            raws.append(trade(now_ns, 100.0 * sign, name))
    return raws


def flat(parts: list[Slice]) -> list[Sent]:
    return [sent for part in parts for sent in part.records]


def found_on(sent: list[Sent]) -> Resume:
    """What a reader of the topics finds."""
    sequences: dict[Place, int] = {}
    numbers: dict[Place, int] = {}
    for one in sent:
        place = (one.topic, one.partition)
        if isinstance(one.record, Watermark):
            numbers[place] = one.record.slice
        elif not isinstance(one.record, Quarantined):
            sequences[place] = one.record.feed_sequence
    refused = frozenset(one.event_id for one in sent if isinstance(one.record, Quarantined))
    return Resume(sequences=sequences, slices=numbers, quarantined=refused)


@settings(max_examples=100)
@given(plans, st.data())
def test_a_kill_at_any_point_of_any_partition_loses_and_repeats_nothing(
    plan: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    sent_whole = flat(whole(raws_of(plan)))
    by_place: dict[Place, list[Sent]] = {}
    for sent in sent_whole:
        by_place.setdefault((sent.topic, sent.partition), []).append(sent)
    before: dict[Place, list[Sent]] = {}
    for place, sent in by_place.items():
        before[place] = sent[: data.draw(st.integers(0, len(sent)))]
    resume = found_on([sent for part in before.values() for sent in part])
    for sent in flat(whole(raws_of(plan))):
        if resume.is_missing(sent):
            before[sent.topic, sent.partition].append(sent)
    for place, sent in by_place.items():
        expected = [encode(one.record) for one in sent]
        assert [encode(one.record) for one in before[place]] == expected


def test_the_last_slice_begun_is_the_one_to_wait_for_after_a_restart() -> None:
    resume = Resume(slices={("ticks", 0): 7, ("ticks", 1): 6})
    assert resume.slice_begun() == 7
    assert Resume().slice_begun() == 0


def test_a_quote_passes_as_it_came() -> None:
    raw = RawQuote(
        instrument_id="A.X",
        bid_price=99.5,
        ask_price=100.5,
        bid_size=3.0,
        ask_size=4.0,
        ts_event_ns=START,
    )
    (part,) = slices([raw])
    (sent,) = of(part, Quote)
    quote = sent.record
    assert (quote.bid_price, quote.ask_price) == (99.5, 100.5)
    assert (quote.bid_size, quote.ask_size) == (3.0, 4.0)
    assert (quote.instrument_id, quote.feed, quote.ts_event_ns) == ("A.X", "test", START)
    assert quote.feed_sequence == 0
