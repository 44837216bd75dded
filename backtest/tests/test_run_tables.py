"""Runs as tables: what is saved is read back, and half a run is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapeline.backtest.run_tables import (
    COLUMNS,
    DESCRIPTION,
    Description,
    RunTables,
    TablesUnreadable,
    empty,
    load,
    table,
)


def run() -> RunTables:
    fills = table("fills", [{"ts_event_ns": 1, "side": "BUY", "quantity": 2.0, "price": 10.5}])
    description = Description(run_id="r", kind="backtest", fees="0.021", fills=1)
    return RunTables(description, {"fills": fills})


def test_a_saved_run_is_read_back(tmp_path: Path) -> None:
    run().save(tmp_path / "r")
    found = load(tmp_path / "r")
    assert found.description == run().description
    assert found["fills"].equals(run()["fills"])
    assert found["orders"].equals(empty("orders"))
    assert list(found.tables) == list(COLUMNS)


@pytest.mark.parametrize("missing", [DESCRIPTION, "fills.parquet"])
def test_half_a_run_is_refused(tmp_path: Path, missing: str) -> None:
    run().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(TablesUnreadable, match="not a finished run"):
        load(tmp_path)


def test_an_unknown_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="no column colour"):
        table("fills", [{"colour": "red"}])


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        run()["nothing"]
