"""Which processes a run needs, and what each is told.

Pure: a configuration and a few addresses in, a list of parts out. A part is a process by name, its
arguments, and its environment on top of the shared one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapeline.cli.configuration import Configuration, ConfigurationError
from tapeline.cli.runs import SWITCH_FOLDER, Run
from tapeline.cli.stack.state import Endpoints
from tapeline.contracts import topics
from tapeline.contracts.config import Account, GroupKind, TradingGroup

REPORTERS_WAIT_S = 120
"""how long the feed waits for a slice; services may be started again meanwhile"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of a run."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a run's processes find things."""

    endpoints: Endpoints
    audit_url: str
    folder: Path
    """the run's folder"""
    model_port: int = 0
    """of the local offline model server; 0: none is started"""
    feed_options: Mapping[str, str] = field(default_factory=dict)
    """further environment of the feed"""
    is_dev: bool = False
    strategies: str = ""
    """folder of the run's own strategy files; empty: it has none"""


def groups_of(configuration: Configuration) -> list[tuple[TradingGroup, Account]]:
    """The enabled groups with the account each trades."""
    accounts = {account.account_id: account for account in configuration.of(Account)}
    return [
        (group, accounts[group.account_id])
        for group in configuration.of(TradingGroup)
        if group.is_enabled and group.kind is not GroupKind.MANUAL
    ]


def reporters_of(run: Run, configuration: Configuration) -> list[str]:
    """Who must have finished a slice before the feed releases the next."""
    shards = [f"{service}/{shard}" for service in ("risk", "execution") for shard in run.shards]
    return shards + [f"group/{group.group_id}" for group, _ in groups_of(configuration)]


def paced_sources_of(run: Run, configuration: Configuration) -> dict[str, dict[str, list[str]]]:
    """topic -> partition -> sources whose watermarks make a slice complete there."""
    instruments = range(run.instrument_partitions)
    sources: dict[str, dict[str, list[str]]] = {
        topics.TICKS: {str(p): [f"feed/{run.feed}"] for p in instruments},
        topics.MARKS: {str(p): [f"bars/{p}"] for p in instruments},
        topics.BARS: {str(p): [f"bars/{p}"] for p in instruments},
        topics.SIGNALS: {
            "0": [*(f"triggers/bars/{p}" for p in instruments), "triggers/macro/0"],
        },
        topics.DECISIONS: {str(shard): [] for shard in run.shards},
        topics.FUNDING_RATES: {"0": [f"feed/{run.feed}"]},
        # No feed sets a pace there: what comes is taken along with the next slice.
        topics.BOOKS: {str(p): [] for p in instruments},
    }
    for group, account in groups_of(configuration):
        if account.shard not in run.shards:
            raise ConfigurationError(
                f"Account {account.account_id} lives on shard {account.shard}, which no process "
                "of this run serves.",
                f"The shards are {', '.join(map(str, run.shards))}.",
            )
        sources[topics.DECISIONS][str(account.shard)].append(f"group/{group.group_id}")
    for shard in run.shards:
        sources.setdefault(topics.APPROVED_ORDERS, {})[str(shard)] = [f"risk/{shard}"]
        for topic in (topics.ORDER_UPDATES, topics.FILLS, topics.ACCOUNT_EVENTS):
            sources.setdefault(topic, {})[str(shard)] = [f"execution/{shard}"]
    return sources


def shared_environment(run: Run, configuration: Configuration, ground: Ground) -> dict[str, str]:
    """What every process of the run is told."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": ground.endpoints.bootstrap_servers,
        "TAPELINE_TOPIC_PREFIX": run.prefix,
        "TAPELINE_RUN_ID": run.run_id,
        "TAPELINE_MODE": "PAPER",
        "TAPELINE_IS_PACED": str(run.is_paced).lower(),
        "TAPELINE_PACED_SOURCES": json.dumps(paced_sources_of(run, configuration)),
        "TAPELINE_KEYS_DIR": str(ground.folder / "keys"),
        "TAPELINE_SWITCH_DIR": str(ground.folder / SWITCH_FOLDER),
        "TAPELINE_LOG_DIR": str(ground.folder / "logs"),
        "TAPELINE_IS_DEV": str(ground.is_dev).lower(),
    }


def parts_of(run: Run, configuration: Configuration, ground: Ground) -> list[Part]:
    """The processes of a run, in the order in which they are started; the feed comes last."""
    shards = ",".join(map(str, run.shards))
    parts = []
    if ground.model_port:
        port = str(ground.model_port)
        parts.append(_part("model-server", "tapeline.agents.model_server", "--port", port))
    audit = {
        # Two runs of the same data share the run_id that ids are made of; their rows must not mix.
        "TAPELINE_RUN_ID": run.name,
        "DATABASE_URL": ground.audit_url,
        "TAPELINE_AUDIT_ANCHORS_DIR": str(ground.folder / "anchors"),
    }
    parts.append(_part("audit", "tapeline.audit", environment=audit))
    for service in ("execution", "risk"):
        money = {"TAPELINE_SHARDS": shards}
        parts.append(_part(service, f"tapeline.{service}", environment=money))
    parts += [_group_part(group, ground) for group, _ in groups_of(configuration)]
    agents = strategy_environment(ground)
    parts.append(_part("triggers", "tapeline.agents", "triggers", environment=agents))
    bars = {"TAPELINE_MARKET_DATA_INTERVALS": intervals_of(configuration)}
    parts.append(_part("bars", "tapeline.market_data", "bars", environment=bars))
    parts.append(_feed_part(run, configuration, ground))
    return parts


def strategy_environment(ground: Ground) -> dict[str, str]:
    """Where triggers and groups find the run's own strategy files."""
    return {"TAPELINE_AGENTS_STRATEGY_DIR": ground.strategies} if ground.strategies else {}


def intervals_of(configuration: Configuration) -> str:
    """Lengths of the run's bars."""
    listed = configuration.settings.get("intervals", ["1m", "5m", "1h", "1d"])
    return ",".join(listed)


def _part(
    name: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Part:
    argv = (sys.executable, "-m", module, *arguments)
    return Part(name=name, argv=argv, environment=environment or {})


def _group_part(group: TradingGroup, ground: Ground) -> Part:
    environment = strategy_environment(ground)
    if group.kind is GroupKind.LLM and ground.model_port:
        environment["TAPELINE_AGENTS_LLM_BASE_URL"] = f"http://127.0.0.1:{ground.model_port}/v1"
        environment["TAPELINE_AGENTS_LLM_MODEL"] = "offline-rules-1"
        # A paced run must not depend on the machine's speed.
        environment["TAPELINE_AGENTS_LLM_CALL_TIMEOUT_S"] = "30"
        environment["TAPELINE_AGENTS_LLM_DEADLINE_S"] = "60"
    name = f"group-{group.group_id}"
    return _part(name, "tapeline.agents", "group", group.group_id, environment=environment)


def _feed_part(run: Run, configuration: Configuration, ground: Ground) -> Part:
    settings: Mapping[str, Any] = configuration.settings
    environment = {
        "TAPELINE_MARKET_DATA_FEED": run.feed,
        "TAPELINE_MARKET_DATA_INTERVALS": intervals_of(configuration),
        "TAPELINE_MARKET_DATA_REPORTERS": ",".join(reporters_of(run, configuration)),
        "TAPELINE_MARKET_DATA_REPORTERS_WAIT_S": str(REPORTERS_WAIT_S),
        "TAPELINE_MARKET_DATA_SLICE_LENGTH": str(settings.get("slice", "")),
        "TAPELINE_MARKET_DATA_SLICES_SETTLE": str(settings.get("slices_settle", False)).lower(),
        **ground.feed_options,
    }
    return _part("feed", "tapeline.market_data", "feed", environment=environment)
