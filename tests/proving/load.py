"""A process that does nothing but keep a processor busy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BUSY = "while True: pass"


@contextmanager
def busy_processor() -> Iterator[None]:
    """One processor is busy while the block runs; the process is pinned where that is possible."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        yield
    finally:
        process.kill()
        process.wait()
