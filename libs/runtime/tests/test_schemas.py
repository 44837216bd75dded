"""The topic of writer schemas on a real cluster."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from tapeline.contracts import topics
from tapeline.contracts.registry import SCHEMAS
from tapeline.contracts.system import WriterSchema
from tapeline.runtime.codec import encode, fingerprint_of
from tapeline.runtime.kafka import KafkaUnavailable, confluent_config
from tapeline.runtime.schemas import SchemaTopic
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import Topology, create_topics, delete_topics

NEWS = "tapeline.market.NewsItem"


@pytest.fixture(scope="module")
def run_settings(
    kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaSettings]:
    prefix = f"schemas{tmp_path_factory.mktemp('s').name}."
    settings = KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=prefix)
    create_topics(settings, Topology(instrument=1, account=1, service=2))
    yield settings
    delete_topics(settings)


def write(settings: KafkaSettings, *values: bytes) -> None:
    producer = Producer(confluent_config(settings))
    for value in values:
        producer.produce(settings.topic_prefix + topics.SCHEMAS, value, key=b"k", partition=0)
    assert producer.flush(120) == 0


def newer(**more: Any) -> dict[str, Any]:
    source = copy.deepcopy(SCHEMAS[NEWS])
    source["fields"].append({"name": "mood", "type": "double", "default": 0.0, **more})
    return source


def published(source: dict[str, Any]) -> bytes:
    record = WriterSchema(
        fingerprint=f"{fingerprint_of(source):016x}",
        name=NEWS,
        schema=json.dumps(source),
        ts_init_ns=1,
    )
    return encode(record)


@pytest.mark.kafka
def test_only_what_is_missing_is_published_and_all_of_it_is_found(
    run_settings: KafkaSettings,
) -> None:
    some = sorted(SCHEMAS)[:3]
    assert SchemaTopic(run_settings).publish(some) == 3
    assert SchemaTopic(run_settings).publish(SCHEMAS) == len(SCHEMAS) - 3
    assert SchemaTopic(run_settings).publish(SCHEMAS) == 0
    reader = SchemaTopic(run_settings)
    for schema in SCHEMAS.values():
        found = reader.resolve(fingerprint_of(schema))
        assert found is not None
        assert fingerprint_of(found) == fingerprint_of(schema)


@pytest.mark.kafka
def test_what_is_published_later_is_found_and_what_nobody_published_is_not(
    run_settings: KafkaSettings,
) -> None:
    reader = SchemaTopic(run_settings)
    source = newer(doc="later")
    assert reader.resolve(1) is None
    write(run_settings, published(source))
    assert reader.resolve(fingerprint_of(source)) == source


@pytest.mark.kafka
def test_garbage_on_the_topic_hides_nothing_behind_it(run_settings: KafkaSettings) -> None:
    source = newer(type="long", default=0)
    broken = WriterSchema(fingerprint="zz", name="x", schema="{", ts_init_ns=1)
    write(run_settings, b"garbage", encode(broken), published(source))
    assert SchemaTopic(run_settings).resolve(fingerprint_of(source)) == source


@pytest.mark.kafka
def test_many_unknown_fingerprints_are_answered_without_reading_for_each(
    run_settings: KafkaSettings,
) -> None:
    class HandClock:
        """Moved by hand."""

        now_s = 0.0

        def monotonic_s(self) -> float:
            self.now_s += 0.000_1
            return self.now_s

        def wall_ns(self) -> int:
            return 1

    clock = HandClock()
    reader = SchemaTopic(run_settings, clock)
    for garbage in range(3):
        clock.now_s += 2.0
        assert reader.resolve(garbage) is None
    before = clock.now_s
    for garbage in range(100, 1100):
        assert reader.resolve(garbage) is None
    # One question of the clock each: none of them was read for.
    assert clock.now_s - before < 0.11


def test_a_topic_that_cannot_be_read_is_not_an_unknown_schema() -> None:
    settings = KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1")
    topic = SchemaTopic(settings)
    with pytest.raises(KafkaUnavailable, match="schemas"):
        topic.resolve(5)
