"""A failpoint takes effect where it stands, whichever thread comes to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

PROGRAM = """
import sys, threading, time
from pathlib import Path
from tapeline.runtime.failpoints import failpoint

def work():
    time.sleep(0.02)
    failpoint("before_begin")
    Path(sys.argv[1]).touch()

threading.Thread(target=work).start()
until = time.monotonic() + 0.3
while time.monotonic() < until:  # the main thread is busy
    pass
"""


@contextmanager
def started(kind: str, mark: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "FAILPOINT": f"before_begin:{kind}:1"}
    command = [sys.executable, "-c", PROGRAM, str(mark)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("turn", range(5))
def test_nothing_is_done_behind_a_stop_until_the_process_goes_on(turn: int, tmp_path: Path) -> None:
    mark = tmp_path / f"mark-{turn}"
    with started("stop", mark) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            assert process.poll() is None
        assert not mark.exists()
        process.send_signal(signal.SIGCONT)
        assert process.wait(240) == 0
        assert mark.exists()


def test_nothing_is_done_behind_a_kill(tmp_path: Path) -> None:
    with started("kill", tmp_path / "mark") as process:
        assert process.wait(240) == -signal.SIGKILL
    assert not (tmp_path / "mark").exists()
