"""Children that do not outlive their test, and how tests ask whether processes are gone."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tapeline.cli.stack.child import Child, Command
from tapeline.cli.stack.testing import jars_cache


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts a Python script under the guard; whatever still runs at the end is killed."""
    children: list[Child] = []

    def start(script: str, *arguments: str, detached: bool = False) -> Child:
        argv = [sys.executable, "-c", script, *arguments]
        log = tmp_path / f"child-{len(children)}.log"
        children.append(Child(Command(name="child", argv=argv, log=log, detached=detached)))
        return children[-1]

    yield start
    for child in children:
        child.kill()


@pytest.fixture(scope="session")
def jars_dir(pytestconfig: pytest.Config) -> Path:
    """The jars of all test runs."""
    return jars_cache(pytestconfig.rootpath)


@pytest.fixture
def gone() -> Callable[..., bool]:
    """Whether all these processes end within some seconds; what does not is killed.

    A zombie has ended: it only waits for a parent that may be slow to ask.
    """

    def wait(*pids: int, within_s: float = 60.0) -> bool:
        deadline = time.monotonic() + within_s
        while alive := [pid for pid in pids if _is_alive(pid)]:
            if time.monotonic() > deadline:
                for pid in alive:
                    psutil.Process(pid).kill()
                return False
            time.sleep(0.02)
        return True

    return wait


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
