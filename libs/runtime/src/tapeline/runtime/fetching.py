"""What a consumer of the money path has fetched, by partition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.log_reader import RETRIABLE, position_lost, raws_of

FETCH_MAX: Final = 2000
POLL_S: Final = 0.1
Fetched: TypeAlias = tuple[TopicPartition, Sequence[Raw]]
"""Records of one partition, at least one, in the order of their offsets."""


def fetch(consumer: Consumer, prefix: str, service: str) -> list[Fetched]:
    """What there is, after waiting for POLL_S where there is nothing.

    Raises PositionLost, or KafkaException where it is of no use to go on.
    """
    first = consumer.poll(POLL_S)
    if first is None:
        return []
    return [
        ((raws[0].topic, raws[0].partition), raws)
        for raws in (
            raws_of(messages, prefix)
            for messages in by_partition((first, *consumer.consume(FETCH_MAX, 0)), service)
        )
    ]


def by_partition(messages: Iterable[Message], service: str) -> list[list[Message]]:
    """The messages of each partition; errors that pass by themselves are left out."""
    found: dict[tuple[str | None, int | None], list[Message]] = {}
    for message in messages:
        error = message.error()
        if error is None:
            found.setdefault((message.topic(), message.partition()), []).append(message)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise position_lost(service, message)
        elif not (error.retriable() or error.code() in RETRIABLE):
            raise KafkaException(error)
    return list(found.values())
