"""Commands that report on runs kept as tables: report, backtests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.home import home
from tapeline.cli.records import utc
from tapeline.cli.screen import console

if TYPE_CHECKING:
    from tapeline.backtest.report.analysis import Analysis
    from tapeline.backtest.report.comparison import Comparison

REPORT = "report.html"
COMPARISON = "comparison.html"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("report")(report)
    backtests = typer.Typer(no_args_is_help=True, help="Backtests that are kept: list, delete.")
    backtests.command("list")(list_runs)
    backtests.command("delete")(delete)
    app.add_typer(backtests, name="backtests")


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Folder or id of a run; last, last~1: by age."),
    ] = None,
    benchmark: Annotated[
        str,
        typer.Option("--benchmark", help="Instrument or equity column to compare with."),
    ] = "",
    annual_days: Annotated[
        int, typer.Option("--annual-days", help="Days a year; else by the data: 365 or 252.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="The HTML file; else in the folder of the run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a run: one HTML file that works offline, and its figures as JSON.

    Several runs are compared side by side; differences are from the first.
    """
    from tapeline.backtest.report.analysis import analyse
    from tapeline.backtest.run_folders import FOLDER, folder_of
    from tapeline.backtest.run_tables import load

    folders = [folder_of(home(), run) for run in runs or [""]]
    analyses = [
        analyse(load(folder), benchmark=benchmark, annual_days=annual_days) for folder in folders
    ]
    if len(analyses) == 1:
        _report_one(analyses[0], out or folders[0] / REPORT, as_json)
    else:
        names = [folder.name for folder in folders]
        _report_several(names, analyses, out or home() / FOLDER / COMPARISON, as_json)


def _report_one(analysis: Analysis, place: Path, as_json: bool) -> None:
    from tapeline.backtest.report.analysis import facts_of
    from tapeline.backtest.report.page import page_of

    facts = {**facts_of(analysis), "html": str(place)}
    write(place, page_of(analysis), facts)
    if as_json:
        print_json(facts)
        return
    show(analysis)
    typer.echo(f"\n{place}")


def _report_several(names: list[str], analyses: list[Analysis], place: Path, as_json: bool) -> None:
    from tapeline.backtest.report import comparison as several

    compared = several.compare(names, analyses)
    facts = {**several.comparison_facts(compared), "html": str(place)}
    write(place, several.comparison_page(compared), facts)
    if as_json:
        print_json(facts)
        return
    show_several(compared)
    typer.echo(f"\n{place}")


def show_several(compared: Comparison) -> None:
    """The figures of several runs in the terminal, a column each, and what differs."""
    from tapeline.backtest.report.catalogue import FIGURES
    from tapeline.backtest.report.wording import shown

    out = console()
    for warning in compared.warnings:
        out.print(f"! {warning}", style="yellow", markup=False)
    table = Table("figure", *compared.labels, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("run id", *compared.names, style="dim")
    for name, entry in FIGURES.items():
        table.add_row(entry.title, *(shown(one.figures[name]) for one in compared.analyses))
    out.print(table)
    differing = Table("differs", *compared.labels, box=None, pad_edge=False)
    for name, values in compared.told:
        if len(set(values)) > 1:
            differing.add_row(name, *values)
    if differing.row_count:
        out.print("")
        out.print(differing)


def write(place: Path, page: str, facts: dict[str, object]) -> None:
    """The page, and beside it the same as JSON."""
    from tapeline.runtime.exits import FileUnusable

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page, encoding="utf-8")
        place.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise FileUnusable(
            f"The report cannot be written: {error}", "Name another file with --out."
        ) from error


def show(analysis: Analysis) -> None:
    """The figures in the terminal, and what to know before believing them."""
    from tapeline.backtest.report.catalogue import SECTIONS
    from tapeline.backtest.report.wording import shown

    out = console()
    facts = analysis.description
    out.print(f"[bold]{facts.title or facts.run_id}[/bold]")
    out.print(f"{facts.kind} {facts.run_id}, {analysis.period}", markup=False)
    for warning in analysis.warnings:
        out.print(f"! {warning}", style="yellow", markup=False)
    for section, entries in SECTIONS.items():
        table = Table(section, "", "", box=None, pad_edge=False, show_header=False)
        table.columns[1].justify = "right"
        for name, entry in entries.items():
            figure = analysis.figures[name]
            table.add_row(f"  {entry.title}", shown(figure), figure.reason)
        out.print(f"\n[bold]{section}[/bold]")
        out.print(table)


def list_runs(as_json: AsJson = False) -> None:
    """List the backtests of this home, oldest first."""
    import msgspec

    from tapeline.backtest.run_folders import kept_runs

    found = kept_runs(home())
    if as_json:
        print_json([msgspec.to_builtins(run.description) for run in found])
        return
    table = Table("run", "written", "kind", "what", "fills", "final equity", box=None)
    for run in found:
        facts = run.description
        table.add_row(
            run.folder.name,
            utc(run.written_ns)[:19],
            facts.kind,
            facts.title or facts.source,
            f"{facts.fills:,}",
            f"{float(facts.final_equity or 0):,.2f}",
        )
    console().print(table if found else "No backtests yet: try `tapeline backtest`.")


def delete(
    name: Annotated[str, typer.Argument(help="The run to delete.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a backtest with its tables and reports. This cannot be undone."""
    from tapeline.backtest.run_folders import delete_run, folder_of

    folder = folder_of(home(), name)
    if not yes:
        typer.confirm(f"Delete {folder} with everything in it?", abort=True)
    typer.echo(f"deleted {delete_run(home(), name)}")
