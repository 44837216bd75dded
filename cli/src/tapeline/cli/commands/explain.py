"""Commands that explain: trace, why, audit verify."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.desk import desk
from tapeline.runtime.exits import Failure


class NotFound(Failure):
    """The run knows no such id."""

    exit_code = 1


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("trace")(trace)
    app.command("why")(why)
    audit = typer.Typer(no_args_is_help=True, help="The tamper-evident record of every topic.")
    audit.command("verify")(verify)
    app.add_typer(audit, name="audit")


def trace(
    identifier: Annotated[
        str, typer.Argument(help="Id of an order, decision, approval, fill or denial.")
    ],
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Print where an order came from and what became of it: ticks, signal, decision, fill."""
    from tapeline.cli import proofs

    with desk(run) as place:
        found = proofs.traced(place.run, place.settings, place.endpoints.database_url, identifier)
    if found is None:
        raise NotFound(
            f"The run {place.run.name} has no record of {identifier}.",
            "`tapeline orders` lists orders; `--run` chooses another run.",
        )
    if as_json:
        print_json(asdict(found))
        return
    for line in proofs.lineage_lines(found):
        typer.echo(line)


def why(
    decision_id: Annotated[str, typer.Argument(help="Id of a decision; see `tail decisions`.")],
    run: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Say what a decision became, and why: code, measured value and limit of a denial."""
    from tapeline.audit.lineage import why as find_why

    with desk(run) as place:
        found = find_why(place.endpoints.database_url, place.run.name, decision_id)
    if found is None:
        raise NotFound(
            f"The run {place.run.name} has no decision {decision_id}.",
            "`tapeline tail decisions --json` shows ids.",
        )
    if as_json:
        print_json(asdict(found))
        return
    for name, value in asdict(found).items():
        if value != "":
            typer.echo(f"{name:16} {value}")


def verify(run: RunName = "", as_json: AsJson = False) -> None:
    """Walk along every hash chain and anchor; a change of any row is found and named."""
    from tapeline.cli import proofs

    with desk(run) as place:
        report = proofs.verified(
            place.run, place.settings, place.folder, place.endpoints.database_url
        )
    if as_json:
        print_json(proofs.audit_facts(report))
    else:
        typer.echo(proofs.audit_line(report))
    if not report.is_intact:
        raise typer.Exit(1)
