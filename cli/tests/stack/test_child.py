"""One child: how it is started, stopped and explained."""

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tapeline.cli.stack import logs
from tapeline.cli.stack.child import Child, Command, run
from tapeline.cli.stack.errors import ServerFailed

Spawn = Callable[..., Child]
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)"
)


def test_a_command_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="No such file") as raised:
        Child(Command(name="it", argv=["no-such-command"], log=tmp_path / "log"))
    assert "no-such-command" in raised.value.remedy


def test_a_child_that_ignores_sigterm_is_killed_when_the_bound_is_over(spawn: Spawn) -> None:
    child = spawn(STUBBORN)
    while "ready" not in logs.tail(child.command.log):
        assert child.wait(0.02) is None
    assert child.stop(0.3) == -signal.SIGKILL
    assert not psutil.pid_exists(child.pid)


def test_stopping_and_killing_what_has_ended_has_no_effect(spawn: Spawn) -> None:
    child = spawn("raise SystemExit(4)")
    assert child.wait(120) == 4
    child.terminate()
    child.kill()
    assert child.stop() == 4


def test_output_is_appended_to_the_log(spawn: Spawn) -> None:
    child = spawn("import sys; print('one'); print('two', file=sys.stderr)")
    assert child.wait(120) == 0
    Child(child.command).wait(120)
    assert logs.tail(child.command.log).count("one") == 2
    assert logs.tail(child.command.log).count("two") == 2


def test_a_log_over_the_bound_is_set_aside_before_a_start(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = spawn("print('first')")
    child.wait(120)
    monkeypatch.setattr(logs, "BYTES_MAX", 3)
    Child(child.command).wait(120)
    assert child.command.log.read_text() == "first\n"
    assert child.command.log.with_name("child-0.log.1").read_text() == "first\n"


def test_a_detached_child_is_its_own_group_and_has_no_guard(spawn: Spawn) -> None:
    child = spawn("import time; time.sleep(600)", detached=True)
    assert psutil.Process(child.pid).cmdline()[1:2] == ["-c"]
    child.kill()
    assert child.poll() == -signal.SIGKILL


def test_a_command_run_to_its_end_explains_its_failure(tmp_path: Path) -> None:
    command = Command(name="it", argv=["sh", "-c", "echo why; exit 3"], log=tmp_path / "log")
    with pytest.raises(ServerFailed, match="exit code 3") as raised:
        run(command, 10)
    assert raised.value.log_tail == "why"


def test_a_command_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="too long"):
        run(Command(name="it", argv=["sleep", "600"], log=tmp_path / "log"), 0.2)
