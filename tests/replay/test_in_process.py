"""A run played in one process, without Kafka, says to the byte what it says on Kafka."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from proving.playing import END, PRESET, START

from tapeline.backtest.paced.run import PacedRun
from tapeline.cli.backtests import Asked, played_preset
from tapeline.contracts.risk import DenialCode

EXPECTED: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "e2e" / "expected.json").read_text()
)
"""what the same data gives on a real Kafka, see tests/e2e"""
DATA = (f"start={START}", f"end={END}")


def played(**more: Any) -> PacedRun:
    """The short run, in this process."""
    return played_preset(str(PRESET), Asked(feed_options=DATA, **more), lambda _part: None)


@pytest.fixture(scope="module")
def same() -> PacedRun:
    """With the run_id of the run on Kafka."""
    return played(run_id=EXPECTED["run_id"])


def test_every_part_says_to_the_byte_what_it_says_on_kafka(same: PacedRun) -> None:
    assert same.digests == dict(sorted(EXPECTED["digests"].items()))


def test_the_tables_hold_what_the_run_on_kafka_counted(same: PacedRun) -> None:
    orders, fills = same.tables["orders"], same.tables["fills"]
    description = same.tables.description
    assert orders.height == EXPECTED["decisions"]
    assert description.orders == EXPECTED["decisions"]
    assert fills.height == description.fills == EXPECTED["fills"]
    denied = orders.filter(pl.col("status") == "DENIED")["code"].value_counts()
    assert dict(denied.iter_rows()) == EXPECTED["denied"]
    ended = orders.filter(pl.col("client_order_id") != "")["status"].value_counts()
    assert dict(ended.iter_rows()) == EXPECTED["ended"]
    assert float(description.fees) == pytest.approx(fills["fee"].sum(), abs=1e-6)
    last = same.tables["equity"].group_by("account_id").last()["equity"].sum()
    assert float(description.final_equity) == pytest.approx(last, abs=1e-6)


def test_an_order_row_follows_the_order_from_decision_to_end(same: PacedRun) -> None:
    orders = same.tables["orders"].filter(pl.col("status") == "FILLED")
    times = ["ts_decided_ns", "ts_approved_ns", "ts_sent_ns", "ts_done_ns"]
    assert orders.select(times).null_count().sum_horizontal().item() == 0
    for before, after in pairwise(times):
        assert (orders[before] <= orders[after]).all(), (before, after)
    filled = same.tables["fills"].group_by("client_order_id").agg(pl.col("quantity").sum())
    joined = orders.join(filled, on="client_order_id", suffix="_of_fills")
    assert joined.height == orders.height
    assert ((joined["filled_quantity"] - joined["quantity_of_fills"]).abs() < 1e-9).all()


def test_another_run_id_changes_ids_and_nothing_else() -> None:
    one = played(run_id="one", groups=("trend",), end="2014-03-01")
    other = played(groups=("trend",), end="2014-03-01")
    assert other.digests != one.digests
    assert one.tables["fills"].height > 0
    without_ids = pl.exclude("client_order_id", "decision_id")
    for name in ("fills", "orders", "equity", "bars", "cash"):
        assert other.tables[name].select(without_ids).equals(one.tables[name].select(without_ids))


def test_overrides_change_the_outcome_they_name() -> None:
    free = played(groups=("trend",), settings=("venue.US.taker_fee_rate=0",), end="2014-03-01")
    assert free.tables.description.fees == "0"
    assert free.tables.description.groups == ("trend",)
    strict = played(
        groups=("trend",), settings=("mandate.*.position_weight_max=0.001",), end="2014-03-01"
    )
    codes = set(strict.tables["orders"]["code"])
    assert DenialCode.POSITION_LIMIT.value in codes
    gross = strict.tables["equity"]["gross_exposure"].max()
    assert 0 < float(str(gross)) < 0.01 * 1_000_000


def test_time_range_and_instruments_choose_the_data() -> None:
    part = played(start="2014-03-01", end="2014-04-01", instruments=("SP500.US",))
    bars = part.tables["bars"]
    assert set(bars["instrument_id"]) == {"SP500.US"}
    assert bars.height == 21  # sessions of March 2014
