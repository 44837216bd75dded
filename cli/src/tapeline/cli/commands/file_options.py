"""Options of commands that play one strategy over a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Trades = Annotated[
    Path | None,
    typer.Option(
        "--trades",
        help="Play a Parquet or CSV (.csv, .csv.gz) file: ts_event_ns, price, size; of backtest "
        "also a folder of such.",
    ),
]
Bars = Annotated[
    Path | None,
    typer.Option(
        "--bars",
        help="Play a Parquet or CSV (.csv, .csv.gz) file: ts_open_ns, open, high, low, close, "
        "volume; of backtest also a folder of such.",
    ),
]
Instrument = Annotated[str, typer.Option("--instrument", help="Of the file, such as BTCUSD.SIM.")]
Interval = Annotated[str, typer.Option("--interval", help="Length of a bar.")]
FeeTaker = Annotated[
    str, typer.Option("--fee-taker", help="Share of the value of each fill of a file.")
]
Slippage = Annotated[
    str, typer.Option("--slippage", help="Of fills of a file: none, or model: spread, size.")
]
Quantity = Annotated[str, typer.Option("--quantity", help="Of a file's strategy: on either side.")]
Cash = Annotated[str, typer.Option("--cash", help="Of a file's strategy: at the start.")]
