"""`tapeline backtest`: plays history through the cores in this process, without Kafka."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.home import home
from tapeline.cli.screen import console
from tapeline.runtime.exits import Failure

RunToRepeat = Annotated[
    str, typer.Option("--run", "-r", help="Play the topics of this recorded run.")
]
Preset = Annotated[
    str, typer.Option("--preset", help="Play the data of a preset, or of a configuration file.")
]
Start = Annotated[str, typer.Option("--from", help="Leave out what was before (ISO 8601, UTC).")]
End = Annotated[str, typer.Option("--to", help="Leave out what is at or behind this time.")]
Instruments = Annotated[str, typer.Option("--instruments", help="Only these, separated by commas.")]
Groups = Annotated[str, typer.Option("--groups", help="Only these groups decide.")]
Settings = Annotated[
    list[str],
    typer.Option("--set", help="TABLE.ID.FIELD=VALUE, such as venue.*.taker_fee_rate=0.001."),
]
Parameters = Annotated[
    list[str], typer.Option("--param", help="NAME.PARAMETER=VALUE of a group or trigger.")
]
FeedOptions = Annotated[
    list[str], typer.Option("--feed-option", help="NAME=VALUE of the preset's feed.")
]
RunId = Annotated[str, typer.Option("--run-id", help="Make ids of this instead of a new one.")]


class NothingToPlay(Failure):
    """No source was named, or two."""

    exit_code = 64


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("backtest")(backtest)


def backtest(
    preset: Preset = "",
    start: Start = "",
    end: End = "",
    instruments: Instruments = "",
    groups: Groups = "",
    settings: Settings = [],  # noqa: B006 - typer copies it
    parameters: Parameters = [],  # noqa: B006
    feed_options: FeedOptions = [],  # noqa: B006
    run_id: RunId = "",
    as_json: AsJson = False,
) -> None:
    """Play history through bars, triggers, groups, risk and execution, in event time alone.

    The cores are those of a live run and step as in a paced one, so that without changes the run
    says what that would say. The result is a folder of tables under `backtests/`.
    """
    from tapeline.cli import backtests

    if not preset:
        raise NothingToPlay("Nothing to play was named.", "Name a preset with --preset.")
    asked = backtests.Asked(
        start=start,
        end=end,
        instruments=listed(instruments),
        groups=listed(groups),
        settings=tuple(settings),
        parameters=tuple(parameters),
        feed_options=tuple(feed_options),
        run_id=run_id,
    )
    out = console(is_json=as_json)
    with out.status("playing") as status:
        found = backtests.played_preset(
            preset, asked, lambda part: status.update(f"slice {part.number:,}")
        )
    folder = backtests.saved(home(), found)
    facts = backtests.facts_of(found, folder)
    if as_json:
        print_json(facts)
    else:
        show(facts, out)


def listed(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def show(facts: dict[str, Any], out: Any) -> None:
    """A few lines for people."""
    out.print(f"{facts['title']}: {facts['events']:,} events in {facts['engine_seconds']:.1f} s")
    out.print(
        f"{facts['orders']:,} orders, {facts['fills']:,} fills, fees {facts['fees']}, "
        f"equity {facts['starting_cash']} -> {facts['final_equity']} {facts['base_currency']}"
    )
    out.print(f"digest {facts['digest'][:16]}, tables in {facts['folder']}")
