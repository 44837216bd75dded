"""Hears one account at its venue: the stream as it comes, and polls that find what it left out.

Each poll takes the fills first and the statement behind them, so that a statement is never ahead of
the fills by more than what happens in between.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from tapeline.contracts.orders import (
    TradeBust,
    VenueOpenOrder,
    VenuePosition,
    VenueReport,
    VenueStatement,
)
from tapeline.execution.intents.store import IntentState
from tapeline.execution.outside.courier import Courier, Tracked
from tapeline.execution.outside.links import Link
from tapeline.execution.venues.interface import VenueUnavailable
from tapeline.runtime import clock
from tapeline.runtime.exits import Failure
from tapeline.runtime.ids import derive_id
from tapeline.runtime.telemetry import get_logger

RECONNECT_S: Final = 0.2
RECONNECT_S_MAX: Final = 5.0
OVERLAP_NS: Final = 120_000_000_000
"""Polls ask again for the last two minutes: what was late is found, the rest is known."""
FIRST_NS: Final = 3_600_000_000_000
"""The first poll of a process goes back so far: nobody has listened meanwhile."""
MISSING_MAX: Final = 2
"""Polls in a row without an order we hold to be open, until the venue is asked after it."""
log = get_logger(__name__)


@dataclass(kw_only=True)
class Listener:
    """One account's."""

    courier: Courier
    account_id: str
    venue: str
    shard: int
    poll_s: float

    @property
    def link(self) -> Link:
        """The venue's, as it is configured now."""
        return self.courier.links.of(self.courier.watching.world, self.venue)

    async def stream(self) -> None:
        """Publishes what the stream says; connects again when it ends."""
        pause_s = RECONNECT_S
        while True:
            try:
                async for report in self.link.adapter.stream(self.account_id):
                    pause_s = RECONNECT_S
                    await self._heard(report)
            except Failure:
                raise
            except Exception as error:  # noqa: BLE001 - polls find what a broken stream leaves out
                log.info("stream_ended", account=self.account_id, error=str(error))
            await asyncio.sleep(max(pause_s, self.link.throttle.pause_s()))
            pause_s = min(pause_s * 2, RECONNECT_S_MAX)

    async def poll(self) -> None:
        """Polls for ever, one cycle after the other."""
        since_ns = self._oldest_ns()
        while True:
            began_ns = clock.wall_ns()
            try:
                await self.cycle(since_ns)
                since_ns = began_ns - OVERLAP_NS
            except Failure:
                raise
            except VenueUnavailable as error:
                log.info("poll_refused", account=self.account_id, error=str(error))
            except Exception as error:  # noqa: BLE001 - a venue's fault must not end the process
                log.warning("poll_failed", account=self.account_id, error=str(error))
            await asyncio.sleep(self.poll_s)

    def _oldest_ns(self) -> int:
        written = [
            one.written_ns
            for one in self.courier.tracked.values()
            if one.account_id == self.account_id
        ]
        return min([clock.wall_ns() - FIRST_NS, *written]) - OVERLAP_NS

    async def cycle(self, since_ns: int) -> None:
        """One poll: fills, then the statement, then orders that have gone missing."""
        link, name = self.link, self.account_id
        for report in await link.ask(lambda: link.adapter.poll_fills(name, since_ns)):
            await self._heard(report)
        statement = await self._statement(link, since_ns)
        await self.courier.reports.publish(self.shard, [statement])
        await self._look_for_missing(link, statement)

    async def _statement(self, link: Link, since_ns: int) -> VenueStatement:
        adapter, name = link.adapter, self.account_id
        entries = await link.ask(lambda: adapter.poll_entries(name, since_ns))
        positions = await link.ask(lambda: adapter.poll_positions(name))
        balances = await link.ask(lambda: adapter.poll_balances(name))
        orders = await link.ask(lambda: adapter.poll_orders(name))
        now_ns = clock.wall_ns()
        return VenueStatement(
            statement_id=derive_id(
                self.courier.run_id, f"venue/{self.venue}", name, f"At/{now_ns}"
            ),
            account_id=name,
            venue=self.venue,
            positions=tuple(
                VenuePosition(
                    instrument_id=one.instrument_id, quantity=one.quantity, price=one.price
                )
                for one in positions
            ),
            balances=tuple(balances),
            open_orders=tuple(
                VenueOpenOrder(
                    client_order_id=one.client_order_id,
                    venue_order_id=one.venue_order_id,
                    instrument_id=one.instrument_id,
                    quantity=one.quantity,
                    filled_quantity=one.filled_quantity,
                )
                for one in orders
            ),
            entries=tuple(entries),
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )

    async def _look_for_missing(self, link: Link, statement: VenueStatement) -> None:
        """Asks after orders that we hold to be open and the venue does not list."""
        listed = {one.client_order_id for one in statement.open_orders}
        for one in list(self.courier.tracked.values()):
            if one.account_id != self.account_id or one.state is not IntentState.ANSWERED:
                continue
            one.missing = 0 if one.order_id in listed else one.missing + 1
            if one.missing >= MISSING_MAX:
                one.missing = 0
                await self._ask_after(one, link)

    async def _ask_after(self, one: Tracked, link: Link) -> None:
        said = await link.ask(lambda: link.adapter.query(one.command))
        await self.courier.heard(one, said)

    async def _heard(self, report: VenueReport | TradeBust) -> None:
        one = self.courier.tracked.get(report.client_order_id)
        if one is None:
            await self.courier.reports.publish(self.shard, [report])
        else:
            await self.courier.heard(one, [report])
