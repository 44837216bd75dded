"""Wiring of triggers and groups: `python -m tapeline.agents triggers | group ID...`."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from tapeline.agents.call_log import KafkaCallLog
from tapeline.agents.config_watch import ConfigWatch
from tapeline.agents.groups_stage import GroupStage, Outside
from tapeline.agents.llm.settings import endpoint_of
from tapeline.agents.settings import AgentsSettings
from tapeline.agents.strategy_file import offer_folder
from tapeline.agents.triggers_stage import INSTANCE, ConfigSource, TriggersStage
from tapeline.contracts import topics
from tapeline.contracts.config import GroupKind
from tapeline.runtime.core import Stage
from tapeline.runtime.derived import run_all
from tapeline.runtime.settings import load_settings, main_guard
from tapeline.runtime.shell import Shell, run_service
from tapeline.runtime.topology import partition_count


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the process; returns its exit code."""
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return main_guard(lambda: run(arguments))


def run(arguments: Namespace) -> int:
    """Runs triggers, or groups, until SIGTERM."""
    settings = load_settings(AgentsSettings)
    if settings.strategy_dir is not None:
        offer_folder(settings.strategy_dir)
    if arguments.role == "triggers":
        return run_service(INSTANCE, settings, partial(_serve_triggers, settings))
    group_ids: list[str] = list(dict.fromkeys(arguments.group_id))
    name = f"group-{group_ids[0]}" if len(group_ids) == 1 else "groups"
    return run_service(name, settings, partial(_serve_groups, settings, group_ids))


async def _serve_triggers(settings: AgentsSettings, shell: Shell) -> None:
    async with ConfigWatch(settings, shell.schemas.resolve) as config:
        count = await asyncio.to_thread(partition_count, settings, topics.SIGNALS)
        stage = TriggersStage(
            run_id=settings.run_id,
            config=config,
            signals_partition_count=count,
            checkpoint_input_count=settings.checkpoint_input_count,
        )
        await _run([stage], config, shell)


async def _serve_groups(settings: AgentsSettings, group_ids: Sequence[str], shell: Shell) -> None:
    async with AsyncExitStack() as stack:
        config = await stack.enter_async_context(ConfigWatch(settings, shell.schemas.resolve))
        signals_count = await asyncio.to_thread(partition_count, settings, topics.SIGNALS)
        bars_count = await asyncio.to_thread(partition_count, settings, topics.BARS)
        stages = [
            GroupStage(
                run_id=settings.run_id,
                group_id=group_id,
                config=config,
                sources=sources_of(bars_count),
                signals_partition_count=signals_count,
                outside=await _outside(settings, group_id, config, shell, stack),
            )
            for group_id in group_ids
        ]
        await _run(stages, config, shell)


async def _outside(
    settings: AgentsSettings,
    group_id: str,
    config: ConfigSource,
    shell: Shell,
    stack: AsyncExitStack,
) -> Outside:
    """The model and the call log, for groups of language models alone."""
    group = config.book.groups.get(group_id)
    if group is None or group.kind is not GroupKind.LLM:
        return Outside()
    call_log = KafkaCallLog(settings, group_id, shell.metrics, shell.schemas.resolve)
    return Outside(call_log=await stack.enter_async_context(call_log), llm=endpoint_of(settings))


def sources_of(bars_partition_count: int) -> tuple[str, ...]:
    """Whose watermarks complete a slice on a partition of signals."""
    bars = (f"{INSTANCE}/{topics.BARS}/{number}" for number in range(bars_partition_count))
    return (*bars, f"{INSTANCE}/{topics.MACRO}/0")


async def _run(stages: Sequence[Stage], config: ConfigWatch, shell: Shell) -> None:
    """Stages and the watch over the configuration; the first that fails ends both."""
    await asyncio.gather(run_all(stages, shell), config.follow(shell.stopping))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tapeline.agents",
        description="Triggers turn bars into signals; groups turn signals into decisions.",
    )
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    roles.add_parser("triggers", help="run all enabled triggers of the topic config")
    group = roles.add_parser("group", help="run trading groups")
    group.add_argument("group_id", nargs="+", help="ids of TradingGroup records on config")
    return parser
