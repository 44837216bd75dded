"""No process stays behind, however its parent or its guard ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tapeline.cli.stack import guard
from tapeline.cli.stack.child import Child

Spawn = Callable[..., Child]
Gone = Callable[..., bool]
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

# A parent that starts one child, says who there is, and sleeps.
PARENT = """
import pathlib, sys, time
from tapeline.cli.stack.child import Child, Command
script = '''
import os, subprocess, sys, time
own_session = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                               start_new_session=True)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()} {own_session.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
'''
pids = pathlib.Path(sys.argv[1])
child = Child(Command(name="c", argv=[sys.executable, "-c", script, sys.argv[1]],
                      log=pids.with_suffix(".log")))
while not pids.exists():
    time.sleep(0.01)
print(child._process.pid, pids.read_text(), flush=True)
if "fork" in sys.argv:
    import os
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(600)
time.sleep(600)
"""


def start_parent(pids: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(pids), *words], stdout=subprocess.PIPE, text=True
    )


def read_pids(parent: "subprocess.Popen[str]") -> list[int]:
    assert parent.stdout is not None
    return [int(word) for word in parent.stdout.readline().split()]


@linux_only
def test_child_grandchild_and_guard_end_when_the_parent_is_killed(
    tmp_path: Path, gone: Gone
) -> None:
    with start_parent(tmp_path / "pids") as parent:
        family = read_pids(parent)
        assert len(family) == 3
        assert all(psutil.pid_exists(pid) for pid in family)
        parent.kill()
    assert gone(*family)


@linux_only
def test_a_fork_of_the_parent_that_holds_the_lifeline_open_does_not_keep_the_child(
    tmp_path: Path, gone: Gone
) -> None:
    with start_parent(tmp_path / "pids", "fork") as parent:
        family = read_pids(parent)
        (fork,) = read_pids(parent)
        parent.kill()
        assert gone(*family)
        assert psutil.pid_exists(fork)
        psutil.Process(fork).kill()


@linux_only
def test_the_child_ends_when_its_guard_is_killed(spawn: Spawn, gone: Gone) -> None:
    child = spawn("import time; time.sleep(600)")
    psutil.Process(psutil.Process(child.pid).ppid()).kill()
    assert gone(child.pid)
    assert child.wait(120) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    ],
)
def test_the_guard_ends_as_the_child_ended(spawn: Spawn, script: str, code: int) -> None:
    assert spawn(script).wait(120) == code


@linux_only
def test_what_a_child_leaves_behind_ends_with_it(spawn: Spawn, gone: Gone) -> None:
    child = spawn(
        "import subprocess, sys\n"
        "left = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print(left.pid, flush=True)"
    )
    assert child.wait(120) == 0
    assert gone(int(child.command.log.read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_forwarded_to_the_child(spawn: Spawn, number: signal.Signals) -> None:
    child = spawn(
        "import signal, sys, time\n"
        f"signal.signal({number.value}, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    wait_for_text(child, "ready")
    os.kill(psutil.Process(child.pid).ppid(), number)
    assert child.wait(120) == 7


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGCHLD])
def test_signals_that_the_parent_has_blocked_reach_guard_and_child(
    spawn: Spawn, number: signal.Signals
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (number,))
    try:
        child = spawn(
            "import signal, sys, time\n"
            "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))\n"
            "print('ready', flush=True)\n"
            "time.sleep(600)"
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    wait_for_text(child, "ready")
    os.kill(psutil.Process(child.pid).ppid(), signal.SIGUSR1)
    assert child.wait(120) == 7


def wait_for_text(child: Child, text: str) -> None:
    for _ in range(6000):
        if text in child.command.log.read_text():
            return
        assert child.wait(0.02) is None
    raise AssertionError(f"{text!r} did not come")


def test_the_guard_runs_without_any_installed_package() -> None:
    argv = [sys.executable, "-I", "-S", guard.__file__, "--", "true"]
    assert subprocess.run(argv, timeout=120, check=False).returncode == 0


def test_importing_the_guard_as_a_module_loads_nothing_but_the_standard_library() -> None:
    script = (
        "import sys, tapeline.cli.stack.guard\n"
        "print([name for name, module in sys.modules.items()"
        " if 'site-packages' in str(getattr(module, '__file__', ''))"
        " and not name.startswith(('_', 'sitecustomize', 'distutils'))])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert answer.stdout.strip() == "[]"
