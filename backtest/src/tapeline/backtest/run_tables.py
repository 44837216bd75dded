"""What a run left behind, as tables: the one form that reports, comparisons, parity and notebooks
read, whether the run was live, paper, shadow, a replay or a backtest.

On disk a run is a folder: `description.json` and one Parquet file a table. Times are nanoseconds
UTC. Numbers are floats, for analysis; the exact decimals are in the records themselves, and their
sums (fees, final equity) in the description as text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from tapeline.runtime.exits import USAGE, Failure

INT, FLOAT, TEXT = pl.Int64(), pl.Float64(), pl.String()

COLUMNS: Final[Mapping[str, Mapping[str, pl.DataType]]] = {
    # One row a fill, in order of time; quantity is positive, fee is paid when positive.
    "fills": {
        "ts_event_ns": INT,
        "account_id": TEXT,
        "group_id": TEXT,
        "instrument_id": TEXT,
        "client_order_id": TEXT,
        "decision_id": TEXT,
        "side": TEXT,
        "role": TEXT,
        "liquidity": TEXT,
        "quantity": FLOAT,
        "price": FLOAT,
        "fee": FLOAT,
        "arrival_price": FLOAT,
        "slippage": FLOAT,
        # Units of the underlying in one contract; null is 1.
        "multiplier": FLOAT,
        # Of price and fee; null is the base currency. The rate is what one unit of it was worth in
        # the base currency at the fill.
        "currency": TEXT,
        "currency_rate": FLOAT,
    },
    # One row a decision that asked for an order, with what became of it; code where it was denied.
    "orders": {
        "ts_decided_ns": INT,
        "ts_approved_ns": INT,
        "ts_sent_ns": INT,
        "ts_done_ns": INT,
        "account_id": TEXT,
        "group_id": TEXT,
        "instrument_id": TEXT,
        "client_order_id": TEXT,
        "decision_id": TEXT,
        "side": TEXT,
        "order_type": TEXT,
        "quantity": FLOAT,
        "limit_price": FLOAT,
        "stop_price": FLOAT,
        "filled_quantity": FLOAT,
        "average_price": FLOAT,
        "status": TEXT,
        "code": TEXT,
    },
    # Worth of an account over time, in its base currency.
    "equity": {
        "ts_event_ns": INT,
        "account_id": TEXT,
        "cash": FLOAT,
        "equity": FLOAT,
        "gross_exposure": FLOAT,
        "net_exposure": FLOAT,
    },
    # Prices of what was traded, as bars of the run's interval.
    "bars": {
        "ts_open_ns": INT,
        "ts_close_ns": INT,
        "instrument_id": TEXT,
        "open": FLOAT,
        "high": FLOAT,
        "low": FLOAT,
        "close": FLOAT,
        "volume": FLOAT,
    },
    # Cash that moved without a fill: deposits, funding, borrow, corrections.
    "cash": {
        "ts_event_ns": INT,
        "account_id": TEXT,
        "instrument_id": TEXT,
        "kind": TEXT,
        "amount": FLOAT,
        # Of the amount; null is the base currency.
        "currency": TEXT,
        "currency_rate": FLOAT,
    },
}
"""Table -> its columns, in order."""
DESCRIPTION: Final = "description.json"


class TablesUnreadable(Failure):
    """A folder that is not a run, or not a whole one."""

    exit_code = USAGE


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something the simulator takes for granted, in words a trader can judge."""

    name: str
    value: str
    meaning: str
    is_on: bool = True


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What the run was, and its exact sums."""

    run_id: str
    kind: str
    """backtest | replay | paper | shadow | live"""
    title: str = ""
    source: str = ""
    """where the data came from"""
    starting_cash: str = "0"
    base_currency: str = ""
    instruments: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    interval_ns: int = 0
    """of the bars table"""
    parameters: dict[str, str] = {}
    assumptions: tuple[Assumption, ...] = ()
    warnings: tuple[str, ...] = ()
    """what a reader must know before believing the figures"""
    events: int = 0
    bars: int = 0
    orders: int = 0
    fills: int = 0
    fees: str = "0"
    final_equity: str = "0"
    last_prices: dict[str, str] = {}
    """instrument -> price that its position is valued at in final_equity; where it is not told
    the last bar's close stands for it"""
    last_rates: dict[str, str] = {}
    """currency -> what one unit of it was worth in the base currency at the end"""
    digest: str = ""
    command: str = ""
    """what to type to make the same run again"""
    engine_seconds: float = 0.0
    load_seconds: float = 0.0
    peak_rss_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class RunTables:
    """A run: its description and all tables of COLUMNS (empty ones included)."""

    description: Description
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def __getitem__(self, name: str) -> pl.DataFrame:
        """The table of that name, empty where the run has nothing of it; KeyError if unknown."""
        return self.tables[name] if name in self.tables else empty(name)

    def save(self, folder: Path) -> None:
        """Writes all of it; the description last, so that a folder with one is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIPTION).unlink(missing_ok=True)
        for name in COLUMNS:
            self[name].write_parquet(folder / f"{name}.parquet")
        unfinished = folder / f"{DESCRIPTION}.new"
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(self.description)))
        os.replace(unfinished, folder / DESCRIPTION)


def load(folder: Path) -> RunTables:
    """The run that was saved there; raises TablesUnreadable."""
    try:
        content = (folder / DESCRIPTION).read_bytes()
        description = msgspec.json.decode(content, type=Description)
        tables = {name: _read(folder, name) for name in COLUMNS}
    except (OSError, msgspec.MsgspecError, pl.exceptions.PolarsError) as error:
        raise TablesUnreadable(
            f"{folder} is not a finished run: {error}",
            "Name the folder that a backtest or an export has written to its end.",
        ) from error
    return RunTables(description, tables)


def _read(folder: Path, name: str) -> pl.DataFrame:
    """A table; columns that were added after it was written are null."""
    found = pl.read_parquet(folder / f"{name}.parquet")
    added = {key: kind for key, kind in COLUMNS[name].items() if key not in found.columns}
    return found.with_columns(pl.lit(None, dtype=kind).alias(key) for key, kind in added.items())


def table(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as the table of that name; a missing column is null, an unknown one an error."""
    unknown = {key for row in rows for key in row} - set(COLUMNS[name])
    if unknown:
        raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
    return pl.DataFrame(rows, schema=dict(COLUMNS[name]), orient="row")


def empty(name: str) -> pl.DataFrame:
    """The table of that name without rows."""
    return pl.DataFrame(schema=dict(COLUMNS[name]))
