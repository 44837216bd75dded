"""The whole chain on real Kafka and real PostgreSQL: recorded data in, expected digests out.

`TAPELINE_TEST_RECORD=1` writes what is found as the new expectation; look at the difference before
it is committed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from proving.books import LastStates, at_risk, at_the_venue, folded, in_postgres, last_states
from proving.load import busy_processor
from proving.oracle import JUDGED, counted, examine, of
from proving.playing import PRESET, Finished, Ground, play, replayed
from proving.reading import Seen, committed

from tapeline.audit.anchors import load_anchors
from tapeline.audit.bulk import KafkaRecords
from tapeline.audit.keys import load_keys
from tapeline.audit.lineage import trace
from tapeline.audit.queries import counts_by_topic
from tapeline.audit.verify import verify
from tapeline.cli.configuration import load_configuration
from tapeline.cli.records import TopicRecords
from tapeline.contracts import topics
from tapeline.contracts.config import Account
from tapeline.contracts.orders import ApprovedOrder, Fill, OrderUpdate
from tapeline.contracts.risk import Denial
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
EXPECTED = Path(__file__).parent / "expected.json"
TRACED = 5
"""orders of each group"""


@pytest.fixture(scope="module")
def found(undisturbed: Finished) -> dict[str, list[Seen]]:
    """What an independent client sees of the money path's topics."""
    return asyncio.run(committed(undisturbed.settings, JUDGED))


@pytest.fixture(scope="module")
def states(undisturbed: Finished) -> LastStates:
    """Where the shards stood at the end."""
    return last_states(undisturbed)


def facts_of(run: Finished, found: Mapping[str, list[Seen]]) -> dict[str, Any]:
    """What a run of the same data must give again."""
    assert run.replay is not None
    counts = counted(found)
    denials = Counter(item.record.code.value for item in of(found[topics.RISK_EVENTS], Denial))
    ends = Counter(
        item.record.status.value
        for item in of(found[topics.ORDER_UPDATES], OrderUpdate)
        if item.record.is_terminal
    )
    return {
        "run_id": run.run.run_id,
        "decisions": counts.decisions,
        "approved": counts.approved,
        "denied": dict(sorted(denials.items())),
        "ended": dict(sorted(ends.items())),
        "fills": counts.fills,
        "digests": run.digests,
    }


def test_recorded_data_gives_the_expected_counts_and_digests(
    undisturbed: Finished, found: dict[str, list[Seen]]
) -> None:
    facts = facts_of(undisturbed, found)
    if os.environ.get("TAPELINE_TEST_RECORD"):
        EXPECTED.write_text(json.dumps(facts, indent=2) + "\n")
    assert facts == json.loads(EXPECTED.read_text())


def test_a_replay_decides_the_same_to_the_byte(undisturbed: Finished) -> None:
    replay = undisturbed.replay
    assert replay is not None
    assert replay.differences == ()
    assert replay.is_equal
    assert all(shard.states_compared > 0 for shard in replay.shards)
    assert all(sum(stage.outputs.values()) > 0 for stage in replay.stages)


def test_every_decision_is_answered_once_and_every_order_ends_once(
    found: dict[str, list[Seen]], states: LastStates
) -> None:
    damage = examine(found, states.held_open)
    assert damage.is_none, str(damage)
    assert len(of(found[topics.FILLS], Fill)) > len(
        of(found[topics.APPROVED_ORDERS], ApprovedOrder)
    )


def test_the_summary_counts_records_and_neither_watermarks_nor_markers(
    undisturbed: Finished, found: dict[str, list[Seen]]
) -> None:
    reader = LogReader(confluent_config(undisturbed.settings), undisturbed.settings.topic_prefix)
    counts = TopicRecords(reader).counted([topics.FILLS, topics.APPROVED_ORDERS])
    assert counts == {
        topics.FILLS: len(of(found[topics.FILLS], Fill)),
        topics.APPROVED_ORDERS: len(of(found[topics.APPROVED_ORDERS], ApprovedOrder)),
    }


def test_positions_and_cash_are_the_same_to_the_last_unit_in_all_four_places(
    undisturbed: Finished, found: dict[str, list[Seen]], states: LastStates
) -> None:
    accounts = load_configuration(PRESET).of(Account)
    expected = folded((item.record for item in of(found[topics.FILLS], Fill)), accounts)
    assert len(expected.positions) == 4, "the run is to hold something at its end"
    assert in_postgres(undisturbed, accounts) == expected
    assert at_the_venue(states) == expected
    assert at_risk(states) == expected


def test_the_audit_holds_every_record_in_whole_chains(
    undisturbed: Finished, found: dict[str, list[Seen]]
) -> None:
    run = undisturbed
    keys = load_keys(run.folder / "keys" / "audit")
    anchors = load_anchors(run.folder / "anchors", run.run.name)
    report = verify(run.database_url, run.run.name, keys, anchors)
    assert report.is_intact, report.findings
    assert report.anchor_count > 0
    rows = {count.topic: count.records for count in counts_by_topic(run.database_url, run.run.name)}
    for topic in JUDGED:
        assert rows.get(topic, 0) == len(found[topic])
    assert rows[topics.TICKS] > 0


def test_orders_lead_from_ticks_to_fills_without_a_gap(
    undisturbed: Finished, found: dict[str, list[Seen]]
) -> None:
    run = undisturbed
    orders: dict[str, dict[str, None]] = {}
    for fill in of(found[topics.FILLS], Fill):
        orders.setdefault(fill.record.group_id, {})[fill.record.client_order_id] = None
    assert orders.keys() == {"trend", "swing", "committee"}
    chosen = {
        order_id: group_id
        for group_id, order_ids in orders.items()
        for order_id in evenly(list(order_ids))
    }
    with KafkaRecords(run.settings) as bulk:
        for order_id, group_id in chosen.items():
            lineage = trace(run.database_url, run.run.name, order_id, bulk)
            assert lineage is not None
            assert lineage.gaps == (), f"{group_id} {order_id}"
            assert lineage.is_complete
            assert lineage.fills


def evenly(names: list[str]) -> list[str]:
    """A few of them, the first and the last included."""
    last = len(names) - 1
    return [names[last * number // (TRACED - 1)] for number in range(TRACED)]


@pytest.mark.parametrize(
    ("name", "variables", "beside"),
    [
        ("second", {}, nullcontext),
        ("hashseed", {"PYTHONHASHSEED": "4711"}, nullcontext),
        ("loaded", {}, busy_processor),
    ],
)
def test_the_digests_do_not_depend_on_the_machine(
    undisturbed: Finished,
    ground: Ground,
    name: str,
    variables: dict[str, str],
    beside: Any,
) -> None:
    context: AbstractContextManager[None] = beside()
    with context:
        again = replayed(play(ground, name, variables=variables))
    assert again.run.name != undisturbed.run.name
    assert again.digests == undisturbed.digests
    print(f"{name}: {again.seconds:.1f} s, undisturbed: {undisturbed.seconds:.1f} s")
