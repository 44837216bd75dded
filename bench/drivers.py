"""Our own drivers under load: each function runs one of them over a filled topic."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import uvloop

from bench.bare import BATCH
from bench.ground import RUN_ID, Ground
from bench.meter import Meter, Rate
from tapeline.contracts import topics
from tapeline.contracts.market import MarkPrice, Trade
from tapeline.execution import app as execution
from tapeline.execution.core import ExecutionCore
from tapeline.execution.settings import ExecutionSettings
from tapeline.execution.state import ExecutionState
from tapeline.market_data.bars_stage import BarsStage
from tapeline.market_data.durations import duration_ns
from tapeline.risk import app as risk
from tapeline.risk.core import RiskCore
from tapeline.risk.settings import RiskSettings
from tapeline.risk.state import RiskState
from tapeline.runtime.collector import spare_what_is_loaded
from tapeline.runtime.core import Context, Input, Output
from tapeline.runtime.derived import run_stage
from tapeline.runtime.money import run_money_service
from tapeline.runtime.outbox import Outbox
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.shell import Shell, make_shell
from tapeline.runtime.telemetry import Metrics, configure_logging

INTERVALS_NS = tuple(map(duration_ns, ("1m", "5m", "1h", "1d")))


class NullStage:
    """Takes ticks and says nothing."""

    input_topics: tuple[str, ...] = (topics.TICKS,)
    state_topic: str | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        """Nothing is kept."""
        return committed

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """Nothing."""
        return ()

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        """Nothing."""
        return ()

    def low_water(self, topic: str, partition: int, position: int) -> int:
        """Nothing behind the position."""
        return position

    def is_warm(self) -> bool:
        """Always."""
        return True


class Metered:
    """A stage that ends its shell when it has stepped a number of inputs."""

    def __init__(self, stage: Any, name: str, meter: Meter, shell: Shell) -> None:
        self.name = name
        self.input_topics: tuple[str, ...] = stage.input_topics
        self.state_topic: str | None = stage.state_topic
        self.restore = stage.restore
        self.checkpoint = stage.checkpoint
        self.low_water = stage.low_water
        self.is_warm = stage.is_warm
        self._stage = stage
        self._meter = meter
        self._shell = shell

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """The stage's own, counted where the batch before has ended."""
        if self._meter.add(len(events)):
            self._shell.stopping.set()
        found: Iterable[Output] = await self._stage.step(topic, partition, events)
        return found


def service_settings(place: Ground, prefix: str) -> ServiceSettings:
    """Of a process that is no service of its own."""
    return ServiceSettings(
        kafka_bootstrap_servers=place.kafka.bootstrap_servers,
        topic_prefix=prefix,
        run_id=RUN_ID,
        log_level="WARNING",
    )


def null_stage(place: Ground, prefix: str, count: int, number: int) -> Rate:
    """The driver of derived streams alone: consume, decode, make inputs."""
    return _staged(place, prefix, count, NullStage("null"), f"null-{number}")


def bars_stage(place: Ground, prefix: str, count: int, number: int) -> Rate:
    """market-data: ticks to bars and marks, both written."""
    return _staged(place, prefix, count, BarsStage(INTERVALS_NS), f"bars-{number}")


def _staged(place: Ground, prefix: str, count: int, stage: Any, name: str) -> Rate:
    settings = service_settings(place, prefix)
    configure_logging(settings, name)
    shell = make_shell(settings, name)
    spare_what_is_loaded()  # as every service does
    meter = Meter(count)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_stage(Metered(stage, name, meter, shell), shell))
    return meter.rate


def outbox(place: Ground, prefix: str, records: Sequence[Trade]) -> Rate:
    """What derived streams send: encoded, idempotent, acknowledged a batch at a time."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_sent(place, prefix, records))


async def _sent(place: Ground, prefix: str, records: Sequence[Trade]) -> Rate:
    outputs = [
        Output(topic=topics.TICKS, key=record.instrument_id, record=record, event_id="")
        for record in records
    ]
    async with Outbox(service_settings(place, prefix), "bench", Metrics()) as box:
        meter = Meter(len(outputs))
        meter.add(0)
        for low in range(0, len(outputs), BATCH):
            await box.send(outputs[low : low + BATCH], 0)
            meter.add(BATCH)
        return meter.rate


class MeteredRisk(RiskCore):
    """Risk that ends its process when it has stepped a number of marks."""

    def __init__(self, context: Context, meter: Meter) -> None:
        super().__init__(context)
        self._meter = meter

    def evolve(self, state: RiskState, event: Input | Output) -> RiskState:
        """Counts marks."""
        if isinstance(event.record, MarkPrice) and self._meter.add(1):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().evolve(state, event)


@dataclass(frozen=True)
class MeteredExecution(ExecutionCore):
    """The same for execution and ticks."""

    meter: Meter = field(default_factory=lambda: Meter(0))

    def evolve(self, state: ExecutionState, event: Input | Output) -> ExecutionState:
        """Counts ticks."""
        if isinstance(event.record, Trade) and self.meter.add(1):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().evolve(state, event)


def risk_on_marks(place: Ground, prefix: str, count: int, shard: int) -> Rate:
    """The money driver with risk's core; each round is a shard of its own over the same topic."""
    settings = RiskSettings(**_money(place, prefix, shard))
    meter = Meter(count)
    service = replace(
        risk.make_service(settings), make_core=lambda context: MeteredRisk(context, meter)
    )
    assert run_money_service(service, settings) == 0
    return meter.rate


def execution_on_ticks(place: Ground, prefix: str, count: int, shard: int) -> Rate:
    """The money driver with execution's core."""
    settings = ExecutionSettings(**_money(place, prefix, shard))
    meter = Meter(count)
    service = replace(
        execution.make_service(settings),
        make_core=lambda context: MeteredExecution(context, settings.rules(), meter),
    )
    assert run_money_service(service, settings) == 0
    return meter.rate


def _money(place: Ground, prefix: str, shard: int) -> dict[str, Any]:
    return {
        "kafka_bootstrap_servers": place.kafka.bootstrap_servers,
        "topic_prefix": prefix,
        "run_id": RUN_ID,
        "shards": (shard,),
        "keys_dir": place.keys,
        "log_level": "WARNING",
    }
