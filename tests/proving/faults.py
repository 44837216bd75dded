"""What can be away: a broker or a database that is killed, stopped, or has no room left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tapeline.cli.stack.server import Server
from tapeline.runtime import clock

CHUNK = 1024 * 1024
FULL_S = 120.0


class Fault(Protocol):
    """Something that can be taken away and given back."""

    def take(self) -> None:
        """Away."""
        ...

    def give(self) -> None:
        """Back; returns when it answers."""
        ...


@dataclass
class Killed:
    """SIGKILL: nobody listens on the port any more."""

    server: Server

    def take(self) -> None:
        self.server.kill()

    def give(self) -> None:
        self.server.start()


@dataclass
class Stopped:
    """SIGSTOP for the whole family: connections stand, nothing ever answers."""

    server: Server

    def _signal(self, number: signal.Signals) -> None:
        process = psutil.Process(self.server.pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(ProcessLookupError):
                os.kill(one.pid, number)

    def take(self) -> None:
        self._signal(signal.SIGSTOP)

    def give(self) -> None:
        self._signal(signal.SIGCONT)


@dataclass
class Several:
    """All at once."""

    faults: tuple[Fault, ...]

    def take(self) -> None:
        for fault in self.faults:
            fault.take()

    def give(self) -> None:
        for fault in self.faults:
            fault.give()


@dataclass
class Full:
    """A disk without room. A server that ends by it is started again once there is room."""

    server: Server
    disk: Path
    has_ended_server: bool = False

    @property
    def _filler(self) -> Path:
        return self.disk / "filler"

    def take(self) -> None:
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(CHUNK))
        # The last bytes too: whoever writes next is the one that fails.
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(512))

    def give(self) -> None:
        self._filler.unlink()
        self.has_ended_server = not self.server.child.running
        if not self.server.child.running:
            self.server.start()
            return
        deadline_s = clock.monotonic_s() + FULL_S
        while self.server._problem() is not None:
            assert clock.monotonic_s() < deadline_s, "the server does not come back"
            if not self.server.child.running:
                self.server.start()
            time.sleep(0.2)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk in memory; a test without the right to mount one is skipped and says so."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder / "filler", ignore_errors=True)
        subprocess.run(["umount", "-l", str(folder)], check=True)
