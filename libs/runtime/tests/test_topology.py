"""Which partition a key has, and the topics of a run on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType
from hypothesis import given
from hypothesis import strategies as st

from tapeline.contracts import topics
from tapeline.runtime.kafka import KafkaUnavailable, admin_client, wait_for_kafka
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import (
    RESTART_STATES,
    TopicUnfit,
    Topology,
    create_topics,
    delete_topics,
    partition_count,
    partition_of,
)

DAY_MS = 24 * 3_600_000


def test_the_partition_of_a_key_never_changes() -> None:
    # CRC-32 of "123456789" is the published check value.
    assert crc32(b"123456789") == 0xCBF43926
    assert partition_of("123456789", 1_000_000) == 0xCBF43926 % 1_000_000
    assert [partition_of(key, 4) for key in ("SPY.ARCA", "VIX", "ü")] == [3, 2, 1]


@given(st.text(), st.integers(1, 100))
def test_a_key_has_a_partition_that_exists(key: str, count: int) -> None:
    assert 0 <= partition_of(key, count) < count


def test_a_laptop_may_have_fewer_partitions_of_a_spread() -> None:
    small = Topology(instrument=1, account=2)
    assert [small.partitions(name) for name in (topics.TICKS, topics.MARKS)] == [1, 1]
    assert small.partitions(topics.FILLS) == 2
    assert small.partitions(topics.CONTROL) == 1


def test_an_address_without_a_broker_is_one_clear_failure() -> None:
    settings = KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1", kafka_wait_s=0.0)
    with pytest.raises(KafkaUnavailable) as caught:
        wait_for_kafka(settings)
    assert "127.0.0.1:1" in caught.value.cause
    assert "tapeline up" in caught.value.remedy


@pytest.fixture
def run_settings(kafka_bootstrap: str, tmp_path: Path) -> Iterator[KafkaSettings]:
    prefix = f"topology{tmp_path.name[-12:]}."
    settings = KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=prefix)
    yield settings
    delete_topics(settings)


@pytest.mark.kafka
def test_topics_are_created_once_and_refused_when_they_do_not_fit(
    run_settings: KafkaSettings,
) -> None:
    small = Topology(instrument=2, account=2, service=2)
    assert create_topics(run_settings, small) == len(topics.TOPICS)
    assert create_topics(run_settings, small) == 0
    assert partition_count(run_settings, topics.TICKS) == 2
    with pytest.raises(TopicUnfit, match=rf"{run_settings.topic_prefix}\S+ has 2 partitions"):
        create_topics(run_settings, Topology(instrument=3, account=2, service=2))
    assert delete_topics(run_settings) == len(topics.TOPICS)
    with pytest.raises(TopicUnfit, match="does not exist"):
        partition_count(run_settings, topics.TICKS)


@pytest.mark.kafka
def test_no_input_of_a_core_is_deleted_or_compacted_within_the_one_retention(
    run_settings: KafkaSettings,
) -> None:
    create_topics(run_settings, Topology(instrument=1, account=1, service=2))
    retention_ms = str(topics.RETENTION_INPUTS_DAYS * DAY_MS)
    names = {run_settings.topic_prefix + name: topic for name, topic in topics.TOPICS.items()}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    client = admin_client(run_settings)
    for resource, future in client.describe_configs(resources).items():
        topic = names[resource.name]
        config = {name: entry.value for name, entry in future.result().items()}
        assert config["message.timestamp.type"] == "LogAppendTime"
        assert config["cleanup.policy"] == ("compact" if topic.is_compacted else "delete")
        if topic.retention == "inputs":
            assert config["retention.ms"] == retention_ms
        if topic.is_compacted and topic.name not in RESTART_STATES:
            assert config["min.compaction.lag.ms"] == retention_ms


def test_without_a_prefix_nothing_is_deleted() -> None:
    with pytest.raises(TopicUnfit, match="every topic"):
        delete_topics(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"))
