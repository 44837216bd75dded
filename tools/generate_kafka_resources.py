"""Writes the KafkaTopic and KafkaUser resources of k8s/components/strimzi from schemas/topics.toml.

Topics get the very settings that the runtime creates them with. A user may write the topics whose
`writers` name its service, read all, and use the consumer groups and transactional ids that its
service uses. With --check it only says whether the files are fresh.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import yaml
from repository import ROOT

from tapeline.contracts.topics import TOPICS, Topic
from tapeline.runtime.topology import Topology, _new_topic

FOLDER = ROOT / "k8s" / "components" / "strimzi"
NOTE = "# Made by tools/generate_kafka_resources.py from schemas/topics.toml. Do not edit.\n"
API = "kafka.strimzi.io/v1"
LABELS = {"strimzi.io/cluster": "tapeline"}
REPLICAS = 3
USERS: Mapping[str, str] = {
    "agents": "agents",
    "audit": "audit",
    "execution": "execution",
    "market-data": "market-data",
    "prepare": "cli",
    "risk": "risk",
}
"""User, named as the pods are -> the writer it is in topics.toml."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "agents": ("triggers", "group."),
    "audit": ("audit",),
    "execution": ("execution-",),
    "market-data": ("bars", "feed-"),
    "prepare": (),
    "risk": ("risk-",),
}
"""User -> how the names of its consumer groups begin."""
EVERYBODYS_GROUPS = "tapeline-"
"""What looks things up in a topic, such as schemas."""
TRANSACTIONAL = ("execution", "risk")


def topic_resource(topic: Topic) -> dict[str, Any]:
    """One KafkaTopic."""
    made = _new_topic(topic, "", Topology().partitions(topic.name), REPLICAS)
    return {
        "apiVersion": API,
        "kind": "KafkaTopic",
        "metadata": {"name": topic.name, "labels": LABELS},
        "spec": {
            "partitions": made.num_partitions,
            "replicas": made.replication_factor,
            "config": {**(made.config or {}), "min.insync.replicas": "2"},
        },
    }


def user_resource(user: str) -> dict[str, Any]:
    """One KafkaUser."""
    writable = [
        topic.name for topic in TOPICS.values() if {USERS[user], "all"} & set(topic.writers)
    ]
    groups = (*GROUPS[user], EVERYBODYS_GROUPS)
    acls = [_acl("topic", "*", "Read", "Describe")]
    acls += [_acl("topic", name, "Write") for name in writable]
    acls += [_acl("group", name, "Read", prefix=True) for name in groups]
    if user in TRANSACTIONAL:
        acls.append(_acl("transactionalId", f"{user}-", "Describe", "Write", prefix=True))
    return {
        "apiVersion": API,
        "kind": "KafkaUser",
        "metadata": {"name": user, "labels": LABELS},
        "spec": {
            "authentication": {"type": "tls"},
            "authorization": {"type": "simple", "acls": acls},
        },
    }


def _acl(kind: str, name: str, *operations: str, prefix: bool = False) -> dict[str, Any]:
    pattern = "prefix" if prefix else "literal"
    return {
        "resource": {"type": kind, "name": name, "patternType": pattern},
        "operations": list(operations),
    }


def texts() -> dict[str, str]:
    """Content of the files by name."""
    return {
        "topics.yaml": _dumped([topic_resource(topic) for topic in TOPICS.values()]),
        "users.yaml": _dumped([user_resource(user) for user in USERS]),
    }


def _dumped(resources: list[dict[str, Any]]) -> str:
    documents = [yaml.safe_dump(one, sort_keys=False, width=100) for one in resources]
    return NOTE + "---\n".join(documents)


def stale() -> list[str]:
    """Files that differ from what topics.toml says."""
    return [
        f"{name} is not fresh: run tools/generate_kafka_resources.py"
        for name, text in texts().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether all is fresh")
    if parser.parse_args().check:
        problems = stale()
        for problem in problems:
            print(problem, file=sys.stderr)
        return 1 if problems else 0
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
