"""The session clock of a partition and the ids of inputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from samples import sample

from tapeline.contracts.system import Watermark
from tapeline.runtime.codec import encode
from tapeline.runtime.ids import content_id
from tapeline.runtime.stage_intake import SessionClock, StageIntake


@dataclass
class Stored:
    """A record as a consumer hands it out."""

    value: bytes
    offset: int
    topic: str = "r.ticks"
    partition: int = 3
    timestamp: int = 5
    key: bytes | None = b"k"
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def watermark(ts_event_ns: int, number: int = 1) -> Watermark:
    return Watermark(
        source="feed/x",
        slice=number,
        is_paced=False,
        is_final=False,
        ts_event_ns=ts_event_ns,
        ts_init_ns=ts_event_ns,
    )


def trade(ts_event_ns: int) -> Any:
    return replace(sample("tapeline.market.Trade"), ts_event_ns=ts_event_ns)


def intake(*names: str) -> StageIntake:
    return StageIntake(names, "r.", lambda _: None)


def test_session_time_is_the_records_own_until_a_watermark_and_the_watermarks_then() -> None:
    records = [trade(10), trade(20), watermark(30), trade(40), watermark(25), trade(50)]
    clock = SessionClock()
    times = [clock.stamp(record, offset, 0) for offset, record in enumerate(records)]
    assert times == [10, 20, 30, 30, 30, 30]


def test_a_record_without_a_time_has_that_of_the_broker() -> None:
    assert SessionClock().stamp(object(), 0, append_ms=7) == 7_000_000


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 1000)), min_size=1, max_size=40),
    st.data(),
)
def test_a_clock_kept_at_any_low_water_goes_on_as_if_nothing_had_happened(
    kinds: list[tuple[bool, int]], data: st.DataObject
) -> None:
    records = [watermark(ts) if is_watermark else trade(ts) for is_watermark, ts in kinds]
    low = data.draw(st.integers(0, len(records)))
    position = data.draw(st.integers(low, len(records)))
    whole = SessionClock()
    times = [whole.stamp(record, offset, 0) for offset, record in enumerate(records)]

    first = SessionClock()
    for offset in range(position):
        first.stamp(records[offset], offset, 0)
    again = SessionClock(first.at(low))
    repeated = [again.stamp(records[offset], offset, 0) for offset in range(low, len(records))]
    assert repeated == times[low:]


def test_a_bulk_record_is_identified_by_content_and_place() -> None:
    record = trade(10)
    event = intake("ticks").input_of(Stored(encode(record), 9), SessionClock())
    assert event.event_id == f"{content_id(record.content_key())}@ticks/3/9"
    assert (event.topic, event.partition, event.offset, event.session_ns) == ("ticks", 3, 9, 10)


def test_other_records_carry_their_ids_with_them() -> None:
    record = sample("tapeline.agents.Signal")
    headers = [("event_id", b"e1"), ("correlation_id", b"c1"), ("producer", b"x")]
    stored = Stored(encode(record), 1, topic="r.signals", headers=headers)
    event = intake("signals").input_of(stored, SessionClock())
    assert (event.event_id, event.correlation_id, event.topic) == ("e1", "c1", "signals")


def test_a_watermark_on_a_bulk_topic_is_identified_by_source_and_slice() -> None:
    event = intake("ticks").input_of(Stored(encode(watermark(5, 7)), 2), SessionClock())
    assert event.event_id == f"{content_id('Watermark/feed/x/7')}@ticks/3/2"
