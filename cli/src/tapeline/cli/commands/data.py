"""`tapeline data`: market data before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tapeline.cli.commands.download import download
from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.configuration import duration_ns
from tapeline.cli.screen import console
from tapeline.runtime.exits import USAGE, Failure

if TYPE_CHECKING:
    from tapeline.backtest.data_check.findings import DataReport

STYLES = {"ERROR": "bold red", "WARNING": "yellow", "NOTE": "dim"}


class BadMapping(Failure):
    """An option --column that maps nothing."""

    exit_code = USAGE


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    data = typer.Typer(no_args_is_help=True, help="Market data: get it, and check it before a run.")
    data.command("check")(check)
    data.command("download")(download)
    app.add_typer(data, name="data")


def check(
    files: Annotated[
        list[Path], typer.Argument(help="Parquet or CSV files; trades, quotes, bars.")
    ],
    interval: Annotated[
        str, typer.Option("--interval", help="Of the bars, such as 1m; else the most frequent.")
    ] = "",
    calendar: Annotated[
        str,
        typer.Option(
            "--calendar", help="24/7 or an exchange such as XNYS; else seen from the data."
        ),
    ] = "",
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="NAME=COLUMN: what the file calls a column otherwise."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether market data is fit for a run: gaps, spikes, splits, order, prices, volume.

    Ends with 1 where an error was found, on which a run would refuse.
    """
    from tapeline.backtest.data_check.check import check_data
    from tapeline.backtest.data_check.files import read_market_data
    from tapeline.backtest.data_check.series import Rules

    mapping = _mapping(column or [])
    rules = Rules(
        interval_ns=duration_ns(interval, "--interval") if interval else 0, calendar=calendar
    )
    reports = [
        check_data(read_market_data(path, mapping), rules, source=str(path)) for path in files
    ]
    if as_json:
        print_json([facts_of(report) for report in reports])
    else:
        for report in reports:
            show(report)
    if not all(report.is_fit for report in reports):
        raise typer.Exit(1)


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        ours, _, theirs = pair.partition("=")
        if not ours or not theirs:
            raise BadMapping(f"--column {pair} maps nothing.", "Write --column ts_event_ns=time.")
        mapping[ours] = theirs
    return mapping


def facts_of(report: DataReport) -> dict[str, Any]:
    """A report for scripts."""
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(report)
    return {"is_fit": report.is_fit, **facts}


def show(report: DataReport) -> None:
    """A report for people: coverage, then the findings, errors first."""
    from tapeline.backtest.data_check.findings import utc_text

    out = console()
    out.print(f"[bold]{report.source}[/bold]")
    names = ("instrument", "form", "rows", "first", "last", "calendar", "coverage")
    table = Table(*names, box=None, pad_edge=False)
    for one in report.coverage:
        calendar = f"{one.calendar} (seen)" if one.is_inferred else one.calendar
        table.add_row(
            one.instrument or "–",
            one.form,
            f"{one.rows:,}",
            utc_text(one.first_ns),
            utc_text(one.last_ns),
            calendar,
            f"{one.present:,} of {one.expected:,} x {one.interval_ns / 1e9:g} s",
        )
    out.print(table)
    for severity, style in STYLES.items():
        for finding in report.findings:
            if finding.severity == severity:
                out.print(f"[{style}]{severity:7}[/{style}] ", end="")
                out.print(finding.line, markup=False)
    out.print(
        "fit for a run" if report.is_fit else "not fit: a run refuses on errors", style="bold"
    )
