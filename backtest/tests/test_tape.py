"""The tape: pulled once, whole or an error that names topic, partition and offsets."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import shutil
import signal
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import MemoryLog
from tape_samples import TICKS, a_log, pull, pull_and_die

from tapeline.backtest.tape import store
from tapeline.backtest.tape.journaled import check_journaled
from tapeline.backtest.tape.recorded_run import RecordedRun, pull_run
from tapeline.backtest.tape.store import Tape, TapeDamaged, TapeForeign, TapeHole
from tapeline.contracts import topics
from tapeline.contracts.system import Consumed, ConsumedBatch, ConsumedRange
from tapeline.runtime.codec import encode
from tapeline.runtime.log import Raw, RawColumns, values_digest


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK", 10)


def everything(tape: Tape) -> list[Raw]:
    return [raw for raws in tape.chunks(TICKS) for raw in raws]


def test_what_comes_back_is_what_was_there(tmp_path: Path) -> None:
    log, tape = a_log(), Tape(tmp_path)
    tape.pull(log, ["ticks"])
    assert everything(tape) == log.records[TICKS]
    assert tape.end(TICKS) == log.ends([TICKS])[TICKS]
    assert tape.partition_count("ticks") == 1
    expected = {r.offset: r.value for r in log.records[TICKS]}
    parts = list(tape.values(TICKS, 13))
    assert [end for end, _, _ in parts] == [10, 20]
    assert dict(
        pair for _, offsets, values in parts for pair in zip(offsets, values, strict=True)
    ) == {offset: value for offset, value in expected.items() if offset < 20}


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.binary(max_size=9)), max_size=25), data=st.data())
def test_any_records_with_any_gaps_come_back(values: list[Any], data: st.DataObject) -> None:
    log = MemoryLog({TICKS: []}, markers=data.draw(st.integers(0, 3)))
    for value in values:
        log.add(TICKS, value, gap=data.draw(st.integers(0, 12)))
    with tempfile.TemporaryDirectory() as folder:
        tape = Tape(Path(folder))
        tape.pull(log, ["ticks"])
        assert everything(tape) == log.records[TICKS]
        read = len(log.reads)
        tape.pull(log, ["ticks"])
        assert len(log.reads) == read, "nothing is pulled twice"


def test_a_second_pull_takes_only_what_is_new(tmp_path: Path) -> None:
    log, tape = a_log(12, markers=0), Tape(tmp_path)
    tape.pull(log, ["ticks"])
    end = tape.end(TICKS)
    log.reads.clear()
    log.add(TICKS, b"one more")
    tape.pull(log, ["ticks"])
    assert log.reads == [(TICKS, end, end + 1)]
    assert everything(tape) == log.records[TICKS]


def test_what_the_market_of_a_run_ends_with_is_told_of_every_partition(tmp_path: Path) -> None:
    names = ("ticks", "macro", "funding-rates")
    places = [("ticks", 0), ("ticks", 1), ("macro", 0), ("funding-rates", 0)]
    log, tape = MemoryLog({place: [] for place in places}), Tape(tmp_path)
    seen = []
    for place in places:
        log.add(place, b"one more")
        tape.pull(log, names)
        seen.append(str(RecordedRun(tape).market_ends()))
    assert len(set(seen)) == len(places)
    assert seen[-1] == str(dict.fromkeys(("ticks-0", "ticks-1", "macro-0", "funding-rates-0"), 1))


def test_what_retention_deleted_before_the_pull_is_named(tmp_path: Path) -> None:
    log = a_log()
    log.kept_from[TICKS] = 4
    with pytest.raises(TapeHole, match="ticks-0: offsets 0 to 3 were deleted"):
        Tape(tmp_path).pull(log, ["ticks"])


def test_what_retention_deleted_between_two_pulls_is_named(tmp_path: Path) -> None:
    log, tape = a_log(12, markers=0), Tape(tmp_path)
    tape.pull(log, ["ticks"])
    end = tape.end(TICKS)
    log.add(TICKS, b"lost")
    log.add(TICKS, b"kept")
    log.kept_from[TICKS] = end + 1
    with pytest.raises(TapeHole, match=f"offsets {end} to {end} were deleted"):
        tape.pull(log, ["ticks"])


def test_what_retention_deleted_after_the_pull_does_not_matter(tmp_path: Path) -> None:
    log, tape = a_log(), Tape(tmp_path)
    tape.pull(log, ["ticks"])
    log.kept_from[TICKS] = 9
    tape.pull(log, ["ticks"])
    assert everything(tape) == log.records[TICKS]


def test_a_missing_file_is_named_by_its_offsets(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.pull(a_log(), ["ticks"])
    sorted((tmp_path / "ticks-0").glob("*.parquet"))[1].unlink()
    with pytest.raises(TapeHole, match="ticks-0 lacks offsets 10 to 19"):
        everything(tape)


@pytest.mark.parametrize("gone", ["its last file", "its folder"])
def test_what_a_closed_tape_has_lost_is_named(tmp_path: Path, gone: str) -> None:
    tape = Tape(tmp_path)
    tape.pull(a_log(), ["ticks"])
    assert not tape.is_closed()
    tape.close()
    assert tape.is_closed()
    folder = tmp_path / "ticks-0"
    if gone == "its folder":
        shutil.rmtree(folder)
    else:
        max(folder.glob("*.parquet")).unlink()
    with pytest.raises(TapeHole, match=r"ticks-0 ends at offset \d+ instead of \d+"):
        tape.is_closed()


def test_a_tape_stays_with_its_run(tmp_path: Path) -> None:
    mine, other = {"run_id": "r", "started_ns": 1}, {"run_id": "r", "started_ns": 2}
    tape = Tape(tmp_path / "demo-1")
    for _ in range(2):
        tape.belong_to(mine)
        tape.pull(a_log(), ["ticks"])
    with pytest.raises(TapeForeign, match="is of another run"):
        tape.belong_to(other)
    for text in ("{", None):
        owner = tape.folder / store.OWNER
        owner.unlink() if text is None else owner.write_text(text)
        with pytest.raises(TapeForeign, match="does not say of which run"):
            tape.belong_to(mine)


def test_a_closed_tape_whose_ends_cannot_be_read_is_refused(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.pull(a_log(), ["ticks"])
    tape.close()
    (tmp_path / store.ENDS).write_text("{")
    with pytest.raises(TapeHole, match="cannot be read"):
        tape.is_closed()


@pytest.mark.parametrize("how", ["cut", "other", "turned", "garbage"])
def test_a_damaged_file_is_named_by_its_offsets(tmp_path: Path, how: str) -> None:
    tape = Tape(tmp_path)
    tape.pull(a_log(), ["ticks"])
    first, second = sorted((tmp_path / "ticks-0").glob("*.parquet"))[:2]
    content = {
        "cut": second.read_bytes()[:-20],
        "other": _changed(second, "value", lambda values: [b"other", *values[1:]]),
        # The same values under each other's offsets.
        "turned": _changed(second, "offset", lambda offsets: [*reversed(offsets)]),
        "garbage": b"x" * 99,
    }
    second.write_bytes(content[how])
    with pytest.raises(TapeDamaged, match="ticks-0, offsets 10 to 19, is damaged: its digest"):
        everything(tape)
    assert first.exists()
    # What a broken writer could leave: a name that fits.
    digest = hashlib.sha256(content[how]).hexdigest()[:32]
    second.rename(second.with_name(f"{second.name[:41]}-{digest}.parquet"))
    with pytest.raises(TapeDamaged, match="ticks-0, offsets 10 to 19, is damaged"):
        everything(tape)


def _changed(path: Path, column: str, change: Callable[[list[Any]], list[Any]]) -> bytes:
    """The file with something else in a column, under the same metadata."""
    table, metadata = pl.read_parquet(path), pl.read_parquet_metadata(path)
    kept = {name: text for name, text in metadata.items() if name.startswith("tapeline.")}
    out = io.BytesIO()
    table.with_columns(pl.Series(column, change(table[column].to_list()))).write_parquet(
        out, metadata=kept
    )
    return out.getvalue()


def test_more_than_was_pulled_is_refused(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.pull(a_log(5, markers=0), ["ticks"])
    with pytest.raises(TapeHole, match="ends at offset 5; 0 to 6"):
        list(tape.values(TICKS, 6))


def test_a_killed_pull_is_taken_up_where_it_was(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=pull_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (tmp_path / "ticks-0" / "00000000000000000020-00000000000000000028.part").write_bytes(b"half")
    log, tape = a_log(), Tape(tmp_path)
    tape.pull(log, ["ticks"])
    assert [start for _, start, _ in log.reads] == [20]
    assert everything(tape) == log.records[TICKS]
    assert not list((tmp_path / "ticks-0").glob("*.part"))


def test_a_pull_tells_how_far_it_is(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    log, tape = a_log(), Tape(tmp_path)
    tape.pull(log, ["ticks"], lambda done, total: heard.append((done, total)))
    end = log.ends([TICKS])[TICKS]
    assert heard == [(10, end), (20, end), (end, end)]


@pytest.mark.parametrize(
    ("error", "start"), [(KeyboardInterrupt, 0), (OSError, 0), (OSError, 10), (OSError, 20)]
)
def test_a_pull_that_is_broken_off_leaves_whole_files_and_goes_on(
    tmp_path: Path, error: type[BaseException], start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, tape, write = a_log(), Tape(tmp_path), store.write

    def interrupted(done: int, _total: int) -> None:
        if error is KeyboardInterrupt and done == start + 10:
            raise error

    def refused(folder: Path, topic: str, bounds: tuple[int, int], found: RawColumns) -> None:
        if error is OSError and bounds[0] == start:
            raise error
        write(folder, topic, bounds, found)

    monkeypatch.setattr(store, "write", refused)
    with pytest.raises(error):
        tape.pull(log, ["ticks"], interrupted)
    monkeypatch.setattr(store, "write", write)
    written = tape.end(TICKS)
    assert start <= written < log.ends([TICKS])[TICKS]
    assert not list(tmp_path.rglob(f"*{store.PART}"))
    tape.pull(log, ["ticks"])
    assert [start for _, start, _ in log.reads] == [0, written]
    assert everything(tape) == log.records[TICKS]


def test_two_processes_at_once_make_one_tape(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=pull, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert everything(Tape(tmp_path)) == a_log(200).records[TICKS]


# ---- against the journal


def journaled(log: MemoryLog, *ranges: tuple[int, int], digest: bytes | None = None) -> MemoryLog:
    """The log with a journal that tells of ranges of its ticks."""
    found = []
    for start, end in ranges:
        raws = [raw for raw in log.records[TICKS] if start <= raw.offset < end]
        found.append(
            ConsumedRange(
                topic="ticks",
                partition=0,
                from_offset=start,
                next_offset=end,
                count=len(raws),
                digest=values_digest(raws) if digest is None else digest,
            )
        )
    log.add((topics.JOURNAL, 0), encode(a_journal(found)))
    return log


def a_journal(ranges: Sequence[ConsumedRange]) -> Consumed:
    batch = ConsumedBatch(session_ns=1, timers=(), slice=1, ranges=tuple(ranges), verdicts=())
    return Consumed(
        service="execution",
        shard=0,
        sequence=1,
        run_id="run",
        build_id="build",
        batches=(batch,),
        output_count=0,
        output_digest=b"",
        ts_init_ns=1,
    )


def checked(folder: Path, log: MemoryLog) -> int:
    tape = Tape(folder)
    tape.pull(log, ["ticks", topics.JOURNAL])
    return check_journaled(tape, ["ticks"])


def test_journaled_ranges_are_found_on_the_tape_whatever_gaps_they_have(tmp_path: Path) -> None:
    assert checked(tmp_path, journaled(a_log(), (0, 7), (7, 20), (20, 27))) == 3


def test_another_value_in_a_journaled_range_is_named(tmp_path: Path) -> None:
    log = journaled(a_log(), (0, 7), (7, 20))
    place = log.records[TICKS]
    place[9] = Raw("ticks", 0, place[9].offset, 1, b"key", b"forged")
    with pytest.raises(TapeHole, match=r"ticks-0, offsets 7 to 19: .* has others"):
        checked(tmp_path, log)


def test_a_record_less_in_a_journaled_range_is_named(tmp_path: Path) -> None:
    log = journaled(a_log(), (0, 7), (7, 20))
    del log.records[TICKS][9]
    with pytest.raises(TapeHole, match=r"offsets 7 to 19: .* 12 records, the tape has 11 of 12"):
        checked(tmp_path, log)


def test_a_run_is_not_pulled_past_its_journal(tmp_path: Path) -> None:
    log = journaled(a_log(), (0, 7), (7, 20))
    assert pull_run(Tape(tmp_path / "whole"), log, lambda _done, _all: None) == 2
    del log.records[TICKS][9]
    with pytest.raises(TapeHole, match="offsets 7 to 19"):
        pull_run(Tape(tmp_path / "other"), log, lambda _done, _all: None)


def test_a_journal_that_tells_of_more_than_there_is_is_named(tmp_path: Path) -> None:
    log = journaled(a_log(5, markers=0), (0, 5))
    log.records[TICKS].pop()
    with pytest.raises(TapeHole, match="ends at offset 4; 0 to 5"):
        checked(tmp_path, log)


@pytest.mark.parametrize(
    ("start", "end", "count", "what"),
    [
        (27, 27, 1, "the journal tells of 1 records, the tape has 0 of 1"),
        (30, 30, 2, "the journal tells of 2 records, the tape has 0 of 2"),
        (5, 5, 1, "the journal tells of 1 records, the tape has 0 of 1"),
        (0, 6, 5, "the journal tells of 5 records, the tape has 6 of 5"),
    ],
)
def test_a_range_that_is_shorter_than_what_it_counts_is_named(
    tmp_path: Path, start: int, end: int, count: int, what: str
) -> None:
    log = a_log(25, markers=3)
    assert log.ends([TICKS])[TICKS] >= 30
    within = [raw for raw in log.records[TICKS] if start <= raw.offset < end]
    found = ConsumedRange(
        topic="ticks",
        partition=0,
        from_offset=start,
        next_offset=end,
        count=count,
        digest=values_digest(within),
    )
    log.add((topics.JOURNAL, 0), encode(a_journal([found])))
    with pytest.raises(TapeHole, match=what):
        checked(tmp_path, log)


def test_two_shards_that_tell_different_things_of_one_range_cannot_both_be_right(
    tmp_path: Path,
) -> None:
    log = journaled(journaled(a_log(), (0, 7), digest=b"other"), (0, 7))
    with pytest.raises(TapeHole, match=r"offsets 0 to 6: .* has others"):
        checked(tmp_path, log)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_differs_from_a_journaled_range_is_found(data: st.DataObject) -> None:
    """Ranges that lie over each other and over the ends of files; one change or none."""
    log = MemoryLog({TICKS: []}, markers=data.draw(st.integers(0, 2)))
    for number in range(data.draw(st.integers(1, 35))):
        log.add(TICKS, b"%d" % number, gap=data.draw(st.sampled_from([0, 0, 0, 1, 12])))
    end = log.ends([TICKS])[TICKS]
    bounds = st.tuples(st.integers(0, end), st.integers(0, end)).map(lambda two: sorted(two))
    ranges = [(low, high) for low, high in data.draw(st.lists(bounds, min_size=1, max_size=8))]
    journaled(log, *ranges)
    before, raws = list(log.records[TICKS]), log.records[TICKS]
    at = data.draw(st.integers(0, len(raws) - 1))
    how = data.draw(st.sampled_from(["nothing", "changed", "gone", "moved"]))
    if how == "changed":
        raws[at] = replace(raws[at], value=b"forged")
    elif how == "gone":
        log.markers += 13  # what was its place is still there
        del raws[at]
    elif how == "moved" and at + 1 < len(raws):
        raws[at], raws[at + 1] = (
            replace(raws[at], value=raws[at + 1].value),
            replace(raws[at + 1], value=raws[at].value),
        )
    is_same = all(
        [r.value for r in before if low <= r.offset < high]
        == [r.value for r in raws if low <= r.offset < high]
        for low, high in ranges
    )
    with tempfile.TemporaryDirectory() as folder:
        if is_same:
            assert checked(Path(folder), log) == len(set(ranges))
        else:
            with pytest.raises(TapeHole, match="journal tells of"):
                checked(Path(folder), log)


def test_checking_holds_no_more_than_a_few_files_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK", 500)
    kilobyte, count, step = b"x" * 1000, 20_000, 700
    raws = [Raw(*TICKS, at, 0, b"", kilobyte + b"%d" % at) for at in range(count)]
    ranges = [(at, min(at + step, count)) for at in range(0, count, step)]
    tape = Tape(tmp_path)
    tape.pull(journaled(MemoryLog({TICKS: raws}), *ranges), ["ticks", topics.JOURNAL])
    tracemalloc.start()
    try:
        assert check_journaled(tape, ["ticks"]) == len(ranges)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A file has half a megabyte of values, the whole partition twenty.
    assert peak < 5_000_000
