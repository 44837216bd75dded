"""Inputs of the money path: ids and session time of what comes without headers."""

from __future__ import annotations

from samples import sample

from tapeline.contracts.market import Trade
from tapeline.runtime.codec import encode
from tapeline.runtime.ids import content_id
from tapeline.runtime.intake import Intake
from tapeline.runtime.log import Raw


def test_a_bulk_record_has_the_id_of_its_content_and_place() -> None:
    record = sample(Trade.AVRO)
    raw = Raw("ticks", 3, 17, 1, b"key", encode(record))
    event = Intake(("ticks",)).input_of(raw, session_ns=5)
    assert event.event_id == f"{content_id(record.content_key())}@ticks/3/17"
    assert (event.record, event.session_ns, event.offset) == (record, 5, 17)
