"""The adapters of a process, each behind its throttle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tapeline.contracts.config import Venue
from tapeline.contracts.orders import ReportKind, VenueReport
from tapeline.execution.outside.last_check import World
from tapeline.execution.outside.throttle import Throttle
from tapeline.execution.venues.interface import (
    AdapterContext,
    VenueAdapter,
    VenueThrottled,
    adapter_factory,
)
from tapeline.runtime import clock

ASK_S: Final = 30.0
"""Adapters bound every request by themselves; this is for one that does not."""
Answer = TypeVar("Answer")


class Link:
    """One venue: its adapter and its throttle."""

    def __init__(self, record: Venue, adapter: VenueAdapter) -> None:
        self.record = record
        self.adapter = adapter
        self.throttle = Throttle(record.requests_per_s)

    async def ask(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asks as soon as the throttle allows; whatever fails is counted and raised."""
        await self.turn()
        return await self.ask_now(call)

    async def turn(self) -> None:
        """Returns when the throttle's pause is over."""
        pause_s = self.throttle.pause_s()
        while pause_s:
            await asyncio.sleep(pause_s)
            pause_s = self.throttle.pause_s()

    async def ask_now(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asks at once: the throttle's pause is over."""
        is_try = self.throttle.took()
        try:
            answer = await asyncio.wait_for(call(), ASK_S)
        except VenueThrottled as error:
            self.throttle.told_to_wait(error.retry_after_s)
            raise
        except BaseException:
            self.throttle.failed(is_try)
            raise
        if _is_silence(answer):
            self.throttle.failed(is_try)
        else:
            self.throttle.succeeded()
        return answer


def _is_silence(answer: object) -> bool:
    return isinstance(answer, list | tuple) and any(
        isinstance(one, VenueReport) and one.kind is ReportKind.TIMEOUT for one in answer
    )


class Links:
    """Makes links when they are first needed, and anew when a venue's record has changed."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._links: dict[str, Link] = {}

    def of(self, world: World, venue: str) -> Link:
        """The link of a configured venue; raises UnknownAdapter."""
        record = world.venues[venue]
        known = self._links.get(venue)
        if known is None or known.record != record:
            context = AdapterContext(
                run_id=self._run_id,
                venue=record,
                instruments=tuple(world.instruments.values()),
                accounts=[one for one in world.accounts.values() if one.venue == venue],
                now_ns=clock.wall_ns,
            )
            known = Link(record, adapter_factory(record.adapter)(context))
            self._links[venue] = known
        return known

    async def close(self) -> None:
        """Lets go of all adapters."""
        for link in self._links.values():
            await link.adapter.close()
