"""The embedded database: data and port survive stops and crashes, as root and as anyone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tapeline.cli.stack import server
from tapeline.cli.stack.child import Child, Command, Identity
from tapeline.cli.stack.errors import AlreadyRunning, PortBusy, ServerFailed, StackError
from tapeline.cli.stack.postgres import EmbeddedPostgres

pytestmark = pytest.mark.postgres
Gone = Callable[..., bool]


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a server that was started once: most tests begin with a copy."""
    data_dir = tmp_path_factory.mktemp("postgres") / "data"
    with EmbeddedPostgres(data_dir):
        pass
    return data_dir


@pytest.fixture
def postgres(tmp_path: Path, initialized: Path) -> Iterator[EmbeddedPostgres]:
    # Private, as root's own folders are: a server that is not root must still reach its data.
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    data_dir = private / "data with space é"
    subprocess.run(["cp", "-a", initialized, data_dir], check=True)
    yield from running(EmbeddedPostgres(data_dir))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    yield from running(EmbeddedPostgres(tmp_path / "fresh"))


def running(postgres: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    yield postgres
    if postgres.started:
        postgres.kill()


def rows(postgres: EmbeddedPostgres) -> list[tuple[object, ...]]:
    with psycopg.connect(postgres.url()) as connection:
        return connection.execute("SELECT x FROM t ORDER BY x").fetchall()


def insert(postgres: EmbeddedPostgres, value: int) -> None:
    with psycopg.connect(postgres.url()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (x int)")
        connection.execute("INSERT INTO t VALUES (%s)", (value,))


def test_rows_and_port_survive_a_stop_a_kill_by_us_and_a_kill_by_others(
    postgres: EmbeddedPostgres, gone: Gone
) -> None:
    postgres.start()
    url = postgres.database_url
    insert(postgres, 1)

    # An open session does not hold up the stop.
    with psycopg.connect(postgres.url()):
        postgres.stop(5)
    assert postgres.child.poll() == 0

    postgres.start()
    insert(postgres, 2)
    workers = [child.pid for child in psutil.Process(postgres.pid).children()]
    postgres.kill()
    assert gone(postgres.pid, *workers)

    postgres.start()
    insert(postgres, 3)
    os.kill(postgres.pid, signal.SIGKILL)
    assert gone(postgres.pid)
    postgres.start()
    assert postgres.database_url == url
    assert rows(postgres) == [(1,), (2,), (3,)]


def test_the_password_is_needed_and_kept_from_others(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    password = postgres.data_dir / "password"
    assert password.stat().st_mode & 0o777 == 0o600
    wrong = postgres.url().replace(password.read_text(), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_as_root_the_server_runs_as_a_humbler_user(postgres: EmbeddedPostgres) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root must not run PostgreSQL")
    postgres.start()
    assert psutil.Process(postgres.pid).uids().effective != 0
    assert postgres.cluster.stat().st_uid == psutil.Process(postgres.pid).uids().effective


def test_as_a_plain_user_the_server_runs_as_that_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests show it")
    nobody = Identity(uid=65534, gid=65534, traverse=True)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, nobody.uid, nobody.gid)
    script = (
        "import os, pathlib, sys, psutil\n"
        "from tapeline.cli.stack.postgres import EmbeddedPostgres\n"
        "with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as postgres:\n"
        "    print(os.geteuid(), psutil.Process(postgres.pid).uids().effective)"
    )
    argv = [sys.executable, "-c", script, str(home / "data")]
    child = Child(Command(name="plain", argv=argv, log=tmp_path / "log", run_as=nobody))
    assert child.wait(120) == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text() == "65534 65534\n"


def test_a_busy_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortBusy, match=f"Port {port} for PostgreSQL is taken"):
            EmbeddedPostgres(tmp_path, port).start()


def test_a_second_server_on_the_same_data_is_refused(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.start()
    monkeypatch.setattr(server, "PREDECESSOR_SECONDS_MAX", 0.1)
    with pytest.raises(AlreadyRunning, match=f"pid {postgres.pid}"):
        EmbeddedPostgres(postgres.data_dir).start()
    with pytest.raises(AlreadyRunning, match=f"pid {postgres.pid}"):
        postgres.start()


def test_a_stale_pid_file_whose_pid_now_belongs_to_another_process_is_no_obstacle(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.start()
    pid_file = postgres.cluster / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    postgres.kill()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    postgres.start()


def test_data_of_another_version_is_refused_with_a_remedy(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.cluster / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackError, match="is of PostgreSQL 12") as raised:
        postgres.start()
    assert "pg_upgrade" in raised.value.remedy


def test_data_whose_password_is_lost_is_refused_with_a_remedy(postgres: EmbeddedPostgres) -> None:
    (postgres.data_dir / "password").unlink()
    with pytest.raises(StackError, match="password") as raised:
        postgres.start()
    assert "Put the file back" in raised.value.remedy


def test_a_server_that_cannot_start_is_explained_by_its_log(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.cluster / "global" / "pg_control").unlink()
    with pytest.raises(ServerFailed, match="while starting") as raised:
        postgres.start()
    assert "pg_control" in raised.value.log_tail
    assert not postgres.child.running


def test_an_initialization_that_was_killed_half_way_is_done_again(
    fresh: EmbeddedPostgres,
) -> None:
    half = fresh.data_dir / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    fresh.start()
    insert(fresh, 1)
    assert rows(fresh) == [(1,)]
