"""What compose.yaml must be: the processes of the manifests, without rights, healthy in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from container_settings import module_of, settings_problems

from tapeline.runtime.topology import Topology

OURS = "tapeline/"
KEYS = "/var/lib/tapeline/keys/"
KEYS_OF = {
    "audit": {"audit"},
    "execution": {"operators", "seal"},
    "risk": {"groups", "operators", "seal"},
}
"""Folders of keys that a service reads; `prepare` alone writes them."""
PROCESSES = {
    "audit",
    "bars",
    "execution",
    "feed",
    "group-committee",
    "group-trend",
    "kafka",
    "model-server",
    "postgresql",
    "prepare",
    "risk",
    "triggers",
}


def compose_problems(path: Path, *more: Path) -> list[str]:
    """What is wrong with the file, and those laid over it; empty when nothing is."""
    data = yaml.safe_load(path.read_text())
    for other in more:
        data = _laid_over(data, yaml.safe_load(other.read_text()))
    found = []
    if set(data["services"]) != PROCESSES:
        found.append(f"the services are {sorted(set(data['services']) ^ PROCESSES)} off")
    for name, service in data["services"].items():
        found += [
            f"compose {name}: {problem}" for problem in _service_problems(service, data, path)
        ]
        if name != "prepare":
            found += [f"compose {name}: {problem}" for problem in _key_problems(name, service)]
    for kind in ("volumes", "secrets", "networks"):
        found += [f"compose: {problem}" for problem in _unused(data, kind)]
    return found


def _laid_over(below: Any, above: Any, key: str = "") -> Any:
    """What `docker compose -f below -f above` makes of two files, as far as ours go: mappings are
    joined, lists of mounts and secrets too, and everything else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        names = {**below, **above}
        return {
            name: _laid_over(below[name], above[name], name)
            if name in below and name in above
            else part
            for name, part in names.items()
        }
    return [*below, *above] if key in ("volumes", "secrets") else above


def _service_problems(service: dict[str, Any], data: dict[str, Any], path: Path) -> Iterator[str]:
    image = service["image"]
    if ":" not in image or image.endswith(":latest"):
        yield f"takes whatever {image} is today"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "may gain privileges"
    if "mem_limit" not in service:
        yield "has no bound of memory"
    if "healthcheck" not in service:
        yield "is never asked whether it is well"
    if service.get("privileged") or service.get("network_mode") or service.get("ports"):
        yield "is open to the machine"
    for other, wait in service.get("depends_on", {}).items():
        yield from _wait_problems(other, wait["condition"], data)
    if image.startswith(OURS):
        yield from _own_problems(service, path)


def _wait_problems(other: str, condition: str, data: dict[str, Any]) -> Iterator[str]:
    if other not in data["services"]:
        yield f"waits for {other}, which is not there"
    elif condition != (
        "service_completed_successfully" if other == "prepare" else "service_healthy"
    ):
        yield f"waits until {other} is {condition}"


def _own_problems(service: dict[str, Any], path: Path) -> Iterator[str]:
    if service.get("user") != "10001:10001" or service.get("cap_drop") != ["ALL"]:
        yield "has rights it does not need"
    if service.get("read_only") is not True:
        yield "may write to its image"
    if not (path.parent / service["build"]["dockerfile"]).is_file():
        yield f"{service['build']['dockerfile']} is not there"
    module = module_of(service["image"], service.get("entrypoint", ()))
    environment = service.get("environment", {})
    folders = [volume.split(":")[1] for volume in service.get("volumes", [])]
    # The folder of the keys is the image's; its parts are volumes.
    folders += [folder.rpartition("/")[0] for folder in folders if "/keys/" in folder]
    yield from settings_problems(module, environment, folders)
    shards = environment.get("TAPELINE_SHARDS")
    if shards is not None and shards != ",".join(map(str, range(Topology().account))):
        yield f"owns the shards {shards}"


def _key_problems(name: str, service: dict[str, Any]) -> Iterator[str]:
    mounts = [volume.split(":") for volume in service.get("volumes", ()) if KEYS in volume]
    keys = {folder.removeprefix(KEYS) for _, folder, *_ in mounts}
    if keys != KEYS_OF.get(name, set()):
        yield f"sees the keys {sorted(keys)}"
    if any(rights != ["ro"] for _, _, *rights in mounts):
        yield "may write keys"


def _unused(data: dict[str, Any], kind: str) -> Iterator[str]:
    used: set[str] = set()
    for service in data["services"].values():
        used |= {str(one).split(":")[0] for one in service.get(kind, [])}
    if used != set(data[kind]):
        yield f"{kind}: {sorted(used ^ set(data[kind]))} are not both declared and used"
