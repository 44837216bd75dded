"""Files that are not Parquet in nanoseconds: read once, the same figures as from Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from tapeline.backtest.engine.loading import Source
from tapeline.backtest.engine.prepared_file import prepared
from tapeline.backtest.engine.rows import MarketUnusable

MINUTE = 60_000_000_000
START_NS = 1_546_300_800_000_000_000
"""2019-01-01"""
FRAME = pl.DataFrame(
    {
        "time": [START_NS + second * 30_000_000_000 for second in range(6)],
        "price": [10.0, 10.5, 11.25, 11.0, 10.75, 10.5],
        "size": [1.0, 2.0, 0.5, 0.25, 3.0, 1.0],
    }
)


def market(path: Path) -> tuple[str, list[float]]:
    found = Source(path=path, is_bars=False, columns={"ts_event_ns": "time"}).market(MINUTE)
    return found.digest, found.close.tolist()


def as_text(frame: pl.DataFrame, form: str) -> pl.DataFrame:
    moments = pl.col("time").cast(pl.Datetime("ns"))
    return frame.with_columns(moments.dt.strftime(form).alias("time"))


@pytest.fixture(name="wanted")
def _wanted(tmp_path: Path) -> tuple[str, list[float]]:
    FRAME.write_parquet(tmp_path / "whole.parquet")
    return market(tmp_path / "whole.parquet")


@pytest.mark.parametrize(
    ("time_format", "form"),
    [
        ("", "%Y-%m-%dT%H:%M:%S%.fZ"),
        ("", "%Y-%m-%dT%H:%M:%S+00:00"),
        ("", "%Y-%m-%d %H:%M:%S"),
        ("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"),
        ("", ""),
        ("ns", ""),
    ],
)
def test_a_csv_file_is_the_same_market_as_its_parquet(
    tmp_path: Path, wanted: tuple[str, list[float]], time_format: str, form: str
) -> None:
    path = tmp_path / "trades.csv"
    (as_text(FRAME, form) if form else FRAME).write_csv(path)
    found = prepared(path, "time", time_format, tmp_path / "kept")
    assert market(found) == wanted
    assert wanted[1] == [10.5, 11.0]


@pytest.mark.parametrize(("unit", "unit_ns"), [("s", 10**9), ("ms", 10**6), ("us", 1_000)])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_times_of_another_unit_are_made_nanoseconds(
    tmp_path: Path, wanted: tuple[str, list[float]], unit: str, unit_ns: int, suffix: str
) -> None:
    frame = FRAME.with_columns(pl.col("time") // unit_ns)
    path = tmp_path / f"trades{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv().encode()
        path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    assert market(prepared(path, "time", unit, tmp_path / "kept")) == wanted


def test_seconds_with_a_fraction_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text("time,price,size\n1546300800.25,10,1\n1546300801.5,10,1\n")
    found = pl.read_parquet(prepared(path, "time", "s", tmp_path / "kept"))
    assert found["time"].to_list() == [START_NS + 250_000_000, START_NS + 1_500_000_000]


def test_parquet_in_nanoseconds_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    FRAME.write_parquet(path)
    assert prepared(path, "time", "", tmp_path / "kept") == path
    assert not (tmp_path / "kept").exists()


def test_a_copy_is_made_once_and_anew_after_a_change(tmp_path: Path) -> None:
    path, kept = tmp_path / "trades.csv", tmp_path / "kept"
    FRAME.write_csv(path)
    first = prepared(path, "time", "", kept)
    written_ns = first.stat().st_mtime_ns
    assert prepared(path, "time", "", kept) == first
    assert first.stat().st_mtime_ns == written_ns
    FRAME.head(3).write_csv(path)
    second = prepared(path, "time", "", kept)
    assert second != first
    assert pl.read_parquet(second).height == 3
    assert sorted(kept.iterdir()) == sorted([first, second]), "nothing half-written is left"


@pytest.mark.parametrize(
    ("text", "time_format", "said"),
    [
        ("time,price,size\nsoon,10,1\n", "%Y-%m-%d", "cannot be read"),
        ("time,price,size\nsoon,10,1\n", "ms", "it holds String, which is no time in ms"),
        (f"time,price,size\n{START_NS},10,1\n", "ms", "it holds 15.*, which is no time in ms"),
        ("", "", "cannot be read"),
    ],
)
def test_times_that_are_not_what_was_said_are_refused(
    tmp_path: Path, text: str, time_format: str, said: str
) -> None:
    path, kept = tmp_path / "trades.csv", tmp_path / "kept"
    path.write_text(text)
    with pytest.raises(MarketUnusable, match=said):
        prepared(path, "time", time_format, kept)
    assert not kept.exists() or not list(kept.iterdir()), "nothing is left behind"


def test_a_date_whose_form_is_not_named_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text("time,price,size\n2019-01-01,10,1\n03/04/2019,10,1\n")
    with pytest.raises(MarketUnusable, match=r"row 1 is '03/04/2019', which is no time in ISO"):
        prepared(path, "time", "", tmp_path / "kept")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MarketUnusable, match=r"absent\.csv cannot be read"):
        prepared(tmp_path / "absent.csv", "time", "", tmp_path / "kept")
