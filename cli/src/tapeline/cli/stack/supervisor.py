"""The services as children: started in order, polled, started again, ended in reverse order."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from tapeline.cli.stack import logs
from tapeline.cli.stack.child import STOP_SECONDS_MAX, Child, Command
from tapeline.cli.stack.state import StateFile

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A child that ended while we watched. `starts` counts how often it was started."""

    name: str
    returncode: int
    log_tail: str
    starts: int


RestartPolicy = Callable[[Exit], float | None]


def never_again(_exit: Exit) -> float | None:
    """The default policy: what ended stays ended."""
    return None


@dataclass(slots=True)
class _Slot:
    """One place in the order of start; its child changes with every restart."""

    command: Command
    child: Child | None
    starts: int = 1
    due: float | None = None


class Supervisor:
    """Owns children until its block ends. Not for use by several threads at once.

    `restart` says after how many seconds to start a child again, or None to leave it ended.
    With a `state` file the children are detached and recorded there: they live on.
    """

    def __init__(
        self,
        log_dir: Path,
        *,
        restart: RestartPolicy = never_again,
        state: StateFile | None = None,
        stop_seconds_max: float = STOP_SECONDS_MAX,
    ) -> None:
        self.log_dir = log_dir
        self._restart = restart
        self._state = state
        self._stop_seconds_max = stop_seconds_max
        self._slots: list[_Slot] = []

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a service, with our environment or wholly the given one.

        Its output is appended to `<name>.log` in the log folder.
        """
        log = self.log_dir / f"{name}.log"
        return self.start_command(Command(name=name, argv=list(argv), env=env, log=log))

    def start_command(self, command: Command) -> Child:
        """The same for a command with a folder, a user or a stop signal of its own."""
        command = replace(command, detached=self._state is not None)
        slot = _Slot(command, None)
        self._slots.append(slot)
        try:
            return self._launch(slot)
        except BaseException:
            self._slots.remove(slot)
            raise

    def _launch(self, slot: _Slot) -> Child:
        slot.child = child = Child(slot.command, None if self._state is None else self._state.add)
        return child

    @property
    def children(self) -> tuple[Child, ...]:
        """Those that run, in the order of start."""
        return tuple(
            slot.child for slot in self._slots if slot.child is not None and slot.child.running
        )

    def poll(self) -> tuple[Exit, ...]:
        """What ended since the last poll; restarts that are due happen here."""
        now = time.monotonic()
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                slot.due = None
                slot.starts += 1
                self._launch(slot)
        exits = []
        for slot in self._slots:
            exited = self._collect(slot)
            if exited is not None:
                delay_s = self._restart(exited)
                slot.due = None if delay_s is None else now + delay_s
                exits.append(exited)
        return tuple(exits)

    def _collect(self, slot: _Slot) -> Exit | None:
        code = None if slot.child is None else slot.child.poll()
        if code is None:
            return None
        slot.child = None
        tail = logs.tail(slot.command.log)
        return Exit(name=slot.command.name, returncode=code, log_tail=tail, starts=slot.starts)

    def watch(self, until: Callable[[tuple[Exit, ...]], bool]) -> tuple[Exit, ...]:
        """Poll until the callback, given what ended since the last time, says so."""
        while True:
            exits = self.poll()
            if until(exits):
                return exits
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Last started, first ended. A second Ctrl-C meanwhile kills what is left."""
        try:
            for slot in reversed(self._slots):
                slot.due = None
                if slot.child is not None:
                    slot.child.stop(self._stop_seconds_max)
        except BaseException:
            self.kill()
            raise
        self._slots.clear()

    def kill(self) -> None:
        """SIGKILL for all, at once."""
        for slot in reversed(self._slots):
            slot.due = None
            if slot.child is not None:
                slot.child.kill()
        self._slots.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A detached stack is ended only where its start failed.
        if self._state is None or kind is not None:
            self.stop()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the block as Ctrl-C does, so that children end in order."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, _interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
