"""The local stack of one folder: Kafka and PostgreSQL, embedded or as the environment says."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tapeline.cli.stack.errors import AlreadyRunning
from tapeline.cli.stack.external import (
    KAFKA_VARIABLE,
    POSTGRES_VARIABLE,
    require_kafka,
    require_postgres,
)
from tapeline.cli.stack.folder import require_fit
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.postgres import EmbeddedPostgres
from tapeline.cli.stack.server import Say, Server, quiet
from tapeline.cli.stack.state import Endpoints, FolderLock, StateFile


class LocalStack:
    """Starts what is not given in the environment, and ends what it started.

    Detached, the servers live on after `release()` or the end of this process, and
    `state.end_stack` ends them; a start that fails ends them at once.
    """

    def __init__(
        self,
        root: Path,
        *,
        detached: bool = False,
        kafka_port: int | None = None,
        postgres_port: int | None = None,
        jars_dir: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        say: Say = quiet,
    ) -> None:
        self.root = root.absolute()
        self.detached = detached
        self.state = StateFile(self.root)
        self.kafka: EmbeddedKafka | None = None
        self.postgres: EmbeddedPostgres | None = None
        self.endpoints: Endpoints | None = None
        self._say = say
        self._lock = FolderLock(self.root)
        self._bootstrap_servers = environment.get(KAFKA_VARIABLE) or None
        self._database_url = environment.get(POSTGRES_VARIABLE) or None
        if self._bootstrap_servers is None:
            self.kafka = EmbeddedKafka(
                self.root / "kafka",
                kafka_port,
                jars_dir=jars_dir or self.root / "cache" / "jars",
                detached=detached,
            )
        if self._database_url is None:
            self.postgres = EmbeddedPostgres(
                self.root / "postgres", postgres_port, detached=detached
            )
        if detached:
            for server in self.servers:
                server.record = self.state.add

    @property
    def servers(self) -> tuple[Server, ...]:
        """Those of our own, in the order of start."""
        return tuple(server for server in (self.kafka, self.postgres) if server is not None)

    def start(self) -> Endpoints:
        """Both servers at the same time; returns when both answer."""
        if self._bootstrap_servers is not None:
            require_kafka(self._bootstrap_servers)
        if self._database_url is not None:
            require_postgres(self._database_url)
        require_fit(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        self._take_folder()
        try:
            self.endpoints = self._start_servers()
            self.state.set_endpoints(self.endpoints)
        except BaseException:
            self._kill()
            raise
        return self.endpoints

    def _take_folder(self) -> None:
        self._lock.acquire()
        running = self.state.running()
        if running:
            self._lock.release()
            names = ", ".join(f"{mark.name} (pid {mark.pid})" for mark in running)
            raise AlreadyRunning(
                f"A stack already runs on {self.root} in the background: {names}.",
                "End it with `tapeline down`, or set TAPELINE_HOME to another folder.",
            )
        self.state.clear()

    def _start_servers(self) -> Endpoints:
        if self.kafka is not None:
            self.kafka.launch(self._say)
        if self.postgres is not None:
            # Its first initialization falls into the time the broker needs to come up.
            self.postgres.launch(self._say)
            self.postgres.wait_until_ready()
            self._database_url = self.postgres.database_url
        if self.kafka is not None:
            self.kafka.wait_until_ready()
            self._bootstrap_servers = self.kafka.bootstrap_servers
        assert self._bootstrap_servers is not None
        assert self._database_url is not None
        return Endpoints(bootstrap_servers=self._bootstrap_servers, database_url=self._database_url)

    def ended(self) -> tuple[Server, ...]:
        """Servers of ours that have ended although nobody asked them to."""
        return tuple(
            server for server in self.servers if server.started and not server.child.running
        )

    def release(self) -> None:
        """Leave a detached stack to itself."""
        assert self.detached, "only a detached stack lives on"
        self._lock.release()

    def stop(self) -> None:
        """End what we started; the data stays. A second Ctrl-C meanwhile kills."""
        try:
            for server in reversed(self.servers):
                server.stop()
        except BaseException:
            self._kill()
            raise
        self.state.clear()
        self._lock.release()

    def _kill(self) -> None:
        for server in reversed(self.servers):
            if server.started:
                server.kill()
        self.state.clear()
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.detached and kind is None:
            self.release()
        else:
            self.stop()
