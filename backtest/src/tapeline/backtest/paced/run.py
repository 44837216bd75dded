"""Runs a chain over slices to its end and gives the run as tables."""

from __future__ import annotations

import resource
import sys
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from tapeline.agents.llm.calls import ReplayError
from tapeline.backtest.assumed import assumed
from tapeline.backtest.export import Told
from tapeline.backtest.paced.chain import Chain
from tapeline.backtest.paced.digests import Digests
from tapeline.backtest.paced.interventions import not_repeated
from tapeline.backtest.paced.setup import MarketSlice, Setup
from tapeline.backtest.record_tables import RecordTables
from tapeline.backtest.run_tables import RunTables
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.execution.core import ExecutionCore
from tapeline.risk.core import RiskCore
from tapeline.runtime import clock
from tapeline.runtime.core import Output
from tapeline.runtime.exits import USAGE, Failure

SAID = {"risk": RiskCore.outputs, "execution": ExecutionCore.outputs}
OnSlice = Callable[[MarketSlice], None]
MIB = 1024 * 1024


class AnswersUnknown(Failure):
    """A group of language models asks what was not asked in the recorded run."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the run cannot know of itself."""

    title: str = ""
    source: str = ""
    command: str = ""
    """what to type to make the same run again"""
    parameters: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PacedRun:
    """A run that has come to its end."""

    tables: RunTables
    digests: dict[str, str]
    """part and topic -> digest, hex; those of a replay of the same run on Kafka"""
    counts: dict[str, int]
    """records by topic"""


async def run_paced(
    setup: Setup,
    slices: AsyncIterable[MarketSlice],
    facts: Facts,
    on_slice: OnSlice = lambda _part: None,
) -> PacedRun:
    """Plays all slices; raises AnswersUnknown and what the chain and the slices raise."""
    tables = RecordTables(setup.book())
    digests = Digests(SAID)
    unknown: dict[str, str] = {}

    def hear(who: str, output: Output) -> None:
        digests.add(who, output)
        tables.add(output)
        if isinstance(output.record, Denial) and output.record.code is DenialCode.ORDER_UNKNOWN:
            unknown[output.record.decision_id] = output.record.reason

    started_s, loading_s, events = clock.monotonic_s(), 0.0, 0
    chain = Chain(setup, hear)
    try:
        async for part in _timed(slices):
            loading_s += part[1]
            events += part[0].count
            await chain.step(part[0])
            on_slice(part[0])
    except ReplayError as error:
        raise AnswersUnknown(
            f"A question that the recorded run did not ask: {error}.",
            "Its answer is on no record. Leave the group out with --groups, or let the offline "
            "model answer with --llm offline.",
        ) from error
    finally:
        await chain.close()
    engine_s = clock.monotonic_s() - started_s - loading_s
    told = Told(
        run_id=setup.run_id,
        title=facts.title,
        source=facts.source,
        warnings=(*facts.warnings, *not_repeated(setup.interventions, unknown)),
    )
    found = tables.tables(told, events)
    description = structs.replace(
        found.description,
        kind="backtest",
        groups=tuple(group.group_id for group in setup.groups()),
        parameters={**found.description.parameters, **facts.parameters},
        assumptions=assumed(setup.records),
        digest=digests.whole(),
        command=facts.command,
        load_seconds=loading_s,
        engine_seconds=engine_s,
        peak_rss_mb=peak_rss_mb(),
    )
    return PacedRun(RunTables(description, found.tables), digests.found(), digests.counts)


async def _timed(slices: AsyncIterable[MarketSlice]) -> Any:
    """Each slice with the seconds it took to come."""
    since_s = clock.monotonic_s()
    async for part in slices:
        yield part, clock.monotonic_s() - since_s
        since_s = clock.monotonic_s()


def peak_rss_mb() -> float:
    """Largest memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024
