"""The watch for an event loop: its consumer lives in one thread; callers share one look."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tapeline.execution.outside.last_check import World
from tapeline.execution.outside.watch import Watch

LOOK_S: Final = 1.0
"""How long the end of `control` may take to be reached before a send is refused."""


class Watching:
    """Every send looks anew; those that wait at the same time share the next look."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self._next: asyncio.Task[World] | None = None
        self._running: asyncio.Task[World] | None = None

    @property
    def world(self) -> World:
        """What is known, however old."""
        return self._watch.world

    async def caught_up(self) -> World:
        """The world behind a look that began after this call; raises ControlUnread."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._look(self._running))
        return await asyncio.shield(self._next)

    async def _look(self, before: asyncio.Task[World] | None) -> World:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._watch.catch_up, LOOK_S)

    def close(self) -> None:
        """Ends the thread, then the consumer."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._watch.close()
