"""`tapeline run FILE`: a strategy in one file, on paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeline.cli.commands.backtest import AcceptDataFaults
from tapeline.cli.commands.file_options import Cash, FeeTaker, Interval, Quantity, Slippage
from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.commands.play import Live
from tapeline.cli.home import home
from tapeline.cli.screen import console
from tapeline.cli.sources import BadSource
from tapeline.cli.stack.folder import require_fit

if TYPE_CHECKING:
    from tapeline.cli.strategy_source import Wanted


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("run")(run)


Trades = Annotated[
    list[Path] | None,
    typer.Option("--trades", help="Play this file: ts_event_ns, price, size. Repeatable."),
]
Bars = Annotated[
    list[Path] | None,
    typer.Option(
        "--bars", help="Play this file: ts_open_ns, open, high, low, close, volume. Repeatable."
    ),
]
Instruments = Annotated[
    list[str] | None,
    typer.Option("--instrument", help="One a file, in their order; live as BTC/USDT. Repeatable."),
]


def run(
    file: Annotated[Path, typer.Argument(help="A Python file with one strategy: ./mine.py.")],
    trades: Trades = None,
    bars: Bars = None,
    instrument: Instruments = None,
    live: Live = "",
    synthetic: Annotated[
        int, typer.Option("--synthetic", help="Without a file: generated prices of this seed.")
    ] = 1,
    seconds: Annotated[
        int, typer.Option("--seconds", help="Of generated prices, event time.", min=60)
    ] = 3600,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="Of the strategy, name=value.")
    ] = None,
    interval: Interval = "1m",
    quantity: Quantity = "1",
    cash: Cash = "1000000",
    fee_taker: FeeTaker = "0.001",
    slippage: Slippage = "none",
    accept_data_faults: AcceptDataFaults = False,
    as_json: AsJson = False,
) -> None:
    """Play a strategy file on paper: real Kafka, every service its own process, no package.

    The same file, options and data as in `tapeline backtest --strategy` make the same decisions;
    `tapeline parity` compares the two; faulty data are refused as there. With --live it follows an
    exchange until Ctrl-C. The run keeps the file, and its digest is in the name that the
    configuration gives it, so that a replay knows which code ran.
    """
    from tapeline.cli.strategy_source import Wanted

    if slippage not in ("none", "model"):
        raise BadSource(f"--slippage is {slippage!r}.", "It is none or model.")
    wanted = Wanted(
        path=file,
        parameters=dict(_pair(text) for text in param or []),
        interval=interval,
        quantity=quantity,
        cash=cash,
        fee_taker=fee_taker,
        has_slippage=slippage == "model",
        instruments=tuple(instrument or ()),
        trades=tuple(trades or ()),
        bars=tuple(bars or ()),
        live=live,
        seed=synthetic,
        seconds=seconds,
    )
    _play(wanted, accept_faults=accept_data_faults, is_json=as_json)


def _play(wanted: Wanted, *, accept_faults: bool, is_json: bool) -> None:
    from tapeline.cli import strategy_source, summary
    from tapeline.cli.demo import run_demo

    require_fit(home())
    out = console(is_json=is_json)
    warnings = strategy_source.looked_at(home(), wanted, accept_faults=accept_faults)
    for line in warnings:
        out.print(f"! {line}", markup=False, style="yellow")
    prepared_run, configuration, source = strategy_source.prepared_strategy(
        home(), wanted, warnings
    )
    facts = run_demo(home(), prepared_run, configuration, source, out)
    if is_json:
        shown = {name: value for name, value in facts.items() if name[0] != "_"}
        print_json({**shown, "data_warnings": list(warnings)})
    else:
        summary.show(facts, out)
    if not facts["checks"]["replay equal byte for byte"]:
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    name, is_pair, value = text.partition("=")
    if not is_pair or not name:
        raise BadSource(f"--param {text} is not understood.", "Write it as name=value.")
    return name, value
