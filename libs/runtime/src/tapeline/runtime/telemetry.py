"""Logs and metrics of a process.

Logs are structured (structlog), one JSON object a line or lines for people, to standard error and,
where a folder is set, to a file rotated by size. Chatty clients are limited: a broker that is away
made aiokafka write 20,000 lines in 9 seconds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from structlog.types import Processor

from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.exits import FileUnusable

LOG_FILE_BYTES_MAX: Final = 10 * 1024 * 1024
LOG_FILES_KEPT: Final = 5
CHATTY_LOGGERS: Final = ("aiokafka", "kafka", "asyncio", "faust")
CHATTY_LINES_MAX: Final = 5
CHATTY_WINDOW_S: Final = 10.0


class LogSettings(Protocol):
    """The part of ServiceSettings that logging needs."""

    @property
    def log_dir(self) -> Path | None: ...
    @property
    def log_level(self) -> str: ...
    @property
    def log_json(self) -> bool: ...
    @property
    def is_dev(self) -> bool: ...


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger: log.info("event_name", key=value)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def bound_ids(*, correlation_id: str = "", causation_id: str = "") -> Iterator[None]:
    """Puts the ids into every log line of the block, in this task or thread."""
    with structlog.contextvars.bound_contextvars(
        correlation_id=correlation_id, causation_id=causation_id
    ):
        yield


class RateLimit(logging.Filter):
    """Lets through a few lines a window of each kind (logger and unformatted message)."""

    def __init__(
        self,
        lines_max: int = CHATTY_LINES_MAX,
        window_s: float = CHATTY_WINDOW_S,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__()
        self._lines_max = lines_max
        self._window_s = window_s
        self._clock = clock
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for a line that may pass; the first of a window says how many were dropped."""
        kind = (record.name, str(record.msg)[:200])
        now = self._clock.monotonic_s()
        since, count = self._windows.get(kind, (now, 0))
        if now - since >= self._window_s:
            if count > self._lines_max:
                record.msg = f"{record.msg} ({count - self._lines_max} more were dropped)"
            since, count = now, 0
        if len(self._windows) > 1000:
            self._windows.clear()
        self._windows[kind] = (since, count + 1)
        return count < self._lines_max


class _LogFile(RotatingFileHandler):
    """A full disk must not stop a service, nor fill its standard error."""

    has_complained = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.has_complained:
            self.has_complained = True
            error = sys.exc_info()[1]
            sys.stderr.write(
                f"The log file {self.baseFilename} cannot be written: {error}.\n"
                "The service goes on without it: free some space there, or point "
                "TAPELINE_LOG_DIR to another disk and start it again.\n"
            )

    def close(self) -> None:
        # What could not be written cannot be written now; the process ends all the same.
        with suppress(OSError):
            super().close()


def configure_logging(settings: LogSettings, name: str) -> None:
    """Sets up all logging of the process; `name` names the file. Raises FileUnusable."""
    shared: tuple[Processor, ...] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    is_json = settings.log_json and not settings.is_dev
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if settings.log_dir is not None:
        handlers.append(_open_file(settings.log_dir, name))
    for handler in handlers:
        is_file = isinstance(handler, RotatingFileHandler)
        if not is_file and settings.log_dir is not None:
            # Whoever keeps our standard error keeps it without bound; the file has all the rest.
            handler.setLevel(logging.WARNING)
        handler.setFormatter(_formatter(shared, is_json or is_file))
    close_logging()
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel("DEBUG" if settings.is_dev else settings.log_level)
    _quieten(handlers)
    structlog.contextvars.bind_contextvars(service=name)


def close_logging() -> None:
    """Closes the log files; used at the end of a process and between tests."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) in (_LogFile, logging.StreamHandler):
            root.removeHandler(handler)
            if isinstance(handler, _LogFile):
                handler.close()


def _formatter(shared: Sequence[Processor], is_json: bool) -> logging.Formatter:
    # No local variables in tracebacks: they hold passwords and keys.
    last: tuple[Processor, ...] = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    )
    if is_json:
        last = (
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(default=str),
        )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=list(shared),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _open_file(folder: Path, name: str) -> logging.Handler:
    path = folder / f"{name.replace('/', '-')}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _LogFile(
            path, maxBytes=LOG_FILE_BYTES_MAX, backupCount=LOG_FILES_KEPT, encoding="utf-8"
        )
    except OSError as error:
        raise FileUnusable(
            f"The log file {path} cannot be opened: {error.strerror}.",
            "Point TAPELINE_LOG_DIR to a folder this user may write to, with free space.",
        ) from error


def _quieten(handlers: Sequence[logging.Handler]) -> None:
    # A filter on a logger does not see the lines of its children, one on a handler does.
    limit = RateLimit()

    def passes(record: logging.LogRecord) -> bool:
        is_chatty = record.name.split(".")[0] in CHATTY_LOGGERS
        return not is_chatty or bool(record.__dict__.setdefault("_passes", limit.filter(record)))

    for handler in handlers:
        handler.addFilter(passes)
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel("WARNING")


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.consumed = self.counter("tapeline_consumed", "Records consumed.", ("topic",))
        self.produced = self.counter("tapeline_produced", "Records acknowledged.", ("topic",))
        self.undecodable = self.counter(
            "tapeline_undecodable", "Records that could not be decoded.", ("topic", "code")
        )
        self.lag = self.gauge(
            "tapeline_lag_records", "Records not yet consumed.", ("topic", "partition")
        )
        self.last_progress = self.gauge(
            "tapeline_last_progress_seconds", "Unix time of the last progress.", ("stage",)
        )
        self.restarts = self.counter(
            "tapeline_client_restarts", "Kafka clients thrown away.", ("stage",)
        )
        self.step_seconds = self.histogram(
            "tapeline_step_seconds", "Time to step one batch.", ("stage",)
        )

    def counter(self, name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
        """A counter; `_total` is added to its name."""
        return Counter(name, doc, labels, registry=self.registry)

    def gauge(self, name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
        """A value that goes up and down."""
        return Gauge(name, doc, labels, registry=self.registry)

    def histogram(
        self, name: str, doc: str, labels: Sequence[str] = (), **options: Any
    ) -> Histogram:
        """A distribution; `buckets=` in the unit of its name."""
        options.setdefault("buckets", (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5))
        return Histogram(name, doc, labels, registry=self.registry, **options)

    def render(self) -> bytes:
        """The text that /metrics shows."""
        return generate_latest(self.registry)
