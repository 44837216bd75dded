"""Builds every overlay of k8s/ and checks what comes out, and compose.yaml with it.

Overlays are built by kubectl or kustomize; where neither is at hand this is said, and only what
needs no build is checked. Every pod is held against the restricted profile and our own rules
(pod_rules.py), every overlay as a whole against cluster_rules.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import yaml
from cluster_rules import cluster_problems
from compose_rules import compose_problems
from generate_kafka_resources import stale
from pod_rules import pod_problems, pods
from repository import ROOT

K8S = ROOT / "k8s"
OVERLAYS = ("dev", "paper", "shadow")


class BuildFailed(Exception):
    """An overlay cannot be built."""


def builder() -> list[str]:
    """The command that builds a folder, or nothing."""
    for name, command in (
        ("kubectl", ["kubectl", "kustomize"]),
        ("kustomize", ["kustomize", "build"]),
    ):
        if shutil.which(name):
            return command
    return []


def built(command: list[str], overlay: str) -> list[dict[str, Any]]:
    """The documents of an overlay; raises BuildFailed."""
    done = subprocess.run(
        [*command, str(K8S / "overlays" / overlay)], capture_output=True, text=True
    )
    if done.returncode:
        raise BuildFailed(f"{overlay} cannot be built: {done.stderr.strip()}")
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def overlay_problems(documents: list[dict[str, Any]]) -> list[str]:
    """Everything that is wrong with a built overlay."""
    return [*pod_problems(documents), *cluster_problems(documents)]


def unlisted() -> list[str]:
    """Files beside a kustomization that it does not mention, so that nobody builds them."""
    return [
        f"{path.relative_to(ROOT)} is in no kustomization"
        for kustomization in sorted(K8S.glob("**/kustomization.yaml"))
        for path in sorted(kustomization.parent.iterdir())
        if path.is_file() and path.name not in ("kustomization.yaml", "README.md")
        if path.name not in kustomization.read_text()
    ]


def main() -> int:
    """Command line."""
    compose = ROOT / "compose.yaml"
    problems = [
        *stale(),
        *unlisted(),
        *compose_problems(compose),
        *compose_problems(compose, ROOT / "compose.shadow.yaml"),
    ]
    present = {path.name for path in (K8S / "overlays").iterdir() if path.is_dir()}
    if present != set(OVERLAYS):
        problems.append(f"overlays checked are {OVERLAYS}, those there {sorted(present)}")
    command = builder()
    if not command:
        print("manifests: neither kubectl nor kustomize is at hand, so the overlays are not built")
    for overlay in OVERLAYS if command else ():
        try:
            documents = built(command, overlay)
        except BuildFailed as error:
            problems.append(str(error))
            continue
        problems += [f"{overlay}: {problem}" for problem in overlay_problems(documents)]
        print(f"manifests: {overlay}: {len(documents)} resources, {len(pods(documents))} workloads")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
