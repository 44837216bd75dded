"""`tapeline backtest --trades|--bars FOLDER`: the same backtest of every file, and one table.

Each file is an instrument, named like it without the ending; what ends otherwise is left out and
said so. They are played by several processes,
one at a time in each, so that memory depends on the largest alone. A file that is refused stops
none of the others; the command then ends with an error that names it. Stopped by Ctrl-C, the same
command goes on with the files that are left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tapeline.cli.commands.backtest_file import Asked, BadOption, setup_of
from tapeline.cli.commands.options import print_line
from tapeline.cli.folder_players import Notes, play
from tapeline.cli.home import home
from tapeline.cli.playing_progress import Shown
from tapeline.cli.screen import console
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.exits import USAGE, Failure, Stopped

ENDINGS: Final = (".parquet", ".pq", ".csv", ".csv.gz")
FOLDER: Final = "batches"
SUMS: Final = ("events", "bars", "orders", "denials", "fills", "fees")


class SomeRefused(Failure):
    """Not every file of a folder could be played."""

    exit_code = USAGE


def run(asked: Asked, workers: int, *, is_json: bool) -> None:
    """Plays all, saves each run and the table; raises BadOption, SomeRefused."""
    if workers < 0:
        raise BadOption(f"--workers {workers} is no number of processes.", "Give one from 0.")
    jobs = jobs_of(asked)
    taken = {job.trades or job.bars for job in jobs}
    left_out = [path.name for path in _visible(asked) if path not in taken]
    _require_possible(jobs[0])
    begin_s, place = monotonic_s(), _place(asked)
    notes = Notes(place)
    known = sum(notes.of(job) is not None for job in jobs)
    out = console(is_json=is_json)
    if known:
        out.print(f"{known} of {len(jobs)} files were played before this command was stopped")
    try:
        with Shown(out) as shown:
            rows = play(jobs, workers or os.cpu_count() or 1, notes, shown.on_file)
    except KeyboardInterrupt as error:
        raise Stopped(
            f"Stopped: done with {notes.count} of {len(jobs)} files, whose runs are kept.",
            "The same command goes on with the others.",
        ) from error
    table = _written(place, rows)
    notes.forget()
    done = [row for row in rows if not row["refused"]]
    facts = {
        "instruments": len(done),
        **{name: sum(row[name] for row in done) for name in SUMS},
        "seconds": round(monotonic_s() - begin_s, 3),
        "peak_rss_mb": max((row["peak_rss_mb"] for row in done), default=0.0),
        "results": str(table),
        "left_out": left_out,
    }
    if is_json:
        print_line({**facts, "runs": rows})
    else:
        _show(facts, rows)
    lines = [f"  {row['instrument']}: {row['refused']}" for row in rows if row["refused"]]
    if lines:
        raise SomeRefused(
            f"{len(lines)} of {len(rows)} files were not played:\n" + "\n".join(lines),
            "Mend them, or take them out of the folder; the others are done.",
        )


def jobs_of(asked: Asked) -> list[Asked]:
    """One backtest a file, by name; raises BadOption."""
    if asked.instrument:
        raise BadOption(
            f"--instrument {asked.instrument} cannot be all files of {asked.trades or asked.bars}.",
            "Leave it out: each file is named like its instrument, such as BTCUSD.SIM.parquet.",
        )
    named = [
        (path, path.name[: -len(ending)])
        for path in _visible(asked)
        for ending in ENDINGS
        if path.is_file() and path.name.lower().endswith(ending)
    ]
    _require_names(named)
    is_bars = asked.bars is not None
    return [
        replace(
            asked,
            instrument=name,
            trades=None if is_bars else path,
            bars=path if is_bars else None,
        )
        for path, name in named
    ]


def _visible(asked: Asked) -> list[Path]:
    """What lies in the folder, hidden files left out."""
    folder = asked.trades or asked.bars
    assert folder is not None, "the caller has looked"
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _require_names(named: Sequence[tuple[Path, str]]) -> None:
    if not named:
        raise BadOption(
            f"The folder holds no file that ends in {', '.join(ENDINGS)}.",
            "Put one file an instrument into it.",
        )
    seen: dict[str, Path] = {}
    for path, name in named:
        if name in seen:
            raise BadOption(
                f"{seen[name]} and {path.name} are both of {name}.",
                "Leave one file an instrument in it.",
            )
        seen[name] = path


def _require_possible(job: Asked) -> None:
    """What is wrong with every file's run is said once, before any is played."""
    from tapeline.backtest.engine import strategy

    strategy.watch_of(strategy.named(setup_of(job)))


def _place(asked: Asked) -> Path:
    """The folder of the batch, the same for the same options."""
    return home() / FOLDER / f"batch-{sha256(repr(asked).encode()).hexdigest()[:12]}"


def _written(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The table as Parquet, whole or not at all."""
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    flat = [{**row, "warnings": "\n".join(row.get("warnings", []))} for row in rows]
    path = folder / "results.parquet"
    part = path.with_suffix(".part")
    pl.DataFrame(flat, infer_schema_length=None).write_parquet(part)
    part.replace(path)
    return path


def _show(facts: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    out = console(is_json=False)
    table = Table("instrument", "events", "orders", "fills", "fees", "equity", box=None)
    for row in rows:
        if not row["refused"]:
            counts = (f"{row[name]:,}" for name in ("events", "orders", "fills"))
            money = (f"{row[name]:,.2f}" for name in ("fees", "final_equity"))
            table.add_row(row["instrument"], *counts, *money)
    out.print(table)
    out.print(
        f"{facts['instruments']} instruments, {facts['events']:,} events, {facts['orders']:,} "
        f"orders in {facts['seconds']:.1f} s; table in {facts['results']}"
    )
    if facts["left_out"]:
        out.print(f"  ! not played: {', '.join(facts['left_out'])}", markup=False, style="yellow")
