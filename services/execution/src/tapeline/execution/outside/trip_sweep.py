"""Cancels at external venues for a trip pulled here, where the usual way does not get it done.

The usual way is the core's: it steps the trip, commands the cancels, and the sender carries them
out. Without Kafka none of that happens. So when orders in the scope of a trip have not ended a
moment after it was pulled, this asks the venues by itself, by the intents in PostgreSQL and by what
the sender has in memory. It cancels and does nothing else; a cancel twice changes nothing. What
became of the orders the core learns from the venue, as always; what was done here is kept, and told
by an incident once Kafka is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Final, Protocol

from tapeline.contracts.control import LocalTrip, SwitchLevel
from tapeline.contracts.orders import CommandKind, ReportKind, VenueCommand, VenueReport
from tapeline.execution import switchboard
from tapeline.execution.intents.errors import IntentsAway, IntentsUnfit
from tapeline.execution.intents.store import Intent, IntentState
from tapeline.execution.intents.sweeps import Swept
from tapeline.execution.outside.last_check import World, last_moment_ns
from tapeline.execution.outside.links import Link
from tapeline.execution.venues.order_view import order_of
from tapeline.runtime import clock
from tapeline.runtime.core import Input
from tapeline.runtime.ids import derive_id
from tapeline.runtime.telemetry import get_logger

AFTER_S: Final = 2.0
"""How long the usual way has for a trip."""
LOOK_S: Final = 0.25
AGAIN_S: Final = 1.0
"""How soon a venue is asked again that has not answered."""
TELL_S: Final = 5.0
ORDERS_TOLD_MAX: Final = 20
ASKED: Final = "ASKED"
CODE: Final = "SWITCH_CANCELED_ALONE"
Key = tuple[str, str]
"""(trip id, id of the command that sent the order)"""
log = get_logger(__name__)


class Store(Protocol):
    """What of intents/sweeps.py is used; every method raises IntentsAway, IntentsUnfit."""

    def remember(self, records: Mapping[str, Any]) -> None: ...
    def recall(self) -> list[Any]: ...
    def not_ended(self, shard: int) -> list[Intent]: ...
    def note(self, swept: Sequence[Swept]) -> None: ...
    def swept(self, shards: Sequence[int]) -> list[Swept]: ...
    def told(self, swept: Sequence[Swept]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the process knows; each is asked anew."""

    trips: Callable[[], Sequence[LocalTrip]]
    age_s: Callable[[LocalTrip], float]
    world: Callable[[], World | None]
    """the sender's; None before Kafka has been there"""
    tracked: Callable[[], Sequence[tuple[int, Intent]]]
    """(shard, order) that the sender has in memory, none before Kafka has been there"""
    link: Callable[[World, str], Link]
    tell: Callable[[str, str], bool]
    """(code, reason): raises an incident; blocks; False where Kafka is away"""


@dataclass(kw_only=True)
class TripSweep:
    """For one event loop, which may be blocked by the database."""

    run_id: str
    shards: Sequence[int]
    skew_ns: int
    store: Store
    around: Surroundings
    done: dict[Key, Swept] = field(default_factory=dict)
    _going: set[Key] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _unkept: list[Swept] = field(default_factory=list)
    _kept_world: World = field(default_factory=World)
    _told_s: float = float("-inf")
    _is_loaded: bool = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set."""
        while not stopping.is_set():
            try:
                await self.turn()
            except (IntentsAway, IntentsUnfit) as error:
                log.warning("sweep_without_database", error=error.cause)
            await asyncio.sleep(LOOK_S)

    async def turn(self) -> None:
        """One look; raises IntentsAway, IntentsUnfit once what needs no database is done."""
        trips = [one for one in self.around.trips() if one.level is not SwitchLevel.STOP_ENTRIES]
        due = [one for one in trips if self.around.age_s(one) >= AFTER_S]
        away: IntentsAway | IntentsUnfit | None = None
        intents, world = {}, self.around.world()
        try:
            self._keep_world(world)
            self._load()
            if due:
                world = self._recalled() if world is None else world
                intents = {
                    one.command.command_id: (shard, one)
                    for shard in self.shards
                    for one in self.store.not_ended(shard)
                }
        except (IntentsAway, IntentsUnfit) as error:
            away = error
        for shard, one in self.around.tracked() if due else ():
            intents.setdefault(one.command.command_id, (shard, one))
        if world is not None:
            for trip, shard, intent in self._covered(due, world, list(intents.values())):
                self._begin(world, trip, shard, intent)
        if away is None:
            self._keep()
        await self._tell()
        if away is not None:
            raise away

    # ---- what is known

    def _keep_world(self, world: World | None) -> None:
        kept = self._kept_world
        if world is None or (
            world.venues is kept.venues
            and world.accounts is kept.accounts
            and world.instruments is kept.instruments
        ):
            return
        changed: dict[str, Any] = {}
        for kind in ("venues", "accounts", "instruments"):
            known = getattr(kept, kind)
            for name, record in getattr(world, kind).items():
                if known.get(name) is not record:
                    changed[f"{kind}/{name}"] = record
        self.store.remember(changed)
        self._kept_world = world

    def _recalled(self) -> World:
        found = World()
        for record in self.store.recall():
            found = found.after(Input(record=record, topic="config"), self.run_id)
        return found

    def _load(self) -> None:
        """What an earlier process has canceled is not canceled again."""
        if not self._is_loaded:
            for one in self.store.swept(self.shards):
                self.done.setdefault((one.trip_id, one.command_id), one)
            self._is_loaded = True

    def _covered(
        self, trips: Sequence[LocalTrip], world: World, intents: Sequence[tuple[int, Intent]]
    ) -> Iterator[tuple[LocalTrip, int, Intent]]:
        """Orders that may live at a venue and that a trip takes off the book."""
        board = reduce(switchboard.tripped, trips, world.board)
        for trip in trips:
            for shard, intent in intents:
                command = intent.command
                if command.kind is not CommandKind.SUBMIT:
                    continue
                decision_id = command.approved.approval.decision_id
                if switchboard.is_swept(board, trip, order_of(command), decision_id):
                    yield trip, shard, intent

    # ---- canceling

    def _begin(self, world: World, trip: LocalTrip, shard: int, intent: Intent) -> None:
        key = (trip.trip_id, intent.command.command_id)
        if key in self.done or key in self._going:
            return
        self._going.add(key)
        task = asyncio.get_running_loop().create_task(self._cancel(world, trip, shard, intent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancel(self, world: World, trip: LocalTrip, shard: int, intent: Intent) -> None:
        """Asks a venue once; without an answer the next look begins anew."""
        sent, key = intent.command, (trip.trip_id, intent.command.command_id)
        try:
            answer = await self._asked(world, trip, intent)
        except Exception as error:  # noqa: BLE001 - whatever a venue does, it is asked again
            log.warning("sweep_failed", order=sent.client_order_id, error=str(error))
            answer = ""
        if not answer:
            await asyncio.sleep(AGAIN_S)
        else:
            log.error("sweep", trip=trip.trip_id, order=sent.client_order_id, answer=answer)
            self.done[key] = Swept(
                trip_id=trip.trip_id,
                command_id=sent.command_id,
                shard=shard,
                client_order_id=sent.client_order_id,
                answer=answer,
                swept_ns=clock.wall_ns(),
            )
            self._unkept.append(self.done[key])
        self._going.discard(key)

    async def _asked(self, world: World, trip: LocalTrip, intent: Intent) -> str:
        """What the venue says, or empty where it must be asked again."""
        link = self.around.link(world, intent.command.venue)
        command = self._command(trip, intent.command)
        said = await link.ask(lambda: link.adapter.cancel(command))
        kinds = [report.kind for report in said if isinstance(report, VenueReport)]
        if ReportKind.TIMEOUT in kinds:
            return ""
        if ReportKind.CANCEL_REJECTED in kinds:
            window_ns = link.record.receive_window_ns + self.skew_ns
            over_ns = max(last_moment_ns(intent.command), intent.command.ts_event_ns) + window_ns
            may_arrive = intent.state is IntentState.OPEN and clock.wall_ns() <= over_ns
            return "" if may_arrive else ReportKind.CANCEL_REJECTED.value
        return ReportKind.CANCELED.value if ReportKind.CANCELED in kinds else ASKED

    def _command(self, trip: LocalTrip, sent: VenueCommand) -> VenueCommand:
        name = derive_id(self.run_id, "execution/switch", sent.command_id, trip.trip_id)
        return replace(sent, kind=CommandKind.CANCEL, command_id=name, ts_event_ns=clock.wall_ns())

    # ---- telling

    def _keep(self) -> None:
        count = len(self._unkept)
        self.store.note(self._unkept[:count])
        del self._unkept[:count]

    async def _tell(self) -> None:
        """One incident for what one trip has canceled, as soon as Kafka takes it."""
        untold = [one for one in self.done.values() if not one.is_told]
        if not untold or clock.monotonic_s() - self._told_s < TELL_S:
            return
        self._told_s = clock.monotonic_s()
        trip_id = untold[0].trip_id
        told = [one for one in untold if one.trip_id == trip_id]
        if await asyncio.to_thread(self.around.tell, CODE, _reason(trip_id, told)):
            for one in told:
                self.done[one.trip_id, one.command_id] = replace(one, is_told=True)
            self.store.told(told)


def _reason(trip_id: str, swept: Sequence[Swept]) -> str:
    lines = [f"{one.client_order_id} {one.answer}" for one in swept[:ORDERS_TOLD_MAX]]
    more = len(swept) - len(lines)
    return (
        f"For trip {trip_id} the venues were asked to cancel {len(swept)} orders that had not "
        f"ended {AFTER_S:.0f} s after it was pulled: {', '.join(lines)}"
        + (f" and {more} more." if more else ".")
    )
