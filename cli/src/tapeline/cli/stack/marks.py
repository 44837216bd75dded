"""Names a process for good: a pid alone may belong to another process tomorrow."""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals

import psutil

from tapeline.cli.stack.child import Child

# The system derives a start time from its clock, which may be set meanwhile.
CLOCK_STEP_SECONDS_MAX = 2.0
# Children of a process that ended may take a moment to notice.
ORPHANS_SECONDS_MAX = 1.0
POLL_SECONDS = 0.02


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
            started = psutil.Process(child.pid).create_time()
        except psutil.Error:
            return None
        return cls(
            name=child.name,
            pid=child.pid,
            started=started,
            command=list(child.command.argv),
            stop_signal=int(child.command.stop_signal),
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
        has_ended = _end_within([process], timeout_s)
        if not has_ended or not _end_within(family, ORPHANS_SECONDS_MAX):
            for member in family:
                _kill(member)
            _end_within(family, timeout_s)
        return "stopped" if has_ended else "killed"


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _end_within(processes: list[psutil.Process], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while any(_is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _is_alive(process: psutil.Process) -> bool:
    """A zombie is not: it waits for a parent that may be slow to ask."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


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
