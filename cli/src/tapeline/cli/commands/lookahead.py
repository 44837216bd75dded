"""`tapeline lookahead`: whether a strategy knew the future."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tapeline.cli.commands.file_options import Bars, Instrument, Interval, Trades
from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.configuration import duration_ns
from tapeline.cli.desk import desk
from tapeline.cli.records import utc
from tapeline.cli.runs import strategies_of
from tapeline.cli.screen import console
from tapeline.cli.sources import BadSource

if TYPE_CHECKING:
    from tapeline.backtest.lookahead.detector import Lookahead
    from tapeline.backtest.lookahead.history import History

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("lookahead")(lookahead)


def lookahead(
    run: Annotated[
        str, typer.Option("--run", "-r", help="Every trigger and group of a recorded run.")
    ] = "",
    strategy: Annotated[
        str, typer.Option("--strategy", help="Name of a trigger, or a file: ./mine.py.")
    ] = "",
    trades: Trades = None,
    bars: Bars = None,
    instrument: Instrument = "DATA.FILE",
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="Of the strategy, name=value.")
    ] = None,
    interval: Interval = "1m",
    cuts: Annotated[
        int, typer.Option("--cuts", min=1, max=1000, help="Truncated histories to try.")
    ] = 12,
    as_json: AsJson = False,
) -> None:
    """Look for decisions that knew the future, and show each that changes without it.

    Every trigger and group runs over the whole history and over histories that end earlier, with
    records from the future already there. What is said up to the end must be the same, byte for
    byte. Also: the same again in one process, a state that was kept and taken back, a vectorised
    form against steps, and whether files or connections are looked at. Ends with 1 if anything
    is found. Language models are asked nothing: a recorded run has their answers.
    """
    from tapeline.backtest.lookahead.detector import look

    if bool(run) == bool(strategy):
        raise BadSource(
            "Say what to look at.", "Give --run RUN, or --strategy with --trades or --bars."
        )
    with ExitStack() as stack:
        if run:
            history = _recorded(stack, run)
        else:
            history = _of_file(strategy, trades, bars, (instrument, interval, param or []))
        found = look(history, cuts)
    facts = facts_of(found)
    if as_json:
        print_json(facts)
    else:
        show(facts, console())
    if not found.is_clean:
        raise typer.Exit(1)


def _recorded(stack: ExitStack, run: str) -> History:
    from tapeline.backtest.lookahead.history import history_of_run
    from tapeline.backtest.recorded_topics import RecordedTopics
    from tapeline.backtest.strategies import offer_kept

    place = stack.enter_context(desk(run))
    offer_kept(strategies_of(place.folder))
    return history_of_run(RecordedTopics(place.reader), place.run.run_id)


def _of_file(
    strategy: str, trades: Path | None, bars: Path | None, rest: tuple[str, str, list[str]]
) -> History:
    from tapeline.backtest.engine.loading import Source
    from tapeline.backtest.engine.setup import Setup
    from tapeline.backtest.engine.strategy import named
    from tapeline.backtest.lookahead.history import history_of_file

    path = trades or bars
    if path is None or (trades is not None and bars is not None):
        raise BadSource("A strategy needs a history.", "Give one of --trades and --bars.")
    instrument, interval, listed = rest
    parameters = dict(text.partition("=")[::2] for text in listed)
    setup = named(
        Setup(
            instrument_id=instrument,
            strategy=strategy,
            parameters=parameters,
            interval_ns=duration_ns(interval, "--interval"),
        )
    )
    market = Source(path=path, is_bars=bars is not None).market(setup.interval_ns)
    return history_of_file(setup, market)


def facts_of(found: Lookahead) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "clean": found.is_clean,
        "readings": found.readings,
        "signals": found.signals,
        "decisions": found.decisions,
        "truncated_histories": found.cuts,
        "checked": list(found.checked),
        "left_out": list(found.left_out),
        "findings": [
            {
                "check": item.check.value,
                "who": item.who,
                "ts_ns": item.ts_ns,
                "cut_ns": item.cut_ns,
                "whole": item.whole,
                "other": item.other,
            }
            for item in found.findings
        ],
        "warm_up": [
            {
                "who": item.who,
                "subject": item.subject,
                "start": item.start,
                "compared": item.compared,
                "differing": item.differing,
                "agreed_after": item.agreed_after,
            }
            for item in found.warm_ups
        ],
    }


def show(facts: dict[str, Any], out: Console) -> None:
    """For people."""
    out.print(
        f"{facts['readings']:,} readings, {facts['signals']:,} signals, "
        f"{facts['decisions']:,} decisions; {facts['truncated_histories']} truncated histories"
    )
    guilty = {item["who"] for item in facts["findings"]}
    for name in facts["checked"]:
        mark = "[red]✗[/red]" if name in guilty else "[green]✓[/green]"
        out.print(f"{mark} {name}")
    for text in facts["left_out"]:
        out.print(f"[yellow]- {text}[/yellow]")
    if facts["findings"]:
        out.print(_findings_table(facts["findings"]))
    forgetful = [item for item in facts["warm_up"] if item["compared"]]
    if forgetful:
        out.print(_warm_up_table(forgetful))


def _findings_table(findings: list[dict[str, Any]]) -> Table:
    names = ("check", "who", "said at", "history to", "with all of it", "without")
    table = Table(*names, box=None, pad_edge=False)
    for item in findings[:SHOWN]:
        table.add_row(
            item["check"],
            item["who"],
            utc(item["ts_ns"])[:19] if item["ts_ns"] else "",
            utc(item["cut_ns"])[:19] if item["cut_ns"] else "its end",
            item["whole"],
            item["other"],
        )
    if len(findings) > SHOWN:
        table.add_row(f"and {len(findings) - SHOWN} more: --json")
    return table


def _warm_up_table(items: list[dict[str, Any]]) -> Table:
    """Of each trigger and subject, the start that took longest to be forgotten."""
    table = Table("warm-up", "of", "begun later by", "agrees after", "", box=None, pad_edge=False)
    worst: dict[tuple[str, str], dict[str, Any]] = {}
    for item in items:
        key = (item["who"], item["subject"])
        if key not in worst or _agreed(item) > _agreed(worst[key]):
            worst[key] = item
    for (who, subject), item in worst.items():
        after = item["agreed_after"]
        told = "never" if after is None else f"{after:,} readings"
        share = f"{item['differing']} of {item['compared']} directions differ before"
        table.add_row(who, subject, f"{item['start']:,}", told, share)
    return table


def _agreed(item: dict[str, Any]) -> float:
    return float("inf") if item["agreed_after"] is None else float(item["agreed_after"])
