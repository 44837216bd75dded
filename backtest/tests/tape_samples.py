"""Ticks in a log, and processes that pull them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from memory_log import MemoryLog

from tapeline.backtest.tape import store
from tapeline.backtest.tape.store import Tape

TICKS = ("ticks", 0)


def a_log(count: int = 25, markers: int = 1) -> MemoryLog:
    """Ticks of partition 0, with headers here and there, and gaps."""
    log = MemoryLog(markers=markers)
    for number in range(count):
        headers = (("event_id", b"%d" % number), ("producer", b"x")) if number % 3 else ()
        log.add(TICKS, b"value %d" % number, headers, gap=number % 7 == 6)
    return log


class Dying(MemoryLog):
    """A log whose reader is killed in its third file."""

    def read(self, ranges: Any) -> Any:
        if len(self.reads) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(ranges)


def pull_and_die(folder: Path) -> None:
    """What a process does that is killed while it pulls."""
    store.CHUNK = 10  # type: ignore[misc]
    Tape(folder).pull(Dying(a_log().records, markers=1), ["ticks"])


def pull(folder: Path) -> None:
    """What a process does that pulls in many small files."""
    store.CHUNK = 3  # type: ignore[misc]
    Tape(folder).pull(a_log(200), ["ticks"])
