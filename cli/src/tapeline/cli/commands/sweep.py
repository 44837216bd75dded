"""`tapeline sweep`: many backtests over the same data with other parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tapeline.cli.commands.backtest import (
    AcceptDataFaults,
    Calendar,
    Columns,
    DailyLossMax,
    DrawdownMax,
    End,
    FeedOptions,
    Groups,
    Instruments,
    Llm,
    NothingToPlay,
    Preset,
    RunToRepeat,
    Settings,
    Start,
    Strategy,
    TimeFormat,
    listed,
)
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
from tapeline.cli.playing_progress import Shown
from tapeline.cli.screen import console
from tapeline.runtime.exits import USAGE, Failure, Stopped

if TYPE_CHECKING:
    from tapeline.cli.backtests import Asked, Source

Axes = Annotated[
    list[str],
    typer.Option(
        "--param",
        help="NAME.PARAMETER=5,10,20 or 5..20/5; a field of a record is TABLE.ID.FIELD; over a "
        "file PARAMETER=5,10,20.",
    ),
]
Method = Annotated[
    str, typer.Option("--method", help="grid, random, or bayes (Optuna's TPE proposes).")
]
Trials = Annotated[int, typer.Option("--trials", help="Points of each fold; a grid has its own.")]
Seed = Annotated[int, typer.Option("--seed", help="Of random and bayes: the same, the same.")]
Objective = Annotated[
    str, typer.Option("--objective", help="sharpe, sortino, calmar or total_return.")
]
Folds = Annotated[int, typer.Option("--folds", help="Walk-forward: choose and judge so often.")]
Share = Annotated[float, typer.Option("--out-of-sample", help="Share of the time kept back.")]
Anchored = Annotated[
    bool, typer.Option("--anchored", help="Walk-forward: in-sample always begins at the start.")
]
Workers = Annotated[int, typer.Option("--workers", help="Processes; 0: one a processor.")]
Part = Annotated[str, typer.Option("--part", help="I/N: only these in-sample trials (cluster).")]
Kubernetes = Annotated[
    int,
    typer.Option(
        "--kubernetes",
        help="Print manifests of so many Jobs over a preset or a run, and play nothing.",
    ),
]


WHOLE = "1/1"
"""every trial, in this process; a part may well hold none that makes a configuration"""
AMOUNTS = ("fees", "final_equity")


class NothingPlayed(Failure):
    """No point of a sweep makes a configuration."""

    exit_code = USAGE


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("sweep")(sweep)


def sweep(
    run: RunToRepeat = "",
    preset: Preset = "",
    axes: Axes = [],  # noqa: B006 - typer copies it
    method: Method = "grid",
    trials: Trials = 50,
    seed: Seed = 1,
    objective: Objective = "sharpe",
    folds: Folds = 1,
    share: Share = 0.3,
    anchored: Anchored = False,
    start: Start = "",
    end: End = "",
    instruments: Instruments = "",
    groups: Groups = "",
    settings: Settings = [],  # noqa: B006
    feed_options: FeedOptions = [],  # noqa: B006
    llm: Llm = "",
    trades: Trades = None,
    bars: Bars = None,
    columns: Columns = [],  # noqa: B006
    time_format: TimeFormat = "",
    instrument: Instrument = "",
    strategy: Strategy = "sma_cross",
    interval: Interval = "1m",
    fee_taker: FeeTaker = "0.001",
    slippage: Slippage = "none",
    quantity: Quantity = "1",
    cash: Cash = "1000000",
    drawdown_max: DrawdownMax = "",
    daily_loss_max: DailyLossMax = "",
    calendar: Calendar = "",
    accept_data_faults: AcceptDataFaults = False,
    workers: Workers = 0,
    part: Part = WHOLE,
    kubernetes: Kubernetes = 0,
    as_json: AsJson = False,
) -> None:
    """Search parameters: choose in-sample, judge out-of-sample, and say how many were tried.

    Every point is played in-sample; only the best of each fold is played on the part that it has
    not seen. Each window starts cold: its triggers must warm up in it. Stopped at any moment, the
    same command goes on where it was.
    """
    given = dict(locals())
    is_file = trades is not None or bars is not None
    require_heard(sweep, given, is_file=is_file)
    searched = _searched(given)
    if is_file:
        _play_file(given, searched, is_json=as_json)
        return
    if bool(run) == bool(preset):
        raise NothingToPlay(
            "Name one thing to play.", "Name a run or a preset, not both; or a file."
        )
    if kubernetes:
        _print_jobs(given, searched)
        return
    _play(given, searched, is_json=as_json)


@contextmanager
def _told_when_stopped() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(
            "Stopped.", "The same command goes on with the trials that are left."
        ) from error


def _print_jobs(given: dict[str, Any], searched: Any) -> None:
    from tapeline.cli.sweep_jobs import manifests

    searched.checked()
    typer.echo(manifests(given, given["kubernetes"]))


def _searched(given: dict[str, Any]) -> Any:
    from tapeline.cli import sweeps

    names = ("method", "trials", "seed", "objective", "folds", "share", "workers", "part")
    return sweeps.Searched(
        axes=tuple(given["axes"]),
        is_anchored=given["anchored"],
        **{name: given[name] for name in names},
    )


def _play(given: dict[str, Any], searched: Any, *, is_json: bool) -> None:
    from tapeline.cli import sweeps

    out = console(is_json=is_json)
    with _told_when_stopped(), Shown(out) as shown:
        asked, source = _source(given, shown)
        with sweeps.prepared(source, asked, searched) as (found, folder):
            sweeps.run(found, shown.on_trial)
    _tell(found, folder, searched, out, is_json=is_json)


def _play_file(given: dict[str, Any], searched: Any, *, is_json: bool) -> None:
    """Over a file that is read and looked at once."""
    from tapeline.cli import file_sweeps, sweeps
    from tapeline.cli.commands import backtest_file

    if given["run"] or given["preset"]:
        raise NothingToPlay("A file and a preset or run were named.", "Name one of them.")
    if given["kubernetes"]:
        raise NothingToPlay(
            "The Jobs of --kubernetes have no file of this machine.",
            "Sweep over the file here, or over a preset or a recorded run there.",
        )
    names = {field.name for field in fields(backtest_file.Asked)}
    options = {name: value for name, value in given.items() if name in names}
    asked = backtest_file.Asked(**options, parameters=(), fill="", scalar=False)
    out = console(is_json=is_json)
    with _told_when_stopped(), Shown(out) as shown:
        found, folder = file_sweeps.prepared(
            backtest_file.setup_of(asked),
            backtest_file.source_of(asked),
            backtest_file.care_of(asked),
            searched,
        )
        sweeps.run(found, shown.on_trial)
    _tell(found, folder, searched, out, is_json=is_json)


def _tell(found: Any, folder: Path, searched: Any, out: Console, *, is_json: bool) -> None:
    import polars as pl

    from tapeline.backtest.sweep.sweep import write

    table = write(found, folder)
    why = found.table().filter(pl.col("part") == "in")["refused"]
    if searched.part == WHOLE and len(why) and (why != "").all():
        raise NothingPlayed(
            f"None of {len(why)} points could be played; the first: {why[0]}",
            "Correct --param, or the part of the time with --from and --to.",
        )
    summary = {**found.summary(), "results": str(table)}
    if is_json:
        print_json({**summary, "rows": found.table().to_dicts()})
    else:
        show(summary, found.table(), out)


def _source(given: dict[str, Any], shown: Shown) -> tuple[Asked, Source]:
    from tapeline.cli import backtests

    asked = backtests.Asked(
        start=given["start"],
        end=given["end"],
        instruments=listed(given["instruments"]),
        groups=listed(given["groups"]),
        settings=tuple(given["settings"]),
        feed_options=tuple(given["feed_options"]),
        llm=given["llm"] or backtests.OFFLINE,
        accept_data_faults=given["accept_data_faults"],
    )
    if asked.llm == backtests.RECORDED:
        raise NothingToPlay(
            "Other parameters ask models other questions, which have no recorded answers.",
            "Write --llm offline, or choose groups without models with --groups.",
        )
    if given["run"]:
        return asked, backtests.run_source(given["run"], asked, shown.on_pulled)
    return asked, backtests.preset_source(given["preset"], asked)


def show(summary: dict[str, Any], results: Any, out: Console) -> None:
    """The best trials, then each fold's choice in-sample and out-of-sample, then what to doubt."""
    objective = summary["objective"]
    best = results.filter(results["part"] == "in").sort(objective, descending=True, nulls_last=True)
    # What is empty in every row says nothing.
    empty = {name for name in ("refused", "undefined") if (best[name] == "").all()}
    columns = [name for name in best.columns if name not in ("part", "digest", "seconds", *empty)]
    table = Table(*columns, title="best in-sample trials", box=None, pad_edge=False)
    for row in best.select(columns).head(10).iter_rows(named=True):
        table.add_row(
            *(amount_of(row[name]) if name in AMOUNTS else text_of(row[name]) for name in row)
        )
    out.print(table)
    chosen = Table(
        "fold",
        "chosen",
        f"{objective} in",
        f"{objective} out",
        "return in",
        "return out",
        "best by chance",
        title="in-sample and out-of-sample",
        box=None,
        pad_edge=False,
    )
    for fold in summary["folds"]:
        inside, outside = fold["in"] or {}, fold["out"] or {}
        point = ", ".join(f"{name}={value}" for name, value in (fold["point"] or {}).items())
        figures = (
            fold["objective_in"],
            fold["objective_out"],
            inside.get("total_return"),
            outside.get("total_return"),
            fold["best_by_chance"],
        )
        cells = [text_of(figure) for figure in figures]
        if fold["undefined_out"]:
            cells[1] = f"none: {fold['undefined_out']}"
        chosen.add_row(str(fold["fold"]), point, *cells)
    out.print(chosen)
    out.print(f"{summary['trials']} trials by {summary['method']}; table in {summary['results']}")
    for warning in summary["warnings"]:
        out.print(f"doubt: {warning}", style="yellow")


def amount_of(value: float | str | None) -> str:
    """Money for a cell."""
    return "-" if value is None else f"{float(value):,.2f}"


def text_of(value: Any) -> str:
    """For a cell."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
