"""Bulk topics on the tape: columns that say what the records say, and give their bytes back."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_messages import PLAIN, messages
from memory_log import MemoryLog
from samples import sample
from tape_samples import old_file

from tapeline.backtest.tape import store
from tapeline.backtest.tape.bulk_frame import RECORD, VALUE, RecordType, frames_of
from tapeline.backtest.tape.store import Tape, TapeDamaged
from tapeline.backtest.tape.tape_file import COUNT, DIGEST, FORMAT, SCHEMAS
from tapeline.contracts.market import Bar, MarkPrice, QualityFlag, Quote, Trade
from tapeline.contracts.registry import SCHEMAS as OURS
from tapeline.contracts.system import Watermark
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.codec import (
    HEADER_BYTES,
    MARKER,
    DecodeError,
    Decoder,
    encode,
    fingerprint_of,
)
from tapeline.runtime.log import Raw, TopicPartition

COLUMNAR = ("ticks", "bars", "marks")
TICKS = ("ticks", 0)
TRADE, QUOTE = sample(Trade.AVRO), replace(sample(Quote.AVRO), quality=())


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK", 10)


def logged(place: TopicPartition, values: Sequence[bytes | None]) -> MemoryLog:
    """A log whose records differ in key, headers and gaps."""
    found = []
    offset = 0
    for number, value in enumerate(values):
        offset += 1 + number % 3
        headers = (("event_id", b"%d" % number), ("", b"\xff")) if number % 4 == 1 else ()
        key = (b"", b"A.B", b"\xff\x00")[number % 3]
        found.append(Raw(*place, offset - 1, 1000 - number, key, value, headers))
    return MemoryLog({place: found}, markers=1)


def told(record: Any) -> str:
    """What can be compared, -0.0 included."""
    return f"{record.code} {record.reason}" if isinstance(record, DecodeError) else repr(record)


def one_by_one(topic: str, values: Sequence[bytes | None]) -> list[str]:
    decoder, found = Decoder(TOPICS[topic].records), []
    for value in values:
        try:
            found.append(told(decoder.decode(value)))
        except DecodeError as error:
            found.append(told(error))
    return found


def compared(place: TopicPartition, values: Sequence[bytes | None]) -> pl.DataFrame:
    """Pulls the records, holds what the tape gives to what they are; gives the columns."""
    log = logged(place, values)
    with tempfile.TemporaryDirectory() as folder:
        tape = Tape(Path(folder))
        tape.pull(log, [place[0]])
        assert [raw for raws in tape.chunks(place) for raw in raws] == log.records[place]
        records = [told(record) for found in tape.records(place) for record in found]
        assert records == one_by_one(place[0], values)
        return pl.concat(tape.frames(place))


@pytest.mark.parametrize("topic", COLUMNAR)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_columns_say_what_records_say_and_give_their_bytes_back(
    topic: str, data: st.DataObject
) -> None:
    names = [name for name in PLAIN if name in TOPICS[topic].records]
    some = st.one_of(messages(names), messages())
    compared((topic, 0), data.draw(st.lists(some, max_size=35)))


@pytest.mark.parametrize("name", PLAIN)
def test_every_type_is_columns(name: str) -> None:
    topic = next(topic for topic in COLUMNAR if name in TOPICS[topic].records)
    records = [sample(name, seed) for seed in range(25)]
    frame = compared((topic, 0), [encode(record) for record in records])
    assert frame[RECORD].to_list() == [type(records[0]).__name__] * 25
    assert frame[VALUE].null_count() == 25
    assert frame["ts_event_ns"].to_list() == [record.ts_event_ns for record in records]


def test_any_byte_of_a_record_may_be_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK", 5_000)
    value = encode(TRADE)
    found = [value]
    for at in range(HEADER_BYTES - 1, len(value)):
        found += [value[:at] + bytes([byte]) + value[at + 1 :] for byte in range(0, 256, 5)]
    compared(TICKS, found)


def test_zeros_of_both_signs_stay_what_they_are_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK", 5_000)
    prices = [(0.0, -0.0, 5e-324, -1.7976931348623157e308)[number % 4] for number in range(6_000)]
    compared(TICKS, [encode(replace(TRADE, price=price, size=-price)) for price in prices])


def test_numbers_that_are_none_stay_bytes() -> None:
    value = encode(replace(TRADE, price=1.5))
    price = value.index(bytes.fromhex("000000000000f83f"))
    odd = value[:price] + bytes.fromhex("010000000000f87f") + value[price + 8 :]
    assert compared(TICKS, [value, odd])[RECORD].to_list() == ["Trade", None]


def test_another_encoding_of_the_same_record_stays_bytes_and_is_read() -> None:
    mark = Watermark(
        source="s", slice=3, is_paced=True, is_final=False, ts_event_ns=1, ts_init_ns=1
    )
    value = encode(mark)
    odd = value[:12] + b"\x86\x00" + value[13:]  # 3 in two bytes
    assert Decoder(TOPICS["ticks"].records).decode(odd) == mark
    assert compared(TICKS, [value, odd])[RECORD].to_list() == ["Watermark", None]


def test_flags_and_names_in_any_script_are_columns() -> None:
    flags = (QualityFlag.SPIKE, QualityFlag.GAP_BEFORE)
    records = [
        replace(TRADE, quality=flags),
        replace(QUOTE, feed="börse", instrument_id=""),
        replace(TRADE, trade_id="x" * 9_000, quality=()),
    ]
    frame = compared(TICKS, [encode(record) for record in records])
    assert frame[RECORD].to_list() == ["Trade", "Quote", "Trade"]
    assert frame["quality"].to_list() == ["SPIKE,GAP_BEFORE", "", ""]


def test_books_are_kept_as_bytes() -> None:
    assert frames_of("books") is None
    assert {name for name in TOPICS if frames_of(name) is not None} == set(COLUMNAR)


# ---- files


def pulled(folder: Path, *records: Any) -> tuple[Tape, Path]:
    """(tape, its only file)"""
    place = next((t, 0) for t in COLUMNAR if records[0].AVRO in TOPICS[t].records)
    tape = Tape(folder)
    tape.pull(logged(place, [encode(record) for record in records]), [place[0]])
    (path,) = (folder / f"{place[0]}-0").glob("*.parquet")
    return tape, path


def rewritten(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], **metadata: str) -> None:
    """The file with other content under its metadata, and under a name that fits."""
    kept = pl.read_parquet_metadata(path)
    known = {name: kept[name] for name in (FORMAT, DIGEST, COUNT, SCHEMAS)} | metadata
    out = io.BytesIO()
    change(pl.read_parquet(path)).write_parquet(out, metadata=known)
    digest = hashlib.sha256(out.getvalue()).hexdigest()[:32]
    path.unlink()
    path.with_name(f"{path.name[:41]}-{digest}.parquet").write_bytes(out.getvalue())


def swapped(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.rename({"bid_price": "ask_price", "ask_price": "bid_price"})


def test_two_columns_that_were_swapped_are_found_against_the_topic(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE)
    rewritten(path, swapped)
    with pytest.raises(TapeDamaged, match=r"ticks-0, offsets 0 to 3, .*digest of its records"):
        list(tape.chunks(TICKS))


def test_a_row_less_is_found_under_a_name_that_fits(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE)
    rewritten(path, lambda frame: frame.head(1))
    for read in (tape.chunks, tape.frames, tape.records):
        with pytest.raises(TapeDamaged, match="1 records instead of 2"):
            list(read(TICKS))  # type: ignore[operator]


def test_a_stale_digest_of_the_records_is_found(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE)
    rewritten(path, lambda frame: frame, **{DIGEST: "00" * 16})
    with pytest.raises(TapeDamaged, match="digest of its records is another"):
        list(tape.chunks(TICKS))


@pytest.mark.parametrize("change", [swapped, lambda frame: frame.head(1), lambda frame: frame])
def test_whatever_is_written_over_a_file_is_found_by_its_name(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE)
    change(pl.read_parquet(path)).write_parquet(path)
    for read in (tape.chunks, tape.frames, tape.records):
        with pytest.raises(TapeDamaged, match=r"ticks-0, offsets 0 to 3, .*its digest is another"):
            list(read(TICKS))  # type: ignore[operator]


def test_a_file_of_other_offsets_is_refused(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE)
    path.rename(path.with_name(path.name.replace("0004-", "0001-", 1)))
    with pytest.raises(TapeDamaged, match="it holds offsets 0 to 2"):
        list(tape.frames(TICKS))


def test_rows_under_each_others_offsets_are_refused(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE, QUOTE, QUOTE)
    order = [0, 2, 1, 3]
    rewritten(path, lambda frame: frame.with_columns(frame["offset"].gather(order)))
    with pytest.raises(TapeDamaged, match="its offsets do not ascend"):
        list(tape.frames(TICKS))


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE)
    path.with_name(f"{path.name[:41]}-{'0' * 32}.parquet").write_bytes(path.read_bytes())
    with pytest.raises(TapeDamaged, match="offsets 0 to 3 twice"):
        list(tape.frames(TICKS))


def test_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE, QUOTE)
    path.rename(path.with_name("ticks.parquet"))
    with pytest.raises(TapeDamaged, match=r"ticks\.parquet is no file of the tape"):
        list(tape.frames(TICKS))


# ---- other formats


def test_a_tape_of_the_first_format_is_read_and_goes_on(tmp_path: Path) -> None:
    values = [encode(record) for record in (TRADE, QUOTE) * 6] + [b"broken", None]
    log = logged(TICKS, values)
    raws = log.records[TICKS]
    old_file(tmp_path / "ticks-0", 0, 10, [raw for raw in raws if raw.offset < 10])
    tape = Tape(tmp_path)
    tape.pull(log, ["ticks"])
    assert log.reads == [(TICKS, 10, log.ends([TICKS])[TICKS])], "the old file is not pulled again"
    assert [raw for found in tape.chunks(TICKS) for raw in found] == raws
    records = [told(record) for found in tape.records(TICKS) for record in found]
    assert records == one_by_one("ticks", values)
    assert pl.concat(tape.frames(TICKS))[RECORD].to_list()[:2] == ["Trade", "Quote"]


def test_a_damaged_file_of_the_first_format_is_named(tmp_path: Path) -> None:
    path = old_file(tmp_path / "ticks-0", 0, 3, [Raw(*TICKS, 1, 0, b"", encode(TRADE))])
    table, kept = pl.read_parquet(path), pl.read_parquet_metadata(path)
    metadata = {name: kept[name] for name in (DIGEST, COUNT)}
    other = table.with_columns(pl.lit(encode(QUOTE)).alias(VALUE))
    other.write_parquet(path, metadata=metadata)
    tape = Tape(tmp_path)
    for read in (tape.chunks, tape.frames, tape.records):
        with pytest.raises(TapeDamaged, match=r"ticks-0, offsets 0 to 2, .*digest of its records"):
            list(read(TICKS))  # type: ignore[operator]


def test_columns_of_an_older_schema_are_read_as_their_records_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks from before they had a bid."""
    older: Any = json.loads(json.dumps(OURS[MarkPrice.AVRO]))
    older["fields"] = [item for item in older["fields"] if item["name"] != "bid_price"]
    record = replace(sample(MarkPrice.AVRO), bid_price=None, ask_price=2.5)
    out = io.BytesIO()
    datum = {item["name"]: getattr(record, item["name"]) for item in older["fields"]}
    fastavro.schemaless_writer(out, fastavro.parse_schema(older), datum)
    value = MARKER + fingerprint_of(older).to_bytes(8, "little") + out.getvalue()
    kind = RecordType.of(older)
    assert kind is not None
    content, is_whole = kind.read([value])
    assert is_whole.all()
    place = {"offset": [0], "append_ms": [1], "key": [b""], "headers": [None], VALUE: [None]}
    _, path = pulled(tmp_path, record)
    digest = hashlib.sha256(len(value).to_bytes(4, "big") + value).hexdigest()[:32]
    rewritten(
        path,
        lambda frame: (
            pl.DataFrame(place, schema={name: frame.schema[name] for name in place})
            .with_columns(pl.lit("MarkPrice").alias(RECORD))
            .hstack(content)
        ),
        **{SCHEMAS: json.dumps([older, OURS[Watermark.AVRO]]), DIGEST: digest},
    )
    tape = Tape(tmp_path)
    assert [raw.value for raws in tape.chunks(("marks", 0)) for raw in raws] == [value]
    assert list(tape.records(("marks", 0))) == [[record]]


def test_a_format_that_this_build_does_not_know_is_refused(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE)
    rewritten(path, lambda frame: frame, **{FORMAT: "3"})
    with pytest.raises(TapeDamaged, match="its format is 3 where 2 is expected"):
        list(tape.frames(TICKS))


def test_columns_that_lost_the_digest_of_their_file_are_not_read_as_bytes(tmp_path: Path) -> None:
    tape, path = pulled(tmp_path, QUOTE)
    path.rename(path.with_name(f"{path.name[:41]}.parquet"))
    for read in (tape.chunks, tape.frames, tape.records):
        with pytest.raises(TapeDamaged, match="its format is 2 where 1 is expected"):
            list(read(TICKS))  # type: ignore[operator]


@pytest.mark.parametrize("other", [OURS[MarkPrice.AVRO], {**OURS[Quote.AVRO], "name": "Depth"}])
def test_columns_of_types_that_the_topic_does_not_hold_are_refused(
    tmp_path: Path, other: Any
) -> None:
    tape, path = pulled(tmp_path, QUOTE)
    rewritten(path, lambda frame: frame, **{SCHEMAS: json.dumps([other])})
    for read in (tape.chunks, tape.frames, tape.records):
        with pytest.raises(TapeDamaged, match="types that this build does not know"):
            list(read(TICKS))  # type: ignore[operator]


def test_bars_have_a_column_for_each_field() -> None:
    frames = frames_of("bars")
    assert frames is not None
    assert set(Bar.__slots__) <= set(frames.schema)
