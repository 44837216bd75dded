"""The processes of compose.yaml, with its commands and environments, on real Kafka and PostgreSQL.

No engine is needed: what is a host name or a volume in the file is a port or a folder here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import pytest
import yaml
from container_settings import module_of
from repository import ROOT
from sqlalchemy import URL, make_url

from tapeline.contracts import topics
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import delete_topics

PREFIX = "compose-test."
NAME = f"compose_test_{os.getpid()}"
WAIT_S = 150.0
NOT_WARM = {"triggers"}
"""They need bars of five minutes before they are ready."""
pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(3600)]


@dataclass
class Deployment:
    """The file's services as processes."""

    services: dict[str, dict[str, Any]]
    places: dict[str, str]
    """what stands in the file -> what it is here"""
    folder: Path
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def here(self, text: str) -> str:
        for there, place in self.places.items():
            text = text.replace(there, place)
        return text

    def start(self, name: str) -> subprocess.Popen[bytes]:
        service = self.services[name]
        arguments = [self.here(part) for part in service.get("command", [])]
        variables = {key: self.here(value) for key, value in service["environment"].items()}
        environment = {
            "PATH": os.environ["PATH"],
            **variables,
            "TAPELINE_TOPIC_PREFIX": PREFIX,
            "TAPELINE_HEALTH_PORT_FILE": str(self.folder / f"{name}.port"),
        }
        module = module_of(service["image"], service.get("entrypoint", ()))
        if name == "prepare":
            arguments.append(f"--role={NAME}")
        with (self.folder / f"{name}.log").open("wb") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], env=environment, stdout=log, stderr=log
            )
        return self.started[name]

    def says(self, name: str, path: str) -> bool:
        try:
            port = (self.folder / f"{name}.port").read_text().strip()
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, URLError, ValueError):
            return False

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            ended = {name: p.returncode for name, p in self.started.items() if p.poll()}
            assert not ended, self.logs(*ended)
            assert time.monotonic() < deadline, what + self.logs(*self.started)
            time.sleep(0.2)

    def logs(self, *names: str) -> str:
        texts = [f"{name}:\n{(self.folder / f'{name}.log').read_text()[-2000:]}" for name in names]
        return "\n".join(["", *texts])


@pytest.fixture
def database(postgres_url: str) -> Iterator[URL]:
    """The owner's URL of a database of this test's own."""
    server = make_url(postgres_url).set(drivername="postgresql")
    text = server.render_as_string(hide_password=False)
    with psycopg.connect(text, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {NAME}")
    yield server.set(database=NAME)
    with psycopg.connect(text, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
        connection.execute(f"DROP ROLE IF EXISTS {NAME}")


@pytest.fixture
def deployment(kafka_bootstrap: str, database: URL, tmp_path: Path) -> Iterator[Deployment]:
    """The processes that are to run, ended whatever happens."""
    (tmp_path / "postgres_password").write_text(database.password or "none")
    for name in ("database", "anchors"):
        (tmp_path / name).mkdir()
    places = {
        "postgresql://tapeline_audit@postgresql:5432/tapeline": (
            f"postgresql://{NAME}@{database.host}:{database.port}/{NAME}"
        ),
        "postgresql://tapeline@postgresql:5432/tapeline": (
            f"postgresql://{database.username}@{database.host}:{database.port}/{NAME}"
        ),
        "kafka:9092": kafka_bootstrap,
        "/var/lib/tapeline": str(tmp_path),
        "/run/secrets": str(tmp_path),
        "0.0.0.0": "127.0.0.1",
    }
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    made = Deployment(services, places, tmp_path)
    yield made
    for process in made.started.values():
        if process.poll() is None:
            process.kill()
            process.wait()
    delete_topics(KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=PREFIX))


def test_the_processes_of_the_compose_file_run_and_end(
    deployment: Deployment, kafka_bootstrap: str, database: URL
) -> None:
    prepared = deployment.start("prepare")
    assert prepared.wait(WAIT_S) == 0, deployment.logs("prepare")
    deployment.services["model-server"]["environment"] = {}
    deployment.services["model-server"]["command"] = ["--port", "0"]
    deployment.start("model-server")
    deployment.until(lambda: deployment.says("model-server", "/livez"), "model-server")
    port = (deployment.folder / "model-server.port").read_text().strip()
    deployment.places["model-server:8080"] = f"127.0.0.1:{port}"
    running = set(deployment.services) - {"kafka", "postgresql", "prepare", "model-server"}
    for name in sorted(running):
        deployment.start(name)
    for name in sorted(running - NOT_WARM):
        deployment.until(partial(deployment.says, name, "/readyz"), f"{name} ready")
    reader = LogReader(
        confluent_config(KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap)), PREFIX
    )
    places = [(topics.BARS, number) for number in range(4)]
    deployment.until(lambda: sum(reader.ends(places).values()) > 4, "bars")
    url = database.render_as_string(hide_password=False)

    def is_audited() -> bool:
        with psycopg.connect(url) as connection:
            counted = connection.execute("SELECT count(*) FROM audit.audit_row").fetchone()
        return counted is not None and counted[0] > 0

    deployment.until(is_audited, "audit rows")
    for name in sorted(running):
        deployment.started[name].send_signal(signal.SIGTERM)
    codes = {name: deployment.started[name].wait(WAIT_S) for name in sorted(running)}
    assert codes == dict.fromkeys(sorted(running), 0), deployment.logs(*running)
