"""Ends aiokafka clients in every case.

Their stop() waits for what can no longer happen while the broker is away, and lets the cancellation
of its own tasks out as if it were ours. So it runs in a task of its own, for a limited time; what
is left is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

from aiokafka.errors import ProducerClosed

STOP_S: Final = 5.0
LOST_S: Final = 1.0
"""for a client that is lost anyway"""


async def has_ended(stop: Coroutine[Any, Any, None], limit_s: float = STOP_S) -> bool:
    """Runs a client's stop; True when it came to its end, however, within the limit."""
    task = asyncio.create_task(stop)
    await asyncio.wait({task}, timeout=limit_s)
    return not await cut_off([task])


async def cut_off(tasks: Iterable[asyncio.Future[Any] | None]) -> bool:
    """Cancels what still runs, and looks at every outcome; True when something had to be."""
    known = {task for task in tasks if task is not None}
    running = {task for task in known if not task.done()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=STOP_S)
    for task in known:
        if task.done() and not task.cancelled():
            task.exception()  # looked at, so that nothing complains of it later
    return bool(running)


def abandon_batches(producer: Any) -> None:
    """Fails what a producer has not delivered, so that nothing waits for it."""
    accumulator = producer._message_accumulator
    batches = [batch for queue in accumulator._batches.values() for batch in queue]
    batches += accumulator._pending_batches
    accumulator.fail_all(ProducerClosed())
    for batch in batches:
        for future in (batch.future, batch._drain_waiter):
            if future.done() and not future.cancelled():
                future.exception()
