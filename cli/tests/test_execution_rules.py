"""A run notes what settings change of what its cores say, and its replay goes by it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from run_samples import RUN

from tapeline.backtest.run_replay import RunReplay
from tapeline.cli import proofs
from tapeline.cli.runs import Run, RunStore
from tapeline.cli.sources import chosen_source, prepared
from tapeline.execution.admission import Rules
from tapeline.execution.core import DEFAULT_RULES, ExecutionCore
from tapeline.runtime.core import Context
from tapeline.runtime.settings import KafkaSettings, SettingsError

HEARTBEAT = "TAPELINE_EXECUTION_RISK_HEARTBEAT_MS_MAX"


def rules_of_replay(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Rules:
    """Of the execution that a replay of the run steps."""
    found: list[Rules] = []

    async def replayed(*_: Any, money_cores: Any) -> RunReplay:
        for name, _slot, make in money_cores:
            core = make(Context(run_id="r", service=name, shard=0, mode="PAPER"))
            if isinstance(core, ExecutionCore):
                found.append(core.rules)
        await asyncio.sleep(0)
        return RunReplay(shards=(), stages=())

    monkeypatch.setattr(proofs, "replay_run", replayed)
    proofs.replay(run, KafkaSettings(kafka_bootstrap_servers="nowhere:1"), folder)
    (rules,) = found
    return rules


def test_a_replay_goes_by_the_rules_that_were_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEARTBEAT, "60000")
    prepared(tmp_path, chosen_source(synthetic=1), "x")
    monkeypatch.delenv(HEARTBEAT)
    run = RunStore(tmp_path).get("last")
    rules = rules_of_replay(run, tmp_path, monkeypatch)
    assert rules.risk_heartbeat_age_ns_max == 60 * 10**9
    assert asdict(rules) == run.execution_rules


def test_a_run_that_notes_none_went_by_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path)
    store.save(RUN)
    path = store.folder(RUN.name) / "run.json"
    said = json.loads(path.read_text())
    del said["execution_rules"]
    path.write_text(json.dumps(said))
    assert rules_of_replay(store.get(RUN.name), tmp_path, monkeypatch) == DEFAULT_RULES


def test_a_setting_that_means_nothing_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEARTBEAT, "soon")
    with pytest.raises(SettingsError, match=HEARTBEAT):
        prepared(tmp_path, chosen_source(synthetic=1), "x")
