"""Is the data folder fit for the stack? Asked before anything is written."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tapeline.cli.stack.errors import FolderUnfit

FREE_BYTES_MIN = 500_000_000
HOME_VARIABLE = "TAPELINE_HOME"
_ANOTHER = f"or set {HOME_VARIABLE} to a folder on another disk."


def stack_root(project: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The stack's folder: TAPELINE_HOME, else `.tapeline` in the project."""
    named = environment.get(HOME_VARIABLE)
    return Path(named).expanduser().absolute() if named else project.absolute() / ".tapeline"


def require_fit(folder: Path) -> None:
    """Raise FolderUnfit unless the folder, or where it will be made, is writable and has room."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise FolderUnfit(
            f"{existing} is a file, but the stack needs a folder at {folder}.",
            f"Move it away, {_ANOTHER}",
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise FolderUnfit(
            f"The folder {existing} is not writable.",
            f"Give yourself the right to write there, {_ANOTHER}",
        )
    free = shutil.disk_usage(existing).free
    if free < FREE_BYTES_MIN:
        raise FolderUnfit(
            f"Only {free / 1e6:.0f} MB are free for {folder}; the stack needs "
            f"{FREE_BYTES_MIN / 1e6:.0f} MB.",
            f"Free some space, {_ANOTHER}",
        )
