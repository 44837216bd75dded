"""The runs of one Tapeline home: what was played, under which names its topics are found.

A run is a folder `runs/<name>` with run.json, keys and logs. Every run has topics of its own (its
prefix), so that runs never mix; run_id is what ids are derived from, and two runs of the same
recorded data with the same configuration share it.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tapeline.runtime import clock
from tapeline.runtime.exits import Failure

OPERATOR = "operator"
"""name of the operator's key that every run is made with"""
TAPE_FOLDER = "tape"
"""folder of a home that keeps what was pulled of runs' topics, each under its run's name"""
SWITCH_FOLDER = "switch"
"""folder of a run in which a file pulls the kill switch"""
STRATEGY_FOLDER = "strategies"
"""folder of a run that keeps the strategy files it was played with"""
NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,40}$")


class RunUnknown(Failure):
    """No run has that name."""

    exit_code = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run."""

    name: str
    run_id: str
    source: str
    """what is played, in words"""
    preset: str
    """configuration file"""
    feed: str
    is_paced: bool
    is_synthetic: bool
    shards: tuple[int, ...]
    instrument_partitions: int
    account_partitions: int
    started_ns: int
    ended_ns: int = 0
    result: str = ""
    """empty while it runs; then complete, stopped or failed"""
    execution_rules: dict[str, int] = field(default_factory=dict)
    """rules of execution that its settings made, by name; empty: as they are by default"""
    data_warnings: tuple[str, ...] = ()
    """what was found in its files before it began, and a report must tell"""

    @property
    def prefix(self) -> str:
        """In front of its topics."""
        return f"{self.name}."


def strategies_of(folder: Path) -> Path | None:
    """The strategy files of the run in that folder; None where it has none."""
    found = folder / STRATEGY_FOLDER
    return found if found.is_dir() else None


class RunStore:
    """The folder of runs."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "runs"
        self._tapes = home / TAPE_FOLDER

    def folder(self, name: str) -> Path:
        """Where a run keeps its keys and logs."""
        return self._folder / name

    def tape_folder(self, name: str) -> Path:
        """Where the tape of a run is kept."""
        return self._tapes / name

    def new_name(self, stem: str) -> str:
        """The first free name: stem-1, stem-2 ..."""
        number = 1
        while self.folder(f"{stem}-{number}").exists():
            number += 1
        return f"{stem}-{number}"

    def save(self, run: Run) -> None:
        """Writes run.json, whole or not at all."""
        assert NAME.match(run.name), run.name
        folder = self.folder(run.name)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "run.json.part"
        part.write_text(json.dumps(asdict(run), indent=2) + "\n")
        part.replace(folder / "run.json")

    def end(self, run: Run, result: str) -> Run:
        """Notes how a run ended."""
        ended = replace(run, ended_ns=clock.wall_ns(), result=result)
        self.save(ended)
        return ended

    def all(self) -> list[Run]:
        """Every run, oldest first."""
        found = [self._read(path) for path in sorted(self._folder.glob("*/run.json"))]
        return sorted(found, key=lambda run: run.started_ns)

    def get(self, name: str) -> Run:
        """A run by name, or RunUnknown; `last` is the newest."""
        runs = self.all()
        if name in ("", "last") and runs:
            return runs[-1]
        for run in runs:
            if run.name == name:
                return run
        names = ", ".join(run.name for run in runs) or "none yet: try `tapeline demo`"
        raise RunUnknown(f"There is no run {name or 'at all'}.", f"The runs are: {names}.")

    def delete(self, name: str) -> None:
        """Removes the folder and the tape; the topics and rows are the caller's."""
        shutil.rmtree(self.tape_folder(name), ignore_errors=True)
        shutil.rmtree(self.folder(name))

    @staticmethod
    def _read(path: Path) -> Run:
        data = json.loads(path.read_text())
        tuples = {name: tuple(data.get(name, ())) for name in ("shards", "data_warnings")}
        return Run(**{**data, **tuples})
