"""The sender beside the money driver: a thread of the same process, which it ends when it fails."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from tapeline.contracts import topics
from tapeline.contracts.orders import ApprovedOrder, Mode
from tapeline.execution.intents.ledger import IntentLedger
from tapeline.execution.intents.store import IntentStore
from tapeline.execution.outside.beginning import begin
from tapeline.execution.outside.courier import Courier
from tapeline.execution.outside.last_check import LastCheck
from tapeline.execution.outside.links import Links
from tapeline.execution.outside.reports import Reports
from tapeline.execution.outside.sender import Sender, Start
from tapeline.execution.outside.sweep_thread import SweepThread
from tapeline.execution.outside.watch import Watch
from tapeline.execution.outside.watching import Watching
from tapeline.execution.settings import ExecutionSettings
from tapeline.runtime import exits
from tapeline.runtime.kafka import confluent_config, wait_for_kafka
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.outbox import Outbox
from tapeline.runtime.schemas import SchemaTopic
from tapeline.runtime.settings import SettingsError
from tapeline.runtime.telemetry import Metrics, get_logger
from tapeline.runtime.trip_watch import TripWatch

START_S: Final = 30.0
STOP_S: Final = 10.0
log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What the sender shares with the money driver."""

    verdict: Callable[[str, Any], str]
    """(topic, record) -> what is wrong with it, on the way in"""
    seal: Callable[[ApprovedOrder], str]
    """what is wrong with an approval's seal"""
    trips: TripWatch
    """the kill switch by file and signal"""


class SenderThread:
    """Begins before the shards do, so that no command is there before its shard is owned."""

    def __init__(self, settings: ExecutionSettings, shell: Shell) -> None:
        if not settings.database_url:
            raise SettingsError(
                f"DATABASE_URL is not set; {settings.mode.value} writes down what it sends.",
                "Set it to the URL of the role tapeline_execution, or use mode PAPER.",
            )
        self._settings = settings
        self._shell = shell
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._starts: list[Start] = []
        self._store = IntentStore(settings.database_url, settings.run_id)
        self._courier: Courier | None = None
        self._sweep = SweepThread(settings, shell.trips, lambda: self._courier)

    def __enter__(self) -> Self:
        settings = self._settings
        if settings.mode is Mode.LIVE:
            self._sweep.start()
        try:
            wait_for_kafka(settings)
            reader = LogReader(confluent_config(settings), settings.topic_prefix)
            self._starts = [begin(self._store, reader, shard) for shard in settings.shards]
        except BaseException:
            self._end_sweep()
            raise
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_sweep()
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_S)

    def _end_sweep(self) -> None:
        if self._settings.mode is Mode.LIVE:
            self._sweep.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            failure = _first(error)
            log.error("sender_failed", error=str(failure), exc_info=failure)
            os._exit(int(getattr(failure, "exit_code", exits.INTERNAL)))

    async def _serve(self) -> None:
        settings = self._settings
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        schemas = SchemaTopic(settings)
        await asyncio.to_thread(schemas.publish, topics.TOPICS[topics.VENUE_REPORTS].records)
        config = confluent_config(settings)
        place = (settings.topic_prefix, settings.run_id)
        watch = Watch(config, place, self._shell.verdict, schemas.resolve)
        await asyncio.to_thread(watch.start, settings.shards, START_S)
        watching, links = Watching(watch), Links(settings.run_id)
        intents = IntentLedger(self._store)
        async with Outbox(settings, "execution/venues", Metrics()) as outbox:
            courier = Courier(
                run_id=settings.run_id,
                check=LastCheck(
                    run_id=settings.run_id,
                    mode=settings.mode.value,
                    heartbeat_age_ns_max=settings.risk_heartbeat_ms_max * 1_000_000,
                    verdict=self._shell.seal,
                    trips=self._shell.trips.open_trips,
                    blind_because=self._shell.trips.blind_because,
                ),
                watching=watching,
                links=links,
                intents=intents,
                reports=Reports(outbox),
                skew_ns=settings.clock_skew_ms_max * 1_000_000,
            )
            self._courier = courier
            sender = Sender(
                courier=courier,
                config=config,
                prefix=settings.topic_prefix,
                mode=settings.mode.value,
                poll_s=settings.venue_poll_ms / 1000,
                starts=self._starts,
            )
            try:
                await sender.run(self._stopping)
            finally:
                await links.close()
                watching.close()
                intents.close()


def _first(error: BaseException) -> BaseException:
    """The failure inside of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
