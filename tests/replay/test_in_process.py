"""A run played in one process, without Kafka, says to the byte what it says on Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from memory_log import MemoryLog
from proving.playing import END, PRESET, START
from typer.testing import CliRunner

from tapeline.backtest.paced.chain import Chain
from tapeline.backtest.paced.run import Facts, PacedRun, run_paced
from tapeline.backtest.paced.setup import MarketSlice, Setup
from tapeline.backtest.run_tables import load
from tapeline.backtest.tape.store import Tape
from tapeline.backtest.tape.topic_slices import TopicSlices
from tapeline.cli.app import app
from tapeline.cli.backtests import Asked, known_of, played_preset
from tapeline.cli.configuration import UNITS_NS, load_configuration
from tapeline.contracts.risk import DenialCode
from tapeline.market_data.feed_core import FeedCore, Slice, Slicer
from tapeline.market_data.feeds.interface import make_feed
from tapeline.market_data.quality import Gate
from tapeline.market_data.settings import MarketDataSettings
from tapeline.runtime.codec import encode
from tapeline.runtime.partition import partition_of

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
        # Rows of one instant are in the order of their ids.
        mine, theirs = (run.tables[name].select(without_ids) for run in (one, other))
        assert theirs.sort(pl.all()).equals(mine.sort(pl.all()))


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


def a_log_of_the_feed() -> MemoryLog:
    """What the feed of the short run would publish, with markers between, as transactions leave."""
    log = MemoryLog(markers=2)
    feed = make_feed("econometrics", {"start": START, "end": "2014-03-01"})
    gate = Gate(MarketDataSettings().limits(feed.silence_ns_max))
    core = FeedCore(feed.name, "one", 2, partition_of, gate)
    slicer = Slicer(core, UNITS_NS["d"])

    async def publish() -> None:
        finished: list[Slice] = []
        async for batch in feed.batches({}):
            finished += [part for raw in batch for part in slicer.push(raw)]
        for part in (*finished, *slicer.finish()):
            for number, sent in enumerate(part.records):
                headers = (("event_id", sent.event_id.encode()),) if sent.event_id else ()
                place = (sent.topic, sent.partition)
                log.add(place, encode(sent.record), headers, gap=number % 5 == 4)

    asyncio.run(publish())
    return log


def test_the_same_data_from_the_tape_says_the_same(tmp_path: Path) -> None:
    tape = Tape(tmp_path)
    tape.pull(a_log_of_the_feed(), ["ticks", "macro"])
    asked = Asked(run_id="one", groups=("trend", "swing"))
    records = asked.changed(load_configuration(PRESET).records)
    setup = Setup(
        run_id="one",
        config=known_of("one", records),
        intervals_ns=(UNITS_NS["d"],),
        shards=(0, 1),
        instrument_partitions=2,
        feed="econometrics",
    )
    slices = TopicSlices(tape, UNITS_NS["d"])
    from_tape = asyncio.run(run_paced(setup, slices, Facts()))
    until = ("start=" + START, "end=2014-03-01")
    from_feed = played_preset(
        str(PRESET),
        Asked(run_id="one", groups=asked.groups, feed_options=until),
        lambda _part: None,
    )
    assert from_tape.digests == from_feed.digests
    assert from_tape.tables.description.fills > 0


def test_states_that_went_through_snapshots_at_any_slice_say_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some: dict[str, Any] = {"run_id": "one", "groups": ("trend", "swing"), "end": "2014-04-01"}
    straight = played(**some)
    generator = Random(20140401)
    step, taken = Chain.step, []

    async def through_a_snapshot(chain: Chain, part: MarketSlice) -> None:
        for shards in chain._shards.values():
            for shard in shards:
                if generator.random() < 0.4:
                    shard.state = shard.core.load(shard.core.dump(shard.state))
                    taken.append((part.number, shard.context.instance))
        await step(chain, part)

    monkeypatch.setattr(Chain, "step", through_a_snapshot)
    again = played(**some)
    assert len(taken) > 20
    assert again.digests == straight.digests


@pytest.mark.parametrize("seed", ["1", "20202"])
def test_the_command_gives_one_digest_under_any_hash_seed(tmp_path: Path, seed: str) -> None:
    command = [sys.executable, "-m", "tapeline.cli", "backtest", "--preset", str(PRESET), "--json"]
    command += ["--groups", "trend,swing", "--run-id", "one", "--to", "2014-03-01"]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "TAPELINE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = played(run_id="one", groups=("trend", "swing"), end="2014-03-01")
    facts = json.loads(done.stdout)
    assert facts["digests"] == here.digests
    assert facts["digest"] == here.tables.description.digest
    assert load(Path(facts["folder"])).description.digest == facts["digest"]


def test_the_command_that_a_run_keeps_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPELINE_HOME", str(tmp_path))
    first = played(
        groups=("trend",),
        end="2014-03-01",
        settings=("venue.US.taker_fee_rate=0.001",),
        parameters=("sma_cross.fast=3", "sma_cross.slow=6"),
    ).tables.description
    words = shlex.split(first.command)
    assert words[0] == "tapeline"
    done = CliRunner().invoke(app, [*words[1:], "--json"], catch_exceptions=False)
    again = json.loads(done.stdout)
    assert (again["digest"], again["run_id"]) == (first.digest, first.run_id)
    assert again["command"] == first.command
