"""Frames of records and of tables: columns from the types, exact money on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import polars as pl
import pytest
from memory_log import MemoryLog
from parity_samples import Deal, run_of
from test_recorded_equity import fill, mark

from tapeline.backtest.run_tables import COLUMNS
from tapeline.cli.home import VARIABLE
from tapeline.contracts import topics
from tapeline.contracts.registry import RECORDS
from tapeline.research import NothingToRead, read, reading, tables
from tapeline.research.frames import columns_of, frame_of
from tapeline.runtime.codec import encode


@pytest.mark.parametrize("topic", sorted(topics.TOPICS))
def test_every_topic_has_a_frame_even_without_records(topic: str) -> None:
    frame = frame_of(topic, ())
    assert frame.height == 0
    assert dict(frame.schema) == columns_of(topic, is_exact=False)
    kinds = [name for name in topics.TOPICS[topic].records if not name.endswith("Watermark")]
    assert ("type" in frame.columns) == (len(kinds) > 1 or "type" in dir(RECORDS[kinds[0]]))


def test_records_become_rows_with_plain_values() -> None:
    frame = frame_of(topics.FILLS, [fill(10, "0.1", "50.25"), fill(20, "-2", "51")])
    assert frame["quantity"].to_list() == [0.1, 2.0]
    assert frame["side"].to_list() == ["BUY", "SELL"]
    assert frame["ts_event_ns"].to_list() == [10, 20]
    assert frame["slippage"].to_list() == [None, None]
    assert frame_of(topics.MARKS, [mark(1, 2.5)])["price"].to_list() == [2.5]


def test_money_is_exact_on_demand() -> None:
    third = "0.333333333333333333"
    frame = frame_of(topics.FILLS, [fill(10, third, "50")], is_exact=True)
    assert frame["quantity"].to_list() == [Decimal(third)]


def test_a_table_of_a_folder_is_read_as_polars_or_pandas(tmp_path: Path) -> None:
    run = run_of([Deal(minute=1, quantity=1.0, price=100.0)], (100.0, 101.0))
    run.save(tmp_path)
    found = read("fills", tmp_path)
    assert isinstance(found, pl.DataFrame)
    assert found["price"].to_list() == [100.0]
    other = read("fills", tmp_path, frame="pandas")
    assert isinstance(other, pd.DataFrame)
    assert other["price"].tolist() == [100.0]
    assert tables(tmp_path).description.run_id == "a"


def test_a_topic_is_that_of_the_run_and_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = {"one-1": MemoryLog(markers=1), "two-1": MemoryLog(markers=1)}
    logs["one-1"].add((topics.FILLS, 0), encode(fill(10, "1", "50")))
    logs["one-1"].add((topics.MARKS, 0), encode(mark(10, 51.0)))
    logs["two-1"].add((topics.FILLS, 0), encode(fill(20, "2", "60")))
    logs["two-1"].add((topics.FILLS, 1), encode(fill(30, "3", "61")))

    @contextmanager
    def a_desk(name: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(reader=logs[name])

    monkeypatch.setattr(reading, "desk", a_desk)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert read(topics.FILLS, "one-1")["price"].to_list() == [50.0]
    assert read(topics.FILLS, "two-1")["price"].to_list() == [60.0, 61.0]
    assert read(topics.MARKS, "one-1")["price"].to_list() == [51.0]
    assert read(topics.MARKS, "two-1").height == 0


def test_a_table_is_that_of_its_name(tmp_path: Path) -> None:
    run = run_of([Deal(minute=1, quantity=1.0, price=100.0)], (100.0, 101.0), funding={1: 2.5})
    run.save(tmp_path)
    for name in COLUMNS:
        assert read(name, tmp_path).equals(run[name])
        assert list(read(name, tmp_path).schema) == list(COLUMNS[name])


@pytest.mark.parametrize("name", ["nothing", "signals"])
def test_what_a_folder_does_not_hold_is_named(name: str, tmp_path: Path) -> None:
    run_of([], (100.0,)).save(tmp_path)
    with pytest.raises(NothingToRead, match=rf"topic or table '{name}'"):
        read(name, tmp_path)
