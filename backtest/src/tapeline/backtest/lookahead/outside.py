"""Notices a strategy that looks outside of what it is given: files, sockets, processes.

A hook of the interpreter (sys.addaudithook) hears of every file that is opened, every connection
and every process that is started. It cannot be taken off again, and says nothing but while asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

TOLD: Final = (
    "open",
    "os.listdir",
    "os.scandir",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "sqlite3.connect",
    "urllib.Request",
)
CODE: Final = (".py", ".pyc", ".so", ".pyd", ".dylib")
"""Endings of files that are opened to import something."""
_listeners: list[list[str]] = []
_installed: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listeners or event not in TOLD:
        return
    subject = str(arguments[0]) if arguments else ""
    if event == "socket.connect" and len(arguments) > 1:
        subject = str(arguments[1])
    is_import = event in ("os.listdir", "os.scandir") or subject.endswith(CODE)
    if not is_import:
        _listeners[-1].append(f"{event} {subject}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What the block has looked at outside, in its order, as it is found out."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    found: list[str] = []
    _listeners.append(found)
    try:
        yield found
    finally:
        _listeners.remove(found)
