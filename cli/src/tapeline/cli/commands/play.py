"""Commands that play: demo, up, down, feed, replay.

They import what they play with when they are called: `tapeline --help` must not wait for it.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tapeline.cli.commands.options import AsJson, RunName, print_json
from tapeline.cli.desk import desk
from tapeline.cli.home import home
from tapeline.cli.screen import console
from tapeline.cli.sources import chosen_source, prepared
from tapeline.cli.stack.folder import require_fit


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (demo, up, down, feed, replay):
        app.command(command.__name__)(command)
    app.command("serve", hidden=True)(serve)


Synthetic = Annotated[
    int | None, typer.Option("--synthetic", help="Play generated prices with this seed.")
]
Live = Annotated[
    str, typer.Option("--live", help="Play public trades of an exchange (ccxt name), until Ctrl-C.")
]
Preset = Annotated[
    Path | None, typer.Option("--config", help="Play this configuration file instead.")
]
Dev = Annotated[bool, typer.Option("--dev", help="Debug logs; services reload changed code.")]


def demo(
    synthetic: Synthetic = None,
    live: Live = "",
    config: Preset = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Play real prices through the whole chain on real Kafka, and prove the run.

    Daily S&P 500, NASDAQ and VIX of 2014 to 2018 by default; recorded ticks where
    TAPELINE_DATA_DIR points to them. Ends by itself in under three minutes.
    """
    from tapeline.cli import summary
    from tapeline.cli.demo import run_demo

    source = chosen_source(synthetic=synthetic, live=live, preset=config)
    require_fit(home())
    run, configuration = prepared(home(), source, source.stem)
    out = console(is_json=as_json)
    facts = run_demo(home(), run, configuration, source, out, is_dev=dev)
    if as_json:
        print_json({name: value for name, value in facts.items() if name[0] != "_"})
    else:
        summary.show(facts, out)
    if not facts["ok"]:
        raise typer.Exit(1)


def up(
    source: Annotated[
        str,
        typer.Argument(help="default, ticks, synthetic:SEED or live:EXCHANGE; else the last one."),
    ] = "",
    dev: Dev = False,
) -> None:
    """Start the stack and all services in the background; the state is kept.

    Without a choice it plays generated prices in real time, labelled as such; `tapeline up
    live:kraken` follows public trades of an exchange. Orders are paper orders in any case.
    """
    from tapeline.cli import background

    background.start(home(), source, is_dev=dev, say=typer.echo)


def down() -> None:
    """Stop what `tapeline up` started; the data stays."""
    from tapeline.cli import background

    typer.echo(background.stop(home()))


def serve(
    name: Annotated[str, typer.Argument()],
    dev: Dev = False,
) -> None:
    """What `up` runs in the background."""
    from tapeline.cli import background

    background.serve(home(), name, is_dev=dev)


def feed(
    source: Annotated[
        str,
        typer.Argument(help="default, ticks, synthetic:SEED or live:EXCHANGE; empty shows it."),
    ] = "",
) -> None:
    """Choose what `tapeline up` plays."""
    from tapeline.cli import background

    typer.echo(background.choose(home(), source))


def replay(
    run: RunName = "",
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Exactly as it was, along the journal.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Play a run again from its topics and compare every decision, approval and fill."""
    from tapeline.cli import proofs

    del recorded  # the only way there is yet
    out = console(is_json=as_json)
    with desk(run) as place:
        result = proofs.replay(place.run, place.settings, place.folder)
        seals = proofs.verified_seals(place.records, place.folder)
    if as_json:
        print_json({**proofs.replay_facts(result), "approvals": asdict(seals)})
    else:
        proofs.show_replay(result, out)
        out.print(seals.line)
    if seals.wrong or not result.is_equal:
        raise typer.Exit(1)
