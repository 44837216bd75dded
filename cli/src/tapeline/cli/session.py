"""A run with its servers and services, all children of this process.

Everything that is started here ends with this process, however it ends (stack/guard.py). A service
or server that falls over is started again (restarts.py); one that says that its settings are wrong,
or that falls over again and again, ends the session.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tapeline.audit.keys import create_key
from tapeline.audit.migrate import migrate_with_file
from tapeline.cli.configuration import Configuration
from tapeline.cli.plan import Ground, Part, groups_of, parts_of, shared_environment
from tapeline.cli.publishing import publish
from tapeline.cli.restarts import Patience
from tapeline.cli.runs import OPERATOR, Run, RunStore, strategies_of
from tapeline.cli.source_watch import SourceWatch
from tapeline.cli.stack.errors import StackError
from tapeline.cli.stack.ports import free_port
from tapeline.cli.stack.server import Server
from tapeline.cli.stack.stack import LocalStack
from tapeline.cli.stack.state import Endpoints
from tapeline.cli.stack.supervisor import Exit, Supervisor
from tapeline.contracts.config import GroupKind
from tapeline.runtime import exits
from tapeline.runtime.keys import (
    OPERATOR_FOLDER,
    SEAL_FOLDER,
    create_secret,
    create_signer,
)
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.topology import Topology, create_topics

LAST_LINES = 6
LAST_CHARACTERS = 400


class ServiceFailed(StackError):
    """A service ended and is not started again."""


class Session:
    """One run, from empty topics to its last record. Use as a context manager."""

    def __init__(
        self,
        home: Path,
        run: Run,
        configuration: Configuration,
        *,
        feed_options: Mapping[str, str] | None = None,
        is_dev: bool = False,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.run = run
        self.configuration = configuration
        self.store = RunStore(home)
        self.folder = self.store.folder(run.name)
        self.stack = LocalStack(home, say=say)
        self.parts: dict[str, Part] = {}
        self.supervisor = Supervisor(self.folder / "output", restart=self._restart)
        self.restarts = 0
        self._patience = Patience()
        self._servers_due: dict[str, float] = {}
        """when to start a server again that has ended, monotonic seconds"""
        self._feed_options = dict(feed_options or {})
        self._is_dev = is_dev
        self._say = say
        self._failure: Exit | None = None
        self._reload = SourceWatch() if is_dev else None
        self._reloading: set[str] = set()
        self._home = home

    # ---- start

    def start(self) -> Endpoints:
        """Servers, topics, configuration, keys, tables, services."""
        endpoints = self.stack.start()
        self.store.save(self.run)
        settings = self.kafka_settings(endpoints)
        self._say("topics and configuration")
        create_topics(settings, self.topology())
        publish(settings, self.run.run_id, self.configuration)
        self._create_keys()
        ground = Ground(
            endpoints=endpoints,
            audit_url=migrate_with_file(endpoints.database_url, self._home / "audit.password"),
            folder=self.folder,
            model_port=free_port() if self._needs_model_server() else 0,
            feed_options=self._feed_options,
            is_dev=self._is_dev,
            strategies=str(strategies_of(self.folder) or ""),
        )
        self.environment = shared_environment(self.run, self.configuration, ground)
        self._say("services")
        for part in parts_of(self.run, self.configuration, ground):
            self.start_part(part)
        return endpoints

    def start_part(self, part: Part) -> None:
        """Starts one service."""
        self.parts[part.name] = part
        ports = self.folder / "ports"
        ports.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **self.environment,
            "TAPELINE_HEALTH_PORT_FILE": str(ports / part.name),
            # A stable name in its consumer group: started again, it has its partitions at once.
            "TAPELINE_INSTANCE_ID": part.name,
            **part.environment,
        }
        # Bytecode is worth its place: without it every start compiles everything anew.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.supervisor.start(part.name, part.argv, environment)

    def topology(self) -> Topology:
        """Partitions of the run's topics."""
        return Topology(
            instrument=self.run.instrument_partitions,
            account=self.run.account_partitions,
            service=2 * self.run.account_partitions,
        )

    def kafka_settings(self, endpoints: Endpoints) -> KafkaSettings:
        """How a client of this run reaches Kafka."""
        return KafkaSettings(
            kafka_bootstrap_servers=endpoints.bootstrap_servers, topic_prefix=self.run.prefix
        )

    def _create_keys(self) -> None:
        keys = self.folder / "keys"
        if keys.exists():
            return
        create_secret(keys / SEAL_FOLDER, "run")
        create_signer(keys / "private", keys / OPERATOR_FOLDER, OPERATOR)
        create_key(keys / "audit", "run")

    def _needs_model_server(self) -> bool:
        has_endpoint = bool(os.environ.get("TAPELINE_AGENTS_LLM_BASE_URL"))
        kinds = [group.kind for group, _ in groups_of(self.configuration)]
        return GroupKind.LLM in kinds and not has_endpoint

    # ---- while it runs

    def _restart(self, exited: Exit) -> float | None:
        if exited.name in self._reloading:
            self._reloading.discard(exited.name)
            return 0.0
        if exited.returncode == exits.OK:
            return None
        delay_s = self._patience.delay_s(exited.name, exited.returncode, time.monotonic())
        if delay_s is None:
            self._failure = exited
        else:
            self.restarts += 1
        return delay_s

    def watch(self, until: Callable[[], bool], pause_s: float = 0.1) -> None:
        """Keeps the services up until the callback says so; raises ServiceFailed."""
        while not until():
            self.check()
            time.sleep(pause_s)

    def check(self) -> None:
        """One look at the children; with --dev also at the code, whose change starts them anew."""
        self.supervisor.poll()
        if self._reload is not None and self._reload.has_changed():
            self._say("the code has changed: starting the services anew")
            for child in self.supervisor.children:
                self._reloading.add(child.name)
                os.kill(child.pid, signal.SIGTERM)
        if self._failure is not None:
            name, code = self._failure.name, self._failure.returncode
            raise ServiceFailed(
                f"The service {name} ended with code {code}:\n{last_words(self._failure.log_tail)}",
                f"Correct what it says; its logs are in {self.folder / 'logs'}.",
            )
        for server in self.stack.ended():
            self._revive(server)

    def _revive(self, server: Server) -> None:
        """Starts a server of ours again when it is time; its clients find it where it was."""
        now_s, name = time.monotonic(), server.child.name
        if name not in self._servers_due:
            # Never given up: what a server lacks, such as room on its disk, a person gives it.
            delay_s = self._patience.delay_s(name, exits.UNAVAILABLE, now_s) or 0.0
            where = f"its log is in {server.data_dir}"
            self._say(f"{server.title} has ended, starts again in {delay_s:.1f} s; {where}")
            self._servers_due[name] = now_s + delay_s
        elif now_s >= self._servers_due[name]:
            del self._servers_due[name]
            try:
                server.launch()
            except StackError as error:
                self._say(error.cause)

    # ---- end

    def stop(self) -> None:
        """Services last started first, then the servers."""
        try:
            self.supervisor.stop()
        finally:
            self.stack.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.supervisor.kill()
            self.stack.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def last_words(log_tail: str) -> str:
    """What a service said before it ended: its message, or the event and error of its last log
    line; the whole is in its log."""
    lines = log_tail.strip().splitlines()
    plain = [line for line in lines[-LAST_LINES:] if not line.startswith("{")]
    if plain or not lines:
        return "\n".join(plain)
    try:
        event = json.loads(lines[-1])
    except ValueError:
        return lines[-1][:LAST_CHARACTERS]
    return f"{event.get('event', '')}: {event.get('error', '')}".strip(": ")
