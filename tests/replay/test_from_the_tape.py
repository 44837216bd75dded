"""A recorded run is played again from its tape: to the byte, and with something else changed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from random import Random
from typing import Any

import pytest
from proving.playing import END, START, Finished

from tapeline.backtest.paced.chain import Chain
from tapeline.backtest.paced.feed_slices import FeedSlices, settings_of
from tapeline.backtest.paced.run import AnswersUnknown
from tapeline.backtest.paced.setup import MarketSlice
from tapeline.backtest.tape.topic_slices import TopicSlices
from tapeline.cli import backtests
from tapeline.cli.backtests import Asked, played_run
from tapeline.cli.home import VARIABLE

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
LIMIT_S = 240


@pytest.fixture(autouse=True)
def _home(undisturbed: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(undisturbed.folder.parent.parent))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", undisturbed.settings.kafka_bootstrap_servers)
    monkeypatch.setenv("DATABASE_URL", undisturbed.database_url)


def played(run: Finished, **more: Any) -> Any:
    return played_run(run.run.name, Asked(**more), lambda _part: None, lambda _done, _total: None)


def test_without_changes_it_says_what_the_run_said_to_the_byte(undisturbed: Finished) -> None:
    again = played(undisturbed, run_id=undisturbed.run.run_id)
    assert again.digests == dict(sorted(undisturbed.digests.items()))
    assert again.tables.description.warnings == ()


@pytest.mark.parametrize("seed", ["1", "20202"])
def test_the_command_says_the_same_from_the_tape_under_any_hash_seed(
    undisturbed: Finished, seed: str
) -> None:
    run = undisturbed.run
    command = ("backtest", "--run", run.name, "--run-id", run.run_id, "--json")
    done = subprocess.run(
        [sys.executable, "-m", "tapeline.cli", *command],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digests"] == dict(sorted(undisturbed.digests.items()))


def test_states_that_went_through_snapshots_say_the_same_from_the_tape(
    undisturbed: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, step, taken = Random(20140402), Chain.step, []

    async def through_a_snapshot(chain: Chain, part: MarketSlice) -> None:
        for shard in (shard for shards in chain._shards.values() for shard in shards):
            if generator.random() < 0.2:
                shard.state = shard.core.load(shard.core.dump(shard.state))
                taken.append((part.number, shard.context.instance))
        await step(chain, part)

    monkeypatch.setattr(Chain, "step", through_a_snapshot)
    again = played(undisturbed, run_id=undisturbed.run.run_id)
    assert len(taken) > 20
    assert again.digests == dict(sorted(undisturbed.digests.items()))


def test_the_tape_gives_the_slices_that_the_feed_cut(undisturbed: Finished) -> None:
    _, tape = backtests.pulled(undisturbed.run.name, lambda _done, _total: None)
    feed = settings_of("econometrics", {"start": START, "end": END}, "1d", "1d")
    partitions = undisturbed.run.instrument_partitions

    async def listed(slices: Any) -> list[MarketSlice]:
        return [part async for part in slices]

    cut = asyncio.run(listed(FeedSlices(feed, undisturbed.run.run_id, partitions)))
    kept = asyncio.run(listed(TopicSlices(tape, feed.slice_ns())))
    assert [as_values(part) for part in kept] == [as_values(part) for part in cut]


def as_values(part: MarketSlice) -> tuple[Any, ...]:
    ticks = {place: list(found) for place, found in part.ticks.items() if found}
    return part.number, part.end_ns, part.is_final, ticks, list(part.macro)


def test_other_groups_and_fees_are_played_over_the_same_tape(undisturbed: Finished) -> None:
    again = played(undisturbed, groups=("trend",), settings=("venue.US.taker_fee_rate=0",))
    described = again.tables.description
    assert described.run_id != undisturbed.run.run_id
    assert described.fees == "0"
    assert described.fills > 0
    assert set(again.tables["fills"]["group_id"]) == {"trend"}


def test_a_question_that_was_never_asked_is_an_error(undisturbed: Finished) -> None:
    with pytest.raises(AnswersUnknown, match="committee"):
        played(undisturbed, parameters=("rsi_reversal.period=9", "market_summary.rsi=5"))
    offline = played(undisturbed, parameters=("market_summary.rsi=5",), llm="offline")
    assert offline.tables.description.fills > 0
