"""Names a process for good: a pid alone may belong to another process tomorrow."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals

import psutil

from tapeline.cli.stack.child import Child

# The system derives a start time from its clock, which may be set meanwhile.
CLOCK_STEP_SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A process as it was when we started it."""

    name: str
    pid: int
    started: float
    command: list[str]
    stop_signal: int

    @classmethod
    def of(cls, child: Child) -> "Mark | None":
        """None if the child has ended already."""
        try:
            process = psutil.Process(child.pid)
            started, command = process.create_time(), process.cmdline()
        except psutil.Error:
            return None
        stop_signal = int(child.command.stop_signal)
        return cls(
            name=child.name,
            pid=child.pid,
            started=started,
            command=command,
            stop_signal=stop_signal,
        )

    def process(self) -> psutil.Process | None:
        """The process, if it is still the same one and still runs."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            near = abs(process.create_time() - self.started) < CLOCK_STEP_SECONDS_MAX
            return process if near or process.cmdline() == self.command else None
        except psutil.Error:
            return None

    def stop(self, timeout_s: float) -> str:
        """End it the way it wants to end, or the hard way; says which."""
        process = self.process()
        if process is None:
            return "was gone"
        family = [process, *_descendants(process)]
        process.send_signal(Signals(self.stop_signal))
        _, alive = psutil.wait_procs([process], timeout_s)
        # What its end left behind has no parent that would end it.
        _, left = psutil.wait_procs(family, 0.0 if alive else 1.0)
        for member in left:
            _kill(member)
        psutil.wait_procs(left, timeout_s)
        return "killed" if alive else "stopped"


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def read_mark(path: Path) -> Mark | None:
    """The mark kept in a file; None if there is none that can be read."""
    try:
        return Mark(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_mark(path: Path, child: Child) -> None:
    """Keep the child's mark in a file."""
    mark = Mark.of(child)
    if mark is not None:
        write_private(path, json.dumps(asdict(mark)))


def write_private(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Mode 0600 from the first byte on; the file is there whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if owner is not None:
        os.chown(fresh, *owner)
    fresh.replace(path)
