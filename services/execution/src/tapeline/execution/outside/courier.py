"""Carries one command to its venue, and finds out what became of it.

An order leaves at most once. What was not answered is asked after until the venue says what it has,
or until nothing sent then can count any more; it is never sent again. Cancels and amendments may be
repeated: they change nothing the second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tapeline.contracts.orders import (
    CommandKind,
    Mode,
    NotSent,
    ReportKind,
    ReportNotice,
    TradeBust,
    VenueCommand,
    VenueReport,
    VenueStatement,
)
from tapeline.execution.admission import Refusal
from tapeline.execution.intents.ledger import IntentLedger
from tapeline.execution.intents.store import IntentState
from tapeline.execution.outside.last_check import LastCheck, last_moment_ns
from tapeline.execution.outside.links import Link, Links
from tapeline.execution.outside.reports import Reports
from tapeline.execution.outside.watch import ControlUnread
from tapeline.execution.outside.watching import Watching
from tapeline.execution.venues.interface import (
    UnknownAdapter,
    VenueThrottled,
    VenueUnavailable,
)
from tapeline.runtime import clock
from tapeline.runtime.failpoints import failpoint
from tapeline.runtime.ids import derive_id
from tapeline.runtime.telemetry import get_logger

SECOND_NS: Final = 1_000_000_000
ASK_AGAIN_S: Final = 0.1
ASK_AGAIN_S_MAX: Final = 1.0
SILENT: Final = (ReportKind.TIMEOUT, ReportKind.NOT_FOUND)
Heard = VenueReport | TradeBust | NotSent | VenueStatement
log = get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Tracked:
    """An order that may live at a venue."""

    command: VenueCommand
    shard: int
    state: IntentState = IntentState.OPEN
    written_ns: int = 0
    is_canceled: bool = False
    """a cancel was asked for; an order that has not left yet does not leave any more"""
    missing: int = 0
    """polls in a row that did not list it among the open orders"""
    has_lived: bool = False
    """the venue has spoken of it: it cannot turn out not to have arrived"""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """set once the venue has answered, or the order has ended"""

    @property
    def order_id(self) -> str:
        """As the venue sees it."""
        return self.command.client_order_id

    @property
    def account_id(self) -> str:
        """Whose it is."""
        return self.command.approved.order.account_id


@dataclass(kw_only=True)
class Courier:
    """For all shards of a process; one event loop."""

    run_id: str
    check: LastCheck
    watching: Watching
    links: Links
    intents: IntentLedger
    reports: Reports
    skew_ns: int
    tracked: dict[str, Tracked] = field(default_factory=dict)
    """by client_order_id; those that have not ended"""
    posting: int = 0
    """requests on their way that make orders"""

    # ---- an order

    async def send(self, one: Tracked, refusal: Refusal | None) -> None:
        """Sends an order whose intent this process has just committed."""
        failpoint("after_intent")
        refusal = refusal or await self._turn(one)
        if refusal is not None:
            await self.not_sent(one, refusal)
            return
        self.posting += 1
        try:
            said = await self._post(one)
        except VenueUnavailable as error:
            await self.not_sent(one, _unavailable(error))
            return
        finally:
            self.posting -= 1
        failpoint("after_post")
        await self.heard(one, said)
        if not one.settled.is_set():
            await self.resolve(one)

    async def _turn(self, one: Tracked) -> Refusal | None:
        """Step three: waits until the venue may be asked, and looks at `control` as it is then."""
        while True:
            try:
                world = await self.watching.caught_up()
                pause_s = self.links.of(world, one.command.venue).throttle.pause_s()
            except ControlUnread as error:
                return Refusal(code="EXECUTION_CONTROL_UNREAD", reason=str(error))
            except (UnknownAdapter, KeyError) as error:
                return Refusal(code="EXECUTION_UNKNOWN_VENUE", reason=str(error))
            place = (one.shard, clock.wall_ns())
            refusal = self.check.of_moment(world, one.command, place)
            if one.is_canceled:
                refusal = Refusal(code="EXECUTION_CANCELED", reason="A cancel came first.")
            if refusal is not None or not pause_s:
                return refusal
            left_s = (last_moment_ns(one.command) - place[1]) / SECOND_NS
            if pause_s > left_s:
                reason = f"{one.command.venue} may be asked again in {pause_s:.1f} s."
                return Refusal(code="EXECUTION_VENUE_PAUSED", reason=reason)
            await asyncio.sleep(pause_s)

    async def _post(self, one: Tracked) -> Sequence[VenueReport]:
        """Step four. Whatever goes wrong once the request may have left is silence."""
        link = self.links.of(self.watching.world, one.command.venue)
        failpoint("before_post")
        try:
            return await link.ask_now(lambda: link.adapter.submit(one.command))
        except VenueUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - an adapter's fault must not look like an answer
            log.warning("no_answer", order=one.order_id, error=f"{type(error).__name__}: {error}")
            return [self.silence(one, f"{type(error).__name__}")]

    async def not_sent(self, one: Tracked, refusal: Refusal) -> None:
        """Tells that an order does not live at its venue, and forgets it."""
        now_ns = clock.wall_ns()
        command = one.command
        record = NotSent(
            report_id=self._derived(command, f"NotSent/{refusal.code}"),
            account_id=one.account_id,
            venue=command.venue,
            client_order_id=one.order_id,
            command_id=command.command_id,
            code=refusal.code,
            reason=refusal.reason,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        await self.reports.publish(one.shard, [record])
        await self.intents.settle(command.command_id, IntentState.ENDED)
        self.ended(one.order_id)

    def silence(self, one: Tracked, reason: str) -> VenueReport:
        """The report that nobody has answered."""
        now_ns = clock.wall_ns()
        return VenueReport(
            report_id=self._derived(one.command, "TIMEOUT"),
            account_id=one.account_id,
            venue=one.command.venue,
            kind=ReportKind.TIMEOUT,
            client_order_id=one.order_id,
            venue_order_id="",
            trade_id="",
            currency="",
            reason=reason,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )

    # ---- what became of it

    async def resolve(self, one: Tracked) -> None:
        """Asks after an order until the venue has answered or it can no longer arrive."""
        pause_s = ASK_AGAIN_S
        while not one.settled.is_set():
            try:
                await asyncio.wait_for(one.settled.wait(), pause_s)
            except TimeoutError:
                pause_s = min(pause_s * 2, ASK_AGAIN_S_MAX)
                await self._ask_after(one)

    async def _ask_after(self, one: Tracked) -> None:
        link = self.links.of(self.watching.world, one.command.venue)
        asked_ns = clock.wall_ns()
        try:
            said = await link.ask(lambda: link.adapter.query(one.command))
            if all(report.kind in SILENT for report in said):
                if any(report.kind is ReportKind.TIMEOUT for report in said):
                    return
                if one.has_lived or asked_ns <= self.deadline_ns(one, link):
                    return
                # Some venues forget an order by its id once it is done, but never its fills.
                fills = await link.ask(
                    lambda: link.adapter.poll_fills(one.account_id, one.written_ns - self.skew_ns)
                )
                said = [
                    fill
                    for fill in fills
                    if isinstance(fill, VenueReport) and fill.client_order_id == one.order_id
                ]
        except VenueUnavailable:
            return
        except Exception as error:  # noqa: BLE001 - a fault in asking is no answer
            log.warning(
                "query_failed", order=one.order_id, error=f"{type(error).__name__}: {error}"
            )
            return
        if said:
            await self.heard(one, said)
        elif not one.settled.is_set():
            reason = "The venue does not know it, and it came too late to count."
            await self.not_sent(one, Refusal(code="EXECUTION_NOT_ARRIVED", reason=reason))

    def deadline_ns(self, one: Tracked, link: Link) -> int:
        """Behind it a venue takes no request of the order any more: expiry, the receive window,
        and what clocks may differ by."""
        last_ns = max(last_moment_ns(one.command), one.command.ts_event_ns)
        return last_ns + link.record.receive_window_ns + self.skew_ns

    async def heard(self, one: Tracked, said: Sequence[Heard]) -> None:
        """Publishes what a venue said of an order; anything but silence settles it."""
        if one.state is not IntentState.OPEN:
            # The stream was faster than the answer: that there was none is of no interest now.
            said = [report for report in said if not _is(report, ReportKind.TIMEOUT)]
        speaks = any(isinstance(one, VenueReport) and one.kind not in SILENT for one in said)
        is_first = speaks and one.state is IntentState.OPEN
        if is_first:
            one.state, one.has_lived = IntentState.ANSWERED, True
            one.settled.set()
        await self.reports.publish(one.shard, said)
        if is_first:
            await self.intents.settle(one.command.command_id, IntentState.ANSWERED)

    def doubted(self, one: Tracked) -> bool:
        """The core does not know what has become of an order: True if somebody should ask."""
        if one.state is not IntentState.ANSWERED:
            return False
        one.state, one.settled = IntentState.OPEN, asyncio.Event()
        return True

    def ended(self, order_id: str) -> None:
        """An order has ended; nobody asks after it any more."""
        one = self.tracked.pop(order_id, None)
        if one is not None:
            one.state = IntentState.ENDED
            one.settled.set()

    # ---- a cancel or an amendment

    async def change(self, command: VenueCommand, shard: int) -> None:
        """Asks for a cancel or an amendment until the venue has answered or the order has ended."""
        pause_s = ASK_AGAIN_S
        while (one := self.tracked.get(command.client_order_id)) is not None:
            one.is_canceled |= command.kind is CommandKind.CANCEL
            said = await self._ask_to_change(one, command)
            # An order that may still be on its way cannot be changed yet.
            is_early = said and all(_is_refused(item) for item in said) and not one.settled.is_set()
            if said is not None and not is_early:
                await self.reports.publish(shard, said)
                break
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, ASK_AGAIN_S_MAX)
        await self.intents.settle(command.command_id, IntentState.ENDED)

    async def _ask_to_change(
        self, one: Tracked, command: VenueCommand
    ) -> Sequence[VenueReport] | None:
        """The venue's answer, or None where there is none yet."""
        if self.check.mode == Mode.SHADOW.value:
            # Nothing left that could be changed; what is canceled meanwhile does not leave.
            return None
        try:
            link = self.links.of(self.watching.world, command.venue)
            if command.is_amendment:
                refusal = await self._amendment_refusal(one, command)
                if refusal is not None:
                    return [self._amendment_refused(one, command, refusal)]
                said = await link.ask(lambda: link.adapter.amend(command))
            else:
                said = await link.ask(lambda: link.adapter.cancel(command))
        except VenueUnavailable:
            return None
        except Exception as error:  # noqa: BLE001 - a fault in asking is no answer
            log.warning("change_failed", order=command.client_order_id, error=str(error))
            return None
        return None if any(report.kind in SILENT for report in said) else said

    async def _amendment_refusal(self, one: Tracked, command: VenueCommand) -> Refusal | None:
        """New terms may be wider ones: they are looked at like an order."""
        try:
            world = await self.watching.caught_up()
        except ControlUnread as error:
            return Refusal(code="EXECUTION_CONTROL_UNREAD", reason=str(error))
        return self.check.of_moment(world, command, (one.shard, clock.wall_ns()))

    def _amendment_refused(
        self, one: Tracked, command: VenueCommand, refusal: Refusal
    ) -> VenueReport:
        """An amendment that did not leave is one that the venue does not know: the order stays."""
        report = self.silence(one, refusal.reason)
        return replace(
            report,
            report_id=self._derived(command, "AMEND_REJECTED"),
            kind=ReportKind.ACCEPTED,
            notice=ReportNotice.AMEND_REJECTED,
        )

    def _derived(self, command: VenueCommand, kind: str) -> str:
        return derive_id(self.run_id, f"venue/{command.venue}", command.command_id, kind)


def _is_refused(report: VenueReport) -> bool:
    is_amend = report.notice is ReportNotice.AMEND_REJECTED
    return is_amend or report.kind is ReportKind.CANCEL_REJECTED


def _is(report: Heard, kind: ReportKind) -> bool:
    return isinstance(report, VenueReport) and report.kind is kind


def _unavailable(error: VenueUnavailable) -> Refusal:
    code = "EXECUTION_VENUE_UNAVAILABLE"
    if isinstance(error, VenueThrottled):
        code = "EXECUTION_VENUE_THROTTLED"
    return Refusal(code=code, reason=str(error) or "The request did not leave.")
