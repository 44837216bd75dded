"""A strategy in one file: one class that keeps the contract of a trigger (trigger.py), no package.

    strategy = load_strategy_file(Path("mine.py"))
    strategy.offer()          config records of this process may now name it

It is known by its name and the digest of its source, `mine@0123456789abcdef`: a config record that
names it says which code ran, and another content of the file is another strategy. The file is run
as it is, with all that Python can do: only load what you would run yourself.

Errors:
    StrategyUnusable    the file cannot be read or run, or holds no strategy, or several
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tapeline.agents import plugins, trigger
from tapeline.agents.plugins import GIVEN
from tapeline.runtime import exits

NAMED_MAX: Final = 8
"""files that a message names"""
SHOWN_DIGEST: Final = 16
"""Characters of the digest in a name."""
CONTRACT: Final = ("initial", "step", "is_warm", "dump", "load")
REMEDY: Final = (
    "A strategy file holds one frozen dataclass with the fields name and interval_ns and the "
    "methods initial, step and is_warm; JsonState gives dump and load. "
    "See docs/how-to-add-a-trigger.md."
)


class StrategyUnusable(exits.Failure):
    """A file that is no strategy."""

    exit_code = exits.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyFile:
    """A strategy as it was found in a file."""

    path: Path
    name: str
    """the file's name without its ending"""
    digest: str
    """SHA-256 of the file's bytes, hex"""
    implementation: Callable[..., Any]
    """cls(name=..., interval_ns=..., **parameters), a TriggerCore"""

    @property
    def implementation_name(self) -> str:
        """What a config record calls it."""
        return f"{self.name}@{self.digest[:SHOWN_DIGEST]}"

    def offer(self) -> None:
        """Lets config records name it in this process."""
        plugins.offer(trigger.ENTRY_POINTS, self.implementation_name, self.implementation)


def load_strategy_file(path: Path) -> StrategyFile:
    """Runs the file and finds its strategy; raises StrategyUnusable."""
    try:
        source = path.read_bytes()
    except FileNotFoundError as error:
        raise _absent(path) from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StrategyUnusable(
            f"The strategy file {path} cannot be read: {why}.",
            "Name a Python file that this user may read.",
        ) from error
    digest = sha256(source).hexdigest()
    module = _module(path, source, f"tapeline_strategy_{path.stem}_{digest[:SHOWN_DIGEST]}")
    return StrategyFile(
        path=path, name=path.stem, digest=digest, implementation=_strategy_of(module, path)
    )


def _absent(path: Path) -> StrategyUnusable:
    folder = path.absolute().parent
    if not folder.is_dir():
        return StrategyUnusable(
            f"There is no strategy file {path}: there is no folder {folder}.",
            "Write the path from the folder in which the command is typed, or whole.",
        )
    there = sorted(other.name for other in folder.glob("*.py"))
    more = " …" if len(there) > NAMED_MAX else ""
    listed = ", ".join(there[:NAMED_MAX]) + more if there else "none"
    return StrategyUnusable(
        f"There is no strategy file {path.name} in {folder}.",
        f"Python files there: {listed}. Write the path from the folder in which the command is "
        "typed, or whole. To begin one, see docs/how-to-add-a-trigger.md.",
    )


def offer_folder(folder: Path) -> tuple[StrategyFile, ...]:
    """Offers every strategy file of a folder, by name; raises StrategyUnusable."""
    if not folder.is_dir():
        raise StrategyUnusable(f"There is no folder {folder} of strategy files.", "Name it right.")
    found = tuple(load_strategy_file(path) for path in sorted(folder.glob("*.py")))
    for strategy in found:
        strategy.offer()
    return found


def _module(path: Path, source: bytes, name: str) -> ModuleType:
    """The file as a module: what was digested is what runs, and nothing is written beside it."""
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    # Dataclasses look their annotations up there.
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102  # what it is for
    except Exception as error:
        del sys.modules[name]
        where = _line_of(error, path)
        said = f"{type(error).__name__}: {error}"
        raise StrategyUnusable(f"{path}{where} cannot be run: {said}.", REMEDY) from error
    return module


def _line_of(error: Exception, path: Path) -> str:
    """Where in the file it failed, as text behind its name."""
    if isinstance(error, SyntaxError):
        return f" line {error.lineno}"
    numbers = (
        [
            frame.lineno
            for frame in inspect.getinnerframes(error.__traceback__)
            if frame.filename == str(path)
        ]
        if error.__traceback__ is not None
        else []
    )
    return f" line {numbers[-1]}" if numbers else ""


def _strategy_of(module: ModuleType, path: Path) -> Callable[..., Any]:
    own = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and item.__module__ == module.__name__ and hasattr(item, "step")
    ]
    if len(own) != 1:
        names = ", ".join(item.__name__ for item in own) or "none"
        raise StrategyUnusable(f"{path} must hold one class with a step; it has {names}.", REMEDY)
    found = own[0]
    missing = [name for name in CONTRACT if not callable(getattr(found, name, None))]
    held = [field.name for field in fields(found)] if is_dataclass(found) else []
    missing += [name for name in GIVEN if name not in held]
    if missing:
        raise StrategyUnusable(f"{path}: {found.__name__} lacks {', '.join(missing)}.", REMEDY)
    return found
