"""`tapeline runs`: what has been played, its export as tables, and deleting it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.desk import desk
from tapeline.cli.home import home
from tapeline.cli.records import utc
from tapeline.cli.runs import Run, RunStore
from tapeline.cli.screen import console
from tapeline.runtime.exits import Failure
from tapeline.runtime.topology import delete_topics


class RunIsLive(Failure):
    """The run is under way."""

    exit_code = 64


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    runs = typer.Typer(no_args_is_help=True, help="Runs: list, show, export, delete.")
    runs.command("list")(list_runs)
    runs.command("show")(show)
    runs.command("export")(export)
    runs.command("delete")(delete)
    app.add_typer(runs, name="runs")


def list_runs(as_json: AsJson = False) -> None:
    """List every run of this home, oldest first."""
    found = RunStore(home()).all()
    if as_json:
        print_json([asdict(run) for run in found])
        return
    table = Table("run", "started", "took", "result", "what", box=None, pad_edge=False)
    for run in found:
        table.add_row(
            run.name, utc(run.started_ns)[:19], took(run), run.result or "open", run.source
        )
    console().print(table if found else "No runs yet: try `tapeline demo`.")


def took(run: Run) -> str:
    """Wall time of a run."""
    return f"{(run.ended_ns - run.started_ns) / 1e9:.0f} s" if run.ended_ns else ""


def show(run: RunName = "", as_json: AsJson = False) -> None:
    """Show one run: what it played, and under which names its topics are found."""
    found = RunStore(home()).get(run)
    facts = {**asdict(found), "topic_prefix": found.prefix}
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        shown = utc(value) if name.endswith("_ns") and value else value
        typer.echo(f"{name:22} {shown}")


def export(
    name: Annotated[str, typer.Argument(help="The run to export.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that gets the tables.")],
    account: Annotated[str, typer.Option("--account", help="Only this account.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write a recorded run as tables (Parquet): orders, fills, equity, bars, cash.

    Reports, `tapeline parity` and notebooks read such a folder; the topics are only read.
    """
    from tapeline.backtest.run_tables import DESCRIPTION
    from tapeline.cli.recorded import exported

    tables = exported(name, account)
    tables.save(out)
    told = tables.description
    if as_json:
        print_json({"folder": str(out), **json.loads((out / DESCRIPTION).read_text())})
        return
    typer.echo(
        f"{told.run_id}: {told.orders:,} orders, {told.fills:,} fills, fees {told.fees}, "
        f"final equity {told.final_equity} {told.base_currency}; tables in {out}"
    )


def delete(
    name: Annotated[str, typer.Argument(help="The run to delete.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a run: its topics, tape, audit rows, keys and logs. This cannot be undone."""
    from tapeline.audit.migrate import delete_run

    store = RunStore(home())
    found = store.get(name)
    if not yes:
        typer.confirm(f"Delete {found.name} ({found.source}) with everything it holds?", abort=True)
    with desk(found.name) as place:
        if place.is_running and not found.ended_ns:
            raise RunIsLive(f"{found.name} is running.", "End it with `tapeline down` first.")
        topics = delete_topics(place.settings)
        rows = delete_run(place.endpoints.database_url, found.name)
    store.delete(found.name)
    typer.echo(f"deleted {found.name}: {topics} topics, {rows:,} audit rows")
