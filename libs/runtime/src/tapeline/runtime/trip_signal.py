"""SIGUSR1 pulls the kill switch. It is blocked first of all, so that it cannot end a process that
has not begun to listen yet, and waits until a thread of its own fetches it."""

from __future__ import annotations

import signal
from typing import Final

SIGNAL: Final = signal.SIGUSR1


def block() -> None:
    """To be called before the first thread is started: threads inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (SIGNAL,))


def wait() -> int:
    """Blocks the calling thread until the signal comes; every other one must have it blocked.

    Without a bound: Python's `sigtimedwait` makes up a signal where a stop of the process
    (SIGSTOP, SIGCONT) outlasts the bound.
    """
    return int(signal.sigwait((SIGNAL,)))
