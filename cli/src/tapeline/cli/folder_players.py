"""Processes that play the files of a folder, and what is noted of them.

Ctrl-C goes to the parent alone: it takes no further results and ends the processes at once. What
was finished is noted a line each, so that the same command goes on with the rest; once all is
done the notes are taken away, and the command plays everything anew.

A note counts while the file, the strategy, the options and the version are those of then and the
run is still there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tapeline.backtest.with_parent import end_with_parent
from tapeline.cli.commands.backtest_file import Asked, played
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.exits import Failure

Row = dict[str, Any]
OnDone = Callable[[int, int], None]
"""Hears (files done, files in all)."""
NOTES: Final = "unfinished.jsonl"
WAIT_S: Final = 0.2
END_S: Final = 1.0
"""for a process to take its unfinished files away"""
_playing: list[bool] = []
"""whether this process is at a file"""


class _Ended(BaseException):
    """The parent has been stopped."""


def play(jobs: Sequence[Asked], workers: int, notes: Notes, on_done: OnDone) -> list[Row]:
    """The facts of each file, in the order of the jobs; of those that are noted, as noted.

    Raises KeyboardInterrupt, with no process left behind.
    """
    found = {number: row for number, job in enumerate(jobs) if (row := notes.of(job)) is not None}
    left = [number for number in range(len(jobs)) if number not in found]
    on_done(len(found), len(jobs))
    context = multiprocessing.get_context("spawn")
    count = max(min(workers, len(left)), 1)
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_begin)
    try:
        waiting = _begun(executor, {number: jobs[number] for number in left})
        while waiting:
            for future in wait(waiting, WAIT_S, FIRST_COMPLETED).done:
                number = waiting.pop(future)
                found[number] = future.result()
                with _later():
                    notes.add(jobs[number], found[number])
                on_done(len(found), len(jobs))
    except BaseException:
        processes: dict[int, Any] = dict(getattr(executor, "_processes", None) or {})
        executor.shutdown(wait=False, cancel_futures=True)
        _end(processes)
        raise
    executor.shutdown()
    return [found[number] for number in range(len(jobs))]


def _begun(executor: ProcessPoolExecutor, jobs: Mapping[int, Asked]) -> dict[Future[Row], int]:
    # A terminal sends Ctrl-C to the processes too, which inherit that they do not hear it.
    with _later():
        return {executor.submit(_one, job): number for number, job in jobs.items()}


@contextmanager
def _later() -> Iterator[None]:
    """Hears Ctrl-C at the end of the block."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end(processes: dict[int, Any]) -> None:
    for process in processes.values():
        process.terminate()
    until_s = monotonic_s() + END_S
    for process in processes.values():
        process.join(max(until_s - monotonic_s(), 0))
        if process.is_alive():
            process.kill()


def _begin() -> None:
    signal.signal(signal.SIGTERM, _leave)
    end_with_parent()


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    if not _playing:
        os._exit(128 + signal.SIGTERM)
    # What is half written is taken away on the way out.
    raise _Ended


def _one(job: Asked) -> Row:
    """The facts of one file, or why it was refused."""
    _playing.append(True)
    try:
        outcome, folder = played(job)
    except Failure as failure:
        return {"instrument": job.instrument, "refused": failure.cause}
    except _Ended:
        os._exit(128 + signal.SIGTERM)
    finally:
        _playing.clear()
    facts = outcome.facts()
    return {"instrument": job.instrument, "refused": "", **facts, "folder": str(folder)}


class Notes:
    """What a folder's backtest has finished, while it is not done with all."""

    def __init__(self, folder: Path) -> None:
        """`folder` of the batch; what a killed process left half written is passed over."""
        self._path = folder / NOTES
        self._rows: dict[str, Row] = {}
        for line in self._path.read_bytes().splitlines() if self._path.is_file() else ():
            try:
                noted = json.loads(line)
                self._rows[noted["of"]] = noted["row"]
            except (ValueError, KeyError, TypeError):
                continue

    @property
    def count(self) -> int:
        """Files that are noted."""
        return len(self._rows)

    def of(self, job: Asked) -> Row | None:
        """What is known of a file, if all is as it was then."""
        row = self._rows.get(_identity(job))
        return row if row is not None and Path(row["folder"]).is_dir() else None

    def add(self, job: Asked, row: Row) -> None:
        """Notes a file that was played; what was refused is tried again."""
        if row["refused"]:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps({"of": _identity(job), "row": row}) + "\n")
        self._rows[_identity(job)] = row

    def forget(self) -> None:
        """All is done."""
        self._path.unlink(missing_ok=True)


def _identity(job: Asked) -> str:
    """Of all that a file's run depends on."""
    data, strategy = job.trades or job.bars, Path(job.strategy)
    assert data is not None, "the caller has looked"
    try:
        state = data.stat()
        code = strategy.read_bytes() if strategy.suffix == ".py" else b""
    except OSError:
        return ""  # as it cannot be read, it is played, and refused with a message
    parts = [repr(job), state.st_size, state.st_mtime_ns, state.st_ino, version("tapeline")]
    return sha256(json.dumps(parts).encode() + code).hexdigest()
