"""SIGUSR1 pulls the kill switch. It is blocked first of all, so that it cannot end a process that
has not begun to listen yet, and waits until a thread of its own fetches it."""

from __future__ import annotations

import signal
import sys
from typing import Final

SIGNAL: Final = signal.SIGUSR1


def block() -> None:
    """To be called before the first thread is started: threads inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (SIGNAL,))


def wait(seconds_max: float) -> int | None:
    """Blocks the calling thread until the signal comes, its number then; None after that time.

    Every other thread must have it blocked.
    """
    if sys.platform == "darwin":  # knows no bound
        return int(signal.sigwait((SIGNAL,)))
    found = signal.sigtimedwait((SIGNAL,), seconds_max)
    return None if found is None else int(found.si_signo)
