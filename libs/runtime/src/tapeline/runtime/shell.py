"""A process around asyncio: logs, probes, signals, watchdog, and a way to end in every case."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

import uvloop

from tapeline.contracts.registry import SCHEMAS
from tapeline.runtime import exits
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.collector import spare_what_is_loaded
from tapeline.runtime.health import Health, HealthServer
from tapeline.runtime.kafka import wait_for_kafka
from tapeline.runtime.schemas import SchemaTopic
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.telemetry import Metrics, close_logging, configure_logging, get_logger
from tapeline.runtime.watchdog import Watchdog

STOP_S: Final = 20.0
"""From SIGTERM to the end at the latest; Kubernetes waits 30 s."""
BEAT_S: Final = 0.5
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What the parts of one process share."""

    settings: ServiceSettings
    name: str
    health: Health
    metrics: Metrics
    schemas: SchemaTopic
    watchdog: Watchdog
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """set by SIGTERM and SIGINT; whatever runs ends cleanly then"""


Main = Callable[[Shell], Awaitable[None]]


def make_shell(settings: ServiceSettings, name: str) -> Shell:
    """The parts, nothing started yet."""
    health = Health(settings.watchdog_s)
    return Shell(
        settings=settings,
        name=name,
        health=health,
        metrics=Metrics(),
        schemas=SchemaTopic(settings),
        watchdog=Watchdog(health),
    )


def run_service(name: str, settings: ServiceSettings, main: Main) -> int:
    """Runs `main` as a process: returns 0 after a clean stop, raises what it raises.

    Before `main`: logging, Kafka answers, our schemas are published, probes are served. A failure
    once the loop runs ends the process at once, with the failure's exit code: no client that has
    got stuck can hold it up. SIGTERM and SIGINT set `shell.stopping`.
    """
    configure_logging(settings, name)
    try:
        wait_for_kafka(settings)
        shell = make_shell(settings, name)
        shell.schemas.publish(SCHEMAS)
        # Whoever sees the probes' port may end the process: from here on that is a clean stop.
        for number in STOP_SIGNALS:
            signal.signal(number, lambda _number, _frame: shell.stopping.set())
        server = HealthServer(shell.health, shell.metrics, settings)
        spare_what_is_loaded()
        with server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(shell, main))
    finally:
        close_logging()
    return exits.OK


async def _serve(shell: Shell, main: Main) -> None:
    stopping_since: list[float] = []
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping_since.append(monotonic_s())
        shell.stopping.set()

    def overdue() -> str:
        is_over = bool(stopping_since) and monotonic_s() - stopping_since[0] > STOP_S
        return f"not stopped within {STOP_S:.0f} s" if is_over else ""

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    shell.watchdog.watch("stop", overdue)
    beats = asyncio.create_task(_beat(shell.health))
    try:
        with shell.watchdog:
            shell.health.set_ready(True)
            log.info("started", build=shell.settings.build_id, mode=str(shell.settings.mode))
            try:
                await main(shell)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it ends here
                _end(error)
            log.info("stopped")
    finally:
        beats.cancel()
        shell.health.set_ready(False, "stopped")


def _end(error: BaseException) -> NoReturn:
    """A failure inside the loop: tasks of a lost client may hang, so nothing waits for them."""
    if isinstance(getattr(error, "remedy", None), str):
        log.error("failed", reason=str(error))
        sys.stderr.write(f"{error}\n")
        code = int(getattr(error, "exit_code", exits.USAGE))
    else:
        log.exception("unexpected_error")
        code = exits.INTERNAL
    close_logging()
    sys.stderr.flush()
    os._exit(code)


async def _beat(health: Health) -> None:
    while True:
        health.beat()
        await asyncio.sleep(BEAT_S)
