"""Places where a fault test may stop this process: FAILPOINT=name:kill|stop|raise:nth.

Off, which is the default, a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import signal
import threading

ENVIRONMENT = "FAILPOINT"
NAMES = (
    "before_begin",
    "after_begin",
    "after_outputs",
    "before_commit",
    "after_commit",
    "after_fence",
    "after_recovery",
)
_setting = os.environ.get(ENVIRONMENT, "")
_lock = threading.Lock()
_hits = 0


class FailpointError(Exception):
    """Raised by a failpoint of kind `raise`."""


def failpoint(name: str) -> None:
    """Kills, stops or fails this process when it is told to, here, at the nth visit."""
    if not _setting:
        return
    global _hits
    wanted, kind, nth = _setting.split(":")
    if wanted != name:
        return
    with _lock:
        _hits += 1
        if _hits != int(nth):
            return
    if kind == "raise":
        raise FailpointError(name)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    # Of a stop that is meant for the process another thread may take notice first, and this one
    # goes on until that has been its turn.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
