"""Kubernetes Jobs that play a sweep in parts, as one list that `kubectl apply -f -` takes.

Each part writes its results to the shared volume. The same command without --kubernetes and
--part, on that volume, finds them, judges the chosen points out-of-sample and writes the table. No
pod has a network: a preset's data come with the image, a run's tape must be on the volume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from tapeline.cli.backtests import BadBacktest

NAME: Final = "sweep"
HOME: Final = "/var/lib/tapeline"
PARTS_MAX: Final = 1000
Document = dict[str, Any]
OPTIONS: Final[Mapping[str, str]] = {
    "run": "--run",
    "preset": "--preset",
    "axes": "--param",
    "method": "--method",
    "trials": "--trials",
    "seed": "--seed",
    "objective": "--objective",
    "folds": "--folds",
    "share": "--out-of-sample",
    "start": "--from",
    "end": "--to",
    "instruments": "--instruments",
    "groups": "--groups",
    "settings": "--set",
    "feed_options": "--feed-option",
    "llm": "--llm",
}
SWITCHES: Final[Mapping[str, str]] = {
    "anchored": "--anchored",
    "accept_data_faults": "--accept-data-faults",
}
LABELS: Final = {
    "app.kubernetes.io/name": NAME,
    "app.kubernetes.io/component": NAME,
    "app.kubernetes.io/part-of": "tapeline",
}


def manifests(given: Mapping[str, Any], parts: int) -> str:
    """Account, network policy, claim and one Job a part; raises BadBacktest."""
    if not 1 <= parts <= PARTS_MAX or given["method"] == "bayes":
        raise BadBacktest(
            f"A sweep by {given['method']} cannot be played by {parts} Jobs.",
            f"Use grid or random, and 1 to {PARTS_MAX} Jobs.",
        )
    command = arguments(given)
    jobs = [_job(command, number, parts) for number in range(1, parts + 1)]
    items = [_account(), _policy(), _claim(), *jobs]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2)


def arguments(given: Mapping[str, Any]) -> list[str]:
    """The options of the command, as it was given."""
    found: list[str] = []
    for name, option in OPTIONS.items():
        value = given[name]
        for one in value if isinstance(value, list | tuple) else [value]:
            if one != "":
                found += [option, str(one)]
    return [*found, *(option for name, option in SWITCHES.items() if given[name])]


def _meta(name: str) -> Document:
    return {"name": name, "labels": dict(LABELS)}


def _account() -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _meta(NAME),
        "automountServiceAccountToken": False,
    }


def _policy() -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(NAME),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }


def _claim() -> Document:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _meta(NAME),
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }


def _job(command: Sequence[str], number: int, parts: int) -> Document:
    pod = _pod(command, number, parts)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _meta(f"{NAME}-{number}-of-{parts}"),
        "spec": {
            "backoffLimit": 4,
            "ttlSecondsAfterFinished": 86_400,
            "template": {"metadata": {"labels": dict(LABELS)}, "spec": pod},
        },
    }


def _pod(command: Sequence[str], number: int, parts: int) -> Document:
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "OnFailure",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(command, number, parts)],
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": NAME}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }


def _container(command: Sequence[str], number: int, parts: int) -> Document:
    size = {"cpu": "1", "memory": "2Gi"}
    part = ["--workers", "1", "--part", f"{number}/{parts}"]
    return {
        "name": NAME,
        "image": f"tapeline/cli:{version('tapeline')}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "tapeline.cli"],
        "args": [NAME, *command, *part],
        "env": [{"name": "TAPELINE_HOME", "value": HOME}],
        "resources": {"requests": size, "limits": dict(size)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
        ],
    }
