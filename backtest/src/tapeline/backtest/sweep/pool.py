"""Plays trials in processes of their own, which map the same tape.

Ctrl-C goes to the parent alone: it takes no further results, ends the children and leaves what is
noted, so that the same command goes on there.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from types import TracebackType
from typing import Any, Final, Self

from tapeline.backtest.sweep.trial import Player, Result, Trial
from tapeline.backtest.with_parent import end_with_parent

WAIT_S: Final = 0.5
END_S: Final = 5.0
_players: list[Player] = []
"""of this process, made once"""


class Pool:
    """Processes that play trials. Use as a context manager."""

    def __init__(self, player: Player, workers: int) -> None:
        # Threads of the parent (progress, models) would not survive a fork.
        self._executor = ProcessPoolExecutor(
            max_workers=workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(player,),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        processes: dict[int, Any] = dict(getattr(self._executor, "_processes", None) or {})
        self._executor.shutdown(wait=error is None, cancel_futures=True)
        if error is not None:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.join(END_S)

    def play(self, trials: Sequence[Trial], on_result: Callable[[Result], None]) -> None:
        """Plays all; results come as they end. Raises what a trial raises."""
        waiting: set[Future[Result]] = {self._executor.submit(_play, trial) for trial in trials}
        while waiting:
            done, waiting = wait(waiting, WAIT_S, FIRST_COMPLETED)
            for future in done:
                on_result(future.result())


def _begin(player: Player) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _players[:] = [player]


def _play(trial: Trial) -> Result:
    return _players[0].play(trial)
