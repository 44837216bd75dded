"""The data that the econometrics library `arch` ships: the same for everyone, offline.

Daily open, high, low, close and volume of the S&P 500 and the NASDAQ Composite, and the VIX at the
close, 2014 to 2018 (the library's VIX starts on 2014-01-03, its prices end on 2018-12-31).

The files hold dates. Each day is played as a session from 13:30 to 20:00 UTC (New York's, in
summer time, all year): its bar as four ticks, its VIX at the end. Prices are the index levels as
quoted, not adjusted. Options: `start` and `end` (dates, the end included).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Final

import pandas as pd
from arch.data import nasdaq, sp500, vix

from tapeline.market_data.durations import SECOND_NS
from tapeline.market_data.feeds.interface import (
    Feed,
    FeedError,
    Options,
    RawMacro,
    RawRecord,
    only_options,
)
from tapeline.market_data.feeds.ohlc import bar_ticks
from tapeline.market_data.feeds.recorded import RecordedFeed

NAME: Final = "econometrics"
START: Final = date(2014, 1, 1)
END: Final = date(2018, 12, 31)
OPEN_NS: Final = (13 * 3600 + 30 * 60) * SECOND_NS
SESSION_NS: Final = (6 * 3600 + 30 * 60) * SECOND_NS
SP500: Final = "SP500.US"
NASDAQ: Final = "NASDAQ.US"
VIX: Final = "VIX"


class DailyPrices:
    """Daily bars of one index as ticks."""

    def __init__(self, instrument_id: str, table: pd.DataFrame) -> None:
        self._instrument_id = instrument_id
        self._table = table

    def __iter__(self) -> Iterator[RawRecord]:
        """Four ticks a day."""
        columns = [self._table[name].to_list() for name in ("Open", "High", "Low", "Close")]
        volumes = self._table["Volume"].to_list()
        for midnight_ns, *prices, volume in zip(
            _midnights_ns(self._table), *columns, volumes, strict=True
        ):
            o, h, low, c = prices
            yield from bar_ticks(
                self._instrument_id,
                midnight_ns + OPEN_NS,
                SESSION_NS,
                (float(o), float(h), float(low), float(c)),
                float(volume),
            )


class DailyVix:
    """The VIX at the end of each session; days without a value (holidays) are left out."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table.dropna()

    def __iter__(self) -> Iterator[RawRecord]:
        """One reading a day."""
        values = self._table["vix"].to_list()
        for midnight_ns, value in zip(_midnights_ns(self._table), values, strict=True):
            ts_ns = midnight_ns + OPEN_NS + SESSION_NS
            yield RawMacro(series=VIX, value=float(value), ts_event_ns=ts_ns)


def make(options: Options) -> Feed:
    """The plug-in `econometrics`."""
    only_options(NAME, options, ("start", "end"))
    start, end = _date(options, "start", START), _date(options, "end", END)
    if start > end:
        raise FeedError(f"The window {start} to {end} is empty.", "Put the earlier date first.")

    def window(table: pd.DataFrame) -> pd.DataFrame:
        return table.loc[start.isoformat() : end.isoformat()]

    sources = (
        DailyPrices(SP500, window(sp500.load())),
        DailyPrices(NASDAQ, window(nasdaq.load())),
        DailyVix(window(vix.load())),
    )
    return RecordedFeed(NAME, sources)


def _midnights_ns(table: pd.DataFrame) -> list[int]:
    days = pd.DatetimeIndex(table.index)
    return [
        int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND_NS
        for day in days
    ]


def _date(options: Options, name: str, default: date) -> date:
    try:
        return date.fromisoformat(options[name]) if name in options else default
    except ValueError as error:
        raise FeedError(
            f"{name}={options[name]!r} is no date.", "Write it as 2016-01-31."
        ) from error
