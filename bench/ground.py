"""What every benchmark stands on: a broker of its own in a temporary folder, topics, children."""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from tapeline.cli.stack.child import Child, Command
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.supervisor import Supervisor
from tapeline.runtime.keys import OPERATOR_FOLDER, SEAL_FOLDER, create_secret, create_signer
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import Topology, create_topics

ROOT = Path(__file__).resolve().parent.parent
JARS = ROOT / ".tapeline" / "cache" / "jars"
RUN_ID = "bench"
READY_S = 60.0
FLUSH_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A broker, a folder, and the keys of the run."""

    kafka: EmbeddedKafka
    folder: Path

    def settings(self, prefix: str) -> KafkaSettings:
        """How a client reaches the topics of a prefix."""
        return KafkaSettings(
            kafka_bootstrap_servers=self.kafka.bootstrap_servers, topic_prefix=prefix
        )

    def topics(self, prefix: str, *, shards: int = 1) -> KafkaSettings:
        """Creates all topics, one partition of instruments."""
        settings = self.settings(prefix)
        create_topics(settings, Topology(instrument=1, account=shards, service=2 * shards))
        return settings

    def environment(self, prefix: str, **own: str) -> dict[str, str]:
        """Of a service."""
        return {
            **{name: value for name, value in os.environ.items() if name[:9] != "TAPELINE_"},
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "TAPELINE_TOPIC_PREFIX": prefix,
            "TAPELINE_RUN_ID": RUN_ID,
            "TAPELINE_KEYS_DIR": str(self.keys),
            "TAPELINE_LOG_LEVEL": "WARNING",
            **own,
        }

    @property
    def keys(self) -> Path:
        """Folder of the run's keys."""
        return self.folder / "keys"


@contextmanager
def ground(heap_mb: int = 512) -> Iterator[Ground]:
    """A broker with empty topics; it and its folder are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tapeline-bench-") as name:
        folder = Path(name)
        create_secret(folder / "keys" / SEAL_FOLDER, "run")
        create_signer(folder / "private", folder / "keys" / OPERATOR_FOLDER, "operator")
        with EmbeddedKafka(folder / "kafka", heap_mb=heap_mb, jars_dir=JARS) as kafka:
            yield Ground(kafka=kafka, folder=folder)


@dataclass(frozen=True, kw_only=True)
class Process:
    """A child that says when it is ready: on /readyz where it has a port, else by a file."""

    child: Child
    ready: Path
    has_probe: bool

    def is_ready(self) -> bool:
        """Whether it can take records."""
        if not self.ready.exists():
            return False
        text = self.ready.read_text().strip()
        return bool(text) and (not self.has_probe or _answers(int(text)))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


class Processes:
    """The children of one leg of a benchmark; all end with its block."""

    def __init__(self, place: Ground, prefix: str) -> None:
        self._place = place
        self._prefix = prefix
        self._folder = place.folder / "legs" / prefix.rstrip(".")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._supervisor = Supervisor(self._folder)
        self.started: dict[str, Process] = {}

    def start(self, name: str, *arguments: str, own: Mapping[str, str] | None = None) -> None:
        """A service: `python -m ...` with its health port in a file."""
        ready = self._folder / f"{name}.port"
        ready.unlink(missing_ok=True)
        variables = {"TAPELINE_HEALTH_PORT_FILE": str(ready), **(own or {})}
        self._launch(name, arguments, variables, ready, has_probe=True)

    def start_bare(self, name: str, *arguments: str) -> None:
        """A forwarder: it writes a file, whose path is its last argument, when it is ready."""
        ready = self._folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        self._launch(name, (*arguments, str(ready)), {}, ready, has_probe=False)

    def _launch(
        self,
        name: str,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        ready: Path,
        *,
        has_probe: bool,
    ) -> None:
        command = Command(
            name=name,
            argv=[sys.executable, "-m", *arguments],
            log=self._folder / f"{name}.log",
            cwd=ROOT,
            env=self._place.environment(self._prefix, **variables),
        )
        child = self._supervisor.start_command(command)
        self.started[name] = Process(child=child, ready=ready, has_probe=has_probe)

    def wait_until_ready(self) -> None:
        """Raises when one ends or takes too long."""
        wait_for(lambda: all(process.is_ready() for process in self.started.values()), self.check)

    def check(self) -> None:
        """Raises when a child has ended."""
        for ended in self._supervisor.poll():
            raise RuntimeError(f"{ended.name} ended with {ended.returncode}:\n{ended.log_tail}")

    def pids(self) -> dict[str, int]:
        """Name -> process."""
        return {name: process.child.pid for name, process in self.started.items()}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop()


def wait_for(
    condition: Callable[[], bool], check: Callable[[], None], limit_s: float = READY_S
) -> None:
    """Polls until the condition holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing for {limit_s:.0f} s")
        time.sleep(0.1)


def fill(
    producer: Producer, topic: str, values: Sequence[bytes], partition: int = 0, **more: Any
) -> None:
    """Produces values and waits for the broker to have them."""
    for value in values:
        while True:
            try:
                producer.produce(topic, value, b"bench", partition, **more)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(FLUSH_S):
        raise TimeoutError(f"the broker did not take the records of {topic}")
