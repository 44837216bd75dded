"""Progress of a backtest on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from tapeline.backtest.paced.setup import MarketSlice
    from tapeline.backtest.stage_replay import StageReplay
    from tapeline.runtime.replay import ShardReplay


class Shown:
    """What is pulled, then the slice that was played last. Use as a context manager."""

    def __init__(self, out: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
            TimeElapsedColumn(),
            console=out,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._parts = self._inputs = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_pulled(self, done: int, total: int) -> None:
        """Offsets that are on the tape."""
        self._update("pulling", "offsets", done, total)

    def on_slice(self, part: MarketSlice) -> None:
        """A slice was played."""
        self._update("playing", "slices", part.number, None)

    def on_trial(self, done: int, total: int) -> None:
        """Trials of a sweep that have ended."""
        self._update("trials", f"of {total}", done, total)

    def on_file(self, done: int, total: int) -> None:
        """Files of a folder that have been played."""
        self._update("files", f"of {total}", done, total)

    def on_part(self, part: ShardReplay | StageReplay) -> None:
        """A part of a run was replayed."""
        self._parts += 1
        self._inputs += part.inputs
        self._update("replaying", f"parts, {self._inputs:,} inputs", self._parts, None)

    def on_downloaded(self, rows: int, done_ms: int, total_ms: int) -> None:
        """History that has come."""
        self._update("downloading", f"ms, {rows:,} rows", done_ms, total_ms)

    def _update(self, name: str, unit: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, unit=unit)
        self._progress.update(self._tasks[name], completed=done, total=total, unit=unit)
