"""CPU and memory of processes that we started, by pid."""

from __future__ import annotations

from collections.abc import Mapping
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
    """largest resident memory since its start"""


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
    times = process.cpu_times()
    return float(times.user + times.system)


def _peak_mb(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return float(process.memory_info().rss / MEBIBYTE)
