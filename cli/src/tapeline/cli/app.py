"""The `tapeline` command."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tapeline.cli.commands import (
    act,
    backtest,
    data,
    explain,
    halting,
    keys,
    look,
    lookahead,
    parity,
    play,
    reports,
    run,
    runs,
    sweep,
    venues,
)
from tapeline.runtime.exits import INTERRUPTED

app = typer.Typer(
    name="tapeline",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""
**Tapeline**: AI trading on Kafka. Services exchange typed events over topics; no order leaves
without a signed risk approval; every run can be replayed to the same bytes.

Start with `tapeline demo`: real prices through the whole chain in under three minutes.
Then `tapeline up` keeps a run going in the background, and `tapeline status`, `tail`, `positions`
and `trace` look at it.

Data lives in `.tapeline` in the current folder, or in TAPELINE_HOME.
""",
)
for module in (
    play,
    look,
    explain,
    act,
    halting,
    keys,
    run,
    runs,
    sweep,
    parity,
    lookahead,
    venues,
    data,
    backtest,
    reports,
):
    module.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(version("tapeline"))
        raise typer.Exit


@app.callback()
def root(
    version_: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Entry point: a failure is one message with its remedy, and a non-zero exit code."""
    try:
        app()
    except SystemExit as end:
        # Typer ends so on Ctrl-C, without a word.
        if end.code == INTERRUPTED:
            sys.stderr.write("Stopped.\n")
        raise
    except Exception as error:
        remedy = getattr(error, "remedy", None)
        if not isinstance(remedy, str):
            raise
        cause = getattr(error, "cause", None) or str(error)
        sys.stderr.write(f"{cause}\n{remedy}\n")
        code = getattr(error, "exit_code", 1)
        sys.exit(code if isinstance(code, int) else 1)
