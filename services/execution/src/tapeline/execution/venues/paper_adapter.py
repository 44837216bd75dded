"""The paper venue behind the adapter interface, driven by a script of ticks.

Execution itself does not use it: there the paper venue runs inside the core. It is what the
conformance suite tests, and an example of an adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from tapeline.contracts.orders import (
    ReportKind,
    VenueBalance,
    VenueCommand,
    VenueEntry,
    VenueReport,
)
from tapeline.execution.venues.interface import AdapterContext, HeldPosition, OpenOrder
from tapeline.execution.venues.matching import Tick
from tapeline.execution.venues.paper import PaperEvent, PaperVenue
from tapeline.execution.venues.paper_state import PaperAccount, PaperState
from tapeline.runtime.core import TimerFired


class PaperAdapter:
    """Holds the venue's state and hands its reports out."""

    def __init__(self, context: AdapterContext) -> None:
        self._context = context
        self._core = PaperVenue(context.run_id)
        self._state = PaperState()
        self._reports: dict[str, asyncio.Queue[VenueReport | None]] = {}
        self._fills: dict[str, list[VenueReport]] = {}
        configured: tuple[PaperEvent, ...] = (
            context.venue,
            *context.instruments,
            *context.accounts,
        )
        for record in configured:
            self._state = self._core.evolve(self._state, record)

    async def submit(self, command: VenueCommand) -> Sequence[VenueReport]:
        """The venue's immediate answer, empty with latency."""
        return self._step(command)

    async def cancel(self, command: VenueCommand) -> Sequence[VenueReport]:
        """The venue's immediate answer, empty with latency."""
        return self._step(command)

    async def amend(self, command: VenueCommand) -> Sequence[VenueReport]:
        """The venue's immediate answer, empty with latency."""
        return self._step(command)

    async def query(self, command: VenueCommand) -> Sequence[VenueReport]:
        """ACCEPTED while the order is open, else NOT_FOUND."""
        return self._step(command)

    async def poll_orders(self, account_id: str) -> Sequence[OpenOrder]:
        """The account's open orders in time priority."""
        held = sorted(self._state.orders.values(), key=lambda held: held.sequence)
        return [
            OpenOrder(
                client_order_id=one.order.client_order_id,
                venue_order_id=one.venue_order_id,
                account_id=account_id,
                instrument_id=one.order.instrument_id,
                side=one.order.side,
                quantity=one.order.quantity,
                filled_quantity=one.filled_quantity,
                limit_price=one.order.limit_price,
                stop_price=one.order.stop_price,
            )
            for one in held
            if one.order.account_id == account_id
        ]

    async def poll_positions(self, account_id: str) -> Sequence[HeldPosition]:
        """The account's positions that are not zero."""
        account = self._state.accounts.get(account_id, PaperAccount())
        return [
            HeldPosition(account_id=account_id, instrument_id=instrument_id, quantity=quantity)
            for instrument_id, quantity in sorted(account.positions.items())
            if quantity
        ]

    async def poll_fills(self, account_id: str, since_ns: int) -> Sequence[VenueReport]:
        """The account's fills since then."""
        return [one for one in self._fills.get(account_id, ()) if one.ts_event_ns >= since_ns]

    async def poll_balances(self, account_id: str) -> Sequence[VenueBalance]:
        """The account's cash."""
        account = self._state.accounts.get(account_id, PaperAccount())
        return [
            VenueBalance(currency=currency, amount=amount)
            for currency, amount in sorted(account.cash.items())
        ]

    async def poll_entries(self, account_id: str, since_ns: int) -> Sequence[VenueEntry]:
        """None: cash moves by fills alone."""
        return ()

    def stream(self, account_id: str) -> AsyncIterator[VenueReport]:
        """Reports of ticks and timers, until the adapter is closed."""
        return self._read(self._queue(account_id))

    async def _read(self, queue: asyncio.Queue[VenueReport | None]) -> AsyncIterator[VenueReport]:
        while (report := await queue.get()) is not None:
            yield report

    async def close(self) -> None:
        """Ends the streams."""
        for queue in self._reports.values():
            queue.put_nowait(None)

    # ---- the script

    def tick(self, tick: Tick) -> None:
        """The next tick of the script."""
        self._publish(self._step(tick))

    def pass_time(self) -> None:
        """Lets the venue look at the clock."""
        self._publish(self._step(TimerFired(ts_event_ns=self._context.now_ns())))

    def _step(self, event: PaperEvent) -> tuple[VenueReport, ...]:
        said = self._core.decide(self._state, event, self._context.now_ns())
        self._state = self._core.evolve(self._state, event)
        reports = tuple(one for one in said if isinstance(one, VenueReport))
        for report in reports:
            self._state = self._core.evolve(self._state, report)
            if report.kind is ReportKind.FILLED:
                self._fills.setdefault(report.account_id, []).append(report)
        return reports

    def _publish(self, reports: Sequence[VenueReport]) -> None:
        for report in reports:
            self._queue(report.account_id).put_nowait(report)

    def _queue(self, account_id: str) -> asyncio.Queue[VenueReport | None]:
        return self._reports.setdefault(account_id, asyncio.Queue())
