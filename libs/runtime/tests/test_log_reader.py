"""What the reader gives, and what it says when an undecided transaction lies in its way."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaPlace
from confluent_kafka.admin import AdminClient, NewTopic

from tapeline.runtime import log_reader
from tapeline.runtime.exits import PositionLost
from tapeline.runtime.log import RawColumns
from tapeline.runtime.log_reader import LogReader, LogUnavailable

pytestmark = pytest.mark.kafka


def test_it_names_the_place_and_how_far_all_is_decided(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, config = f"held-{uuid.uuid4()}", {"bootstrap.servers": kafka_bootstrap}
    admin = AdminClient(config)
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)
    producer = Producer({**config, "transactional.id": topic})
    producer.init_transactions()
    for is_decided in (True, False):
        producer.begin_transaction()
        producer.produce(topic, b"x", partition=1)
        producer.flush()
        if is_decided:
            producer.commit_transaction()
    reader = LogReader(config, "")
    # A record and the marker of its commit, then what is not decided.
    assert reader.ends([(topic, 1)]) == {(topic, 1): 3}
    monkeypatch.setattr(log_reader, "TIMEOUT_S", 2.0)
    with pytest.raises(LogUnavailable, match=f"{topic}-1 at 2 of 3, decided up to 2"):
        reader.read({(topic, 1): (0, 3)})
    with pytest.raises(LogUnavailable, match=f"{topic}-1 at 2 of 3, decided up to 2"):
        list(reader.stream((topic, 1), 0, 3))
    producer.abort_transaction()
    assert [raw.value for raw in reader.read({(topic, 1): (0, 3)})[topic, 1]] == [b"x"]
    assert [part.values for part in reader.stream((topic, 1), 0, 3)] == [[b"x"]]


def test_a_stream_gives_what_is_read_at_once(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, config = f"stream-{uuid.uuid4()}", {"bootstrap.servers": kafka_bootstrap}
    admin = AdminClient(config)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    producer = Producer({**config, "transactional.id": topic})
    producer.init_transactions()
    for number in range(60):
        producer.begin_transaction()
        headers: list[tuple[str, str | bytes | None]] = [("event_id", b"%d" % number)]
        value = None if number % 7 == 3 else b"%d" % number
        producer.produce(topic, value, None if number % 5 else b"k", headers=headers[: number % 2])
        producer.flush()
        if number % 4:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    reader, place = LogReader(config, ""), (topic, 0)
    monkeypatch.setattr(log_reader, "BATCH_MAX", 7)
    end = reader.ends([place])[place]
    for start, behind in ((0, end), (3, 50), (50, 51), (end - 2, end), (9, 9)):
        found = RawColumns()
        for part in reader.stream(place, start, behind):
            found.extend(part)
        raws = reader.read({place: (start, behind)})[place]
        assert found.offsets == [raw.offset for raw in raws]
        assert found.append_ms == [raw.append_ms for raw in raws]
        assert found.keys == [raw.key for raw in raws]
        assert found.values == [raw.value for raw in raws]
        assert found.headers == [raw.headers for raw in raws]
    deleted = KafkaPlace(topic, 0, 30)
    admin.delete_records([deleted])[deleted].result(30)
    with pytest.raises(PositionLost, match=r"has to read .* at offset 12"):
        list(reader.stream(place, 12, end))


def test_a_topic_that_is_made_again_has_another_id(kafka_bootstrap: str) -> None:
    topic, config = f"again-{uuid.uuid4()}", {"bootstrap.servers": kafka_bootstrap}
    admin, found = AdminClient(config), [""]
    reader, name = LogReader(config, topic[:6]), topic[6:]
    with pytest.raises(LogUnavailable, match=name):
        reader.topic_ids([name])
    for _ in range(2):
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        found.append(_new_id(reader, name, found[-1]))
        assert reader.topic_ids([name]) == {name: found[-1]}
        admin.delete_topics([topic], operation_timeout=30)[topic].result(30)
    assert len(set(found)) == 3


def _new_id(reader: LogReader, name: str, before: str) -> str:
    """Once the broker knows of what its controller has done."""
    while True:
        try:
            found = reader.topic_ids([name])[name]
        except LogUnavailable:
            found = before
        if found != before:
            return found
        time.sleep(0.05)
