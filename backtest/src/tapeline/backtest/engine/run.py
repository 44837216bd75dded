"""A backtest from a file to its outcome."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import getcontext, setcontext
from pathlib import Path
from typing import Final

from tapeline.accounting.numbers import CONTEXT
from tapeline.backtest.engine import strategy
from tapeline.backtest.engine.desk import Desk, get_ready
from tapeline.backtest.engine.fast import FastRun
from tapeline.backtest.engine.loading import WITH_CARE, Care, Source
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.outcome import Outcome
from tapeline.backtest.engine.scalar import ScalarRun
from tapeline.backtest.engine.setup import Setup
from tapeline.runtime.clock import monotonic_s

STATUS: Final = Path("/proc/self/status")
BYTES_A_UNIT: Final = 1 if sys.platform == "darwin" else 1024
"""of what the system gives as the largest resident size"""


def run_file(
    setup: Setup, source: Source, *, is_scalar: bool = False, care: Care = WITH_CARE
) -> Outcome:
    """Loads, checks, runs, adds up.

    Raises MarketUnusable, DataUnfit, UnknownCalendar, StrategyUnusable, BadConfig.
    """
    setup = strategy.named(setup)
    strategy.watch_of(setup)
    get_ready()
    loaded = source.load(setup.interval_ns, care)
    setup = replace(setup, data_digest=loaded.market.digest)
    outcome = run_market(setup, loaded.market, is_scalar=is_scalar)
    seconds = loaded.watch.seconds
    return replace(
        outcome,
        warnings=loaded.warnings,
        load_seconds=seconds["load"],
        check_seconds=seconds["check"],
        # Bars are the engine's work, even if they are made while the file is read.
        engine_seconds=seconds["bars"] + outcome.engine_seconds,
    )


def run_market(setup: Setup, market: Market, *, is_scalar: bool = False) -> Outcome:
    """Runs over a market that was loaded."""
    begin_s = monotonic_s()
    watch = strategy.watch_of(setup)
    kind = ScalarRun if is_scalar else FastRun
    desk = Desk(setup, market.start_ns - 1, is_short_cut=kind is FastRun)
    with _undisturbed():
        kind(setup, watch, market, desk).run()
    return Outcome(
        setup=setup,
        market=market,
        said=desk.said,
        cash=desk.cash,
        position=desk.position,
        digest=desk.digest,
        load_seconds=0.0,
        engine_seconds=monotonic_s() - begin_s,
        peak_rss_mb=peak_rss_mb(),
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the garbage collector, which would walk through all records again and again: they
    hold no cycles. In the context of money, which every core would else set for each of its words.
    """
    was_on = gc.isenabled()
    gc.disable()
    outer = getcontext()
    setcontext(CONTEXT)
    try:
        yield
    finally:
        setcontext(outer)
        if was_on:
            gc.enable()


def peak_rss_mb() -> float:
    """Largest resident size of this process so far, MB (10^6 bytes)."""
    # What getrusage says on Linux is at least what the parent had when it made this process.
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_A_UNIT / 1e6
