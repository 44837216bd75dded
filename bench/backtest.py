"""The backtest engine beside other backtesters, a bare loop and bare NumPy, on the same data.

Work T: trade ticks -> one-minute bars -> crossing of two averages -> flips, filled at the next
tick. Work B: one-minute bars, filled at the next open. Each runner is a process of its own, and
they take turns; peers live in environments of their own, made of their locks (bench/peers_home.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import polars as pl

from bench import peers_home
from bench.curve import drawn
from bench.tables import Result, table

ROOT: Final = Path(__file__).parent.parent
CURVE: Final = ROOT / "docs" / "backtest-growth.svg"
SEED: Final = 7
START_NS: Final = 1_600_000_020 * 1_000_000_000
MINUTE_NS: Final = 60_000_000_000
SIZES: Final = (10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
OPTIONS: Final = ("--instrument", "X.SIM", "--strategy", "sma_cross", "--param", "fast=10")


@dataclass(frozen=True, slots=True)
class Runner:
    """One of those who do the work."""

    name: str
    module: str
    """below bench.peers; empty: Tapeline"""
    works: str
    lock: str = "peers"
    """of its environment, in requirements/"""


RUNNERS: Final = (
    Runner("Tapeline", "", "TB"),
    Runner("NautilusTrader 1.231", "nautilus_run", "TB"),
    Runner("hftbacktest 2.4 (no risk gate)", "hftbacktest_run", "T", "hftbacktest"),
    Runner("backtrader 1.9.78", "backtrader_run", "B"),
    Runner("backtesting.py 0.6.6", "backtesting_run", "B"),
    Runner("vectorbt 1.2 (no risk gate)", "vectorbt_run", "B"),
    Runner("bare Python loop", "python_loop", "TB"),
    Runner("bare NumPy", "numpy_columns", "TB"),
)
Pythons = Mapping[str, Path | None]
"""Interpreters of the peers, by their lock."""
SLOW: Final = {("NautilusTrader 1.231", "B"): 50_000, ("backtrader 1.9.78", "B"): 100_000}
"""Rows of work for those who would take minutes; their rate there is what counts."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of this benchmark alone."""
    parser.add_argument("--ticks", type=int, default=1_000_000, help="backtest: rows of work T")
    parser.add_argument("--bars", type=int, default=500_000, help="backtest: rows of work B")
    parser.add_argument(
        "--turns", type=int, default=3, help="backtest: runs of each runner; 0: none"
    )
    parser.add_argument("--curve", action="store_true", help="backtest: draw the growth curve anew")


def run(options: argparse.Namespace) -> Result:
    """Both works, and the growth curve where it is asked for."""
    is_quick = options.quick
    ticks = min(options.ticks, 100_000) if is_quick else options.ticks
    bars = min(options.bars, 20_000) if is_quick else options.bars
    turns = min(options.turns, 1) if is_quick else options.turns
    locks = sorted({runner.lock for runner in RUNNERS}) if turns else []
    pythons = {lock: peers_home.interpreter(lock) for lock in locks}
    results: dict[str, Any] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        for work, rows in (("T", ticks), ("B", bars)) if turns else ():
            results[work] = measured(folder, work, rows, pythons, turns)
        real = os.environ.get("TAPELINE_DATA_DIR", str(ROOT.parent / "shared" / "data"))
        spy = Path(real) / "spy-trades-20131007-20131011.parquet"
        if spy.is_file() and turns and not is_quick:
            results["real"] = on_real_ticks(folder, spy, pythons)
        if options.curve:
            if is_quick:
                results["curve"] = growth(folder, SIZES[:3], ROOT / ".tapeline" / CURVE.name)
            else:
                results["curve"] = growth(folder, SIZES, CURVE)
    return results


# ---- data


def columns_of(work: str, rows: int) -> dict[str, Any]:
    """Generated, of a seed: a random walk of cents; ticks a second apart on average."""
    chance = np.random.default_rng(SEED)
    if work == "T":
        gaps = chance.exponential(1e9, rows).astype(np.int64)
        price = 100 + np.cumsum(chance.normal(0, 0.01, rows))
        size = chance.integers(1, 100, rows).astype(np.float64)
        return {"ts_event_ns": START_NS + np.cumsum(gaps), "price": cents(price), "size": size}
    close = cents(100 + np.cumsum(chance.normal(0, 0.05, rows)))
    opened = cents(np.append(100.0, close[:-1]) + chance.normal(0, 0.02, rows))
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    return {
        "ts_open_ns": START_NS + MINUTE_NS * np.arange(rows, dtype=np.int64),
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": chance.integers(1, 1000, rows).astype(np.float64),
    }


def cents(prices: Any) -> Any:
    """Rounded, and kept above nothing however far the walk goes down."""
    return np.maximum(np.round(np.abs(prices), 2), 0.01)


def written(folder: Path, work: str, columns: dict[str, Any], rows: int) -> Path:
    """The first rows as Parquet for us and as NumPy's for the others."""
    path = folder / f"{work}{rows}"
    if not path.with_suffix(".npz").exists():
        first = {name: values[:rows] for name, values in columns.items()}
        pl.DataFrame(first).write_parquet(path.with_suffix(".parquet"))
        np.savez(path.with_suffix(".npz"), **first)
    return path


# ---- runs


def measured(folder: Path, work: str, rows: int, pythons: Pythons, rounds: int) -> Any:
    """Every runner in turn, several times; prints the table."""
    columns = columns_of(work, rows)
    facts: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for runner in RUNNERS:
            python = pythons[runner.lock]
            if work not in runner.works or (runner.module and python is None):
                continue
            count = min(rows, SLOW.get((runner.name, work), rows))
            path = written(folder, work, columns, count)
            found = one(runner, work, path, python, folder)
            facts.setdefault(runner.name, []).append({**found, "rows": count})
    if any(run["rows"] < rows for runs in facts.values() for run in runs):
        for count in sorted({run["rows"] for runs in facts.values() for run in runs} - {rows}):
            path = written(folder, work, columns, count)
            own = one(RUNNERS[0], work, path, None, folder)
            facts[f"Tapeline, first {count:,}"] = [{**own, "rows": count}]
    show(work, rows, facts)
    return facts


def one(runner: Runner, work: str, path: Path, python: Path | None, folder: Path) -> dict[str, Any]:
    """What a runner says of one run, and how long its whole process took."""
    if runner.module:
        command = [str(python), "-W", "ignore", "-m", f"bench.peers.{runner.module}"]
        command += [str(path.with_suffix(".npz")), work]
    else:
        command = [str(Path(sys.executable).parent / "tapeline"), "backtest", *OPTIONS]
        command += ["--param", "slow=30", "--json", "--trades" if work == "T" else "--bars"]
        command += [str(path.with_suffix(".parquet"))]
    environment = {**os.environ, "TAPELINE_HOME": str(folder / "home")}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    whole = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{runner.name}: {done.stderr[-2000:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "seconds": said.get("engine_seconds", said.get("seconds")),
        "warm_up_seconds": said.get("warm_up_seconds", 0.0),
        "process_seconds": whole,
        "orders": said["orders"],
        "equity": said.get("final_equity", said.get("equity")),
        "peak_rss_mb": said["peak_rss_mb"],
    }


def show(work: str, rows: int, facts: dict[str, list[dict[str, Any]]]) -> None:
    """A row a runner; ratios are to Tapeline over the same rows."""
    rates = {
        name: median(run["rows"] / run["seconds"] for run in runs) for name, runs in facts.items()
    }
    lines = []
    for name, runs in facts.items():
        first = runs[0]
        own = rates.get(f"Tapeline, first {first['rows']:,}", rates["Tapeline"])
        whole = median(run["process_seconds"] for run in runs)
        warm_up = median(run["warm_up_seconds"] for run in runs)
        lines.append(
            [
                name
                if name.startswith("Tapeline") or first["rows"] == rows
                else f"{name}, first {first['rows']:,}",
                f"{rates[name]:,.0f}",
                f"{own / rates[name]:.2f}",
                f"{warm_up:.2f}" if warm_up else "",
                f"{whole:.2f}",
                f"{first['orders']:,}",
                f"{first['equity']:,.2f}",
                f"{first['peak_rss_mb']:.0f}",
            ]
        )
    unit = "ticks/s" if work == "T" else "bars/s"
    head = ["", unit, "Tapeline / it", "compiling, s", "process, s", "orders", "equity", "peak MB"]
    what = "trade ticks" if work == "T" else "one-minute bars"
    notes = [
        "  NautilusTrader rounds each fee to cents, and fills bars at their close.",
        "  Bare runs look at no limit, sign nothing and keep no order.",
    ]
    if work == "T":
        buying = "hftbacktest has no price that both sides pay: it buys a millionth above the tick."
        notes.insert(1, f"  {buying}")
    print(table(f"Backtest {work}: {rows:,} {what}, engine alone", head, lines, notes), flush=True)


def on_real_ticks(folder: Path, path: Path, pythons: Pythons) -> dict[str, Any]:
    """Real trades of five days, beside hftbacktest and the bare runs that need no peer."""
    found = {}
    frame = pl.read_parquet(path, columns=["ts_event_ns", "price", "size"])
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    columns = {
        name: values.astype(np.float64) if name != "ts_event_ns" else values
        for name, values in columns.items()
    }
    place = written(folder, "real", columns, frame.height)
    with_it = {
        "": None,
        "hftbacktest_run": pythons["hftbacktest"],
        "python_loop": Path(sys.executable),
        "numpy_columns": Path(sys.executable),
    }
    rows = []
    for runner in RUNNERS:
        python = with_it.get(runner.module)
        if python is not None or not runner.module:
            run_facts = one(runner, "T", place, python, folder)
            found[runner.name] = run_facts
            rate = frame.height / run_facts["seconds"]
            rows.append(
                [
                    runner.name,
                    f"{rate:,.0f}",
                    f"{run_facts['process_seconds']:.2f}",
                    f"{run_facts['orders']:,}",
                    f"{run_facts['equity']:,.2f}",
                ]
            )
    head = ["", "ticks/s", "process, s", "orders", "equity"]
    print(table(f"Backtest of SPY: {frame.height:,} real trades", head, rows), flush=True)
    return found


def growth(folder: Path, sizes: tuple[int, ...], picture: Path) -> list[dict[str, Any]]:
    """Work T at several sizes; draws the curve, of a whole run for the docs."""
    found = []
    for rows in sizes:
        columns = columns_of("T", rows)
        path = folder / f"curve{rows}.parquet"
        pl.DataFrame(columns).write_parquet(path)
        del columns
        found.append({"rows": rows, **one(RUNNERS[0], "T", path, None, folder)})
        path.unlink()
    picture.write_text(drawn(found))
    head = ["ticks", "engine, s", "process, s", "ticks/s", "ns a tick", "orders", "peak MB"]
    rows_shown = [
        [
            f"{run['rows']:,}",
            f"{run['seconds']:.3f}",
            f"{run['process_seconds']:.2f}",
            f"{run['rows'] / run['seconds']:,.0f}",
            f"{run['seconds'] / run['rows'] * 1e9:,.0f}",
            f"{run['orders']:,}",
            f"{run['peak_rss_mb']:.0f}",
        ]
        for run in found
    ]
    print(
        table(f"Growth of work T, drawn in {picture.relative_to(ROOT)}", head, rows_shown),
        flush=True,
    )
    return found
