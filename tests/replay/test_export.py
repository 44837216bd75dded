"""A recorded run as tables: its sums are those that the run itself came to."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from proving.oracle import of
from proving.playing import Finished
from proving.reading import committed

from tapeline.backtest.export import AccountUnknown, Told, export_run
from tapeline.backtest.run_tables import RunTables, load
from tapeline.cli.records import TopicRecords
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.orders import Fill
from tapeline.contracts.risk import PortfolioSnapshot
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
LIMIT_S = 240


def reader_of(run: Finished) -> LogReader:
    """The run's topics."""
    return LogReader(confluent_config(run.settings), run.settings.topic_prefix)


def exported(run: Finished, account_id: str = "") -> RunTables:
    """The run, or one account of it."""
    return export_run(reader_of(run), Told(run_id=run.run.run_id, account_id=account_id))


@pytest.fixture(scope="module")
def tables(undisturbed: Finished) -> RunTables:
    """The whole run."""
    return exported(undisturbed)


@pytest.fixture(scope="module")
def portfolios(undisturbed: Finished) -> dict[str, PortfolioSnapshot]:
    """The last of each account, as the run's own summary shows them."""
    records = TopicRecords(reader_of(undisturbed))
    return records.latest(topics.PORTFOLIO, lambda record: str(record.account_id))


def test_final_equity_and_fees_are_those_of_the_run_s_own_summary(
    tables: RunTables, portfolios: dict[str, PortfolioSnapshot]
) -> None:
    described = tables.description
    assert described.final_equity != described.starting_cash
    assert Decimal(described.final_equity) == sum(item.nav for item in portfolios.values())
    paid = [line.commission for item in portfolios.values() for line in item.positions]
    assert Decimal(described.fees) == sum(paid)
    last = tables["equity"].group_by("account_id", maintain_order=True).last()
    for account_id, equity, cash in last.select("account_id", "equity", "cash").rows():
        assert equity == float(portfolios[account_id].nav)
        assert cash == float(portfolios[account_id].cash)


def test_every_fill_and_every_decision_is_in_the_tables_and_nothing_else(
    undisturbed: Finished, tables: RunTables
) -> None:
    found = asyncio.run(committed(undisturbed.settings, (topics.FILLS, topics.DECISIONS)))
    fills = [item.record for item in of(found[topics.FILLS], Fill)]
    assert tables["fills"].height == len(fills) == tables.description.fills > 0
    assert tables["fills"]["quantity"].sum() == pytest.approx(
        float(sum(fill.quantity for fill in fills))
    )
    decisions = {item.record.decision_id for item in of(found[topics.DECISIONS], Decision)}
    orders = tables["orders"]
    assert set(orders["decision_id"]) == decisions
    assert set(orders["status"]) >= {"FILLED", "DENIED"}
    filled = orders.filter(pl.col("filled_quantity") > 0)
    assert filled.select((pl.col("ts_decided_ns") <= pl.col("ts_done_ns")).all()).item()
    assert filled["filled_quantity"].sum() == pytest.approx(
        tables["fills"].filter(pl.col("role").is_in(["WHOLE", "SLICE"]))["quantity"].sum()
    )


def test_one_account_alone_is_its_part_of_the_whole(
    undisturbed: Finished, tables: RunTables, portfolios: dict[str, PortfolioSnapshot]
) -> None:
    parts = [exported(undisturbed, account_id) for account_id in sorted(portfolios)]
    assert sum(part["fills"].height for part in parts) == tables["fills"].height
    equity = [Decimal(part.description.final_equity) for part in parts]
    assert equity == [portfolios[account_id].nav for account_id in sorted(portfolios)]
    with pytest.raises(AccountUnknown, match="no account PAPER-9"):
        exported(undisturbed, "PAPER-9")


def test_the_tables_survive_a_folder(tables: RunTables, tmp_path: Path) -> None:
    tables.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert again.description == tables.description
    assert all(again[name].equals(tables[name]) for name in ("fills", "orders", "equity", "bars"))


def test_the_command_writes_the_same_tables(
    undisturbed: Finished, tables: RunTables, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tapeline.cli", "runs", "export", undisturbed.run.name),
            *("--out", str(tmp_path / "out"), "--json"),
        ],
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": undisturbed.settings.kafka_bootstrap_servers,
            "DATABASE_URL": undisturbed.database_url,
            "TAPELINE_HOME": str(undisturbed.folder.parent.parent),
        },
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["final_equity"] == tables.description.final_equity
    assert load(tmp_path / "out")["fills"].equals(tables["fills"])
