"""Puts a configuration on the topic `config`."""

from __future__ import annotations

from confluent_kafka import KafkaError, Message, Producer

from tapeline.cli.configuration import Configuration, key_of
from tapeline.contracts import topics
from tapeline.runtime.codec import encode
from tapeline.runtime.exits import UNAVAILABLE, Failure
from tapeline.runtime.ids import content_id
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import KafkaSettings

FLUSH_S = 30.0


class NotTaken(Failure):
    """Kafka did not take the configuration."""

    exit_code = UNAVAILABLE


def publish(settings: KafkaSettings, run_id: str, configuration: Configuration) -> int:
    """Sends the records and returns their number after Kafka has them all."""
    producer = Producer(confluent_config(settings, enable_idempotence=True))
    failures: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(str(error))

    for record in configuration.records:
        key = key_of(record)
        producer.produce(
            settings.topic_prefix + topics.CONFIG,
            encode(record),
            key.encode(),
            0,
            headers=_headers(run_id, content_id(f"{run_id}/{key}/{record.version}")),
            on_delivery=delivered,
        )
    if producer.flush(FLUSH_S) or failures:
        raise NotTaken(
            f"Kafka did not take the configuration: {(failures or ['no answer'])[0]}.",
            "Make the topics first, and check this user's right to write config.",
        )
    return len(configuration.records)


def _headers(run_id: str, event_id: str) -> list[tuple[str, str | bytes | None]]:
    return [
        ("event_id", event_id.encode()),
        ("causation_id", b""),
        ("correlation_id", b""),
        ("producer", b"cli"),
        ("run_id", run_id.encode()),
    ]
