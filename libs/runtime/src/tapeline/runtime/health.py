"""/livez, /readyz and /metrics of a process, served from a thread of their own.

Live: the process's loop has said so within the watchdog's time. Ready: warm and connected. The
thread answers while the loop is stuck, which is when the answer matters.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Protocol, Self

from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.exits import FileUnusable, PortBusy
from tapeline.runtime.telemetry import Metrics


class HealthSettings(Protocol):
    """The part of ServiceSettings that the server needs."""

    @property
    def health_host(self) -> str: ...
    @property
    def health_port(self) -> int: ...
    @property
    def health_port_file(self) -> Path | None: ...


class Health:
    """What a process says about itself; safe to call from any thread."""

    def __init__(self, watchdog_s: float, clock: Clock = SYSTEM) -> None:
        self._watchdog_s = watchdog_s
        self._clock = clock
        self._lock = Lock()
        self._last_beat = clock.monotonic_s()
        self._not_ready: dict[str, str] = {"process": "starting"}

    def beat(self) -> None:
        """The loop is alive."""
        self._last_beat = self._clock.monotonic_s()

    def set_ready(self, is_ready: bool, reason: str = "", part: str = "process") -> None:
        """One part of the process is ready, or is not and why."""
        with self._lock:
            self._not_ready.pop(part, None)
            if not is_ready:
                self._not_ready[part] = reason or "not ready"

    def beat_age_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock.monotonic_s() - self._last_beat

    def is_alive(self) -> bool:
        """True while the last beat is younger than the watchdog's time."""
        return self.beat_age_s() < self._watchdog_s

    def not_ready(self) -> str:
        """Why the process is not ready; empty when it is."""
        with self._lock:
            return "; ".join(f"{part}: {why}" for part, why in sorted(self._not_ready.items()))

    def is_ready(self) -> bool:
        """True when every part is."""
        return not self.not_ready()


class HealthServer:
    """Serves a Health and a Metrics over HTTP while the block lasts."""

    def __init__(self, health: Health, metrics: Metrics, settings: HealthSettings) -> None:
        self._health = health
        self._metrics = metrics
        self._settings = settings
        self._server: ThreadingHTTPServer | None = None
        self._thread: Thread | None = None

    @property
    def port(self) -> int:
        """The port in use."""
        assert self._server is not None, "start() first"
        return int(self._server.server_address[1])

    def start(self) -> Self:
        """Binds, writes the port file and serves; raises PortBusy or FileUnusable."""
        address = (self._settings.health_host, self._settings.health_port)
        try:
            self._server = _Server(address, _handler(self._health, self._metrics))
        except OSError as error:
            raise PortBusy(
                f"The health server cannot listen on {address[0]}:{address[1]}: {error.strerror}.",
                "Stop what listens there, or set TAPELINE_HEALTH_PORT to another port, 0 for any.",
            ) from error
        try:
            self._write_port_file()
        except OSError as error:
            self._server.server_close()
            raise FileUnusable(
                f"{self._settings.health_port_file} cannot be written: {error.strerror}.",
                "Point TAPELINE_HEALTH_PORT_FILE to a file this user may write.",
            ) from error
        self._thread = Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the server and removes the port file."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            if self._settings.health_port_file is not None:
                with suppress(OSError):
                    self._settings.health_port_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _write_port_file(self) -> None:
        path = self._settings.health_port_file
        if path is not None:
            # Whoever waits for the file must never read half of it.
            part = path.with_name(path.name + ".part")
            part.write_text(f"{self.port}\n")
            part.replace(path)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A probe that hangs must not hold up the end of the process.
    block_on_close = False
    # Two processes on one port would answer for each other.
    allow_reuse_port = False


def _handler(health: Health, metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    pages: dict[str, Callable[[], tuple[HTTPStatus, bytes]]] = {
        "/livez": lambda: _live(health),
        "/readyz": lambda: _ready(health),
        "/metrics": lambda: (HTTPStatus.OK, metrics.render()),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            page = pages.get(self.path.split("?")[0])
            status, body = page() if page else (HTTPStatus.NOT_FOUND, b"not found\n")
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Probes come every few seconds: they are not logged."""

    return Handler


def _live(health: Health) -> tuple[HTTPStatus, bytes]:
    age = f"last beat {health.beat_age_s():.1f} s ago\n".encode()
    return (HTTPStatus.OK if health.is_alive() else HTTPStatus.SERVICE_UNAVAILABLE), age


def _ready(health: Health) -> tuple[HTTPStatus, bytes]:
    why = health.not_ready()
    return (
        (HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n".encode()) if why else (HTTPStatus.OK, b"ok\n")
    )
