"""Which tests come to which functions of a file, so that a mutant is shown to those tests alone.

A test that leaned on what an earlier one has cached may be missed: then a mutant lives that would
have been noticed, never the other way round.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final

LIMIT_S: Final = 120
"""for the tests of one mutant"""
NOTING_LIMIT_S: Final = 1200
WITHIN: Final = ".<locals>"


@dataclass(frozen=True, slots=True)
class Reached:
    """What each test came to, and how long it took."""

    functions: dict[str, list[str]]
    """test -> qualified names of the functions"""
    seconds: dict[str, float]

    def items_at(self, items: Sequence[Any], name: str) -> list[Any]:
        """The tests that come to a function, the quickest first."""
        chosen = [item for item in items if name in self.functions[item.nodeid]]
        return sorted(chosen, key=lambda item: self.seconds[item.nodeid])


def noted(items: Sequence[Any], path: str) -> Reached | None:
    """Runs the tests once, in a child, and notes what they come to; None if one of them fails."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "reached.json"
        if not passes(lambda: _note(items, path, place), NOTING_LIMIT_S):
            return None
        return Reached(**json.loads(place.read_text()))


def _note(items: Sequence[Any], path: str, place: Path) -> int:
    functions: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    for item in items:
        found: dict[str, None] = {}

        def look(frame: FrameType, event: str, _: Any, found: dict[str, None] = found) -> None:
            if event == "call" and frame.f_code.co_filename == path:
                found[frame.f_code.co_qualname.split(WITHIN)[0]] = None

        started_s = time.monotonic()
        threading.setprofile(look)
        sys.setprofile(look)
        try:
            code = run([item])
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        if code:
            return code
        functions[item.nodeid], seconds[item.nodeid] = list(found), time.monotonic() - started_s
    place.write_text(json.dumps({"functions": functions, "seconds": seconds}))
    return 0


def run(items: Sequence[Any]) -> int:
    """1 at the first test that fails."""
    for index, item in enumerate(items):
        following = items[index + 1] if index + 1 < len(items) else None
        item.session.testsfailed = 0
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if item.session.testsfailed:
            return 1
    return 0


def passes(run: Callable[[], int], limit_s: int = LIMIT_S) -> bool:
    """Whether `run` returns 0 in a child of its own, silently and in time."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limit_s)  # ends the child: a mutant that hangs is noticed
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(null, stream)
        code = run()
    finally:
        os._exit(code)
