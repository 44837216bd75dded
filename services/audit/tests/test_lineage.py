"""From any id of an order back to its ticks, and why a decision became what it became."""

from __future__ import annotations

from dataclasses import replace

import pytest
from audit_samples import RUN_ID, Database, Writer, decision, message, trade
from story import BAR_ID, Shelf, bulk_records, story

from tapeline.audit.lineage import Lineage, trace, why
from tapeline.audit.queries import (
    an_order_with_fills,
    counts_by_topic,
    denials_by_code,
    fills_by_group,
    incidents_by_code,
    latency,
    orders,
    orders_by_status,
    runs,
)

pytestmark = pytest.mark.postgres


@pytest.fixture
def told(writer: Writer, database: Database) -> str:
    """The URL of a database that holds the story."""
    writer.write(story())
    return database.app_url


def traced(url: str, identifier: str, shelf: Shelf | None = None) -> Lineage:
    """A lineage that must be there."""
    found = trace(url, RUN_ID, identifier, shelf)
    assert found is not None
    return found


def test_every_id_of_an_order_leads_from_its_fill_to_its_ticks(told: str) -> None:
    found = traced(told, "fill-1", Shelf(bulk_records()))
    for identifier in ("order-1", "decision-1", "approval-1", "update-1"):
        same = traced(told, identifier, Shelf(bulk_records()))
        assert replace(same, identifier="fill-1") == found
    assert found.is_complete
    assert [step.event_id for step in found.fills] == ["fill-1"]
    assert [step.event_id for step in found.order_updates] == ["update-1", "update-2"]
    assert [step.event_id for step in found.approvals] == ["approval-1"]
    assert [step.event_id for step in found.decisions] == ["decision-1"]
    assert [step.event_id for step in found.signals] == ["signal-1"]
    assert [(step.topic, step.offset) for step in found.bars] == [("bars", 1)]
    [ticks] = found.ticks
    assert (ticks.partition, ticks.first_offset, ticks.last_offset) == (1, 100, 199)
    assert (ticks.count, ticks.expected_count) == (100, 100)
    assert ticks.first["price"] == 202.0
    assert [step.event_id for step in found.llm_calls] == ["call-1"]
    assert [step.event_id for step in found.discussion] == ["message-1"]
    assert found.denials == ()


def test_ticks_are_found_over_many_chunks(told: str) -> None:
    [ticks] = traced(told, "order-1", Shelf(bulk_records(9_000))).ticks
    assert (ticks.first_offset, ticks.last_offset) == (100, 199)


def test_without_a_reader_bars_are_named_and_not_read(told: str) -> None:
    found = traced(told, "order-1")
    assert found.gaps == ("bars/1/1 was not read.",)
    assert not found.is_complete


def test_a_bar_that_is_gone_is_a_gap(told: str) -> None:
    kept = [record for record in bulk_records() if record.topic == "ticks"]
    assert traced(told, "order-1", Shelf(kept)).gaps == (
        "bars/1/1 is no longer kept, or cannot be decoded.",
    )


def test_a_bar_whose_ticks_are_gone_is_a_gap(told: str) -> None:
    kept = [record for record in bulk_records() if record.topic == "bars"]
    kept.append(message("ticks", 1, 0, trade(5000)))
    [gap] = traced(told, "order-1", Shelf(kept)).gaps
    assert gap == "The ticks of bars/1/1 are no longer kept."


def test_another_record_at_the_bars_place_does_not_pass(writer: Writer, database: Database) -> None:
    records = story()
    wrong = message("signals", 0, 0, records[0].value, "signal-1", f"{BAR_ID}@ticks/1/7")
    writer.write([wrong, *records[1:]])
    found = traced(database.app_url, "order-1", Shelf(bulk_records()))
    assert found.bars == ()
    assert "another record" in found.gaps[0]


def test_a_cause_that_is_not_there_is_a_gap(told: str) -> None:
    found = traced(told, "decision-4")
    assert "signal-9" in found.gaps[0]


def test_an_unknown_id_has_no_lineage(told: str) -> None:
    assert trace(told, RUN_ID, "order-7") is None
    assert trace(told, "run-7", "order-1") is None


def test_why_a_decision_was_denied_with_measure_and_limit(told: str) -> None:
    found = why(told, RUN_ID, "decision-2")
    assert found is not None
    assert (found.outcome, found.code) == ("DENIED", "POSITION_LIMIT")
    assert (found.measured, found.limit) == ("0.062", "0.05")
    assert found.instrument_id == "XAU.OTC"


def test_a_decision_denied_along_with_another_has_the_same_answer(told: str) -> None:
    found = why(told, RUN_ID, "decision-3")
    assert found is not None
    assert (found.outcome, found.code) == ("DENIED", "POSITION_LIMIT")


def test_why_a_decision_became_an_order(told: str) -> None:
    found = why(told, RUN_ID, "decision-1")
    assert found is not None
    assert (found.outcome, found.client_order_id, found.filled_quantity) == (
        "FILLED",
        "order-1",
        "10",
    )
    assert found.reason == "Approved: BUY 10 SPY.ARCA."


def test_why_a_decision_is_unanswered(told: str) -> None:
    found = why(told, RUN_ID, "decision-4")
    assert found is not None
    assert found.outcome == "UNANSWERED"


def test_nobody_knows_why_an_unknown_decision(told: str) -> None:
    assert why(told, RUN_ID, "decision-9") is None


def test_the_figures_of_a_run(writer: Writer, database: Database, told: str) -> None:
    again = message("decisions", 0, 3, decision(1), "decision-1")
    garbage = message("decisions", 0, 4, b"garbage", "garbage-1")
    writer.write([again, garbage])
    counts = {count.topic: count for count in counts_by_topic(told, RUN_ID)}
    assert (counts["decisions"].records, counts["decisions"].duplicates) == (5, 1)
    assert counts["decisions"].undecodable == 1
    assert orders_by_status(told, RUN_ID) == {"FILLED": 1}
    assert denials_by_code(told, RUN_ID) == {"POSITION_LIMIT": 1}
    assert incidents_by_code(told, RUN_ID) == {}
    [group] = fills_by_group(told, RUN_ID)
    assert (group.group_id, group.fills, group.orders) == ("momentum", 1, 1)
    assert (str(group.notional), str(group.commission)) == ("2030.50", "0.25")
    [order] = orders(told, RUN_ID)
    assert (order.client_order_id, order.status) == ("order-1", "FILLED")
    assert orders(told, RUN_ID, status="REJECTED") == ()
    assert an_order_with_fills(told, RUN_ID) == "order-1"
    assert runs(told) == (RUN_ID,)
    assert latency(told, RUN_ID).decision_to_fill_ms == (0,)
