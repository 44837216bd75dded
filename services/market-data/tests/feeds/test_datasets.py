"""The gate, slices and bars on real recorded data, cross-checked with polars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tapeline.contracts.market import Bar, MarkPrice, QualityFlag, Quote, TickOrigin, Trade
from tapeline.contracts.system import Watermark
from tapeline.market_data.bars_core import PartitionBars
from tapeline.market_data.durations import SECOND_NS, UNITS_NS
from tapeline.market_data.feed_core import FeedCore, Sent, Slicer
from tapeline.market_data.feeds.datasets import CATALOGUE, WINDOWS, make, mapping_of, utc_ns
from tapeline.market_data.feeds.interface import Feed, FeedError, RawRecord
from tapeline.market_data.feeds.recorded import RecordedFeed, RecordedFile
from tapeline.market_data.quality import Gate, Limits
from tapeline.runtime.core import Input

MINUTE, HOUR, DAY = UNITS_NS["m"], UNITS_NS["h"], UNITS_NS["d"]
INTERVALS = (MINUTE, 5 * MINUTE, HOUR, DAY)


async def sent_by(feed: Feed, limits: Limits | None = None) -> tuple[list[Sent], dict[str, int]]:
    """Everything a paced run of a feed publishes, on one partition, and what was refused."""
    core = FeedCore(feed.name, "run", 1, lambda key, count: 0, Gate(limits or Limits()))
    slicer = Slicer(core, MINUTE)
    found: list[Sent] = []
    async for batch in feed.batches({}):
        for raw in batch:
            found += [one for part in slicer.push(raw) for one in part.records]
    last = [one for part in slicer.finish() for one in part.records]
    assert last
    return [*found, *last], core.refused


def played(data_dir: Path, name: str, window: tuple[str, str]) -> Feed:
    return RecordedFeed("datasets", [RecordedFile(mapping_of(name, data_dir, window))])


def built(sent: list[Sent]) -> tuple[list[Bar], list[MarkPrice]]:
    ticks = [one.record for one in sent if one.topic == "ticks"]
    last = ticks[-1]
    assert isinstance(last, Watermark)
    # The window ends before the day does: a watermark of midnight closes the bar of the day.
    midnight_ns = (last.ts_event_ns // DAY + 1) * DAY
    ticks.append(replace(last, slice=last.slice + 1, ts_event_ns=midnight_ns))
    inputs = [
        Input(record=record, topic="ticks", partition=0, offset=offset, session_ns=0)
        for offset, record in enumerate(ticks)
    ]
    records = [output.record for output in PartitionBars(0, INTERVALS).step(inputs)]
    bars = [record for record in records if isinstance(record, Bar)]
    return bars, [record for record in records if isinstance(record, MarkPrice)]


def grouped(table: pl.DataFrame, interval_ns: int) -> list[tuple[object, ...]]:
    """Bars as polars makes them: by instrument-less window of event time."""
    return (
        table.with_columns(start=pl.col("ts_event_ns") // interval_ns * interval_ns)
        .group_by("start", maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("size").sum().alias("volume"),
            pl.len().alias("count"),
        )
        .sort("start")
        .rows()
    )


def rows_of(bars: list[Bar], interval_ns: int) -> list[tuple[object, ...]]:
    return [
        (bar.ts_open_ns, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.tick_count)
        for bar in bars
        if bar.interval_ns == interval_ns
    ]


@pytest.mark.data
async def test_bars_and_marks_of_spy_trades_equal_those_of_polars(
    data_dir: Path,
) -> None:
    window = ("2013-10-07T19:40", "2013-10-07T20:00")
    sent, refused = await sent_by(played(data_dir, "spy", window))
    assert refused == {}
    assert not any(one.record.quality for one in sent if isinstance(one.record, Trade))
    bars, marks = built(sent)
    table = pl.read_parquet(data_dir / CATALOGUE["spy"].path).filter(
        pl.col("ts_event_ns").is_between(*map(utc_ns, window), closed="left")
    )
    for interval_ns in INTERVALS:
        assert rows_of(bars, interval_ns) == grouped(table, interval_ns)
    assert all(bar.late_count == 0 and bar.is_complete for bar in bars)
    seconds = grouped(table, SECOND_NS)
    assert [mark.price for mark in marks] == [row[4] for row in seconds]


@pytest.mark.data
async def test_suspicious_trades_are_flagged_and_in_no_bar(data_dir: Path) -> None:
    window = ("2013-10-10T20:00", "2013-10-10T21:50")
    sent, refused = await sent_by(played(data_dir, "spy", window))
    assert refused == {}
    flagged = [
        one.record
        for one in sent
        if isinstance(one.record, Trade) and QualityFlag.SUSPICIOUS in one.record.quality
    ]
    table = pl.read_parquet(data_dir / CATALOGUE["spy"].path).filter(
        pl.col("ts_event_ns").is_between(*map(utc_ns, window), closed="left")
    )
    assert len(flagged) == table["suspicious"].sum() == 10
    bars, _ = built(sent)
    assert rows_of(bars, MINUTE) == grouped(table.filter(~pl.col("suspicious")), MINUTE)


@pytest.mark.data
async def test_bars_of_gold_quotes_are_built_from_mid(data_dir: Path) -> None:
    window = ("2014-05-05T12:00", "2014-05-05T13:00")
    sent, refused = await sent_by(played(data_dir, "xauusd", window))
    assert refused == {}
    bars, marks = built(sent)
    mid = (pl.col("bid_price") + pl.col("ask_price")) / 2.0
    table = (
        pl.read_parquet(data_dir / CATALOGUE["xauusd"].path)
        .filter(pl.col("ts_event_ns").is_between(*map(utc_ns, window), closed="left"))
        .with_columns(price=mid, size=pl.lit(0.0))
    )
    for interval_ns in INTERVALS:
        assert rows_of(bars, interval_ns) == grouped(table, interval_ns)
    quotes = sum(isinstance(one.record, Quote) for one in sent)
    assert quotes == table.height
    assert all(mark.bid_price is not None for mark in marks)


@pytest.mark.data
async def test_recorded_minute_bars_come_out_as_they_went_in(data_dir: Path) -> None:
    window = ("2022-01-03T00:00", "2022-01-03T06:00")
    sent, refused = await sent_by(played(data_dir, "btc-perp", window))
    assert refused == {}
    bars, _ = built(sent)
    table = pl.read_parquet(data_dir / CATALOGUE["btc-perp"].path).filter(
        pl.col("ts_open_ns").is_between(*map(utc_ns, window), closed="left")
    )
    found = [row[:6] for row in rows_of(bars, MINUTE)]
    assert found == table.select("ts_open_ns", "open", "high", "low", "close", "volume").rows()
    assert {bar.origin for bar in bars} == {TickOrigin.BAR_CLOSE}


@pytest.mark.data
async def test_the_exchange_trades_pass_with_their_ids(data_dir: Path) -> None:
    window = ("2019-10-11T00:00", "2019-10-11T06:00")
    sent, refused = await sent_by(played(data_dir, "xrp-eth", window))
    assert refused == {}
    ids = [one.record.trade_id for one in sent if isinstance(one.record, Trade)]
    assert len(set(ids)) == len(ids) > 500


@pytest.mark.data
async def test_five_symbols_in_one_file_are_played_side_by_side(data_dir: Path) -> None:
    window = ("2018-01-12T00:00", "2018-01-12T02:00")
    sent, refused = await sent_by(played(data_dir, "alts-btc", window))
    ticks = [one.record for one in sent if isinstance(one.record, Trade)]
    assert refused == {}
    assert {tick.instrument_id for tick in ticks} >= {"ETHBTC.BINANCE", "XLMBTC.BINANCE"}
    assert len({tick.instrument_id for tick in ticks}) == 5
    times = [tick.ts_event_ns for tick in ticks]
    assert times == sorted(times)


@pytest.mark.data
async def test_the_demo_plays_its_windows_one_after_the_other(data_dir: Path) -> None:
    feed = make({"dir": str(data_dir)})
    counts: dict[str, int] = {}
    last_ns = 0
    async for batch in feed.batches({}):
        for raw in batch:
            name = name_of(raw)
            counts[name] = counts.get(name, 0) + 1
            assert raw.ts_event_ns >= last_ns
            last_ns = raw.ts_event_ns
    assert list(counts) == ["SPY.ARCA", "VIX", "XAUUSD.OANDA", "BTCUSDT-PERP.BINANCE"]
    start_ns, end_ns = map(utc_ns, WINDOWS["spy"])
    table = pl.scan_parquet(data_dir / CATALOGUE["spy"].path)
    spy = table.filter(pl.col("ts_event_ns").is_between(start_ns, end_ns, closed="left"))
    assert counts["SPY.ARCA"] == spy.collect().height
    start_ns, end_ns = map(utc_ns, WINDOWS["btc-perp"])
    assert counts["BTCUSDT-PERP.BINANCE"] == 4 * (end_ns - start_ns) // MINUTE


def name_of(raw: RawRecord) -> str:
    return str(getattr(raw, "instrument_id", "") or getattr(raw, "series", ""))


@pytest.mark.data
def test_sets_and_windows_can_be_chosen(data_dir: Path) -> None:
    options = {"dir": str(data_dir), "sets": "btc-perp", "start": "2022-01-05", "end": "2022-01-06"}
    assert make(options).name == "datasets"
    for wrong in ({"sets": "dow"}, {"start": "noon"}, {"start": "2023-01-01", "end": "2022-01-01"}):
        with pytest.raises(FeedError):
            make({**options, **wrong})


def test_a_folder_that_does_not_exist_is_named() -> None:
    with pytest.raises(FeedError, match="nowhere"):
        make({"dir": "nowhere"})
    assert set(WINDOWS) <= set(CATALOGUE)
