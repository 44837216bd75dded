"""What both embedded servers share: one data folder, one port that stays, one child process."""

import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tapeline.cli.stack import logs, ports
from tapeline.cli.stack.child import STOP_SECONDS_MAX, Child, Command
from tapeline.cli.stack.errors import AlreadyRunning, FolderUnfit, ServerFailed
from tapeline.cli.stack.marks import read_mark, write_mark

START_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05
# A server whose parent was killed is being ended by its guard: that long we wait for it.
PREDECESSOR_SECONDS_MAX = 5.0

Say = Callable[[str], None]


def quiet(_message: str) -> None:
    """Says nothing."""


class Server(ABC):
    """A server of our own. Its data outlives it; unless detached, it does not outlive us."""

    title: ClassVar[str]

    def __init__(self, data_dir: Path, port: int | None, *, detached: bool) -> None:
        self.data_dir = data_dir.absolute()
        self.detached = detached
        self.record: Callable[[Child], None] | None = None
        self._port_asked = port
        self._port: int | None = None
        self._child: Child | None = None

    @property
    def started(self) -> bool:
        """Whether it was launched, even if it ended since."""
        return self._child is not None

    @property
    def child(self) -> Child:
        """The server as a child process."""
        assert self._child is not None, "start() first"
        return self._child

    @property
    def pid(self) -> int:
        """The process of the server itself, not of its guard."""
        return self.child.pid

    @property
    def port(self) -> int:
        """Where it listens on the loopback interface."""
        assert self._port is not None, "start() first"
        return self._port

    def start(self) -> Self:
        """Returns when the server answers a client; a failure leaves no process behind."""
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self, say: Say = quiet) -> None:
        """Prepare what is needed, start the process, and do not wait for it to answer."""
        self._require_alone()
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._child = Child(self._prepare(say), self._record)
        except OSError as error:
            raise FolderUnfit(
                f"{self.title} cannot be started in {self.data_dir}: {error}.",
                "See that the folder is yours and its disk has room.",
            ) from error

    def wait_until_ready(self) -> None:
        """Kills the server if it does not answer in time."""
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = STOP_SECONDS_MAX) -> None:
        """Ask it to end, and SIGKILL when the bound is over. Without effect if it has ended."""
        if self._child is not None:
            self._child.stop(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a fault: nothing is flushed or closed."""
        self.child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self, say: Say) -> Command:
        """Make the data folder ready and choose the port; the command of the server."""

    @abstractmethod
    def _problem(self) -> str | None:
        """What keeps the server from answering a client; None when it answers."""

    @abstractmethod
    def _logs(self) -> tuple[Path, ...]:
        """The files a failure is explained by."""

    def _record(self, child: Child) -> None:
        write_mark(self._mark, child)
        if self.record is not None:
            self.record(child)

    @property
    def _mark(self) -> Path:
        return self.data_dir / "server.pid"

    def _require_alone(self) -> None:
        if self._child is not None:
            # Someone else may have killed the server just now: its guard needs a moment.
            self._child.wait(PREDECESSOR_SECONDS_MAX if not self._child.alive else 0.0)
        deadline = time.monotonic() + PREDECESSOR_SECONDS_MAX
        mark = read_mark(self._mark)
        while mark is not None and mark.process() is not None:
            if time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"{self.title} already runs on {self.data_dir} (pid {mark.pid}).",
                    "End it, or use another data folder.",
                )
            time.sleep(POLL_SECONDS)

    def _choose_port(self) -> int:
        """The asked one, else the last one where still free, else a new one."""
        wanted = self._port or self._port_asked
        if wanted is not None:
            ports.require_free(wanted, self.title)
            return wanted
        return self._kept_port("client")

    def _kept_port(self, use: str, *, besides: tuple[int, ...] = ()) -> int:
        """Clients that survive a restart find the server again where it was."""
        kept = self.data_dir / "ports.json"
        used: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError):
            used = json.loads(kept.read_text())
        port = used.get(use)
        if port is None or port in besides or not ports.is_free(port):
            port = ports.free_port(besides=besides)
        kept.write_text(json.dumps({**used, use: port}))
        return port

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            code = self.child.poll()
            if code is not None:
                raise self._failure(f"{self.title} ended with exit code {code} while starting.")
            problem = self._problem()
            if problem is None:
                return
            if time.monotonic() > deadline:
                bound = f"within {START_SECONDS_MAX:.0f} s"
                raise self._failure(f"{self.title} does not answer {bound}: {problem}.")
            time.sleep(POLL_SECONDS)

    def _failure(self, cause: str) -> ServerFailed:
        tails = [tail for tail in map(logs.tail, self._logs()) if tail]
        return ServerFailed(cause, f"The whole log is {self._logs()[-1]}.", "\n".join(tails))
