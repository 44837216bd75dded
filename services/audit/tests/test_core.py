"""The chain is a function of a partition's records, however they arrive."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from audit_samples import KEY, RUN_ID, Writer, decisions, message, trade, watermark
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeline.audit.chain import Chain, Record
from tapeline.audit.core import RANGE_OFFSETS, Ledger, Range, Scribe, names_of


def ticks(offsets: range) -> list[Record]:
    """One tick at each offset; their values are shared, encoding is not what is tested."""
    value = message("ticks", 0, 0, trade(0)).value
    return [message("ticks", 0, offset, value) for offset in offsets]


def ranges(batches: list[Record], *more: list[Record]) -> list[Range]:
    """Ranges that a writer closes over these batches."""
    writer = Writer()
    return [link for batch in (batches, *more) for link in writer.chain(batch).ranges]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 19), max_size=6))
def test_batches_cut_anywhere_give_the_same_heads(cuts: list[int]) -> None:
    records = decisions(10) + decisions(10, partition=1)
    whole = Writer().chain(records).rows
    writer = Writer()
    edges = [0, *sorted(set(cuts)), len(records)]
    parts = [row for start, end in pairwise(edges) for row in writer.chain(records[start:end]).rows]
    assert tuple(parts) == whole


def test_rows_follow_each_other_from_the_genesis_on() -> None:
    rows = Writer().chain(decisions(3)).rows
    genesis = Chain(KEY, RUN_ID, ("decisions", 0)).genesis()
    assert [row.previous_head for row in rows] == [genesis, rows[0].head, rows[1].head]
    assert [row.chain_index for row in rows] == [1, 2, 3]


def test_a_record_that_was_chained_is_passed_over() -> None:
    writer = Writer()
    writer.chain(decisions(5))
    assert [row.kafka_offset for row in writer.chain(decisions(7)).rows] == [5, 6]


def test_the_same_event_again_is_chained_and_marked() -> None:
    rows = Writer().chain(decisions(2) + decisions(2, start=2, first_id=0)).rows
    assert [row.is_duplicate for row in rows] == [False, False, True, True]
    assert [row.chain_index for row in rows] == [1, 2, 3, 4]


def test_the_mark_of_a_duplicate_is_under_the_chain() -> None:
    again = decisions(1) + decisions(1, start=1, first_id=0)
    [_, duplicate] = Writer().chain(again).rows
    writer = Writer()
    writer.chain(again[:1])
    scribed = writer.chain(again[1:])
    # This writer knows no database and an empty batch, so it takes the event for its first.
    assert (duplicate.is_duplicate, scribed.rows[0].is_duplicate) == (True, False)
    assert duplicate.head != scribed.rows[0].head


def test_a_range_is_closed_by_its_last_offset() -> None:
    assert ranges(ticks(range(RANGE_OFFSETS - 1))) == []
    [link] = ranges(ticks(range(RANGE_OFFSETS)))
    assert (link.first_offset, link.next_offset, link.record_count) == (0, 10_000, 10_000)


def test_a_range_whose_last_offsets_are_left_out_is_closed_by_the_next_record() -> None:
    [link] = ranges(ticks(range(100)), ticks(range(RANGE_OFFSETS + 5, RANGE_OFFSETS + 6)))
    assert (link.first_offset, link.next_offset, link.record_count) == (0, 10_000, 100)


def test_ranges_without_records_are_left_out() -> None:
    far = 3 * RANGE_OFFSETS
    [first, second] = ranges(ticks(range(1)), ticks(range(far, far + RANGE_OFFSETS)))
    assert (first.next_offset, second.first_offset, second.next_offset) == (
        10_000,
        far,
        far + 10_000,
    )
    assert second.previous_head == first.head


def test_a_final_watermark_closes_its_range_and_the_next_one_is_aligned_again() -> None:
    final = message("ticks", 0, 50, watermark(is_final=True))
    short, rest = ranges([*ticks(range(50)), final], ticks(range(51, RANGE_OFFSETS)))
    assert (short.first_offset, short.next_offset, short.record_count) == (0, 51, 51)
    assert (rest.first_offset, rest.next_offset, rest.record_count) == (51, 10_000, 9_949)


def test_a_second_final_watermark_closes_another_range() -> None:
    finals = [message("ticks", 0, offset, watermark(is_final=True)) for offset in (0, 1)]
    assert [link.next_offset for link in ranges(finals)] == [1, 2]


def test_a_watermark_that_is_not_final_closes_nothing() -> None:
    assert ranges([message("ticks", 0, 0, watermark(is_final=False))]) == []


def test_after_a_restart_the_open_range_is_filled_again_to_the_same_head() -> None:
    records = ticks(range(RANGE_OFFSETS + 200))
    whole = ranges(records, ticks(range(RANGE_OFFSETS + 200, 2 * RANGE_OFFSETS)))
    writer = Writer()
    writer.chain(records)
    tips = writer.ledger.tips
    assert writer.ledger.position(("ticks", 0)) == RANGE_OFFSETS + 200
    # What a process that starts anew finds in the database: the last whole range.
    writer.ledger = Ledger(tips=tips)
    assert writer.ledger.position(("ticks", 0)) == RANGE_OFFSETS
    again = writer.chain(ticks(range(RANGE_OFFSETS, 2 * RANGE_OFFSETS))).ranges
    assert again == (whole[1],)


def test_another_byte_in_a_range_gives_another_digest() -> None:
    records = ticks(range(RANGE_OFFSETS))
    changed = [*records[:500], replace(records[500], key=b"other"), *records[501:]]
    assert ranges(records)[0].digest != ranges(changed)[0].digest


def test_what_has_no_event_id_is_nobody_s_duplicate() -> None:
    writer = Writer()
    named = writer.entries(decisions(2))
    assert named[0].reading is not None
    reading = replace(named[0].reading, event_id=None)
    nameless = [replace(entry, reading=reading) for entry in writer.entries(decisions(4))[2:]]
    bulk = writer.entries(ticks(range(1)))
    names = names_of([*named, *nameless, *bulk])
    assert names == {
        ("decisions", 0, entry.reading.event_id) for entry in named if entry.reading is not None
    }
    place = ("decisions", 0)
    scribe = Scribe(RUN_ID, {place: Chain(KEY, RUN_ID, place)})
    batch, _ = scribe.chain(Ledger(tips={}), nameless, names)
    assert [row.is_duplicate for row in batch.rows] == [False, False]
