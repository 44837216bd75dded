"""One child process under the guard: start, stop, kill, and how it ended."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tapeline.cli.stack import guard, logs
from tapeline.cli.stack.errors import ServerFailed

STOP_SECONDS_MAX = 20.0
GUARD_ENDS_SECONDS_MAX = guard.SWEEP_SECONDS_MAX + 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The unprivileged user a server runs as when we are root."""

    uid: int
    gid: int
    traverse: bool

    def options(self) -> list[str]:
        """The guard's options for it."""
        return ["--user", f"{self.uid}:{self.gid}"] + (["--traverse"] if self.traverse else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, where, and how it wants to be stopped."""

    name: str
    argv: Sequence[str]
    log: Path
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    run_as: Identity | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    detached: bool = False


class Child:
    """A running (or ended) command. Detached children live on after us, all others die with us.

    `record` is called with the child once its pid is known. A detached one runs only after
    that, so there is never one that was not recorded.
    """

    def __init__(self, command: Command, record: "Callable[[Child], None] | None" = None) -> None:
        self.command = command
        self._lifeline: int | None = None
        command.log.parent.mkdir(parents=True, exist_ok=True)
        logs.set_aside_if_large(command.log)
        report, report_write = os.pipe()
        ours, theirs = os.pipe()[::-1]
        try:
            self._process = self._spawn_guard(theirs, report_write)
        except BaseException:
            os.close(ours)
            os.close(report)
            raise
        finally:
            os.close(theirs)
            os.close(report_write)
        if command.detached:
            self._start_detached(report, ours, record)
        else:
            self._lifeline = ours
            self.pid = self._read_report(report)
            if record is not None:
                record(self)

    @property
    def name(self) -> str:
        """The name of the command."""
        return self.command.name

    def _spawn_guard(self, pipe: int, report: int) -> "subprocess.Popen[bytes]":
        command = self.command
        options = ["--report", str(report)]
        if command.detached:
            options += ["--go", str(pipe)]
        else:
            options += ["--lifeline", str(pipe), "--parent", str(os.getpid())]
        if command.run_as is not None:
            options += command.run_as.options()
        with command.log.open("ab") as log:
            return subprocess.Popen(
                # By path, isolated and without site-packages: the guard starts in 10 ms.
                [sys.executable, "-I", "-S", guard.__file__, *options, "--", *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=command.cwd,
                env=None if command.env is None else dict(command.env),
                pass_fds=(pipe, report),
                start_new_session=True,
            )

    def _start_detached(
        self, report: int, go: int, record: "Callable[[Child], None] | None"
    ) -> None:
        self.pid = self._process.pid
        try:
            if record is not None:
                record(self)
            os.write(go, b"g")
        finally:
            os.close(go)
        self._read_report(report)

    def _read_report(self, report: int) -> int:
        """The guard closes the pipe when the command runs, after a line with the child's pid."""
        with open(report, encoding="utf-8", errors="replace") as pipe:
            words = dict(line.split(" ", 1) for line in pipe.read().splitlines())
        if "error" in words:
            self._process.wait(GUARD_ENDS_SECONDS_MAX)
            self._close_lifeline()
            raise ServerFailed(
                f"{self.name} could not be started: {words['error']}.",
                f"The command was: {' '.join(self.command.argv)}",
                logs.tail(self.command.log),
            )
        return int(words.get("pid", self._process.pid))

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.poll() is None

    @property
    def alive(self) -> bool:
        """Whether the process itself is there; its guard may still be clearing up after it."""
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE and self.running
        except psutil.Error:
            return False

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._close_lifeline()
        return code

    def wait(self, timeout_s: float) -> int | None:
        """As poll, after at most this long."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return self.poll()

    def terminate(self) -> None:
        """Ask it to end; does not wait."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, self.command.stop_signal)

    def stop(self, timeout_s: float = STOP_SECONDS_MAX) -> int | None:
        """Ask it to end, wait, and kill it if the bound is over."""
        self.terminate()
        if self.wait(timeout_s) is None:
            self.kill()
        return self.poll()

    def kill(self) -> None:
        """SIGKILL for the child, all its descendants after it."""
        if self.poll() is not None:
            return
        if self._lifeline is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            if self.wait(GUARD_ENDS_SECONDS_MAX) is None:
                self._close_lifeline()
        self.wait(GUARD_ENDS_SECONDS_MAX)

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def run(command: Command, timeout_s: float) -> None:
    """Run a command to its end under the guard; anything but success is an error."""
    child = Child(command)
    code = child.wait(timeout_s)
    if code is None:
        child.kill()
    if code != 0:
        raise ServerFailed(
            f"{command.name} "
            + ("took too long." if code is None else f"failed with exit code {code}."),
            f"Look into {command.log}.",
            logs.tail(command.log),
        )
