"""Python's garbage collector, set for a process that runs for weeks and makes many small records.

Nothing of ours needs it to be prompt: records hold no cycles and go when nobody holds them. As it
comes, it walks through every batch several times, and now and then through all that was imported.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 100)
"""new objects before the youngest are looked at, how often that is before the older ones are"""


def spare_what_is_loaded() -> None:
    """What is there now stays and is never walked through again; once, when a service is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
