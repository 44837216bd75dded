"""What the reader says when an undecided transaction lies in its way."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tapeline.runtime import log_reader
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
    producer.abort_transaction()
    assert [raw.value for raw in reader.read({(topic, 1): (0, 3)})[topic, 1]] == [b"x"]
