"""The trip sweep in a thread of its own: it needs neither Kafka nor the sender to be there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Final

from tapeline.execution.intents.store import Intent
from tapeline.execution.intents.sweeps import SweepStore
from tapeline.execution.outside.courier import Courier
from tapeline.execution.outside.last_check import World
from tapeline.execution.outside.links import Links
from tapeline.execution.outside.trip_sweep import Surroundings, TripSweep
from tapeline.execution.settings import ExecutionSettings
from tapeline.runtime.alarm import raise_alarm
from tapeline.runtime.exits import Failure
from tapeline.runtime.kafka import wait_for_kafka
from tapeline.runtime.telemetry import get_logger
from tapeline.runtime.trip_watch import TripWatch

STOP_S: Final = 5.0
ASK_S: Final = 0.1
log = get_logger(__name__)


class SweepThread:
    """Runs from before Kafka is waited for until the process ends."""

    def __init__(
        self,
        settings: ExecutionSettings,
        trips: TripWatch,
        courier: Callable[[], Courier | None],
    ) -> None:
        """`courier` gives the sender's, None before there is one."""
        self._settings = settings
        self._trips = trips
        self._courier = courier
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trip-sweep", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._ended.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            log.error("sweep_ended", error=str(error), exc_info=error)

    async def _serve(self) -> None:
        settings = self._settings
        links, store = Links(settings.run_id), SweepStore(settings.database_url, settings.run_id)
        around = Surroundings(
            trips=self._trips.open_trips,
            age_s=self._trips.age_s,
            world=self._world,
            tracked=self._tracked,
            link=links.of,
            tell=self._tell,
        )
        sweep = TripSweep(
            run_id=settings.run_id,
            shards=settings.shards,
            skew_ns=settings.clock_skew_ms_max * 1_000_000,
            store=store,
            around=around,
        )
        stopping = asyncio.Event()
        # Asked for: a thread that waited for it would keep alive a process that fails to start.
        asking = asyncio.create_task(self._ask(stopping))
        try:
            await sweep.run(stopping)
        finally:
            asking.cancel()
            await links.close()
            store.close()

    async def _ask(self, stopping: asyncio.Event) -> None:
        while not self._ended.is_set():  # noqa: ASYNC110 - another thread's event
            await asyncio.sleep(ASK_S)
        stopping.set()

    def _world(self) -> World | None:
        courier = self._courier()
        return None if courier is None else courier.watching.world

    def _tracked(self) -> Sequence[tuple[int, Intent]]:
        courier = self._courier()
        # Another thread's, which may change it meanwhile; a copy is taken in one step.
        known = [] if courier is None else list(courier.tracked.values())
        return [
            (
                one.shard,
                Intent(command=one.command, state=one.state, epoch=0, written_ns=one.written_ns),
            )
            for one in known
        ]

    def _tell(self, code: str, reason: str) -> bool:
        try:
            wait_for_kafka(self._settings, 0.0)
        except Failure:
            return False
        return raise_alarm(self._settings, "execution", code, reason)
