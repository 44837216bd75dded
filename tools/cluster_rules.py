"""What a built overlay must be as a whole: who reaches whom, who owns which shard, no secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pod_rules import Document, Pod, environment_of, pods

from tapeline.execution.external_state import OUTSIDE_MODES
from tapeline.runtime.topology import Topology

MONEY_PATH = ("execution", "risk")
SINGLE = ("feed", "audit", "group-committee", "group-trend")
"""Components of which there is one: a second would play the same again."""
MAY_REACH_DATABASE = {"audit", "prepare"}
MAY_REACH_PUBLIC = {"feed"}
MAY_REACH_MODEL = {"group-committee"}
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
STORE = "tapeline.dev/store"
PASSWORD = re.compile(
    r"://[^/\s:@]+:[^@\s]+@|-----BEGIN [A-Z ]*PRIVATE KEY|(?i:password|secret|api_?key)\s*[=:]\s*\S"
)


def cluster_problems(documents: Sequence[Document]) -> list[str]:
    """What is wrong with the whole; empty when nothing is."""
    return [
        *namespace_problems(documents),
        *secret_problems(documents),
        *shard_problems(documents),
        *scale_problems(documents),
        *policy_problems(documents),
        *disruption_problems(documents),
        *service_problems(documents),
    ]


def namespace_problems(documents: Sequence[Document]) -> Iterator[str]:
    """One namespace, which enforces the restricted profile."""
    spaces = [one for one in documents if one["kind"] == "Namespace"]
    if len(spaces) != 1:
        yield f"{len(spaces)} namespaces, not 1"
        return
    name, labels = spaces[0]["metadata"]["name"], spaces[0]["metadata"].get("labels", {})
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield f"the namespace {name} does not enforce the restricted profile"
    for one in documents:
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != name:
            yield f"{one['kind']} {one['metadata']['name']} is not in {name}"


def secret_problems(documents: Sequence[Document]) -> Iterator[str]:
    """No secret has its value in the manifests."""
    for one in documents:
        what = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] == "Secret":
            yield f"{what}: secrets are handed over, never kept in the repository"
        for path, text in _texts(one):
            if PASSWORD.search(text):
                yield f"{what}: {path} looks like a secret"


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(part, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, f"{path}[{number}]")
    elif isinstance(value, str):
        yield path, value


def shard_problems(documents: Sequence[Document]) -> Iterator[str]:
    """Every shard of the money path has exactly one owner."""
    every = list(range(Topology().account))
    for service in MONEY_PATH:
        owners = [pod for pod in pods(documents) if pod.labels.get(NAME) == service]
        owned: list[int] = []
        for pod in owners:
            if pod.kind != "StatefulSet":
                yield f"{pod.kind} {pod.name}: only a StatefulSet has one pod of a name at a time"
            if pod.replicas != 1:
                yield f"{pod.name} has {pod.replicas} pods of the same shards"
            listed = environment_of(pod.spec["containers"][0], {}).get("TAPELINE_SHARDS", "")
            owned += [int(shard) for shard in listed.split(",") if shard]
        if sorted(owned) != every:
            yield f"the shards of {service} are {sorted(owned)}, not each of {every[0]}-{every[-1]}"


def scale_problems(documents: Sequence[Document]) -> Iterator[str]:
    """Nothing scales what has an owner, or what there is one of."""
    for one in documents:
        if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = one["spec"]["scaleTargetRef"]["name"]
            if target.startswith(MONEY_PATH) or target in SINGLE:
                yield f"{target} is scaled by {one['metadata']['name']}"
    for pod in pods(documents):
        if pod.labels.get(COMPONENT) in SINGLE and pod.replicas != 1:
            yield f"{pod.name} has {pod.replicas} pods; there is one"


def policy_problems(documents: Sequence[Document]) -> Iterator[str]:
    """All is denied first; then each pod reaches what it needs and no more."""
    maps = {
        one["metadata"]["name"]: one.get("data", {})
        for one in documents
        if one["kind"] == "ConfigMap"
    }
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    if not any(_denies_all(policy) for policy in policies):
        yield "no policy denies everything first"
    for policy in policies:
        if not policy["podSelector"] and not _denies_all(policy):
            yield "a policy lets every pod do something"
    for pod in pods(documents):
        own = [policy for policy in policies if _selects(policy["podSelector"], pod.labels)]
        reached = [rule for policy in own for rule in policy.get("egress") or []]
        if any("to" not in rule or "ports" not in rule for rule in reached):
            yield f"{pod.name} reaches every address or port"
        yield from _reach_problems(pod, reached, is_outside=_reaches_venues(pod, maps))
        yield from _needs_problems(pod, reached)


def _denies_all(policy: Document) -> bool:
    both = sorted(policy.get("policyTypes", [])) == ["Egress", "Ingress"]
    return policy["podSelector"] == {} and both and not {"ingress", "egress"} & set(policy)


def _reaches_venues(pod: Pod, maps: dict[str, dict[str, str]]) -> bool:
    """Whether it is execution in a mode in which orders leave for external venues."""
    mode = environment_of(pod.spec["containers"][0], maps).get("TAPELINE_MODE", "PAPER")
    return pod.labels.get(NAME) == "execution" and mode in OUTSIDE_MODES


def _reach_problems(pod: Pod, reached: list[Document], *, is_outside: bool) -> Iterator[str]:
    name, component = pod.labels.get(NAME, ""), pod.labels.get(COMPONENT, "")
    peers = [(peer, rule) for rule in reached for peer in rule.get("to", [])]
    ports = {port["port"] for _, rule in peers for port in rule.get("ports", [])}
    if 5432 in ports and name not in MAY_REACH_DATABASE and not is_outside:
        yield f"{pod.name} reaches the database"
    if 8095 in ports and component not in MAY_REACH_MODEL:
        yield f"{pod.name} reaches the model"
    for peer, _ in peers:
        block = peer.get("ipBlock", {})
        if block.get("cidr") == "0.0.0.0/0":
            if component not in MAY_REACH_PUBLIC and not is_outside:
                yield f"{pod.name} reaches the public network"
            if "169.254.0.0/16" not in block.get("except", []):
                yield f"{pod.name} reaches the node's metadata"


def _needs_problems(pod: Pod, reached: list[Document]) -> Iterator[str]:
    is_client = any("envFrom" in container for container in pod.spec["containers"])
    stores = [
        peer.get("podSelector", {}).get("matchLabels", {}).get(STORE)
        for rule in reached
        for peer in rule.get("to", [])
    ]
    if is_client and "kafka" not in stores:
        yield f"{pod.name} does not reach Kafka"
    asks_names = any(port["port"] == 53 for rule in reached for port in rule.get("ports", []))
    if is_client and not asks_names:
        yield f"{pod.name} cannot look up names"


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def disruption_problems(documents: Sequence[Document]) -> Iterator[str]:
    """Every process of ours has a budget, and every budget a process."""
    budgets = [one for one in documents if one["kind"] == "PodDisruptionBudget"]
    running = [pod for pod in pods(documents) if pod.kind != "Job" and NAME in pod.labels]
    for budget in budgets:
        selector = budget["spec"]["selector"]
        if not any(_selects(selector, pod.labels) for pod in running):
            yield f"the budget {budget['metadata']['name']} is for no pod"
    for pod in running:
        if not any(_selects(one["spec"]["selector"], pod.labels) for one in budgets):
            yield f"{pod.name} has no disruption budget"


def service_problems(documents: Sequence[Document]) -> Iterator[str]:
    """Services lead somewhere; stateful sets have theirs; scaled consumers have names."""
    services = {one["metadata"]["name"]: one for one in documents if one["kind"] == "Service"}
    for name, service in services.items():
        if not any(
            _selects({"matchLabels": service["spec"]["selector"]}, p.labels)
            for p in pods(documents)
        ):
            yield f"the service {name} leads to no pod"
    for one in documents:
        if one["kind"] == "StatefulSet" and one["spec"]["serviceName"] not in services:
            yield f"{one['metadata']['name']} names the service {one['spec']['serviceName']}"
    for pod in pods(documents):
        named = "TAPELINE_INSTANCE_ID" in environment_of(pod.spec["containers"][0], {})
        if pod.replicas > 1 and not named:
            yield f"{pod.name} has {pod.replicas} pods without names of their own"
