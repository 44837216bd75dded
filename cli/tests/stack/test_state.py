"""Who holds a folder, and which processes are really the recorded ones."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tapeline.cli.stack.child import Child
from tapeline.cli.stack.errors import AlreadyRunning
from tapeline.cli.stack.marks import Mark
from tapeline.cli.stack.state import (
    Endpoints,
    FolderLock,
    StateFile,
    end_stack,
    running_endpoints,
)

Spawn = Callable[..., Child]
SLEEP = "import time; time.sleep(600)"
ENDPOINTS = Endpoints(bootstrap_servers="127.0.0.1:1", database_url="postgresql://x")


def test_a_process_is_recognized_until_it_ends(spawn: Spawn) -> None:
    child = spawn(SLEEP)
    mark = Mark.of(child)
    assert mark is not None
    assert mark.process() is not None
    child.kill()
    assert mark.process() is None
    assert Mark.of(child) is None


def test_another_process_with_the_recorded_pid_is_left_alone(spawn: Spawn, tmp_path: Path) -> None:
    child = spawn(SLEEP, detached=True)
    mark = Mark.of(child)
    assert mark is not None
    other = replace(mark, started=mark.started - 3600, command=["another"])
    assert other.process() is None
    assert other.stop(1) == "was gone"
    assert child.running


def test_a_step_of_the_clock_does_not_hide_a_process(spawn: Spawn) -> None:
    mark = Mark.of(spawn(SLEEP))
    assert mark is not None
    assert replace(mark, started=mark.started - 3600).process() is not None


def test_a_held_folder_is_refused_to_another_process_and_names_the_holder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    script = (
        "import pathlib, sys\n"
        "from tapeline.cli.stack.state import FolderLock\n"
        "FolderLock(pathlib.Path(sys.argv[1])).acquire()"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    refused = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert f"(pid {os.getpid()})" in refused.stderr, refused.stderr
    lock.release()
    assert subprocess.run(argv, timeout=120, check=False).returncode == 0


def test_a_foreground_stack_is_not_ended_from_elsewhere_but_its_endpoints_are_known(
    tmp_path: Path,
) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    StateFile(tmp_path).set_endpoints(ENDPOINTS)
    assert running_endpoints(tmp_path) == ENDPOINTS
    with pytest.raises(AlreadyRunning):
        end_stack(tmp_path)
    lock.release()
    assert running_endpoints(tmp_path) is None


def test_endpoints_of_a_background_stack_are_known_while_it_runs(
    spawn: Spawn, tmp_path: Path
) -> None:
    state = StateFile(tmp_path)
    state.add(spawn(SLEEP, detached=True))
    state.set_endpoints(ENDPOINTS)
    assert running_endpoints(tmp_path) == ENDPOINTS
    assert state.path.stat().st_mode & 0o777 == 0o600
    assert end_stack(tmp_path) == [("child", "stopped")]
    assert running_endpoints(tmp_path) is None


def test_a_background_process_that_ignores_sigterm_is_killed(spawn: Spawn, tmp_path: Path) -> None:
    child = spawn(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)",
        detached=True,
    )
    while "ready" not in child.command.log.read_text():
        assert child.wait(0.02) is None
    StateFile(tmp_path).add(child)
    assert end_stack(tmp_path, timeout_s=0.3) == [("child", "killed")]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": [{}], "endpoints": null}'])
def test_a_state_file_that_cannot_be_read_is_no_stack(tmp_path: Path, text: str) -> None:
    StateFile(tmp_path).path.write_text(text)
    assert running_endpoints(tmp_path) is None
    assert end_stack(tmp_path) == []


def test_a_folder_that_does_not_exist_holds_no_stack(tmp_path: Path) -> None:
    assert running_endpoints(tmp_path / "absent") is None
    assert end_stack(tmp_path / "absent") == []
    assert not (tmp_path / "absent").exists()
