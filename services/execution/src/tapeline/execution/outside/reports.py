"""Writes what venues say to `venue-reports`, acknowledged before anything is built on it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from tapeline.contracts import topics
from tapeline.contracts.orders import NotSent, TradeBust, VenueReport, VenueStatement
from tapeline.runtime.core import Output
from tapeline.runtime.outbox import Outbox

REMEMBERED: Final = 100_000
Heard = VenueReport | TradeBust | NotSent | VenueStatement


class Reports:
    """Leaves out fills and busts that it has written before: polls repeat the stream."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._written: OrderedDict[str, None] = OrderedDict()
        self._turn = asyncio.Lock()

    async def publish(self, shard: int, said: Iterable[Heard]) -> None:
        """Returns when Kafka has them, in the order of the calls; raises ClientLost."""
        async with self._turn:
            await self._publish(shard, said)

    async def _publish(self, shard: int, said: Iterable[Heard]) -> None:
        fresh = [one for one in said if not self._is_repeated(one)]
        if not fresh:
            return
        outputs = [
            Output(
                topic=topics.VENUE_REPORTS,
                key=one.account_id,
                record=one,
                event_id=id_of(one),
                causation_id=one.command_id if isinstance(one, NotSent) else "",
            )
            for one in fresh
        ]
        await self._outbox.send(outputs, partition=shard)
        for one in fresh:
            self._written[id_of(one)] = None
        while len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    def _is_repeated(self, one: Heard) -> bool:
        # States may come again and mean something each time; what was traded happens once.
        is_trade = isinstance(one, TradeBust) or (
            isinstance(one, VenueReport) and bool(one.trade_id)
        )
        return is_trade and id_of(one) in self._written


def id_of(one: Heard) -> str:
    """The record's own id."""
    return one.statement_id if isinstance(one, VenueStatement) else one.report_id
