"""Notices changed source files of the installed tapeline packages, for `--dev`."""

from __future__ import annotations

from pathlib import Path

import tapeline
from tapeline.runtime import clock

LOOK_S = 1.0


class SourceWatch:
    """Compares modification times, at most once a second."""

    def __init__(self) -> None:
        self._folders = [Path(folder) for folder in tapeline.__path__]
        self._stamps = self._look()
        self._looked_s = clock.monotonic_s()

    def has_changed(self) -> bool:
        """True once after a file was changed, added or removed."""
        now_s = clock.monotonic_s()
        if now_s - self._looked_s < LOOK_S:
            return False
        self._looked_s = now_s
        stamps = self._look()
        changed = stamps != self._stamps
        self._stamps = stamps
        return changed

    def _look(self) -> dict[Path, int]:
        files = (file for folder in self._folders for file in folder.rglob("*.py"))
        return {file: file.stat().st_mtime_ns for file in files}
