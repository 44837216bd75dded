"""A stage whose step never gives the loop back, as a process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Sequence

from window_stage import Settings, WindowStage

from tapeline.runtime.core import Input, Output
from tapeline.runtime.derived import run_stages
from tapeline.runtime.settings import load_settings, main_guard


class HangingStage(WindowStage):
    """Hangs with the first input."""

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        threading.Event().wait()
        return []


if __name__ == "__main__":
    sys.exit(main_guard(lambda: run_stages([HangingStage()], load_settings(Settings))))
