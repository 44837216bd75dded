"""What money of a run is worth in its base currency, where the run tells it.

Errors:
    RateUnknown     a run has money in a currency of which it tells no rate
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

from tapeline.backtest.run_tables import RunTables
from tapeline.runtime.exits import USAGE, Failure

TABLES: Final = {"fills": "A fill", "cash": "Cash"}
"""with a currency and its rate in each row"""


class RateUnknown(Failure):
    """Money in a currency that cannot be converted."""

    exit_code = USAGE


def unknown_rate(run: RunTables, name: str, currency: str) -> RateUnknown:
    """The error; `name` is what is in that currency."""
    base = run.description.base_currency or "its base currency"
    return RateUnknown(
        f"{name} of run {run.description.run_id} is in {currency}, and the run tells no rate of it "
        f"into {base}.",
        "Export the run anew, with the marks of the currency pair, or leave the account out.",
    )


def is_foreign(run: RunTables, currency: str | None) -> bool:
    """Whether a currency is another than the run's own; none is the run's own."""
    return bool(currency) and currency != run.description.base_currency


def require_rates(run: RunTables) -> None:
    """Raises RateUnknown for a fill or cash in another currency without the rate of its time."""
    for table, name in TABLES.items():
        without = run[table].filter(pl.col("currency_rate").is_null())
        _require_own(run, name, without["currency"].unique(maintain_order=True))


def require_last_rates(run: RunTables, currencies: Iterable[str | None], name: str) -> None:
    """Raises RateUnknown for another currency that the run tells no last rate of."""
    _require_own(run, name, (one for one in currencies if one not in run.description.last_rates))


def _require_own(run: RunTables, name: str, currencies: Iterable[str | None]) -> None:
    for currency in currencies:
        if currency and is_foreign(run, currency):
            raise unknown_rate(run, name, currency)
