"""CPU and memory of processes that we started, by pid."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one process took."""

    cpu_s: float
    cpu_share: float
    """of one processor"""
    peak_mb: float
    """largest resident memory since its start, and what its children hold for themselves now"""


class Usage:
    """CPU from here on; the peaks since the processes' starts."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._started_s = perf_counter()
        self._before = {name: _cpu_s(process) for name, process in self._processes.items()}
        self._last: dict[str, Use] = {}

    def now(self) -> dict[str, Use]:
        """What each has taken so far; the last that was seen of one that has ended."""
        passed_s = perf_counter() - self._started_s
        for name, process in self._processes.items():
            try:
                cpu_s = _cpu_s(process) - self._before[name]
                peak_mb = _peak_mb(process)
            except psutil.NoSuchProcess:
                continue
            self._last[name] = Use(cpu_s=cpu_s, cpu_share=cpu_s / passed_s, peak_mb=peak_mb)
        return dict(self._last)


def _cpu_s(process: psutil.Process) -> float:
    """Of its children as well, of those that have ended too: PostgreSQL works in them."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _peak_mb(process: psutil.Process) -> float:
    own_mb = _status_mb(process, "VmHWM") or process.memory_info().rss / MEBIBYTE
    children = process.children(recursive=True)
    return float(own_mb + sum(_status_mb(child, "RssAnon") for child in children))


def _status_mb(process: psutil.Process, name: str) -> float:
    """A line of /proc/<pid>/status; 0 where there is none."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0
