"""How a process of Tapeline ends: exit codes, and failures that a person can act on.

Failure             has a cause, a remedy and an exit code; printed without a traceback
├── SettingsError   (settings.py)   a setting is unknown, missing or wrong
├── FileUnusable    a file or folder named in the settings cannot be used
├── PortBusy        another process listens where we must
├── KafkaUnavailable, TopicUnfit (kafka.py, topology.py)
├── MixedBuilds     (builds.py)     another build is on the money path of the run
├── PositionLost    records that were still to be read have been deleted
├── Stopped         Ctrl-C, where there is more to say than that
└── Fenced          another process has taken over
"""

from __future__ import annotations

from typing import ClassVar, Final

OK: Final = 0
USAGE: Final = 64
"""a setting, a file or an argument is wrong: a restart does not help"""
UNAVAILABLE: Final = 69
"""something we depend on is away: a restart may help"""
INTERNAL: Final = 70
"""a bug, or a client that had to be thrown away: a restart recovers"""
FENCED: Final = 71
"""another process owns what we owned"""
WATCHDOG: Final = 72
"""no progress although there was work"""
INTERRUPTED: Final = 130
"""Ctrl-C"""


class Failure(Exception):
    """A cause and a remedy, both whole sentences; the process ends with `exit_code`."""

    exit_code: ClassVar[int] = INTERNAL

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}\n{self.remedy}"


class FileUnusable(Failure):
    """A file or folder named in the settings cannot be read or written."""

    exit_code = USAGE


class Stopped(Failure):
    """Ctrl-C: what is done is kept."""

    exit_code = INTERRUPTED


class PortBusy(Failure):
    """Another process listens on the port that was asked for."""

    exit_code = USAGE


class Fenced(Failure):
    """Another process has taken over what this one owned."""

    exit_code = FENCED


class PositionLost(Failure):
    """Records that had not been read yet have been deleted, by retention or by hand."""

    exit_code = USAGE
