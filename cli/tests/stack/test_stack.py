"""The whole stack of a folder: in the foreground, in the background, and killed."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from tapeline.cli.stack.errors import AlreadyRunning, PortBusy
from tapeline.cli.stack.external import kafka_answers, postgres_answers
from tapeline.cli.stack.stack import LocalStack
from tapeline.cli.stack.state import StateFile, end_stack, running_endpoints

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
Gone = Callable[..., bool]

FOREGROUND = """
import pathlib, sys, time
from tapeline.cli.stack.stack import LocalStack
from tapeline.cli.stack.supervisor import ended_by_signals
root, jars = map(pathlib.Path, sys.argv[1:])
with ended_by_signals(), LocalStack(root, jars_dir=jars, environment={}) as stack:
    print(stack.kafka.pid, stack.postgres.pid, flush=True)
    time.sleep(120)
"""


def family(pids: list[int]) -> list[int]:
    """The servers, their guards, and PostgreSQL's own processes."""
    guards = [psutil.Process(pid).ppid() for pid in pids]
    workers = [child.pid for pid in pids for child in psutil.Process(pid).children()]
    return [*pids, *guards, *workers]


def foreground(root: Path, jars_dir: Path) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", FOREGROUND, str(root), str(jars_dir)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_two_stacks_run_beside_each_other_and_end_when_killed_or_interrupted(
    tmp_path: Path, jars_dir: Path, gone: Gone
) -> None:
    with (
        foreground(tmp_path / "a", jars_dir) as killed,
        foreground(tmp_path / "b", jars_dir) as terminated,
    ):
        pids = []
        for command in (killed, terminated):
            assert command.stdout is not None
            pids.append(family([int(word) for word in command.stdout.readline().split()]))
        a, b = (running_endpoints(tmp_path / name) for name in "ab")
        assert a is not None
        assert b is not None
        assert all(kafka_answers(it.bootstrap_servers) for it in (a, b))
        assert all(postgres_answers(it.database_url) for it in (a, b))

        with pytest.raises(AlreadyRunning, match=f"pid {killed.pid}"):
            LocalStack(tmp_path / "a", environment={}).start()
        killed.kill()
        terminated.terminate()
        killed.wait(10)
        terminated.wait(30)
    assert gone(*pids[0], *pids[1], within_s=10)
    assert running_endpoints(tmp_path / "a") is None

    # What was killed starts again on the same data, without a wait for stale files.
    with LocalStack(tmp_path / "a", jars_dir=jars_dir, environment={}) as stack:
        assert stack.endpoints == a
        assert stack.exited() == ()


def test_a_background_stack_lives_on_until_it_is_ended(
    tmp_path: Path, jars_dir: Path, gone: Gone
) -> None:
    root = tmp_path / "root"
    script = (
        "import pathlib, sys\n"
        "from tapeline.cli.stack.stack import LocalStack\n"
        "root, jars = map(pathlib.Path, sys.argv[1:])\n"
        "with LocalStack(root, detached=True, jars_dir=jars, environment={}): pass"
    )
    argv = [sys.executable, "-c", script, str(root), str(jars_dir)]
    try:
        subprocess.run(argv, timeout=60, check=True)
        pids = [mark.pid for mark in StateFile(root).running()]
        assert len(pids) == 2
        endpoints = running_endpoints(root)
        assert endpoints is not None
        with psycopg.connect(endpoints.database_url.replace("+psycopg", "")) as connection:
            connection.execute("SELECT 1")
        assert kafka_answers(endpoints.bootstrap_servers)
        with pytest.raises(AlreadyRunning, match="in the background"):
            LocalStack(root, jars_dir=jars_dir, environment={}).start()
        assert running_endpoints(root) == endpoints
    finally:
        outcomes = end_stack(root)
    assert outcomes == [("postgres", "stopped"), ("kafka", "stopped")]
    assert gone(*pids, within_s=1)
    assert running_endpoints(root) is None


def test_when_one_server_cannot_start_the_other_is_ended(
    tmp_path: Path, jars_dir: Path, gone: Gone
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stack = LocalStack(
            tmp_path,
            detached=True,
            postgres_port=listener.getsockname()[1],
            jars_dir=jars_dir,
            environment={},
        )
        with pytest.raises(PortBusy, match="PostgreSQL"):
            stack.start()
    assert stack.kafka is not None
    assert gone(stack.kafka.pid, within_s=1)
    assert StateFile(tmp_path).running() == []
    assert running_endpoints(tmp_path) is None
