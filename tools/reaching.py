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
from types import FrameType
from typing import Any, Final

LIMIT_S: Final = 120
"""for the tests of one mutant"""
NOTING_LIMIT_S: Final = 1200
WITHIN: Final = ".<locals>"
OURS: Final = "/src/tapeline/"


@dataclass(frozen=True, slots=True)
class Reached:
    """What each test came to, and how long it took."""

    functions: dict[str, dict[str, list[str]]]
    """test -> file -> qualified names of its functions"""
    seconds: dict[str, float]

    def items_at(self, items: Sequence[Any], path: str, name: str = "") -> list[Any]:
        """The tests that come to a function, or to any of a file, the quickest first."""
        chosen = [item for item in items if self._is_at(item.nodeid, path, name)]
        return sorted(chosen, key=lambda item: self.seconds[item.nodeid])

    def _is_at(self, test: str, path: str, name: str) -> bool:
        names = self.functions.get(test, {}).get(path, [])
        return name in names if name else bool(names)


def noted(items: Sequence[Any], place: Path) -> Reached | None:
    """What the tests come to, from `place` or by one run in a child; None if one of them fails."""
    if not place.exists() and not passes(lambda: _note(items, place), NOTING_LIMIT_S):
        return None
    return Reached(**json.loads(place.read_text()))


def _note(items: Sequence[Any], place: Path) -> int:
    functions: dict[str, dict[str, list[str]]] = {}
    seconds: dict[str, float] = {}
    for item in items:
        found: dict[str, dict[str, None]] = {}

        def look(
            frame: FrameType, event: str, _: Any, found: dict[str, dict[str, None]] = found
        ) -> None:
            path = frame.f_code.co_filename
            if event == "call" and OURS in path:
                name = frame.f_code.co_qualname.split(WITHIN)[0]
                found.setdefault(path, {})[name] = None

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
        functions[item.nodeid] = {path: list(names) for path, names in found.items()}
        seconds[item.nodeid] = time.monotonic() - started_s
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
