"""Where runs as tables are kept: <home>/backtests/<run_id>, or any folder that is named."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tapeline.backtest.run_tables import DESCRIPTION, Description
from tapeline.runtime.exits import USAGE, Failure

FOLDER: Final = "backtests"
LAST: Final = re.compile(r"last(?:~(\d+))?")


class NoSuchRun(Failure):
    """A name that no kept run has, or several."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A finished run on disk."""

    folder: Path
    description: Description
    written_ns: int


def kept_runs(home: Path) -> list[KeptRun]:
    """Finished runs of this home, oldest first; half written ones are none."""
    found = []
    for path in sorted((home / FOLDER).glob(f"*/{DESCRIPTION}")):
        try:
            description = msgspec.json.decode(path.read_bytes(), type=Description)
        except (OSError, msgspec.MsgspecError):
            continue
        found.append(KeptRun(path.parent, description, path.stat().st_mtime_ns))
    return sorted(found, key=lambda run: run.written_ns)


def steps_back(name: str) -> int | None:
    """0 for `last`, 1 for `last~1` and so on; None for any other name."""
    found = LAST.fullmatch(name)
    return None if found is None else int(found[1] or 0)


def folder_of(home: Path, name: str) -> Path:
    """The folder of a run: a path, a run_id, or the beginning of one; `last` and none is the
    newest, `last~1` the one before it.

    Raises NoSuchRun.
    """
    if name and (Path(name) / DESCRIPTION).is_file():
        return Path(name)
    runs = kept_runs(home)
    back = steps_back(name or "last")
    if back is not None and back < len(runs):
        return runs[-1 - back].folder
    exact = [run.folder for run in runs if run.folder.name == name]
    found = exact or [run.folder for run in runs if name and run.folder.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    newest = ", ".join(run.folder.name for run in reversed(runs[-5:]))
    wanted = f" {name}" if name else ""
    raise NoSuchRun(
        f"{len(found)} runs begin with {name}." if found else f"There is no finished run{wanted}.",
        f"Newest runs in {home / FOLDER}: {newest}."
        if newest
        else f"There is none in {home / FOLDER} yet: `tapeline backtest` makes one.",
    )


def delete_run(home: Path, name: str) -> Path:
    """Removes a run of this home with all its files; raises NoSuchRun."""
    folder = folder_of(home, name)
    if not name or folder.parent.resolve() != (home / FOLDER).resolve():
        raise NoSuchRun(
            f"{folder} is not kept in {home / FOLDER}.", "Delete a folder elsewhere by hand."
        )
    # First what makes it a run, so that one cut short is none.
    (folder / DESCRIPTION).unlink()
    shutil.rmtree(folder)
    return folder
