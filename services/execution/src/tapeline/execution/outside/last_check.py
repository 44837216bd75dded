"""The last check before a request leaves for a venue, by what the sender's own consumer has read.

Everything the core has looked at is looked at again: seal, expiry, live switch, trading state, and
that risk is alive. Pure; what is not known is a no.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.config import Account, Instrument, Venue
from tapeline.contracts.control import LocalTrip, SetLiveSwitch
from tapeline.contracts.orders import ApprovedOrder, Mode, OrderUpdate, VenueCommand
from tapeline.contracts.risk import TradingState
from tapeline.contracts.system import Watermark
from tapeline.execution import switchboard
from tapeline.execution.admission import Code, Refusal
from tapeline.execution.external_state import SHADOW
from tapeline.execution.last_look import difference
from tapeline.execution.switchboard import CONTROL_RECORDS, Switchboard
from tapeline.execution.venues.order_view import child_of
from tapeline.runtime.core import Input


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the sender knows of control, config and risk's signs of life."""

    board: Switchboard = field(default_factory=Switchboard)
    live_switches: dict[str, bool] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    venues: dict[str, Venue] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    heartbeats_ns: dict[int, int] = field(default_factory=dict)
    """by shard: risk's last sign of life"""

    def after(self, event: Input, run_id: str) -> World:
        """The world after one record of control, config or approved-orders."""
        record = event.record
        match record:
            case _ if isinstance(record, CONTROL_RECORDS):
                return self._switched(event, run_id)
            case Account():
                return replace(self, accounts=_newer(self.accounts, record.account_id, record))
            case Venue():
                return replace(self, venues=_newer(self.venues, record.venue, record))
            case Instrument():
                name = record.instrument_id
                return replace(self, instruments=_newer(self.instruments, name, record))
            case Watermark() if event.topic == topics.APPROVED_ORDERS:
                if record.source == f"risk/{event.partition}":
                    beats = {**self.heartbeats_ns, event.partition: record.ts_event_ns}
                    return replace(self, heartbeats_ns=beats)
        return self

    def _switched(self, event: Input, run_id: str) -> World:
        board = switchboard.evolved(self.board, event, run_id)
        if board is self.board or not isinstance(event.record, SetLiveSwitch):
            return replace(self, board=board)
        record = event.record
        switches = {**self.live_switches, record.scope_id: record.is_on}
        return replace(self, board=board, live_switches=switches)


def _newer(known: dict[str, Any], name: str, record: Any) -> dict[str, Any]:
    held = known.get(name)
    return known if held is not None and record.version < held.version else {**known, name: record}


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCheck:
    """What does not change while the process runs."""

    run_id: str
    mode: str
    heartbeat_age_ns_max: int
    verdict: Callable[[ApprovedOrder], str]
    """what the shell finds about an approval's seal"""
    trips: Callable[[], Sequence[LocalTrip]] = tuple
    """the kill switch as it was pulled at this process, by file or signal"""
    blind_because: Callable[[], str] = str
    """why the switch's folder cannot be watched, or empty"""

    def of_command(self, update: OrderUpdate, command: VenueCommand) -> Refusal | None:
        """Whether the command that was read is the one that was approved."""
        verdict = self.verdict(command.approved) or difference(update, command)
        return (
            _no("EXECUTION_BAD_COMMAND", f"The command is not approved: {verdict}.")
            if verdict
            else None
        )

    def of_moment(
        self, world: World, command: VenueCommand, place: tuple[int, int]
    ) -> Refusal | None:
        """Whether an order may leave now; `place` is (shard, wall nanoseconds)."""
        shard, now_ns = place
        approved = command.approved
        if now_ns >= last_moment_ns(command):
            return _no(Code.EXPIRED, "The approval expired before the order could leave.")
        if not self._is_shadow and not _is_live(world, approved.order.account_id):
            return _no(Code.LIVE_NOT_PERMITTED, "The account is not switched on for live.")
        if blind := self.blind_because():
            return _no(Code.TRADING_HALTED, f"The kill switch cannot be watched: {blind}.")
        board = reduce(switchboard.tripped, self.trips(), world.board)
        if not switchboard.permits(board, approved):
            state = switchboard.trading_state(board, approved.order)
            is_halted = state is TradingState.HALTED
            code = Code.TRADING_HALTED if is_halted else Code.TRADING_REDUCING
            return _no(code, f"Trading is {state.value} for a scope of this order.")
        if abs(now_ns - world.heartbeats_ns.get(shard, 0)) > self.heartbeat_age_ns_max:
            return _no(Code.RISK_SILENT, "Risk has not shown a sign of life for too long.")
        if self._is_shadow:
            return _no(SHADOW, "A shadow run does everything but the send.")
        return None

    @property
    def _is_shadow(self) -> bool:
        return self.mode == Mode.SHADOW.value


def _is_live(world: World, account_id: str) -> bool:
    account = world.accounts.get(account_id)
    is_live = account is not None and account.mode is Mode.LIVE
    return is_live and world.live_switches.get(account_id, False)


def last_moment_ns(command: VenueCommand) -> int:
    """First instant at which a command may no longer leave: a plain order when its approval has
    expired, a send of a schedule as long behind its command, or when its own time is over."""
    approval = command.approved.approval
    child = child_of(command.approved, command.child_index)
    if child is None:
        return approval.expires_ns
    valid_ns = approval.expires_ns - approval.issued_ns
    return min(child.last_send_ns + 1, command.ts_event_ns + valid_ns)


def _no(code: str, reason: str) -> Refusal:
    return Refusal(code=str(code), reason=reason)
