"""Recorded market data of a folder that TAPELINE_DATA_DIR names; read there, never copied.

A catalogue of mappings for recorded.py. Options: `sets`, names of the catalogue separated by
commas (default: the windows of the demo), `dir` (default: TAPELINE_DATA_DIR), and `start` and `end`
(UTC, such as 2013-10-07T13:30), which replace the windows.

The demo's windows lie years apart; they are played in event-time order, one after the other.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tapeline.market_data.durations import SECOND_NS, UNITS_NS
from tapeline.market_data.feeds.interface import Feed, FeedError, Options, only_options
from tapeline.market_data.feeds.mapping import Mapping
from tapeline.market_data.feeds.recorded import RecordedFeed, RecordedFile
from tapeline.market_data.feeds.table import check

NAME: Final = "datasets"
VARIABLE: Final = "TAPELINE_DATA_DIR"


def utc_ns(text: str) -> int:
    """Nanoseconds of an ISO time without zone, taken as UTC; ValueError otherwise."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_NS


CATALOGUE: Final = {
    "spy": Mapping(
        path=Path("spy-trades-20131007-20131011.parquet"),
        kind="trades",
        instrument_id="SPY.ARCA",
        side_column="side",
        suspicious_column="suspicious",
    ),
    "xauusd": Mapping(
        path=Path("xauusd-quotes-20140505-20140506.parquet"),
        kind="quotes",
        instrument_id="XAUUSD.OANDA",
    ),
    "btc-perp": Mapping(
        path=Path("btc-perp-1m-20220101-20220131.parquet"),
        kind="bars",
        instrument_id="BTCUSDT-PERP.BINANCE",
        time_column="ts_open_ns",
        interval_ns=UNITS_NS["m"],
    ),
    "vix": Mapping(
        path=Path("vix-daily-2014-2019.csv.gz"),
        kind="macro",
        instrument_id="VIX",
        time_column="Date",
        time_format="%m/%d/%Y",
        time_offset_ns=20 * UNITS_NS["h"],
        value_column="vix",
        missing_values=(".",),
    ),
    "xrp-eth": Mapping(
        path=Path("xrp-eth-trades-20191011-20191013.parquet"),
        kind="trades",
        instrument_id="XRPETH.BINANCE",
        side_column="side",
        trade_id_column="trade_id",
    ),
    "alts-btc": Mapping(
        path=Path("alts-btc-5m-20180110-20180130.parquet"),
        kind="bars",
        instrument_column="symbol",
        venue="BINANCE",
        time_column="ts_open_ns",
        interval_ns=5 * UNITS_NS["m"],
        must_sort=True,
    ),
}
WINDOWS: Final = {
    "spy": ("2013-10-07T13:30", "2013-10-07T15:30"),
    "vix": ("2014-04-01T00:00", "2014-05-07T00:00"),
    "xauusd": ("2014-05-05T12:00", "2014-05-05T14:00"),
    "btc-perp": ("2022-01-03T00:00", "2022-01-03T06:00"),
}
"""What the demo plays of each set."""


def mapping_of(name: str, folder: Path, window: tuple[str, str] | None = None) -> Mapping:
    """One data set of a folder, whole or within a window (start, end), UTC; raises FeedError."""
    if name not in CATALOGUE:
        raise FeedError(
            f"There is no data set {name!r}.", f"Choose among {', '.join(sorted(CATALOGUE))}."
        )
    mapping = replace(CATALOGUE[name], path=folder / CATALOGUE[name].path)
    if window is None:
        return mapping
    try:
        return replace(mapping, start_ns=utc_ns(window[0]), end_ns=utc_ns(window[1]))
    except ValueError as error:
        raise FeedError(
            f"{window[0]!r} to {window[1]!r} is no window.", "Write times as 2013-10-07T13:30."
        ) from error


def make(options: Options) -> Feed:
    """The plug-in `datasets`."""
    only_options(NAME, options, ("dir", "end", "sets", "start"))
    folder = Path(options.get("dir") or os.environ.get(VARIABLE, "") or "-")
    if not folder.is_dir():
        raise FeedError(
            f"The folder of recorded data {str(folder)!r} does not exist.",
            f"Point {VARIABLE} to it, or use the feed econometrics, which needs no files.",
        )
    names = [part.strip() for part in options.get("sets", ",".join(WINDOWS)).split(",")]
    mappings = []
    for name in names:
        window = WINDOWS.get(name)
        if "start" in options or "end" in options:
            window = (options.get("start", "1970-01-01"), options.get("end", "2100-01-01"))
        mappings.append(mapping_of(name, folder, window))
        check(mappings[-1])
    return RecordedFeed(NAME, [RecordedFile(mapping) for mapping in mappings])
