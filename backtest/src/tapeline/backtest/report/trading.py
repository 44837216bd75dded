"""Figures of trading: round trips, costs, turnover, exposure; of the run, a group, an instrument.

win rate        round trips with a profit after fees / all round trips
profit factor   sum of profits / |sum of losses|
average win     mean profit of those that gained; average loss: of those that lost
turnover        traded notional / mean worth, weighted by time
exposure time   share of the run's time with any position
slippage cost   sum of slippage x quantity: price against the mark at approval; positive is a loss
net profit      round trips after fees, open positions at the last price less their fees, and cash
                that moved for an instrument (funding, dividends)

All money is in the base currency. What is traded, its costs and a closed position are converted at
the rates of their fills, what is still held at the last rate; what a currency gained or lost
meanwhile is a difference between the books, which the report tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import polars as pl

from tapeline.backtest.rates import require_last_rates
from tapeline.backtest.report.figure import Figure, Unit, known, ratio, undefined
from tapeline.backtest.report.growth import Floats, Worth, cash_in_base, deposits_of
from tapeline.backtest.report.round_trips import round_trips
from tapeline.backtest.run_tables import RunTables

HALF_CENT: Final = 0.005
NO_FILLS: Final = "there was no fill"
NO_ROUND_TRIP: Final = "no position was closed"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The trading of a group, an instrument, or of all."""

    name: str
    fills: int
    round_trips: int
    figures: dict[str, Figure]


class Trading(msgspec.Struct, frozen=True, kw_only=True):
    """The trading of a run."""

    total: Part
    groups: tuple[Part, ...]
    instruments: tuple[Part, ...]


def trading(run: RunTables, worth: Worth | None) -> tuple[Trading, pl.DataFrame]:
    """(figures, round trips) of a run."""
    fills = run["fills"]
    trips, held = round_trips(fills)
    require_last_rates(run, held["currency"], "What is held at the end")
    marks = last_prices(run, worth)
    rates = {name: float(rate) for name, rate in run.description.last_rates.items()}
    held = held.with_columns(
        mark=pl.col("instrument_id").replace_strict(marks, default=None),
        rate=pl.col("currency").replace_strict(rates, default=1.0, return_dtype=pl.Float64),
    )
    tables = (in_base(fills), trips, held)
    found = Trading(
        total=_part("all", *tables),
        groups=_parts("group_id", *tables),
        instruments=_parts("instrument_id", *tables, cash=cash_in_base(run["cash"])),
    )
    return _with_exposure(found, run, worth), trips


def in_base(fills: pl.DataFrame) -> pl.DataFrame:
    """The fills with price, fee and slippage of one contract in the base currency."""
    rate = pl.col("currency_rate").fill_null(1.0)
    unit = pl.col("multiplier").fill_null(1.0) * rate
    return fills.with_columns(
        pl.col("group_id", "instrument_id").fill_null(""),
        pl.col("price", "slippage") * unit,
        pl.col("fee") * rate,
    )


def last_prices(run: RunTables, worth: Worth | None = None) -> dict[str, float]:
    """instrument_id -> the price that its position is valued at in the end: as the run tells it,
    where its worth ends with the equity that it tells, else its last close, or the price of its
    last fill where it has no bar."""
    found: dict[str, float] = {}
    for name, time, price in (
        ("fills", "ts_event_ns", "price"),
        ("bars", "ts_open_ns", "close"),
    ):
        rows = run[name].drop_nulls(["instrument_id", price]).sort(time)
        last = rows.group_by("instrument_id", maintain_order=True).agg(pl.col(price).last())
        found |= dict(last.iter_rows())
    told = run.description
    if (
        worth is not None
        and abs(float(worth.equity[-1]) - float(told.final_equity or 0)) < HALF_CENT
    ):
        found |= {name: float(price) for name, price in told.last_prices.items()}
    return found


def _parts(
    column: str,
    fills: pl.DataFrame,
    trips: pl.DataFrame,
    held: pl.DataFrame,
    cash: pl.DataFrame | None = None,
) -> tuple[Part, ...]:
    names = fills[column].unique().sort().to_list()
    found = []
    for name in names:
        mine = pl.col(column) == name
        moved = 0.0 if cash is None else float(cash.filter(mine)["amount"].sum())
        found.append(_part(name, fills.filter(mine), trips.filter(mine), held.filter(mine), moved))
    return tuple(found)


def _part(
    name: str, fills: pl.DataFrame, trips: pl.DataFrame, held: pl.DataFrame, moved: float = 0.0
) -> Part:
    profits = trips["profit"].to_numpy()
    realized = float(np.sum(profits))
    worth = held["quantity"] * held["mark"] * held["multiplier"]
    unrealized = float(((worth - held["cost"]) * held["rate"] - held["fees"]).sum())
    return Part(
        name=name,
        fills=len(fills),
        round_trips=len(trips),
        figures={
            "net_profit": known(realized + unrealized + moved, Unit.MONEY),
            "realized_profit": known(realized, Unit.MONEY),
            "unrealized_profit": known(unrealized, Unit.MONEY),
            "cash_moved": known(moved, Unit.MONEY),
            **_outcomes(profits),
            "holding_days": _holding(trips),
            "traded_notional": known(float((fills["quantity"] * fills["price"]).sum()), Unit.MONEY),
            "fees": known(float(fills["fee"].sum()), Unit.MONEY),
            "slippage_cost": _slippage(fills),
        },
    )


def _outcomes(profits: Floats) -> dict[str, Figure]:
    gains, losses = profits[profits > 0], profits[profits < 0]
    if not len(profits):
        return {
            "win_rate": undefined(Unit.SHARE, NO_ROUND_TRIP),
            "profit_factor": undefined(Unit.NUMBER, NO_ROUND_TRIP),
            "average_win": undefined(Unit.MONEY, NO_ROUND_TRIP),
            "average_loss": undefined(Unit.MONEY, NO_ROUND_TRIP),
        }
    lost = abs(float(np.sum(losses)))
    return {
        "win_rate": known(len(gains) / len(profits), Unit.SHARE),
        "profit_factor": ratio(float(np.sum(gains)), lost, Unit.NUMBER, "no round trip lost"),
        "average_win": known(float(np.mean(gains)), Unit.MONEY)
        if len(gains)
        else undefined(Unit.MONEY, "no round trip gained"),
        "average_loss": known(float(np.mean(losses)), Unit.MONEY)
        if len(losses)
        else undefined(Unit.MONEY, "no round trip lost"),
    }


def _holding(trips: pl.DataFrame) -> Figure:
    if trips.is_empty():
        return undefined(Unit.DAYS, NO_ROUND_TRIP)
    held = (trips["ts_exit_ns"] - trips["ts_entry_ns"]).to_numpy()
    return known(float(np.mean(held)) / 86_400e9, Unit.DAYS)


def _slippage(fills: pl.DataFrame) -> Figure:
    if fills.is_empty():
        return undefined(Unit.MONEY, NO_FILLS)
    absent = fills["slippage"].null_count()
    if absent:
        return undefined(Unit.MONEY, f"{absent:,} of {len(fills):,} fills say no slippage")
    return known(float((fills["slippage"] * fills["quantity"]).sum()), Unit.MONEY)


def _with_exposure(found: Trading, run: RunTables, worth: Worth | None) -> Trading:
    """Adds what only the run as a whole has: turnover, exposure, and how the books agree."""
    notional = found.total.figures["traded_notional"].value or 0.0
    nothing = "the run has no equity"
    figures: dict[str, Figure] = dict(found.total.figures)
    figures |= {
        "cash_moved": known(_moved(run), Unit.MONEY),
        "net_profit": known((figures["net_profit"].value or 0.0) + _moved(run), Unit.MONEY),
    }
    if worth is None:
        figures |= {
            "turnover": undefined(Unit.NUMBER, nothing),
            "exposure_time": undefined(Unit.SHARE, nothing),
            "exposure_mean": undefined(Unit.SHARE, nothing),
            "unexplained": undefined(Unit.MONEY, nothing),
        }
    else:
        figures |= {
            "turnover": _turnover(notional, worth),
            **_exposure(worth),
            "unexplained": _unexplained(figures, worth),
        }
    total = msgspec.structs.replace(found.total, figures=figures)
    return msgspec.structs.replace(found, total=total)


def _moved(run: RunTables) -> float:
    """Cash that trading brought or took beside fills."""
    moved = cash_in_base(run["cash"])["amount"].sum()
    return float(moved) - float(deposits_of(run)["amount"].sum())


def _weights(worth: Worth) -> Floats:
    """How long each row of worth held; evenly where all are of one time."""
    held = np.diff(worth.times_ns, append=worth.times_ns[-1]).astype(np.float64)
    return held if np.any(held > 0) else np.ones(len(held))


def _turnover(notional: float, worth: Worth) -> Figure:
    mean = float(np.average(worth.equity, weights=_weights(worth)))
    if mean <= 0:
        return undefined(Unit.NUMBER, "mean worth is not positive")
    return known(notional / mean, Unit.NUMBER)


def _exposure(worth: Worth) -> dict[str, Figure]:
    if np.any(np.isnan(worth.gross)):
        nothing = undefined(Unit.SHARE, "the equity table does not say the exposure")
        return {"exposure_time": nothing, "exposure_mean": nothing}
    weights = _weights(worth)
    share = worth.gross / np.where(worth.equity > 0, worth.equity, np.nan)
    mean = (
        undefined(Unit.SHARE, "worth fell to zero or below")
        if np.any(np.isnan(share))
        else known(float(np.average(share, weights=weights)), Unit.SHARE)
    )
    held = float(np.average(worth.gross > 0, weights=weights))
    return {"exposure_time": known(held, Unit.SHARE), "exposure_mean": mean}


def _unexplained(figures: Mapping[str, Figure], worth: Worth) -> Figure:
    """Change of worth that neither round trips, open positions nor cash account for."""
    changed = float(worth.equity[-1]) - worth.start - float(np.sum(worth.deposited))
    return known(changed - (figures["net_profit"].value or 0.0), Unit.MONEY)
