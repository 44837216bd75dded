"""The intents for an event loop: one thread of its own, and patience while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from tapeline.execution.intents.errors import IntentsAway
from tapeline.execution.intents.store import IntentState, IntentStore, Page
from tapeline.runtime import clock
from tapeline.runtime.failpoints import failpoint
from tapeline.runtime.telemetry import get_logger

BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
Result = TypeVar("Result")
log = get_logger(__name__)


class IntentLedger:
    """Waits for a database that is away; everything else is raised."""

    def __init__(self, store: IntentStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intents")
        self.outages = 0
        """attempts that found the database away"""

    async def write(self, owner: tuple[int, int], page: Page) -> tuple[frozenset[str], bool]:
        """(ids that are new, whether an attempt before may have written them already)."""
        outages = self.outages

        def work() -> frozenset[str]:
            failpoint("before_intent")
            return self._store.write(owner, page, clock.wall_ns())

        new = await self._surely(work)
        return new, self.outages > outages

    async def settle(self, command_id: str, state: IntentState) -> None:
        """Moves a command's state."""
        await self._surely(lambda: self._store.settle(command_id, state))

    def close(self) -> None:
        """Ends the thread and drops the connection."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._store.close()

    async def _surely(self, work: Callable[[], Result]) -> Result:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._thread, work)
            except IntentsAway as error:
                if not failures:
                    log.warning("intents_away", error=error.cause)
                self.outages += 1
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
