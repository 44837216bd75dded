"""A process that plays for another ends with it, however that one ends.

A parent that is killed tells nobody, and a process of a pool waits for its next task for ever: it
holds both ends of the pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Final

PARENT_GONE: Final = 1


def end_with_parent() -> None:
    """To be called once in a process that `multiprocessing` has started."""
    threading.Thread(target=_wait, name="with-parent", daemon=True).start()


def _wait() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(PARENT_GONE)
