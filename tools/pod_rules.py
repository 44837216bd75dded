"""What every pod of a built overlay must be: restricted, probed, sized, pinned, configured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from container_settings import module_of, settings_problems

Document = dict[str, Any]
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob", "DaemonSet", "ReplicaSet", "Pod")
VOLUMES = (
    "configMap",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
"""Kinds that the restricted profile allows, without CSI."""
OURS = "tapeline/"
HANDED_OVER = (
    "audit-database",
    "chain-keys",
    "database-owner",
    "execution-database",
    "group-keys",
    "operator-keys",
    "seal-keys",
)
"""Secrets that an operator makes; see k8s/README.md."""
FROM_STRIMZI = (
    "agents",
    "audit",
    "execution",
    "market-data",
    "prepare",
    "risk",
    "tapeline-cluster-ca-cert",
)


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod template of one workload."""

    kind: str
    name: str
    replicas: int
    labels: dict[str, str]
    spec: Document

    @property
    def containers(self) -> list[Document]:
        """Those that run beside each other, and those before them."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(documents: Sequence[Document]) -> list[Pod]:
    """Every pod that the documents would make."""
    found = []
    for document in documents:
        if document["kind"] not in WORKLOADS:
            continue
        spec = document["spec"]
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        template = document if document["kind"] == "Pod" else spec["template"]
        labels = template["metadata"].get("labels", {})
        name = document["metadata"]["name"]
        found.append(Pod(document["kind"], name, spec.get("replicas", 1), labels, template["spec"]))
    return found


def pod_problems(documents: Sequence[Document]) -> list[str]:
    """What is wrong with the pods; empty when nothing is."""
    names = {(one["kind"], one["metadata"]["name"]) for one in documents}
    maps = {
        one["metadata"]["name"]: one.get("data", {})
        for one in documents
        if one["kind"] == "ConfigMap"
    }
    has_strimzi = any(one["kind"] == "KafkaUser" for one in documents)
    secrets = HANDED_OVER + (FROM_STRIMZI if has_strimzi else ())
    return [
        f"{pod.kind} {pod.name}: {problem}"
        for pod in pods(documents)
        for problem in (
            *restricted_problems(pod),
            *reference_problems(pod, names, secrets),
            *container_problems(pod),
            *environment_problems(pod, maps),
        )
    ]


def restricted_problems(pod: Pod) -> Iterator[str]:
    """Pod Security Standards, profile restricted, and what we ask beyond it."""
    spec, context = pod.spec, pod.spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if spec.get(field):
            yield f"{field} is on"
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser", 0):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if spec.get("automountServiceAccountToken") is not False:
        yield "gets a token of the API server"
    if spec.get("enableServiceLinks") is not False:
        yield "gets services as environment variables, which settings refuse"
    yield from _volume_problems(spec)
    for container in pod.containers:
        for problem in _restricted_container(container):
            yield f"{container['name']} {problem}"


def _volume_problems(spec: Document) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        kinds = [key for key in volume if key != "name"]
        if len(kinds) != 1 or kinds[0] not in VOLUMES:
            yield f"the volume {volume['name']} is {', '.join(kinds)}"


def _restricted_container(container: Document) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("privileged"):
        yield "is privileged"
    if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        yield "runs as root"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"
    if context.get("capabilities", {}).get("add"):
        yield "adds capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the node"
    if container["image"].startswith(OURS) and context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"


def reference_problems(
    pod: Pod, names: set[tuple[str, str]], secrets: Sequence[str]
) -> Iterator[str]:
    """Accounts, configuration, claims and secrets exist, or are known to be handed over."""
    account = pod.spec.get("serviceAccountName", "default")
    if ("ServiceAccount", account) not in names:
        yield f"the service account {account} is not there"
    for kind, name in _references(pod.spec):
        is_known = name in secrets if kind == "Secret" else (kind, name) in names
        if not is_known:
            yield f"mentions the {kind} {name}, which is not there"


def _references(spec: Any) -> Iterator[tuple[str, str]]:
    if isinstance(spec, list):
        for part in spec:
            yield from _references(part)
    if not isinstance(spec, dict):
        return
    for key, value in spec.items():
        if key in ("configMap", "configMapRef", "configMapKeyRef"):
            yield "ConfigMap", value["name"]
        elif key in ("secret", "secretRef", "secretKeyRef"):
            yield "Secret", value.get("secretName", value.get("name", ""))
        elif key == "persistentVolumeClaim":
            yield "PersistentVolumeClaim", value["claimName"]
        else:
            yield from _references(value)


def container_problems(pod: Pod) -> Iterator[str]:
    """Images pinned, resources bounded, probes where something goes on running."""
    for container in pod.containers:
        name, image = container["name"], container["image"]
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{name} takes whatever {image} is today"
        resources = container.get("resources", {})
        for part in ("requests", "limits"):
            missing = {"cpu", "memory"} - set(resources.get(part, {}))
            if missing:
                yield f"{name} has no {part} of {', '.join(sorted(missing))}"
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        unknown = mounts - _volume_names(pod)
        if unknown:
            yield f"{name} mounts {', '.join(sorted(unknown))}, which is no volume"
    if pod.kind in ("Deployment", "StatefulSet"):
        for container in pod.spec["containers"]:
            yield from _probe_problems(container, pod.kind == "StatefulSet")


def _volume_names(pod: Pod) -> set[str]:
    names = {volume["name"] for volume in pod.spec.get("volumes", [])}
    # The stores' claims are templates of the set.
    return names | ({"data"} if pod.kind == "StatefulSet" else set())


def _probe_problems(container: Document, is_owner: bool) -> Iterator[str]:
    # A process of the money path beats again when its shards have recovered.
    started = "/readyz" if is_owner else "/livez"
    wanted = {"startupProbe": started, "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    ports = {port["name"] for port in container.get("ports", [])}
    for probe, path in wanted.items():
        found = container.get(probe)
        if found is None:
            yield f"{container['name']} has no {probe}"
            continue
        asked = found.get("httpGet", found.get("tcpSocket", {}))
        if asked.get("port") not in ports:
            yield f"{container['name']}: {probe} asks a port without a name"
        if container["image"].startswith(OURS) and asked.get("path") != path:
            yield f"{container['name']}: {probe} does not ask {path}"


def environment_problems(pod: Pod, maps: dict[str, dict[str, str]]) -> Iterator[str]:
    """The process would start with this environment."""
    for container in pod.spec["containers"]:
        if not container["image"].startswith(OURS):
            continue
        module = module_of(container["image"], container.get("command", ()))
        folders = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        environment = environment_of(container, maps)
        for problem in settings_problems(module, environment, folders):
            yield f"{container['name']}: {problem}"
        if environment.get("TAPELINE_MODE", "PAPER") == "LIVE":
            yield f"{container['name']}: live trading is not part of these overlays"


def environment_of(container: Document, maps: dict[str, dict[str, str]]) -> dict[str, str]:
    """The variables of a container; what a field of the pod gives is its name."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps.get(source.get("configMapRef", {}).get("name", ""), {})
    for variable in container.get("env", []):
        origin = variable.get("valueFrom", {})
        if "configMapKeyRef" in origin:
            reference = origin["configMapKeyRef"]
            found[variable["name"]] = maps.get(reference["name"], {}).get(reference["key"], "")
        else:
            found[variable["name"]] = variable.get("value", "pod-0")
    return found
