"""`tapeline backtest`: plays history through the cores in this process, without Kafka."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Annotated, Any

import typer

from tapeline.cli import assumed
from tapeline.cli.commands.belonging import require_heard
from tapeline.cli.commands.file_options import (
    Bars,
    Cash,
    FeeTaker,
    Instrument,
    Interval,
    Quantity,
    Slippage,
    Trades,
)
from tapeline.cli.commands.options import AsJson, print_json
from tapeline.cli.home import home
from tapeline.cli.playing_progress import Shown
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
    list[str],
    typer.Option(
        "--param",
        help="NAME.PARAMETER=VALUE of a group or trigger; over a file, PARAMETER=VALUE.",
    ),
]
FeedOptions = Annotated[
    list[str], typer.Option("--feed-option", help="NAME=VALUE of the preset's feed.")
]
Llm = Annotated[
    str,
    typer.Option("--llm", help="Answers of models: recorded (runs) or offline (written rules)."),
]
RunId = Annotated[str, typer.Option("--run-id", help="Make ids of this instead of a new one.")]
Columns = Annotated[
    list[str],
    typer.Option("--columns", help="Our column=the file's, such as ts_event_ns=time,price=px."),
]
TimeFormat = Annotated[
    str,
    typer.Option(
        "--time-format",
        help="Over a file: unit of its times since 1970 (ns, us, ms, s), or the form of its texts, "
        "such as %d/%m/%Y, UTC; ISO 8601 needs no form.",
    ),
]
Strategy = Annotated[
    str, typer.Option("--strategy", help="Over a file: a trigger by name, or a file ./mine.py.")
]
Fill = Annotated[
    str,
    typer.Option("--fill", help="Over a file: next-tick or next-open; a bar's tick is its open."),
]
DrawdownMax = Annotated[
    str, typer.Option("--drawdown-max", help="Over a file: loss from the peak that stops it.")
]
DailyLossMax = Annotated[
    str, typer.Option("--daily-loss-max", help="Over a file: loss of a UTC day that stops it.")
]
Scalar = Annotated[
    bool, typer.Option("--scalar", help="Over a file: step every event; the same digest, slowly.")
]
Calendar = Annotated[
    str,
    typer.Option("--calendar", help="Over a file: 24/7 or an exchange such as XNYS, for gaps."),
]
AcceptDataFaults = Annotated[
    bool,
    typer.Option("--accept-data-faults", help="Run in spite of errors in the data, and say so."),
]


Workers = Annotated[
    int, typer.Option("--workers", help="Over a folder of files: processes; 0: one a processor.")
]


class NothingToPlay(Failure):
    """No source was named, or two."""

    exit_code = 64


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("backtest")(backtest)


def backtest(
    run: RunToRepeat = "",
    preset: Preset = "",
    start: Start = "",
    end: End = "",
    instruments: Instruments = "",
    groups: Groups = "",
    settings: Settings = [],  # noqa: B006 - typer copies it
    parameters: Parameters = [],  # noqa: B006
    feed_options: FeedOptions = [],  # noqa: B006
    llm: Llm = "",
    run_id: RunId = "",
    trades: Trades = None,
    bars: Bars = None,
    columns: Columns = [],  # noqa: B006
    time_format: TimeFormat = "",
    instrument: Instrument = "",
    strategy: Strategy = "sma_cross",
    interval: Interval = "1m",
    fee_taker: FeeTaker = "0.001",
    slippage: Slippage = "none",
    fill: Fill = "",
    quantity: Quantity = "1",
    cash: Cash = "1000000",
    drawdown_max: DrawdownMax = "",
    daily_loss_max: DailyLossMax = "",
    scalar: Scalar = False,
    calendar: Calendar = "",
    accept_data_faults: AcceptDataFaults = False,
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Play history through bars, triggers, groups, risk and execution, in event time alone.

    The cores are those of a live run and step as in a paced one, so that without changes the run
    says what that would say. The result is a folder of tables under `backtests/`, for `report`.

    Over a file (--trades, --bars) one strategy holds a fixed quantity on one side or the other: the
    first side found is only noted, each change is a market order that fills at the next tick.
    Over a folder each file is an instrument, named like it, with a run; one table tells of all.
    """
    given = dict(locals())
    is_file = trades is not None or bars is not None
    require_heard(backtest, given, is_file=is_file)
    if is_file:
        _play_file(given, is_json=as_json)
        return
    if bool(run) == bool(preset):
        raise NothingToPlay(
            "Name one thing to play.",
            "Name a run with --run, a preset with --preset, or a file with --trades or --bars.",
        )
    _play_whole(given, is_json=as_json)


def _play_file(given: dict[str, Any], *, is_json: bool) -> None:
    from tapeline.cli.commands import backtest_file

    if given["preset"] or given["run"]:
        raise NothingToPlay("A file and a preset or run were named.", "Name one of them.")
    names = [field.name for field in fields(backtest_file.Asked)]
    asked = backtest_file.Asked(**{name: given[name] for name in names})
    source = given["trades"] or given["bars"]
    if source.is_dir() and (given["trades"] is None or given["bars"] is None):
        from tapeline.cli.commands import backtest_folder

        backtest_folder.run(asked, given["workers"], is_json=is_json)
        return
    backtest_file.run(asked, is_json=is_json)


def _play_whole(given: dict[str, Any], *, is_json: bool) -> None:
    from tapeline.cli import backtests

    if given["llm"] not in ("", backtests.RECORDED, backtests.OFFLINE):
        raise NothingToPlay(f"--llm {given['llm']!r} is unknown.", "Write recorded or offline.")
    asked = backtests.Asked(
        start=given["start"],
        end=given["end"],
        instruments=listed(given["instruments"]),
        groups=listed(given["groups"]),
        settings=tuple(given["settings"]),
        parameters=tuple(given["parameters"]),
        feed_options=tuple(given["feed_options"]),
        run_id=given["run_id"],
        llm=given["llm"],
        accept_data_faults=given["accept_data_faults"],
    )
    out = console(is_json=is_json)
    with Shown(out) as shown:
        if given["run"]:
            found = backtests.played_run(given["run"], asked, shown.on_slice, shown.on_pulled)
        else:
            found = backtests.played_preset(given["preset"], asked, shown.on_slice)
    folder = backtests.saved(home(), found)
    facts = backtests.facts_of(found, folder)
    if is_json:
        print_json(facts)
    else:
        show(facts, out)
        for line in assumed.lines(found.tables.description.assumptions):
            out.print(line, markup=False, highlight=False)


def listed(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def show(facts: dict[str, Any], out: Any) -> None:
    """A few lines for people."""
    out.print(f"{facts['title']}: {facts['events']:,} events in {facts['engine_seconds']:.1f} s")
    fees, before, after = (
        f"{Decimal(facts[name]):,.2f}" for name in ("fees", "starting_cash", "final_equity")
    )
    out.print(
        f"{facts['orders']:,} orders, {facts['fills']:,} fills, fees {fees}, "
        f"equity {before} -> {after} {facts['base_currency']}"
    )
    for warning in facts["warnings"]:
        out.print(f"! {warning}", style="yellow", markup=False)
    out.print(f"digest {facts['digest'][:16]}, tables in {facts['folder']}")
    out.print(f"figures and charts: tapeline report {facts['run_id']}")
