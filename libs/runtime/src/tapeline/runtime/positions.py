"""Positions of a shard in its inputs and outputs, and the chained digest over what it said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapeline.contracts.system import PartitionPosition
from tapeline.runtime.core import InputTopic, Output
from tapeline.runtime.log import TopicPartition


def input_partitions(spec: InputTopic, shard: int, partitions: Mapping[str, int]) -> list[int]:
    """The partitions of an input that a shard reads."""
    return [shard] if spec.is_own else list(range(partitions[spec.topic]))


def positions_of(offsets: Mapping[TopicPartition, int]) -> tuple[PartitionPosition, ...]:
    """Positions in a stable order."""
    return tuple(
        PartitionPosition(topic=topic, partition=partition, offset=offsets[topic, partition])
        for topic, partition in sorted(offsets)
    )


def update_digest(digest: Any, output: Output, body: bytes) -> None:
    """Chains one output: topic, key and body, each with its length."""
    for part in (output.topic.encode(), output.key.encode(), body):
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
