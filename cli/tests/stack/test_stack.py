"""The whole stack of a folder: in the foreground, in the background, and killed."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
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


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that the tests of this file leave to each other, in whatever state."""
    return tmp_path_factory.mktemp("stacks")


def test_two_stacks_run_beside_each_other_and_end_when_killed_or_terminated(
    roots: Path, jars_dir: Path, gone: Gone
) -> None:
    with foreground(roots / "a", jars_dir) as killed, foreground(roots / "b", jars_dir) as ended:
        pids = []
        for command in (killed, ended):
            assert command.stdout is not None
            pids.append(family([int(word) for word in command.stdout.readline().split()]))
        for root in (roots / "a", roots / "b"):
            endpoints = running_endpoints(root)
            assert endpoints is not None
            assert kafka_answers(endpoints.bootstrap_servers)
            assert postgres_answers(endpoints.database_url)

        with pytest.raises(AlreadyRunning, match=f"pid {killed.pid}"):
            LocalStack(roots / "a", environment={}).start()
        killed.kill()
        ended.terminate()
        killed.wait(120)
        ended.wait(120)
    assert gone(*pids[0], *pids[1])
    assert running_endpoints(roots / "a") is None


def test_a_stack_in_the_background_lives_on_until_it_is_ended_also_on_data_of_a_killed_one(
    roots: Path, jars_dir: Path, gone: Gone
) -> None:
    root = roots / "a"
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
        assert postgres_answers(endpoints.database_url)
        assert kafka_answers(endpoints.bootstrap_servers)
        with pytest.raises(AlreadyRunning, match="in the background"):
            LocalStack(root, jars_dir=jars_dir, environment={}).start()
        assert running_endpoints(root) == endpoints
    finally:
        outcomes = end_stack(root)
    assert outcomes == [("postgres", "stopped"), ("kafka", "stopped")]
    assert gone(*pids)
    assert running_endpoints(root) is None


def test_when_one_server_cannot_start_the_other_is_ended(
    roots: Path, jars_dir: Path, gone: Gone
) -> None:
    root = roots / "b"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stack = LocalStack(
            root, detached=True, postgres_port=port, jars_dir=jars_dir, environment={}
        )
        with pytest.raises(PortBusy, match="PostgreSQL"):
            stack.start()
    assert stack.kafka is not None
    assert gone(stack.kafka.pid)
    assert StateFile(root).running() == []
    assert running_endpoints(root) is None
