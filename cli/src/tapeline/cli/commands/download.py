"""`tapeline data download`: public history of an exchange as a Parquet file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.home import home
from tapeline.cli.playing_progress import Shown
from tapeline.cli.screen import console
from tapeline.runtime.exits import USAGE, Failure

FOLDER = "downloads"


class BadDownload(Failure):
    """An option makes no sense."""

    exit_code = USAGE


def download(
    exchange: Annotated[str, typer.Argument(help="As ccxt names it, such as binance.")],
    symbol: Annotated[str, typer.Argument(help="As ccxt writes it: BTC/USDT, BTC/USDT:USDT.")],
    start: Annotated[str, typer.Option("--from", help="First moment (ISO 8601, UTC).")],
    end: Annotated[str, typer.Option("--to", help="Moment before which it ends.")],
    interval: Annotated[
        str, typer.Option("--interval", help="Of bars, such as 1m, 5m, 1h, 1d.")
    ] = "1m",
    trades: Annotated[bool, typer.Option("--trades", help="Trades instead of bars.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file; else in the home's downloads.")
    ] = None,
    url: Annotated[
        str, typer.Option("--url", help="Instead of the exchange's own host, as for a proxy.")
    ] = "",
    config: Annotated[str, typer.Option("--config", help="JSON for ccxt's constructor.")] = "{}",
    as_json: AsJson = False,
) -> None:
    """Download public history, without a key; stopped at any moment, it goes on where it was.

    The columns are those that `tapeline backtest --bars` and `--trades` read.
    """
    from tapeline.backtest.tape import download as history
    from tapeline.cli.moments import moment_ns

    what = history.TRADES if trades else interval
    wanted = history.Wanted(
        options=history.options_of(exchange, symbol, parsed(config), url),
        start_ns=moment_ns(start, 0),
        end_ns=moment_ns(end, 0),
        what=what,
    )
    if wanted.start_ns >= wanted.end_ns:
        raise BadDownload(f"From {start} to {end} is no time.", "--to must lie behind --from.")
    path = out or home() / FOLDER / _name(wanted, start, end)
    path.parent.mkdir(parents=True, exist_ok=True)
    screen = console(is_json=as_json)
    whole_ms = (wanted.end_ns - wanted.start_ns) // 1_000_000
    with Shown(screen) as shown:

        def on_page(rows: int, until_ms: int) -> None:
            shown.on_downloaded(rows, until_ms - wanted.start_ns // 1_000_000, whole_ms)

        rows = asyncio.run(history.Download(wanted).to(path, on_page))
    if as_json:
        print_json({"file": str(path), "rows": rows, "instrument_id": wanted.instrument_id})
    else:
        screen.print(f"{rows:,} rows of {wanted.instrument_id} in {path}")


def parsed(config: str) -> dict[str, Any]:
    """The option --config; raises BadDownload."""
    try:
        found = json.loads(config)
    except ValueError as error:
        raise BadDownload(f"--config is no JSON: {error}.", "Write an object.") from error
    if not isinstance(found, dict):
        raise BadDownload(f"--config is {config}.", "Write a JSON object.")
    return found


def _name(wanted: Any, start: str, end: str) -> str:
    text = f"{wanted.instrument_id}-{wanted.what}-{start}-{end}.parquet"
    return text.replace(":", "").replace("/", "")
