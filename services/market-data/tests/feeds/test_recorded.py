from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from tapeline.contracts.market import AggressorSide, TickOrigin
from tapeline.market_data.feeds.interface import (
    Feed,
    FeedError,
    RawFunding,
    RawMacro,
    RawQuote,
    RawRecord,
    RawTrade,
)
from tapeline.market_data.feeds.mapping import Mapping
from tapeline.market_data.feeds.recorded import RecordedFile, make
from tapeline.market_data.feeds.table import check

TRADES = "ts,px,qty,side,id\n1000,10.5,3,buy,a\n1001,10.6,4,SELL,b\n"


async def all_of(feed: Feed) -> list[RawRecord]:
    return [raw async for batch in feed.batches({}) for raw in batch]


def trades_mapping(path: Path, **changes: object) -> Mapping:
    values: dict[str, object] = {
        "path": path,
        "kind": "trades",
        "instrument_id": "A.X",
        "time_column": "ts",
        "time_unit": "ms",
        "price_column": "px",
        "size_column": "qty",
        "side_column": "side",
        "trade_id_column": "id",
    }
    return Mapping(**{**values, **changes})  # type: ignore[arg-type]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def read(mapping: Mapping) -> list[RawRecord]:
    return list(RecordedFile(mapping))


def test_trades_of_a_csv(tmp_path: Path) -> None:
    first, second = read(trades_mapping(written(tmp_path / "t.csv", TRADES)))
    assert first == RawTrade(
        instrument_id="A.X",
        price=10.5,
        size=3.0,
        ts_event_ns=1_000_000_000,
        trade_id="a",
        side=AggressorSide.BUY,
    )
    assert isinstance(second, RawTrade)
    assert second.side is AggressorSide.SELL


def test_a_gzipped_csv_and_a_parquet_file_give_the_same_records(tmp_path: Path) -> None:
    plain = read(trades_mapping(written(tmp_path / "t.csv", TRADES)))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TRADES.encode()))
    assert read(trades_mapping(tmp_path / "t.csv.gz")) == plain
    table = pl.read_csv(tmp_path / "t.csv").with_columns(pl.from_epoch("ts", time_unit="ms"))
    table.write_parquet(tmp_path / "t.parquet")
    assert read(trades_mapping(tmp_path / "t.parquet")) == plain


def test_quotes_with_text_times(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", "when,bid_price,ask_price\n2020-01-02 00:00:01,9,10\n")
    mapping = Mapping(
        path=path,
        kind="quotes",
        instrument_id="A.X",
        time_column="when",
        time_format="%Y-%m-%d %H:%M:%S",
    )
    (quote,) = read(mapping)
    assert isinstance(quote, RawQuote)
    assert (quote.bid_price, quote.ask_price, quote.bid_size) == (9.0, 10.0, 0.0)
    assert quote.ts_event_ns == 1_577_923_201_000_000_000


def test_bars_of_several_symbols_take_turns_in_order_of_time(tmp_path: Path) -> None:
    text = (
        "symbol,ts,open,high,low,close,volume\nA/B,1,1,2,1,2,4\nC/B,1,5,6,4,4,8\nA/B,61,2,2,1,1,4\n"
    )
    mapping = Mapping(
        path=written(tmp_path / "b.csv", text),
        kind="bars",
        instrument_column="symbol",
        venue="X",
        time_column="ts",
        time_unit="s",
        must_sort=True,
    )
    ticks = read(mapping)
    times = [tick.ts_event_ns for tick in ticks]
    assert times == sorted(times)
    assert len(ticks) == 12
    assert [tick.instrument_id for tick in ticks[:2] if isinstance(tick, RawTrade)] == [
        "AB.X",
        "CB.X",
    ]
    assert {tick.origin for tick in ticks[:2] if isinstance(tick, RawTrade)} == {
        TickOrigin.BAR_OPEN
    }


def test_macro_readings_leave_missing_values_out(tmp_path: Path) -> None:
    path = written(tmp_path / "m.csv", "Date,vix\n1/3/2014,13.76\n1/20/2014,.\n1/21/2014,12.87\n")
    mapping = Mapping(
        path=path,
        kind="macro",
        instrument_id="VIX",
        time_column="Date",
        time_format="%m/%d/%Y",
        time_offset_ns=5,
        value_column="vix",
        missing_values=(".",),
    )
    readings = read(mapping)
    assert [raw.value for raw in readings if isinstance(raw, RawMacro)] == [13.76, 12.87]
    assert readings[0].ts_event_ns % 86_400_000_000_000 == 5


def test_funding_rates_have_the_interval_that_the_mapping_says(tmp_path: Path) -> None:
    path = written(tmp_path / "f.csv", "ts,paid\n1000,0.0001\n2000,-0.0002\n")
    mapping = Mapping(
        path=path,
        kind="funding",
        instrument_id="BTC.X",
        time_column="ts",
        rate_column="paid",
        interval_ns=28_800,
    )
    assert read(mapping) == [
        RawFunding(instrument_id="BTC.X", rate=0.0001, interval_ns=28_800, ts_event_ns=1000),
        RawFunding(instrument_id="BTC.X", rate=-0.0002, interval_ns=28_800, ts_event_ns=2000),
    ]


def test_a_window_includes_its_start_and_excludes_its_end(tmp_path: Path) -> None:
    mapping = trades_mapping(
        written(tmp_path / "t.csv", TRADES), start_ns=1_000_000_000, end_ns=1_001_000_000
    )
    assert [raw.ts_event_ns for raw in read(mapping)] == [1_000_000_000]


def test_suspicious_rows_say_so(tmp_path: Path) -> None:
    text = "ts,px,qty,side,id,bad\n1,10,3,buy,a,true\n2,10,3,buy,b,0\n"
    mapping = trades_mapping(written(tmp_path / "t.csv", text), suspicious_column="bad")
    found = [raw.is_suspicious for raw in read(mapping) if isinstance(raw, RawTrade)]
    assert found == [True, False]


def test_numbers_that_make_no_market_are_left_to_the_quality_gate(tmp_path: Path) -> None:
    text = "ts,px,qty,side,id\n1,NaN,3,buy,a\n2,-1,inf,buy,b\n"
    assert len(read(trades_mapping(written(tmp_path / "t.csv", text)))) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ts,px,qty,side,id\n1,10,3,buy,a\n2,abc,3,buy,b\n", ["row 2", "'px'", "'abc'"]),
        ("ts,px,qty,side,id\n1,10,3,buy,a\nx,11,3,buy,b\n", ["row 2", "'ts'", "whole number"]),
        ("ts,px,qty,side,id\n9223372036854775,1,3,buy,a\n", ["row 1", "'ts'"]),
        ("ts,px,qty,side,id\n1,,3,buy,a\n", ["row 1", "'px'", "''"]),
        ("ts,price,qty,side,id\n1,10,3,buy,a\n", ["no column 'px'"]),
        ("ts,px,qty,side,id\n1,10,3,buy,a,more\n", ["t.csv"]),
        ("", ["t.csv"]),
    ],
)
def test_a_malformed_file_is_named_with_row_column_and_remedy(
    tmp_path: Path, text: str, expected: Sequence[str]
) -> None:
    with pytest.raises(FeedError) as caught:
        check(trades_mapping(written(tmp_path / "t.csv", text)))
    for part in ("t.csv", *expected):
        assert part in caught.value.cause
    assert caught.value.remedy
    assert "\n" not in caught.value.cause


def test_a_truncated_gzip_and_a_false_parquet_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TRADES.encode())[:-20])
    written(tmp_path / "t.parquet", TRADES)
    for name in ("t.csv.gz", "t.parquet", "none.csv"):
        with pytest.raises(FeedError, match=name):
            check(trades_mapping(tmp_path / name))
    with pytest.raises(FeedError, match="neither CSV nor Parquet"):
        check(trades_mapping(written(tmp_path / "t.txt", TRADES)))


def test_a_short_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="row 1"):
        check(trades_mapping(written(tmp_path / "t.csv", "ts,px,qty,side,id\n1,10\n")))


async def test_the_plug_in_reads_toml_mappings_and_merges_them_in_order_of_time(
    tmp_path: Path,
) -> None:
    written(tmp_path / "a.csv", "ts,price,size\n1,10,1\n3,11,1\n")
    written(tmp_path / "b.csv", "ts,price\n2,20\n")
    for name, extra in (("a", ""), ("b", 'size_column = ""\ndefault_size = 7.0\n')):
        written(
            tmp_path / f"{name}.toml",
            f'path = "{name}.csv"\nkind = "trades"\ninstrument_id = "{name.upper()}.X"\n'
            f'time_column = "ts"\ntime_unit = "s"\ninterval = "5m"\n{extra}',
        )
    feed = make({"mapping": f"{tmp_path / 'a.toml'}, {tmp_path / 'b.toml'}"})
    ticks = await all_of(feed)
    assert (feed.name, feed.is_live) == ("a", False)
    found = [(raw.instrument_id, raw.size) for raw in ticks if isinstance(raw, RawTrade)]
    assert found == [("A.X", 1.0), ("B.X", 7.0), ("A.X", 1.0)]
    assert await all_of(feed) == ticks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path = 3 4", "TOML"),
        ('path = "a.csv"\nkind = "trades"\ninstrument_id = "A"\ncolour = 1', "colour"),
        ('path = "a.csv"\nkind = "options"\ninstrument_id = "A"', "kind"),
        ('path = "a.csv"\nkind = "trades"', "instrument"),
        ('path = "a.csv"\nkind = "trades"\ninstrument_id = "A"\ntime_unit = "h"', "time_unit"),
        ('path = "a.csv"\nkind = "trades"\ninstrument_id = "A"\ninterval = "x"', "interval"),
        ('kind = "trades"\ninstrument_id = "A"', "path"),
    ],
)
def test_a_wrong_mapping_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path / "m.toml", text)
    with pytest.raises(FeedError) as caught:
        make({"mapping": str(path)})
    assert expected in str(caught.value)


def test_the_plug_in_needs_a_mapping_and_knows_its_options() -> None:
    with pytest.raises(FeedError, match="mapping"):
        make({})
    with pytest.raises(FeedError, match="color"):
        make({"color": "red"})
