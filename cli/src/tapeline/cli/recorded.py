"""Runs as tables, by name: what was recorded is exported from its topics, what was tested or
exported already is read from its folder."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import msgspec

from tapeline.backtest.export import Told, export_run
from tapeline.backtest.run_folders import NoSuchRun, kept_runs, steps_back
from tapeline.backtest.run_tables import DESCRIPTION, RunTables, load
from tapeline.cli.desk import desk
from tapeline.cli.home import home
from tapeline.cli.runs import RunStore

BACKTESTS = "backtests"
"""Folder of a home that holds what was tested."""
RUNNING = "the run is not over: the figures are those of now"


def exported(name: str, account_id: str = "") -> RunTables:
    """A run of this home, from its topics; servers are started for it where none run."""
    with desk(name) as place:
        run = place.run
        told = Told(
            run_id=run.run_id,
            title=run.name,
            source=run.source,
            account_id=account_id,
            warnings=(*run.data_warnings, *(() if run.result else (RUNNING,))),
            is_paced=run.is_paced,
        )
        found = export_run(place.reader, told)
    again = shlex.join(["tapeline", "replay", "--run", run.name])
    return replace(found, description=msgspec.structs.replace(found.description, command=again))


def folder_of(name: str) -> Path | None:
    """The folder of tables that a name means: itself, or a backtest of this home."""
    for folder in (Path(name), home() / BACKTESTS / name):
        if (folder / DESCRIPTION).is_file():
            return folder
    # A folder without a description is told so by `load`.
    return Path(name) if name and Path(name).is_dir() else None


def dated(name: str) -> str:
    """The run that `last`, `last~1` … means, tested or recorded, by when it was begun or written;
    any other name as it is. Raises NoSuchRun."""
    back = steps_back(name)
    if back is None:
        return name
    tested = [(run.written_ns, str(run.folder)) for run in kept_runs(home())]
    recorded = [(run.started_ns, run.name) for run in RunStore(home()).all()]
    runs = sorted([*tested, *recorded])
    if back < len(runs):
        return runs[-1 - back][1]
    raise NoSuchRun(
        f"There is no run {name}: this home holds {len(runs)}.",
        "`tapeline backtests list` and `tapeline runs list` name them.",
    )


def tables_of(name: str, account_id: str = "") -> RunTables:
    """A folder of tables, a backtest of this home, or a recorded run."""
    folder = folder_of(name)
    return exported(name, account_id) if folder is None else load(folder)
