"""The market data of a whole run, looked at before it is played."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from tapeline.backtest.data_check.check import check_data
from tapeline.backtest.data_check.findings import DataReport, joined
from tapeline.backtest.data_check.open_time import HOUR_NS
from tapeline.backtest.data_check.series import Rules
from tapeline.backtest.paced.setup import MarketSlice
from tapeline.contracts.market import Quote, Trade

DISORDER_NS_MAX: Final = 5_000_000_000
"""market-data lets ticks pass that are late by no more; the cores know how to take them"""


@dataclass(slots=True)
class _Columns:
    times_ns: list[int] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    """price of a trade, bid of a quote"""
    second: list[float] = field(default_factory=list)
    """size of a trade, ask of a quote"""


async def check_slices(
    slices: AsyncIterable[MarketSlice],
    calendars: Mapping[str, str],
    interval_ns: int,
    source: str,
) -> DataReport:
    """What the ticks of all slices are like, by instrument and its calendar; reads them once.

    Raises UnknownCalendar and what the slices raise.
    """
    trades: dict[str, _Columns] = {}
    quotes: dict[str, _Columns] = {}
    async for part in slices:
        for ticks in part.ticks.values():
            for tick in ticks:
                _gather(tick, trades, quotes)
    return joined(
        [
            *(
                _checked(name, _trade_frame(found), calendars, interval_ns)
                for name, found in trades.items()
            ),
            *(
                _checked(name, _quote_frame(found), calendars, interval_ns)
                for name, found in quotes.items()
            ),
        ],
        source,
    )


def _gather(tick: Trade | Quote, trades: dict[str, _Columns], quotes: dict[str, _Columns]) -> None:
    if isinstance(tick, Trade):
        columns = trades.setdefault(tick.instrument_id, _Columns())
        columns.first.append(tick.price)
        columns.second.append(tick.size)
    else:
        columns = quotes.setdefault(tick.instrument_id, _Columns())
        columns.first.append(tick.bid_price)
        columns.second.append(tick.ask_price)
    columns.times_ns.append(tick.ts_event_ns)


def _checked(
    name: str, frame: pl.DataFrame, calendars: Mapping[str, str], interval_ns: int
) -> DataReport:
    rules = Rules(
        calendar=calendars.get(name, ""),
        # Ticks made of bars come once or a few times a bar.
        silence_ns_max=max(HOUR_NS, 2 * interval_ns),
        disorder_ns_max=DISORDER_NS_MAX,
    )
    return check_data(frame, rules, instrument=name)


def _trade_frame(found: _Columns) -> pl.DataFrame:
    return pl.DataFrame(
        {"ts_event_ns": found.times_ns, "price": found.first, "size": found.second},
        schema={"ts_event_ns": pl.Int64, "price": pl.Float64, "size": pl.Float64},
    )


def _quote_frame(found: _Columns) -> pl.DataFrame:
    return pl.DataFrame(
        {"ts_event_ns": found.times_ns, "bid_price": found.first, "ask_price": found.second},
        schema={"ts_event_ns": pl.Int64, "bid_price": pl.Float64, "ask_price": pl.Float64},
    )
