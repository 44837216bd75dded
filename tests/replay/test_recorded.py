"""A replay is equal, whatever the hash seed; a change in a core makes it fail and is named."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any, cast

import pytest
from proving.oracle import of
from proving.playing import Finished
from proving.reading import Seen, committed

from tapeline.backtest.run_replay import RunReplay, replay_run
from tapeline.cli.proofs import replay_facts
from tapeline.contracts import topics
from tapeline.contracts.orders import ApprovedOrder, Fill
from tapeline.execution.core import ExecutionCore
from tapeline.risk.core import RiskCore
from tapeline.risk.state import RiskState
from tapeline.runtime.core import Context, Input, MoneyCore, Output
from tapeline.runtime.replay import Difference

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
LIMIT_S = 240
NTH = 7
CENT = Decimal("0.01")
HASH_SEEDS = ("1", "20202")
SNAPSHOT_SEEDS = (20140401, 7)
SNAPSHOT_SHARE = 0.05
MakeCore = Callable[[Context], MoneyCore[Any]]


class Tampered:
    """A core that says something else from the nth record of a type on."""

    def __init__(self, core: MoneyCore[Any], change: Callable[[Any], Any]) -> None:
        self._core = core
        self._change = change
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def decide(self, state: Any, event: Input) -> Sequence[Output]:
        return [self._changed(output) for output in self._core.decide(state, event)]

    def _changed(self, output: Output) -> Output:
        record = self._change(output.record)
        self._count += record is not output.record
        return replace(output, record=record) if self._count >= NTH else output


def enlarged(record: Any) -> Any:
    """An approval of a hundredth more."""
    if not isinstance(record, ApprovedOrder):
        return record
    return replace(record, order=replace(record.order, quantity=record.order.quantity + CENT))


def cheaper(record: Any) -> Any:
    """A fill a cent below."""
    return replace(record, price=record.price - CENT) if isinstance(record, Fill) else record


def generous_risk(context: Context) -> MoneyCore[Any]:
    """Approves more than it should."""
    return cast("MoneyCore[Any]", Tampered(RiskCore(context), enlarged))


def cheap_execution(context: Context) -> MoneyCore[Any]:
    """Fills better than the venue did."""
    return cast("MoneyCore[Any]", Tampered(ExecutionCore(context), cheaper))


class ForgetfulRisk(RiskCore):
    """Says what it should and keeps another state."""

    def dump(self, state: RiskState) -> bytes:
        return super().dump(state) + b" "


def replayed_with(
    run: Finished, risk: MakeCore = RiskCore, execution: MakeCore = ExecutionCore
) -> RunReplay:
    """The run along its journal, with other cores."""
    cores = (("risk", 0, risk), ("execution", 1, execution))
    return asyncio.run(replay_run(run.settings, run.run.run_id, run.run.shards, money_cores=cores))


class ThroughSnapshots:
    """A core whose state goes through a snapshot before some of its inputs."""

    def __init__(self, core: MoneyCore[Any], seed: int) -> None:
        self._core = core
        self._generator = Random(seed)
        self.taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def evolve(self, state: Any, event: Input | Output) -> Any:
        if isinstance(event, Input) and self._generator.random() < SNAPSHOT_SHARE:
            state = self._core.load(self._core.dump(state))
            self.taken += 1
        return self._core.evolve(state, event)


def digest_of(run: Finished) -> str:
    """Of the run, as its replay found it."""
    assert run.replay is not None
    return run.replay.digest


def difference_of(result: RunReplay, instance: str) -> Difference:
    """The first difference of one shard."""
    assert not result.is_equal
    return next(found for found in result.differences if found.instance == instance)


def nth_recorded(run: Finished, topic: str, kind: type, shard: int) -> Seen:
    """What the nth output of a shard was when the run was played."""
    found = asyncio.run(committed(run.settings, (topic,)))
    return [item for item in of(found[topic], kind) if item.partition == shard][NTH - 1]


@pytest.mark.parametrize(
    ("topic", "kind", "service", "cores"),
    [
        (topics.APPROVED_ORDERS, ApprovedOrder, "risk", {"risk": generous_risk}),
        (topics.FILLS, Fill, "execution", {"execution": cheap_execution}),
    ],
)
def test_a_changed_core_is_caught_at_its_first_other_event(
    undisturbed: Finished, topic: str, kind: type, service: str, cores: dict[str, Any]
) -> None:
    result = replayed_with(undisturbed, **cores)
    other = {"risk": "execution", "execution": "risk"}[service]
    assert not [found for found in result.differences if found.instance.startswith(other)]
    for shard in undisturbed.run.shards:
        difference = difference_of(result, f"{service}/{shard}")
        recorded = nth_recorded(undisturbed, topic, kind, shard)
        sequence, batch, index, output = recorded.step.split(".")
        assert difference.sequence == int(sequence)
        assert difference.where.startswith(f"batch {batch}, input {index}, output ")
        assert int(difference.where.rpartition(" ")[2]) <= int(output)
        assert recorded.event_id in difference.recorded
        assert recorded.event_id in difference.replayed


def test_a_changed_state_is_caught_by_its_digest_although_nothing_else_is_said(
    undisturbed: Finished,
) -> None:
    difference = difference_of(replayed_with(undisturbed, risk=ForgetfulRisk), "risk/0")
    assert difference.where == "digest of the state"


@pytest.mark.parametrize("seed", SNAPSHOT_SEEDS)
def test_states_that_went_through_snapshots_at_any_record_say_the_same(
    undisturbed: Finished, seed: int
) -> None:
    made: list[ThroughSnapshots] = []

    def restored(core: MakeCore) -> MakeCore:
        def make(context: Context) -> MoneyCore[Any]:
            made.append(ThroughSnapshots(core(context), seed + len(made)))
            return cast("MoneyCore[Any]", made[-1])

        return make

    result = replayed_with(undisturbed, restored(RiskCore), restored(ExecutionCore))
    assert len(made) == 2 * len(undisturbed.run.shards)
    assert min(core.taken for core in made) > 20
    assert result.is_equal
    assert result.digests() == undisturbed.digests
    assert sum(part.states_compared for part in result.shards) > 0


@pytest.mark.parametrize("seed", HASH_SEEDS)
def test_the_command_replays_to_the_same_digests_under_any_hash_seed(
    undisturbed: Finished, seed: str
) -> None:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "KAFKA_BOOTSTRAP_SERVERS": undisturbed.settings.kafka_bootstrap_servers,
        "DATABASE_URL": undisturbed.database_url,
        "TAPELINE_HOME": str(undisturbed.folder.parent.parent),
    }
    command = ("replay", "--recorded", "--json", "--run", undisturbed.run.name)
    done = subprocess.run(
        [sys.executable, "-m", "tapeline.cli", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["equal"]
    assert facts["digests"] == undisturbed.digests
    assert facts["events"] == facts["inputs"] > 0
    assert facts["first_difference"] is None
    assert facts["digest"] == digest_of(undisturbed)


def test_the_facts_of_a_replay_name_the_first_difference(undisturbed: Finished) -> None:
    result = replayed_with(undisturbed, execution=cheap_execution)
    facts = replay_facts(result)
    assert not facts["equal"]
    assert facts["digest"] != digest_of(undisturbed)
    assert facts["first_difference"]["instance"] == "execution/0"
    assert facts["first_difference"]["recorded"] != facts["first_difference"]["replayed"]
