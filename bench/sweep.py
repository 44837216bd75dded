"""Many runs: a sweep of parameters over one file, and one backtest over a folder of instruments.

The sweep plays beside a bare pool of as many processes that run the same points over the same kept
columns. Its file is taken away once the first result is there: whatever read it again would fail.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import polars as pl

from bench.backtest import ROOT, START_NS, cents, columns_of
from bench.tables import Result, table
from tapeline.backtest.engine.kept_market import kept_market
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.run import run_market
from tapeline.backtest.engine.setup import Setup
from tapeline.backtest.sweep.space import grid, parsed

AXES: Final = ("fast=2..21", "slow=25..70/5")
QUICK_AXES: Final = ("fast=2..4", "slow=25..70/5")
PLAN: Final = Setup(instrument_id="X.SIM", strategy="sma_cross")
_markets: list[Market] = []


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of this benchmark alone."""
    parser.add_argument("--instruments", type=int, default=50, help="sweep: files of the folder")


def run(options: argparse.Namespace) -> Result:
    """Both."""
    ticks = 100_000 if options.quick else 1_000_000
    with TemporaryDirectory() as name:
        folder = Path(name)
        swept = sweep(folder, ticks, QUICK_AXES if options.quick else AXES)
        most = 4 if options.quick else options.instruments
        played = [many(folder, count, ticks) for count in sorted({most // 4, most // 2, most})]
    show_folders(played)
    return {"sweep": swept, "folders": played}


# ---- one file, many points


def sweep(folder: Path, ticks: int, axes: tuple[str, ...]) -> dict[str, Any]:
    """The command, and the bare pool."""
    path = folder / "sweep.parquet"
    pl.DataFrame(columns_of("T", ticks)).write_parquet(path)
    home = folder / "home"
    command = [tapeline(), "sweep", "--trades", str(path), "--instrument", "X.SIM", "--json"]
    command += ["--objective", "total_return", "--out-of-sample", "0.2"]
    command += [word for axis in axes for word in ("--param", axis)]
    watcher = threading.Thread(target=take_away, args=(path, home), daemon=True)
    watcher.start()
    own = measured(lambda: called(command, home))
    points = grid(parsed(axes))
    (market,) = (home / "tape" / "markets").iterdir()
    bare = measured(lambda: bare_pool(market, points))
    facts = {
        "sets": len(points),
        "own": own,
        "bare": bare,
        "is_read_once": not path.exists(),
    }
    cores = os.cpu_count() or 1
    rows = [
        [
            words,
            f"{len(points) / found['seconds']:.2f}",
            f"{found['seconds']:.1f}",
            f"{found['cpu_seconds'] / found['seconds'] / cores:.0%}",
        ]
        for words, found in (("tapeline sweep, whole process", own), ("bare pool", bare))
    ]
    head = ["", "sets/s", "seconds", f"of {cores} processors"]
    notes = ["  The file was gone after the first result: it is read once."]
    title = f"Sweep: {len(points)} sets of parameters over {ticks:,} ticks"
    print(table(title, head, rows, notes if facts["is_read_once"] else []), flush=True)
    return facts


def take_away(path: Path, home: Path) -> None:
    """Deletes the file once a result is there."""
    while not list(home.glob("sweeps/*/trials.jsonl")):
        time.sleep(0.05)
    path.unlink()


def bare_pool(folder: Path, points: list[dict[str, str]]) -> None:
    """The same runs and nothing else, on the window that the sweep searches."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), _open, (folder,)) as pool:
        pool.map(_play, points, chunksize=1)


def _open(folder: Path) -> None:
    whole = kept_market(folder)
    ends = whole.end_ns
    bars = (int(ends[-1]) - int(ends[0])) // whole.interval_ns + 1
    behind = int(ends[0]) + (bars - int(bars * 0.2) - 1) * whole.interval_ns
    part = whole.part(0, behind)
    assert part is not None, "the file has rows"
    _markets[:] = [part]


def _play(point: dict[str, str]) -> str:
    return run_market(replace(PLAN, parameters=point), _markets[0]).digest


# ---- many instruments


def many(folder: Path, count: int, ticks: int) -> dict[str, Any]:
    """One command over a folder of so many files."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    for number in range(len(list(files.iterdir())), count):
        chance = np.random.default_rng(100 + number)
        gaps = chance.exponential(1e9, ticks).astype(np.int64)
        pl.DataFrame(
            {
                "ts_event_ns": START_NS + np.cumsum(gaps),
                "price": cents(100 + np.cumsum(chance.normal(0, 0.01, ticks))),
                "size": chance.integers(1, 100, ticks).astype(np.float64),
            }
        ).write_parquet(files / f"X{number:03d}.SIM.parquet")
    command = [tapeline(), "backtest", "--trades", str(files), "--json"]
    command += ["--param", "fast=10", "--param", "slow=30"]
    said: list[str] = []
    found = measured(lambda: said.append(called(command, folder / "home")))
    facts = json.loads(said[0])
    counted = {name: facts[name] for name in ("instruments", "events", "orders", "peak_rss_mb")}
    return {**counted, **found}


def show_folders(played: list[dict[str, Any]]) -> None:
    """A row a size."""
    rows = [
        [
            f"{run['instruments']}",
            f"{run['events']:,}",
            f"{run['orders']:,}",
            f"{run['seconds']:.1f}",
            f"{run['events'] / run['seconds']:,.0f}",
            f"{run['cpu_seconds'] / run['events'] * 1e6:.2f}",
            f"{run['peak_rss_mb']:.0f}",
        ]
        for run in played
    ]
    head = ["instruments", "ticks", "orders", "seconds", "ticks/s", "CPU s/1M", "peak MB, one of 2"]
    print(table("One backtest of each file of a folder", head, rows), flush=True)


# ---- processes


def tapeline() -> str:
    """The command."""
    return str(Path(sys.executable).parent / "tapeline")


def called(command: list[str], home: Path) -> str:
    """What it said."""
    environment = {**os.environ, "TAPELINE_HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:3])}: {done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def measured(call: Any) -> dict[str, float]:
    """Seconds by the clock and of all processors together, children included."""
    before, began = cpu_seconds(), time.perf_counter()
    call()
    return {"seconds": time.perf_counter() - began, "cpu_seconds": cpu_seconds() - before}


def cpu_seconds() -> float:
    """Of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
