"""One strategy file: what it decides over a file in a backtest, it decides on paper too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from proving.playing import Ground, environment

from tapeline.backtest.engine.loading import Source
from tapeline.backtest.engine.run import run_file
from tapeline.backtest.engine.setup import Setup
from tapeline.backtest.parity.alignment import Match
from tapeline.backtest.parity.attribution import parity
from tapeline.backtest.parity.facts import facts_of
from tapeline.research import read, tables

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
PAGE = Path(__file__).parents[2] / "docs" / "how-to-add-a-trigger.md"
NAME = "BTC.SIM"
LIMIT_S = 280
START_NS = 1_704_067_200_000_000_000
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Played:
    """The paper run of the command, and where it is found."""

    facts: dict[str, Any]
    strategy: Path
    trades: Path
    variables: dict[str, str]


@pytest.fixture(scope="module")
def played(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The strategy of the docs on an hour of ticks."""
    folder = tmp_path_factory.mktemp("mine")
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    strategy, trades = folder / "streak.py", folder / "ticks.parquet"
    strategy.write_text(found.group(1))
    random = np.random.default_rng(5)
    times = START_NS + np.cumsum(random.integers(1, 4 * SECOND_NS, 1800))
    prices = np.round(100 * np.exp(np.cumsum(random.normal(0, 2e-4, 1800))), 2)
    sizes = np.round(random.uniform(1, 9, 1800), 2)
    pl.DataFrame({"ts_event_ns": times, "price": prices, "size": sizes}).write_parquet(trades)
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": ground.bootstrap_servers,
        "DATABASE_URL": ground.database_url,
        "TAPELINE_HOME": str(folder / f"home-{ground.token}"),
    }
    # The servers are shared: a name that no other session has used.
    named = strategy.rename(folder / f"streak_{ground.token}.py")
    words = ["run", str(named), "--trades", str(trades), "--instrument", NAME]
    facts = said(variables, *words, "--param", "length=2")
    return Played(facts=facts, strategy=named, trades=trades, variables=variables)


def said(variables: dict[str, str], *words: str) -> dict[str, Any]:
    """What a command says in a process of its own, which knows no strategy yet."""
    done = subprocess.run(
        [sys.executable, "-m", "tapeline.cli", *words, "--json"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_the_run_names_the_code_by_its_digest_and_its_replay_is_equal(played: Played) -> None:
    assert played.facts["replay"]["equal"]
    run = played.facts["run"]
    with environment(played.variables):
        config = read("config", run).filter(pl.col("type") == "Trigger")
    digest = sha256(played.strategy.read_bytes()).hexdigest()
    assert config["implementation"].to_list() == [f"{played.strategy.stem}@{digest[:16]}"]
    kept = Path(played.variables["TAPELINE_HOME"]) / "runs" / run / "strategies"
    assert (kept / played.strategy.name).read_bytes() == played.strategy.read_bytes()


def test_the_same_file_decides_the_same_in_a_backtest_and_on_paper(played: Played) -> None:
    setup = Setup(instrument_id=NAME, strategy=str(played.strategy), parameters={"length": "2"})
    tested = run_file(setup, Source(path=played.trades, is_bars=False))
    with environment(played.variables):
        decisions = read("decisions", played.facts["run"]).sort("cycle_ns")
        paper = tables(played.facts["run"])
    then = [
        (item.cycle_ns, item.instrument_id, item.side, float(item.quantity or 0))
        for item in tested.said.decisions
    ]
    columns = ("cycle_ns", "instrument_id", "side", "quantity")
    assert decisions.select(columns).rows() == then
    assert len(then) > 5
    found = parity(tested.tables("ticks", "backtest"), paper)
    assert found.count(Match.EXACT) == len(then)
    pairs = [pair for pair in facts_of(found)["pairs"] if pair["buckets"]]
    assert found.gap == 0, json.dumps(pairs, indent=1)


def test_the_run_is_played_again_from_its_tape(played: Played) -> None:
    run = played.facts["run"]
    with environment(played.variables):
        decisions = len(read("decisions", run))
    assert said(played.variables, "backtest", "--run", run)["counts"]["decisions"] == decisions
    axis = ("--param", f"{played.strategy.stem}.length=2,3", "--objective", "total_return")
    swept = said(played.variables, "sweep", "--run", run, *axis)
    assert [row["refused"] for row in swept["rows"]] == [""] * 3
