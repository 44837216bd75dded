"""What is known of the stack on a folder: who holds it, what runs, where clients connect.

`stack.lock` is held by the command that runs the stack in the foreground, or that is starting
it; the kernel frees it however that command ends. `stack.json` names the processes of a stack
that lives on in the background, in the order they were started, and the endpoints.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tapeline.cli.stack.child import STOP_SECONDS_MAX, Child
from tapeline.cli.stack.errors import AlreadyRunning, StackError
from tapeline.cli.stack.marks import Mark, write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where clients connect."""

    bootstrap_servers: str
    database_url: str


class FolderLock:
    """One stack on a folder at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file: int | None = None

    def acquire(self) -> None:
        """Raise AlreadyRunning, naming the holder, if another process has it."""
        file = os.open(self.root / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 32).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise AlreadyRunning(
                f"A stack already runs on {self.root} (pid {holder}).",
                "End it with Ctrl-C where it runs, or set TAPELINE_HOME to another folder.",
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        """Give the folder free; without effect if it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class StateFile:
    """`stack.json`, written whole after each change."""

    def __init__(self, root: Path) -> None:
        self.path = root / "stack.json"

    def read(self) -> tuple[list[Mark], Endpoints | None]:
        """Empty if there is no file, or none that can be understood."""
        try:
            state = json.loads(self.path.read_text())
            endpoints = state["endpoints"]
            marks = [Mark(**mark) for mark in state["processes"]]
            return marks, None if endpoints is None else Endpoints(**endpoints)
        except (OSError, ValueError, TypeError, KeyError):
            return [], None

    def running(self) -> list[Mark]:
        """The recorded processes that are still there."""
        return [mark for mark in self.read()[0] if mark.process() is not None]

    def add(self, child: Child) -> None:
        """Record a process as soon as it exists."""
        mark = Mark.of(child)
        marks, endpoints = self.read()
        if mark is not None:
            self._write([*marks, mark], endpoints)

    def set_endpoints(self, endpoints: Endpoints) -> None:
        """Record where clients connect."""
        self._write(self.read()[0], endpoints)

    def clear(self) -> None:
        """Nothing runs any more."""
        self.path.unlink(missing_ok=True)

    def _write(self, marks: list[Mark], endpoints: Endpoints | None) -> None:
        state = {
            "processes": [asdict(mark) for mark in marks],
            "endpoints": None if endpoints is None else asdict(endpoints),
        }
        write_private(self.path, json.dumps(state, indent=1))


@contextmanager
def _held(root: Path) -> Iterator[None]:
    lock = FolderLock(root)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def running_endpoints(root: Path) -> Endpoints | None:
    """Where the stack on this folder listens, in the foreground or the background, if it runs."""
    if not root.is_dir():
        return None
    state = StateFile(root)
    try:
        with _held(root):
            return state.read()[1] if state.running() else None
    except AlreadyRunning:
        return state.read()[1]


def end_stack(root: Path, timeout_s: float = STOP_SECONDS_MAX) -> list[tuple[str, str]]:
    """End a background stack, last started first. Returns (name, what happened) for each."""
    if not root.is_dir():
        return []
    state = StateFile(root)
    with _held(root):
        outcomes = [(mark.name, mark.stop(timeout_s)) for mark in reversed(state.read()[0])]
        left = state.running()
        if left:
            names = ", ".join(f"{mark.name} (pid {mark.pid})" for mark in left)
            raise StackError(f"Still running after SIGKILL: {names}.", "Look at them with ps.")
        state.clear()
    return outcomes
