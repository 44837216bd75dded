"""The check of data before a run: a million ticks, beside the barest pass over the same columns."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl

from bench.tables import Result, spread, table
from tapeline.backtest.data_check.check import check_data
from tapeline.backtest.data_check.series import Rules
from tapeline.runtime.clock import monotonic_s

TICKS: Final = 1_000_000
ROUNDS: Final = 7
START_NS: Final = 1_641_168_000_000_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> Result:
    """Prints milliseconds of the check and of the bare pass."""
    frame = ticks(TICKS)
    rounds = 3 if options.quick else ROUNDS
    ways: dict[str, Callable[[], object]] = {
        "bare pass (order, finite, above zero)": lambda: bare(frame),
        "check, calendar seen from the data": lambda: check_data(frame),
        "check, calendar 24/7": lambda: check_data(frame, Rules(calendar="24/7")),
    }
    found = {name: [timed(way) for _ in range(rounds)] for name, way in ways.items()}
    rows = [
        (name, spread([1000 * one for one in seconds], "{:.0f}")) for name, seconds in found.items()
    ]
    print(
        table(
            f"Data check: {TICKS:,} trades in memory, {rounds} rounds",
            ("way", "ms, median (least to most)"),
            rows,
        ),
        flush=True,
    )
    return {"ticks": TICKS, "seconds": found}


def ticks(count: int) -> pl.DataFrame:
    """A walk with a trade every 100 ms or so."""
    generator = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "ts_event_ns": START_NS + np.cumsum(generator.integers(1, 200_000_000, count)),
            "price": 100.0 * np.exp(np.cumsum(generator.normal(0, 0.0001, count))),
            "size": generator.integers(1, 500, count).astype(np.float64),
        }
    )


def bare(frame: pl.DataFrame) -> bool:
    """What anybody would check in three lines."""
    times, prices = frame["ts_event_ns"].to_numpy(), frame["price"].to_numpy()
    return bool(np.all(np.diff(times) >= 0) and np.all(np.isfinite(prices)) and np.all(prices > 0))


def timed(way: Callable[[], object]) -> float:
    """Seconds of one call."""
    begin_s = monotonic_s()
    way()
    return monotonic_s() - begin_s
