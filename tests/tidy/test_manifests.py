"""The check of the manifests finds each thing that it is for."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_manifests import OVERLAYS, builder, built, overlay_problems, unlisted
from compose_rules import compose_problems
from generate_kafka_resources import stale, user_resource
from repository import ROOT

Documents = list[dict[str, Any]]
BUILT: dict[str, Documents] = {}


@pytest.fixture
def paper() -> Documents:
    """The paper overlay, for changing."""
    return copy.deepcopy(overlay("paper"))


def overlay(name: str) -> Documents:
    if not builder():
        pytest.skip("neither kubectl nor kustomize is at hand")
    if name not in BUILT:
        BUILT[name] = built(builder(), name)
    return BUILT[name]


def one(documents: Documents, kind: str, name: str) -> dict[str, Any]:
    return next(
        document
        for document in documents
        if document["kind"] == kind and document["metadata"]["name"].startswith(name)
    )


def pod(documents: Documents, name: str, kind: str = "StatefulSet") -> dict[str, Any]:
    spec: dict[str, Any] = one(documents, kind, name)["spec"]["template"]["spec"]
    return spec


def container(documents: Documents, name: str = "risk-0") -> dict[str, Any]:
    found: dict[str, Any] = pod(documents, name)["containers"][0]
    return found


def variable(documents: Documents, name: str) -> dict[str, Any]:
    listed: list[dict[str, Any]] = container(documents)["env"]
    return next(entry for entry in listed if entry["name"] == name)


def egress(documents: Documents, name: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = one(documents, "NetworkPolicy", name)["spec"]["egress"]
    return rules


def remove(documents: Documents, kind: str, name: str) -> None:
    documents.remove(one(documents, kind, name))


def reach(address: str, port: int) -> dict[str, Any]:
    return {
        "to": [{"ipBlock": {"cidr": address}}],
        "ports": [{"protocol": "TCP", "port": port}],
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_is_wrong_with_an_overlay(name: str) -> None:
    assert overlay_problems(overlay(name)) == []


def test_every_file_of_the_manifests_is_built_and_fresh() -> None:
    assert unlisted() == []
    assert stale() == []


CHANGES: dict[str, Callable[[Documents], Any]] = {
    "may run as root": lambda d: pod(d, "risk-0").pop("securityContext"),
    "has no seccomp profile": lambda d: pod(d, "risk-0")["securityContext"].pop("seccompProfile"),
    "gets a token": lambda d: pod(d, "risk-0").pop("automountServiceAccountToken"),
    "services as environment": lambda d: pod(d, "risk-0").pop("enableServiceLinks"),
    "hostNetwork is on": lambda d: pod(d, "risk-0").update(hostNetwork=True),
    "the volume node is hostPath": lambda d: pod(d, "risk-0")["volumes"].append(
        {"name": "node", "hostPath": {"path": "/"}}
    ),
    "risk may gain privileges": lambda d: container(d)["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "keys keeps capabilities": lambda d: pod(d, "risk-0")["initContainers"][0][
        "securityContext"
    ].pop("capabilities"),
    "adds capabilities": lambda d: container(d)["securityContext"]["capabilities"].update(
        add=["NET_ADMIN"]
    ),
    "may write to its image": lambda d: container(d)["securityContext"].update(
        readOnlyRootFilesystem=False
    ),
    "takes whatever": lambda d: container(d).update(image="tapeline/risk:latest"),
    "has no limits of memory": lambda d: container(d)["resources"]["limits"].pop("memory"),
    "has no requests of cpu, memory": lambda d: container(d)["resources"].pop("requests"),
    "has no startupProbe": lambda d: container(d).pop("startupProbe"),
    "readinessProbe does not ask /readyz": lambda d: container(d)["readinessProbe"][
        "httpGet"
    ].update(path="/livez"),
    "asks a port without a name": lambda d: container(d)["livenessProbe"]["httpGet"].update(
        port="metrics"
    ),
    "mounts nothing, which is no volume": lambda d: container(d)["volumeMounts"].append(
        {"name": "nothing", "mountPath": "/nothing"}
    ),
    "the service account nobody": lambda d: pod(d, "risk-0").update(serviceAccountName="nobody"),
    "mentions the ConfigMap": lambda d: remove(d, "ConfigMap", "tapeline-"),
    "mentions the Secret other": lambda d: pod(d, "risk-0")["volumes"].append(
        {"name": "other", "secret": {"secretName": "other"}}
    ),
    "is not a setting of risk": lambda d: container(d)["env"].append(
        {"name": "TAPELINE_RISK_LIMIT", "value": "1"}
    ),
    "TAPELINE_KEYS_DIR is /elsewhere": lambda d: variable(d, "TAPELINE_KEYS_DIR").update(
        value="/elsewhere"
    ),
    "live trading is not part": lambda d: container(d)["env"].append(
        {"name": "TAPELINE_MODE", "value": "LIVE"}
    ),
    "the shards of risk are [1,": lambda d: variable(d, "TAPELINE_SHARDS").update(
        value="1,2,3,4,5"
    ),
    "the shards of risk are [0, 1, 2, 3, 4, 5, 6, 6": lambda d: variable(
        d, "TAPELINE_SHARDS"
    ).update(value="0,1,2,3,4,5,6"),
    "2 pods of the same shards": lambda d: one(d, "StatefulSet", "risk-0")["spec"].update(
        replicas=2
    ),
    "only a StatefulSet": lambda d: one(d, "StatefulSet", "risk-0").update(kind="Deployment"),
    "risk-0 is scaled": lambda d: d.append(
        {
            "kind": "ScaledObject",
            "metadata": {"name": "more", "namespace": "tapeline-paper"},
            "spec": {"scaleTargetRef": {"name": "risk-0"}},
        }
    ),
    "feed has 2 pods": lambda d: one(d, "Deployment", "feed")["spec"].update(replicas=2),
    "pods without names": lambda d: pod(d, "bars", "Deployment")["containers"][0].pop("env"),
    "no policy denies": lambda d: remove(d, "NetworkPolicy", "default-deny"),
    "lets every pod": lambda d: one(d, "NetworkPolicy", "risk")["spec"].update(podSelector={}),
    "reaches every address": lambda d: egress(d, "risk").append({}),
    "risk-0 reaches the database": lambda d: egress(d, "risk").append(reach("192.0.2.1/32", 5432)),
    "reaches the model": lambda d: egress(d, "risk").append(reach("192.0.2.1/32", 8095)),
    "reaches the public network": lambda d: egress(d, "risk").append(reach("0.0.0.0/0", 443)),
    "metadata": lambda d: egress(d, "exchange")[0]["to"][0]["ipBlock"].pop("except"),
    "risk-0 does not reach Kafka": lambda d: remove(d, "NetworkPolicy", "risk"),
    "cannot look up names": lambda d: remove(d, "NetworkPolicy", "dns"),
    "risk-0 has no disruption budget": lambda d: remove(d, "PodDisruptionBudget", "risk"),
    "the budget risk is for no pod": lambda d: one(d, "PodDisruptionBudget", "risk")["spec"][
        "selector"
    ].update(matchLabels={"x": "y"}),
    "leads to no pod": lambda d: remove(d, "Deployment", "model-server"),
    "names the service risk-0": lambda d: remove(d, "Service", "risk-0"),
    "does not enforce": lambda d: one(d, "Namespace", "tapeline")["metadata"].pop("labels"),
    "is not in tapeline-paper": lambda d: one(d, "Service", "risk-0")["metadata"].update(
        namespace="default"
    ),
    "never kept in the repository": lambda d: d.append(
        {"kind": "Secret", "metadata": {"name": "seal-keys", "namespace": "tapeline-paper"}}
    ),
    "looks like a secret": lambda d: one(d, "ConfigMap", "database")["data"].update(
        OWNER_URL="postgresql://tapeline:hunter2@postgresql.example/tapeline"
    ),
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_must_not_be_is_found(said: str, paper: Documents) -> None:
    CHANGES[said](paper)
    assert said in "\n".join(overlay_problems(paper))


OUTSIDE: dict[str, Callable[[Documents], Any]] = {
    "execution: DATABASE_URL is not set": lambda d: container(d, "execution-0").update(
        env=[one for one in container(d, "execution-0")["env"] if one["name"] != "DATABASE_URL"]
    ),
    "live trading is not part": lambda d: one(d, "ConfigMap", "tapeline-")["data"].update(
        TAPELINE_MODE="LIVE"
    ),
    "has a database, which a run on paper": lambda d: one(d, "ConfigMap", "tapeline-")[
        "data"
    ].update(TAPELINE_MODE="PAPER"),
    "execution-0 reaches the public network": lambda d: one(d, "ConfigMap", "tapeline-")[
        "data"
    ].update(TAPELINE_MODE="PAPER"),
    "execution-1 reaches the database": lambda d: one(d, "ConfigMap", "tapeline-")["data"].update(
        TAPELINE_MODE="PAPER"
    ),
    "execution-0 reaches the node's metadata": lambda d: egress(d, "execution-venues")[1]["to"][0][
        "ipBlock"
    ].pop("except"),
    "risk-0 reaches the public network": lambda d: egress(d, "risk").append(
        reach("0.0.0.0/0", 443)
    ),
}


@pytest.mark.parametrize("said", OUTSIDE)
def test_what_must_not_be_outside_of_paper_is_found(said: str) -> None:
    shadow = copy.deepcopy(overlay("shadow"))
    OUTSIDE[said](shadow)
    assert said in "\n".join(overlay_problems(shadow))


def test_execution_has_a_database_where_orders_may_leave_and_nowhere_else() -> None:
    def has_url(name: str) -> set[bool]:
        found = [
            document["spec"]["template"]["spec"]["containers"][0]["env"]
            for document in overlay(name)
            if document["kind"] == "StatefulSet"
            and document["metadata"]["name"].startswith("execution")
        ]
        return {any(entry["name"] == "DATABASE_URL" for entry in env) for env in found}

    assert [has_url(name) for name in OVERLAYS] == [{False}, {False}, {True}]


def test_keys_of_groups_are_laid_where_risk_looks_for_them(tmp_path: Path) -> None:
    handed = {"seal/s.key": "s", "groups/trend..a.key": "a", "groups/trend..revoked": "b"}
    handed["groups/mean.rev..c.key"] = "c"
    for name, content in handed.items():
        path = tmp_path / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert laid(tmp_path) == {
        "seal/s.key": "s",
        "groups/trend/a.key": "a",
        "groups/trend/revoked": "b",
        "groups/mean.rev/c.key": "c",
    }


def test_without_keys_of_groups_risk_has_those_of_the_seal(tmp_path: Path) -> None:
    (tmp_path / "secrets" / "seal").mkdir(parents=True)
    (tmp_path / "secrets" / "groups").mkdir()
    (tmp_path / "secrets" / "seal" / "s.key").write_text("s")
    assert laid(tmp_path) == {"seal/s.key": "s"}


def laid(root: Path) -> dict[str, str]:
    """What the init container of risk makes of the secrets below a folder."""
    for shard in ("risk-0", "risk-1"):
        said = yaml.safe_load_all((ROOT / f"k8s/base/risk/{shard}.yaml").read_text())
        first = next(said)["spec"]["template"]["spec"]["initContainers"][0]
        shell, flags, script = first["command"]
        for place in ("/keys", "/secrets"):
            script = script.replace(place, str(root) + place)
        subprocess.run([shell, flags, script], check=True)
        keys = sorted(path for path in (root / "keys").rglob("*") if path.is_file())
        assert all(path.stat().st_mode & 0o777 == 0o400 for path in keys)
        assert all(path.parent.stat().st_mode & 0o777 == 0o700 for path in keys)
    return {str(path.relative_to(root / "keys")): path.read_text() for path in keys}


def test_nothing_is_wrong_with_the_compose_files() -> None:
    assert compose_problems(ROOT / "compose.yaml") == []
    assert compose_problems(ROOT / "compose.yaml", ROOT / "compose.shadow.yaml") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["execution"]["environment"].pop("DATABASE_URL"), "DATABASE_URL is not set"),
        (lambda s: s["execution"]["environment"].pop("TAPELINE_MODE"), "has a database, which"),
        (lambda s: s["execution"].pop("volumes"), "where nothing is mounted"),
        (lambda s: s["prepare"].update(volumes=["more:/more"]), "not both declared and used"),
    ],
)
def test_what_compose_must_not_say_of_a_shadow_run_is_found(
    change: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path
) -> None:
    data = yaml.safe_load((ROOT / "compose.shadow.yaml").read_text())
    change(data["services"])
    path = tmp_path / "compose.shadow.yaml"
    path.write_text(yaml.safe_dump(data))
    assert said in "\n".join(compose_problems(ROOT / "compose.yaml", path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("bars"), "bars"),
        (lambda s: s["risk"].update(image="tapeline/risk"), "takes whatever"),
        (lambda s: s["risk"].update(user="0"), "has rights"),
        (lambda s: s["risk"].update(read_only=False), "may write"),
        (lambda s: s["risk"].pop("healthcheck"), "never asked"),
        (lambda s: s["risk"].update(ports=["8080"]), "open to the machine"),
        (
            lambda s: s["risk"].update(depends_on={"audit": {"condition": "service_started"}}),
            "waits",
        ),
        (lambda s: s["risk"]["environment"].update(TAPELINE_SHARDS="0"), "owns the shards 0"),
        (lambda s: s["risk"]["environment"].update(TAPELINE_SHARD="0"), "TAPELINE_SHARD is not"),
        (lambda s: s["risk"].pop("volumes"), "nothing is mounted"),
        (lambda s: s["audit"]["volumes"].append("more:/more"), "not both declared and used"),
        (
            lambda s: s["risk"]["volumes"].remove("group-keys:/var/lib/tapeline/keys/groups:ro"),
            "risk: sees the keys",
        ),
        (
            lambda s: s["execution"]["volumes"].append(
                "group-keys:/var/lib/tapeline/keys/groups:ro"
            ),
            "execution: sees the keys",
        ),
        (
            lambda s: s["audit"]["volumes"].append("chain-keys:/var/lib/tapeline/keys/audit"),
            "may write keys",
        ),
    ],
)
def test_what_compose_must_not_say_is_found(
    change: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path
) -> None:
    for name in ("cli", "services"):
        (tmp_path / name).symlink_to(ROOT / name)
    # Through JSON: parts that are shared in the file are not shared here.
    data = json.loads(json.dumps(yaml.safe_load((ROOT / "compose.yaml").read_text())))
    change(data["services"])
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(data))
    assert said in "\n".join(compose_problems(tmp_path / "compose.yaml"))


def test_only_risk_may_write_approvals_and_only_execution_what_venues_say() -> None:
    def writers(topic: str) -> list[str]:
        users = ("agents", "audit", "execution", "market-data", "prepare", "risk")
        return [user for user in users if topic in writable(user)]

    assert writers("approved-orders") == ["risk"]
    assert writers("fills") == writers("venue-reports") == ["execution"]
    assert writers("control") == writers("config") == ["prepare"]
    assert writers("decisions") == ["agents", "prepare"]


def writable(user: str) -> set[str]:
    acls = user_resource(user)["spec"]["authorization"]["acls"]
    return {acl["resource"]["name"] for acl in acls if "Write" in acl["operations"]}
