"""A backtest from a file to its outcome."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import getcontext, setcontext
from pathlib import Path
from typing import Final

from tapeline.accounting.numbers import CONTEXT
from tapeline.backtest.data_check.check import check_data
from tapeline.backtest.data_check.findings import require_fit
from tapeline.backtest.data_check.series import Rules
from tapeline.backtest.engine import strategy
from tapeline.backtest.engine.desk import Desk, get_ready
from tapeline.backtest.engine.fast import FastRun
from tapeline.backtest.engine.market import Market, load_bars, load_trades
from tapeline.backtest.engine.outcome import Outcome
from tapeline.backtest.engine.scalar import ScalarRun
from tapeline.backtest.engine.setup import Setup
from tapeline.runtime.clock import monotonic_s

STATUS: Final = Path("/proc/self/status")
BYTES_A_UNIT: Final = 1 if sys.platform == "darwin" else 1024
"""of what the system gives as the largest resident size"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How the data is looked at before the run."""

    calendar: str = ""
    """24/7 or an exchange such as XNYS; seen from the data where empty"""
    accept_faults: bool = False
    """run on data with errors, and say so"""

    def warnings(self, market: Market, source: str) -> tuple[str, ...]:
        """What a reader must know of the data; raises DataUnfit on errors."""
        rules = Rules(interval_ns=market.interval_ns, calendar=self.calendar)
        report = check_data(market.frame(), rules, source=source)
        return require_fit(report, accept_faults=self.accept_faults)


WITH_CARE: Final = Care()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file to run over."""

    path: Path
    is_bars: bool
    columns: Mapping[str, str] = field(default_factory=dict)
    """our column -> the file's, where they differ"""

    def load(self, interval_ns: int) -> Market:
        """Its rows, checked; raises MarketUnusable."""
        load = load_bars if self.is_bars else load_trades
        return load(self.path, self.columns, interval_ns)


def run_file(
    setup: Setup, source: Source, *, is_scalar: bool = False, care: Care = WITH_CARE
) -> Outcome:
    """Loads, checks, runs, adds up.

    Raises MarketUnusable, DataUnfit, UnknownCalendar, StrategyUnusable, BadConfig.
    """
    setup = strategy.named(setup)
    strategy.watch_of(setup)
    get_ready()
    begin_s = monotonic_s()
    market = source.load(setup.interval_ns)
    setup = replace(setup, data_digest=market.digest())
    load_seconds = monotonic_s() - begin_s
    begin_s = monotonic_s()
    warnings = care.warnings(market, str(source.path))
    check_seconds = monotonic_s() - begin_s
    outcome = run_market(setup, market, is_scalar=is_scalar, load_seconds=load_seconds)
    return replace(outcome, warnings=warnings, check_seconds=check_seconds)


def run_market(
    setup: Setup, market: Market, *, is_scalar: bool = False, load_seconds: float = 0.0
) -> Outcome:
    """Runs over columns in memory. Losses that may stop the trading are watched event by event."""
    begin_s = monotonic_s()
    watch = strategy.watch_of(setup)
    kind = ScalarRun if is_scalar or setup.has_stops else FastRun
    desk = Desk(setup, int(market.ts_ns[0]) - 1, is_short_cut=kind is FastRun)
    with _undisturbed():
        kind(setup, watch, market, desk).run()
    return Outcome(
        setup=setup,
        market=market,
        said=desk.said,
        cash=desk.cash,
        position=desk.position,
        digest=desk.digest,
        load_seconds=load_seconds,
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
