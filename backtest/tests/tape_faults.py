"""What a process does that ends, or has no room left, in the middle of a pull."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import IO, Any

from tape_samples import a_log

from tapeline.backtest.tape import store, tape_file
from tapeline.backtest.tape.store import Tape
from tapeline.backtest.tape.tape_file import TapeUnwritable

STEPS = ("temporary file", "half of it", "all of it", "moved", "topic noted", "ends noted")
NO_ROOM = 3
ROOM_BYTES = 20_000


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def pull_up_to(folder: Path, step: str) -> None:
    """Pulls in small files, closes the tape; dies at a step of its second file or of a note."""
    store.CHUNK = 10  # type: ignore[misc]
    _die_at(step)
    tape = Tape(folder)
    tape.pull(a_log(), ["ticks"])
    tape.close()
    die()


def _die_at(step: str) -> None:
    real_replace, real_open = os.replace, Path.open

    def is_meant(path: Any) -> bool:
        name = Path(path).name
        if step == "topic noted":
            return name.startswith(store.TOPIC)
        if step == "ends noted":
            return name.startswith(store.ENDS)
        return name.startswith(f"{10:020d}")

    def opened(path: Path, *rest: Any, **more: Any) -> IO[Any]:
        file = real_open(path, *rest, **more)
        if is_meant(path) and step == "temporary file":
            die()
        return _Half(file) if is_meant(path) and step == "half of it" else file  # type: ignore[return-value]

    def replaced(part: Path, path: Path) -> None:
        if is_meant(path) and step in ("all of it", "topic noted", "ends noted"):
            die()
        real_replace(part, path)
        if is_meant(path) and step == "moved":
            die()

    Path.open = opened  # type: ignore[method-assign,assignment]
    tape_file.os.replace = replaced  # type: ignore[assignment]


class _Half:
    """A file of which half is written."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def __enter__(self) -> _Half:
        return self

    def __exit__(self, *_error: object) -> None:
        raise AssertionError("dead before")

    def write(self, content: memoryview) -> None:
        self._file.write(content[: len(content) // 2])
        self._file.flush()
        die()


def pull_without_room(folder: Path) -> None:
    """Pulls where no file may be larger than its first ones."""
    store.CHUNK = 10  # type: ignore[misc]
    log = a_log()
    place = ("ticks", 0)
    raws = log.records[place]
    # Only the second file is large: nothing of it can be made smaller.
    raws[10:12] = [
        type(raw)(*place, raw.offset, raw.append_ms, raw.key, os.urandom(ROOM_BYTES), raw.headers)
        for raw in raws[10:12]
    ]
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))
    try:
        Tape(folder).pull(log, ["ticks"])
    except TapeUnwritable as error:
        os._exit(NO_ROOM if "cannot be written: File too large" in error.cause else 4)
