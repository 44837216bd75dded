"""The strategy files that a run was played with, for whoever steps its triggers again."""

from __future__ import annotations

import shutil
from pathlib import Path

from tapeline.agents.strategy_file import StrategyFile, load_strategy_file, offer_folder


def offer_kept(folder: Path | None) -> None:
    """Lets the config records of a run name the files of that folder; None: it has none."""
    if folder is not None:
        offer_folder(folder)


def kept(path: Path, folder: Path) -> StrategyFile:
    """Copies a strategy file into a run's folder, so that a replay has the code that ran.

    Raises StrategyUnusable, before anything is written, for a file that is no strategy."""
    strategy = load_strategy_file(path)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / path.name)
    return strategy
