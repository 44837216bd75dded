"""Several children: order, exits, restarts, and how a terminal or a signal ends them."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tapeline.cli.stack.errors import ServerFailed
from tapeline.cli.stack.state import StateFile, end_stack
from tapeline.cli.stack.supervisor import Exit, Supervisor

Gone = Callable[..., bool]
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
SAYS_WHEN_IT_ENDS = [
    sys.executable,
    "-c",
    "import signal, sys, time\n"
    "def end(*_):\n"
    "    with open(sys.argv[1], 'a') as file: file.write(sys.argv[2])\n"
    "    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)",
]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", stop_seconds_max=60)
    yield supervisor
    supervisor.kill()


def wait_until_ready(supervisor: Supervisor) -> None:
    logs = [child.command.log for child in supervisor.children]
    supervisor.watch(lambda exits: bool(exits) or all("ready" in log.read_text() for log in logs))


def test_children_are_ended_in_the_reverse_order_of_their_start(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    for name in "abc":
        supervisor.start(name, [*SAYS_WHEN_IT_ENDS, str(tmp_path / "order"), name])
    wait_until_ready(supervisor)
    supervisor.stop()
    assert (tmp_path / "order").read_text() == "cba"
    assert supervisor.children == ()


def test_an_exit_is_reported_once_with_code_and_log(supervisor: Supervisor) -> None:
    supervisor.start("lives", SLEEPER)
    supervisor.start("ends", ["sh", "-c", "echo last words; exit 5"])
    exits = supervisor.watch(bool)
    assert exits == (Exit(name="ends", returncode=5, log_tail="last words", starts=1),)
    assert supervisor.poll() == ()
    assert [child.name for child in supervisor.children] == ["lives"]


def test_the_restart_policy_decides_whether_and_when(tmp_path: Path) -> None:
    def twice_more(exited: Exit) -> float | None:
        return 0.05 if exited.starts < 3 else None

    seen: list[int] = []
    with Supervisor(tmp_path, restart=twice_more) as supervisor:
        supervisor.start("ends", ["sh", "-c", "exit 1"])

        def third(exits: tuple[Exit, ...]) -> bool:
            seen.extend(exited.starts for exited in exits)
            return 3 in seen

        supervisor.watch(third)
        assert supervisor.children == ()
    assert seen == [1, 2, 3]


def test_a_child_waiting_for_its_restart_is_not_started_after_stop(tmp_path: Path) -> None:
    with Supervisor(tmp_path, restart=lambda _: 0.0) as supervisor:
        supervisor.start("ends", ["sh", "-c", "exit 1"])
        supervisor.watch(bool)
        supervisor.stop()
        assert supervisor.poll() == ()
        assert supervisor.children == ()


def test_a_child_that_cannot_be_started_leaves_the_others_alone(supervisor: Supervisor) -> None:
    supervisor.start("lives", SLEEPER)
    with pytest.raises(ServerFailed):
        supervisor.start("absent", ["no-such-command"])
    assert supervisor.poll() == ()
    assert [child.name for child in supervisor.children] == ["lives"]


COMMAND = """
import pathlib, signal, sys
# Who runs the tests may ignore some (nohup does), and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
from tapeline.cli.stack.supervisor import Supervisor, ended_by_signals
with ended_by_signals(), Supervisor(pathlib.Path(sys.argv[1])) as supervisor:
    for name in ("one", "two"):
        supervisor.start(name, ["sleep", "600"])
    print(*(child.pid for child in supervisor.children), flush=True)
    supervisor.watch(lambda _: False)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL]
)
def test_no_process_stays_behind_whatever_signal_ends_the_command(
    tmp_path: Path, number: signal.Signals, gone: Gone
) -> None:
    argv = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as command:
        try:
            assert command.stdout is not None
            pids = [int(word) for word in command.stdout.readline().split()]
            assert len(pids) == 2
            guards = [psutil.Process(pid).ppid() for pid in pids]
            command.send_signal(number)
            command.wait(120)
        finally:
            command.kill()
    assert gone(*pids, *guards)


def test_detached_children_live_on_and_end_by_their_recorded_marks(
    tmp_path: Path, gone: Gone
) -> None:
    state = StateFile(tmp_path)
    with Supervisor(tmp_path, state=state) as supervisor:
        pids = [supervisor.start(name, SLEEPER).pid for name in ("one", "two")]
        children = supervisor.children
    try:
        assert [mark.pid for mark in state.running()] == pids
        assert end_stack(tmp_path) == [("two", "stopped"), ("one", "stopped")]
        assert end_stack(tmp_path) == []
    finally:
        for child in children:
            child.kill()
    assert gone(*pids)


def test_detached_children_end_when_the_start_of_the_stack_fails(
    tmp_path: Path, gone: Gone
) -> None:
    pids: list[int] = []

    def start_stack() -> None:
        with Supervisor(tmp_path, state=StateFile(tmp_path)) as supervisor:
            pids.append(supervisor.start("one", SLEEPER).pid)
            supervisor.start("absent", ["no-such-command"])

    with pytest.raises(ServerFailed):
        start_stack()
    assert gone(*pids)
