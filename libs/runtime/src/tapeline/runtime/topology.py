"""Topics on the cluster: how many partitions, which key goes where, creating and deleting them.

Errors:
    TopicUnfit   a topic exists with another number of partitions, or cannot be created
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from tapeline.contracts import topics
from tapeline.contracts.topics import TOPICS, Topic
from tapeline.runtime import exits
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.kafka import admin_client, cluster_metadata, wait_for_kafka
from tapeline.runtime.partition import partition_of
from tapeline.runtime.settings import KafkaSettings

__all__ = [
    "TopicUnfit",
    "Topology",
    "create_topics",
    "delete_topics",
    "partition_count",
    "partition_counts",
    "partition_of",
]

HOUR_MS: Final = 3_600_000
BATCH_BYTES_MAX: Final = 1_048_588
"""Kafka's default; the limit is on a producer's batch, so it is far above that on one record"""
SNAPSHOT_BATCH_BYTES_MAX: Final = 64 * 1024 * 1024 + 64 * 1024
REQUEST_S: Final = 30.0
RESTART_STATES: Final = (topics.TRIGGER_STATE, topics.GROUP_STATE, topics.SNAPSHOTS)
"""No core reads them, only their writer when it starts, and all of them from the beginning; kept
as long as inputs they would grow by a state a second for weeks."""


class TopicUnfit(exits.Failure):
    """A topic is not as the topology wants it, or cannot be made so."""

    exit_code = exits.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Partitions of each spread. They are fixed for the life of a topic."""

    instrument: int = topics.SPREADS["instrument"]
    account: int = topics.SPREADS["account"]
    universe: int = topics.SPREADS["universe"]
    service: int = topics.SPREADS["service"]
    one: int = topics.SPREADS["one"]

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic, by its name without prefix."""
        return int(getattr(self, TOPICS[topic].spread))


def create_topics(
    settings: KafkaSettings,
    topology: Topology | None = None,
    prefix: str | None = None,
    replication_factor: int = 1,
) -> int:
    """Creates the topics that are missing and returns their number; raises TopicUnfit.

    `prefix` is that of the settings where it is None. Existing topics are left as they are.
    """
    topology = topology or Topology()
    prefix = settings.topic_prefix if prefix is None else prefix
    wait_for_kafka(settings)
    client = admin_client(settings)
    existing = _partition_counts(settings)
    missing = []
    for topic in TOPICS.values():
        wanted, found = topology.partitions(topic.name), existing.get(prefix + topic.name)
        if found is None:
            missing.append(_new_topic(topic, prefix, wanted, replication_factor))
        else:
            _require(prefix + topic.name, found, wanted)
    if missing:
        for name, future in client.create_topics(missing, request_timeout=REQUEST_S).items():
            _await_created(name, future)
        _wait_until_led(settings, client, [topic.topic for topic in missing])
    return len(missing)


def delete_topics(settings: KafkaSettings, prefix: str | None = None) -> int:
    """Deletes all topics and consumer groups of one run and returns the number of topics."""
    prefix = settings.topic_prefix if prefix is None else prefix
    if not prefix:
        raise TopicUnfit(
            "Without a prefix every topic of the cluster would be deleted.",
            "Name the run whose topics are to go.",
        )
    client = admin_client(settings)
    names = [name for name in _partition_counts(settings) if name.startswith(prefix)]
    if names:
        for future in client.delete_topics(names, request_timeout=REQUEST_S).values():
            with suppress(KafkaException):
                future.result()
    _delete_groups(client, prefix)
    return len(names)


def partition_count(settings: KafkaSettings, topic: str) -> int:
    """Partitions of a topic (name without prefix) on the cluster; raises TopicUnfit if none."""
    count = partition_counts(settings).get(topic)
    if count is None:
        raise TopicUnfit(
            f"The topic {settings.topic_prefix}{topic} does not exist.",
            "Create the topics with `tapeline up`, or correct TAPELINE_TOPIC_PREFIX.",
        )
    return count


def partition_counts(settings: KafkaSettings) -> dict[str, int]:
    """Partitions of all topics of the run on the cluster, by name without prefix."""
    prefix = settings.topic_prefix
    return {
        name[len(prefix) :]: count
        for name, count in _partition_counts(settings).items()
        if name.startswith(prefix)
    }


def _partition_counts(settings: KafkaSettings) -> dict[str, int]:
    found = cluster_metadata(settings).topics
    return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}


def _new_topic(topic: Topic, prefix: str, partitions: int, replication_factor: int) -> NewTopic:
    retention_ms = {
        "inputs": topics.RETENTION_INPUTS_DAYS * 24 * HOUR_MS,
        "short": topics.RETENTION_SHORT_HOURS * HOUR_MS,
        "longest": topics.RETENTION_LONGEST_DAYS * 24 * HOUR_MS,
    }[topic.retention]
    inputs_ms = topics.RETENTION_INPUTS_DAYS * 24 * HOUR_MS
    is_snapshots = topic.name == topics.SNAPSHOTS
    lag_ms = HOUR_MS if topic.name in RESTART_STATES else inputs_ms
    config: dict[str, Any] = {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "compact" if topic.is_compacted else "delete",
        "retention.ms": retention_ms,
        "min.compaction.lag.ms": lag_ms if topic.is_compacted else 0,
        "max.message.bytes": SNAPSHOT_BATCH_BYTES_MAX if is_snapshots else BATCH_BYTES_MAX,
    }
    if topic.name in RESTART_STATES:
        config["segment.ms"] = HOUR_MS
    return NewTopic(
        prefix + topic.name,
        num_partitions=partitions,
        replication_factor=replication_factor,
        config={name: str(value) for name, value in config.items()},
    )


def _require(name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise TopicUnfit(
            f"The topic {name} has {found} partitions, not {wanted}.",
            "The number is fixed for the life of a topic: use another TAPELINE_TOPIC_PREFIX, "
            "or the topology the topic was created with.",
        )


def _await_created(name: str, future: Future[None]) -> None:
    try:
        future.result()
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        raise TopicUnfit(
            f"The topic {name} cannot be created: {reason.str()}.",
            "Check the rights of this user and the replication factor against the brokers.",
        ) from error


def _wait_until_led(settings: KafkaSettings, client: AdminClient, names: list[str]) -> None:
    """A creation is acknowledged before the partitions have leaders that take records."""
    deadline = monotonic_s() + REQUEST_S
    while True:
        counts = _partition_counts(settings)
        places = [TopicPartition(name, at) for name in names for at in range(counts.get(name, 0))]
        if all(name in counts for name in names) and _answer(client, places):
            return
        if monotonic_s() > deadline:
            raise TopicUnfit(
                "Topics that were created have no leaders.", "Look into the log of the broker."
            )
        time.sleep(0.1)


def _answer(client: AdminClient, places: list[TopicPartition]) -> bool:
    wanted = {place: OffsetSpec.latest() for place in places}  # type: ignore[no-untyped-call]
    futures = client.list_offsets(wanted, request_timeout=REQUEST_S)
    return all(future.exception() is None for future in futures.values())


def _delete_groups(client: AdminClient, prefix: str) -> None:
    groups = client.list_consumer_groups(request_timeout=REQUEST_S).result().valid
    mine = [group.group_id for group in groups if group.group_id.startswith(prefix)]
    if mine:
        for future in client.delete_consumer_groups(mine, request_timeout=REQUEST_S).values():
            # A group with members goes when they do; the broker forgets it by itself.
            with suppress(KafkaException):
                future.result()
