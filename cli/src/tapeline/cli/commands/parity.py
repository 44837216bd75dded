"""`tapeline parity A B`: why two runs came to different money."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.configuration import duration_ns
from tapeline.cli.home import home
from tapeline.cli.screen import console


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("parity")(parity)


Named = "a run of this home, a backtest of it, a folder of tables, or last, last~1 and so on"


def parity(
    a: Annotated[str, typer.Argument(metavar="A", help=f"The run to measure by: {Named}.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The run to measure, named likewise.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Page to write; else one in the home.")
    ] = None,
    tolerance: Annotated[
        str, typer.Option("--tolerance", help="Time between two decisions that may be one: 5m.")
    ] = "",
    account: Annotated[
        str, typer.Option("--account", help="Of recorded runs, only this account.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Compare two runs order by order, and say where the difference in profit comes from.

    Live, paper, shadow, replayed or tested: orders are matched by group, instrument, time and
    side, whatever their ids. The gap is split over signal, timing, fill, fee, funding, data and
    missing orders, which add up to it exactly; a page shows it with plots.
    """
    from tapeline.backtest.parity.attribution import parity as compared
    from tapeline.backtest.parity.facts import facts_of
    from tapeline.backtest.parity.page import page_of
    from tapeline.cli.recorded import dated, tables_of

    within_ns = duration_ns(tolerance, "--tolerance") if tolerance else None
    a, b = dated(a), dated(b)
    run_a, run_b = tables_of(a, account), tables_of(b, account)
    found = compared(run_a, run_b, within_ns)
    page = out or home() / "parity" / f"{Path(a).name}-{Path(b).name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(page_of(found, run_a, run_b))
    facts = {**facts_of(found), "page": str(page)}
    if as_json:
        print_json(facts)
    else:
        show(facts, console())


def show(facts: dict[str, Any], out: Console) -> None:
    """The table."""
    from tapeline.backtest.parity.facts import MEANINGS, changed
    from tapeline.backtest.run_labels import span_text

    orders = facts["orders"]
    matched = orders["EXACT"] + orders["NEAR"] + orders["OPPOSITE"]
    for letter in "ab":
        run = facts[letter]
        out.print(
            f"{letter.upper()} {run['label']}: profit {run['profit']:+,.2f} "
            f"({run['kind']} {run['run_id']}, {span_text(run['covers_ns'])} UTC)",
            markup=False,
            soft_wrap=True,
        )
    for text in facts["warnings"]:
        out.print(f"! {text}", style="yellow", markup=False)
    out.print(
        f"{matched:,} orders in both, {orders['ONLY_A']:,} only in A, "
        f"{orders['ONLY_B']:,} only in B"
    )
    for text in changed(facts):
        out.print(f"[dim]differs: {escape(text)}[/dim]")
    table = Table("because of", "B - A", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, value in facts["buckets"].items():
        table.add_row(name, f"{value:+,.2f}", f"[dim]{MEANINGS[name]}[/dim]")
    table.add_row("[bold]gap[/bold]", f"[bold]{facts['gap']:+,.2f}[/bold]", facts["currency"])
    out.print(table)
    out.print(f"page: {facts['page']}")
