"""The driver of derived streams: stages in consumer groups, at least once, in batches.

Offsets are committed only after every output is acknowledged. A client that gave no answer in time
is thrown away and the stage starts over from what is committed, once; then the process ends. While
the broker is away nothing retries against it: the stage waits, with pauses of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tapeline.runtime.alarm import raise_alarm
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.core import Stage
from tapeline.runtime.exits import PositionLost
from tapeline.runtime.kafka import ClientLost, KafkaUnavailable, is_reachable, wait_for_kafka
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.shell import Shell, run_service
from tapeline.runtime.stage_worker import StageWorker
from tapeline.runtime.telemetry import get_logger
from tapeline.runtime.topology import TopicUnfit, partition_counts
from tapeline.runtime.watchdog import STALL_S, Progress

AWAY_S: Final = 120.0
"""For so long a broker may be away before the process ends and leaves waiting to its supervisor."""
AWAY_PAUSE_S: Final = 0.5
FAILURES_MAX: Final = 1
log = get_logger(__name__)


def run_stages(stages: Sequence[Stage], settings: ServiceSettings, name: str = "") -> int:
    """Runs stages as one process until SIGTERM; returns its exit code, raises typed failures.

    `name` is the service's where it is empty; it names the log file.
    """

    async def main(shell: Shell) -> None:
        await run_all(stages, shell)

    return run_service(name or settings.service, settings, main)


async def run_all(stages: Sequence[Stage], shell: Shell) -> None:
    """Runs stages beside each other; the first that fails ends them all."""
    tasks = [asyncio.create_task(run_stage(stage, shell)) for stage in stages]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def run_stage(stage: Stage, shell: Shell) -> None:
    """Runs one stage until the shell is stopping.

    A stage may have `async def start()` and `async def stop()` for resources of its own, and
    `step_seconds_max` where a step may take longer than a minute. Raises ClientLost,
    KafkaUnavailable, TopicUnfit, PositionLost.
    """
    shell.health.set_ready(False, "starting", stage.name)
    await _require_topics(stage, shell)
    progress = Progress()
    stall_s = min(STALL_S, shell.settings.watchdog_s)
    shell.watchdog.watch(stage.name, lambda: progress.stalled(stall_s))
    await _hook(stage, "start")
    try:
        await _lives(stage, shell, progress)
    except PositionLost as lost:
        # Nobody jumps over a gap in silence: people are told, and the process ends for good.
        await asyncio.to_thread(
            raise_alarm, shell.settings, stage.name, "POSITION_LOST", lost.cause
        )
        raise
    finally:
        await _hook(stage, "stop")


async def _lives(stage: Stage, shell: Shell, progress: Progress) -> None:
    failures = 0
    while not shell.stopping.is_set():
        worker = StageWorker(stage, shell, progress)
        try:
            await worker.run()
        except (ClientLost, KafkaUnavailable) as error:
            shell.metrics.restarts.labels(stage.name).inc()
            log.warning("client_lost", stage=stage.name, reason=error.cause)
            if await _was_away(shell):
                continue
            failures = 1 if worker.has_progressed else failures + 1
            if failures > FAILURES_MAX:
                raise


async def _was_away(shell: Shell) -> bool:
    """True after an outage of the broker; raises KafkaUnavailable when it lasts too long."""
    if await asyncio.to_thread(is_reachable, shell.settings):
        return False
    deadline = monotonic_s() + AWAY_S
    while monotonic_s() < deadline and not shell.stopping.is_set():
        await asyncio.sleep(AWAY_PAUSE_S)
        if await asyncio.to_thread(is_reachable, shell.settings):
            # A port that is open is not yet a broker that answers.
            await asyncio.to_thread(wait_for_kafka, shell.settings)
            return True
    if shell.stopping.is_set():
        return True
    raise KafkaUnavailable(
        f"Kafka at {shell.settings.kafka_bootstrap_servers} is away for {AWAY_S:.0f} s.",
        "Start it; this process starts over then.",
    )


async def _require_topics(stage: Stage, shell: Shell) -> None:
    """A topic that does not exist would look like one without records."""
    counts = await asyncio.to_thread(partition_counts, shell.settings)
    needed = [*stage.input_topics, *([stage.state_topic] if stage.state_topic else [])]
    for topic in needed:
        if topic not in counts:
            raise TopicUnfit(
                f"{stage.name} needs the topic {shell.settings.topic_prefix}{topic}, "
                "which does not exist.",
                "Create the topics with `tapeline up`, or correct TAPELINE_TOPIC_PREFIX.",
            )
    if stage.state_topic is not None:
        for topic in stage.input_topics:
            if counts[topic] > counts[stage.state_topic]:
                raise TopicUnfit(
                    f"{topic} has {counts[topic]} partitions and {stage.state_topic}, which keeps "
                    f"the state of {stage.name}, {counts[stage.state_topic]}.",
                    "Create the topics of a new run with as many for both.",
                )


async def _hook(stage: Stage, name: str) -> None:
    hook = getattr(stage, name, None)
    if hook is not None:
        await hook()
