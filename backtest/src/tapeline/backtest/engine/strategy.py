"""The strategy of a backtest: a trigger, by name or from a file, and its vectorised twin.

A twin is pure and gives for all closes at once what `step` says one by one:

    directions(closes) -> one of LONG (1), SHORT (-1), FLAT (0), NOTHING (2) for each

A trigger may bring one as a method of that name; those of ours are here. Without one every bar is
stepped. A twin must look at nothing but the closes up to each bar, and agree with `step` exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tapeline.agents import plugins
from tapeline.agents.analysis import Watch
from tapeline.agents.plugins import BadConfig
from tapeline.agents.strategy_file import load_strategy_file
from tapeline.agents.triggers.sma_cross import SmaCross
from tapeline.backtest.engine.rows import Floats
from tapeline.backtest.engine.setup import Setup

Sides: TypeAlias = npt.NDArray[np.int8]
Twin: TypeAlias = Callable[[Floats], Sides]
NOTHING: Final = 2
"""no opinion"""
ROUNDING: Final = 4.0 * np.finfo(np.float64).eps


def named(setup: Setup) -> Setup:
    """The setup with its strategy file, if it names one, loaded and offered under its name; raises
    StrategyUnusable."""
    if not setup.strategy.endswith(".py"):
        return setup
    strategy = load_strategy_file(Path(setup.strategy))
    strategy.offer()
    return replace(setup, strategy=strategy.implementation_name)


def watch_of(setup: Setup) -> Watch:
    """The trigger at work; raises BadConfig for a name or a parameter that does not exist."""
    try:
        return plugins.make_watch(setup.trigger())
    except BadConfig as fault:
        # The record is made of options: to publish another one helps nobody here.
        remedy = fault.remedy
        if remedy.startswith("Publish"):
            remedy = "Give another value with --param."
        elif remedy.startswith("Install"):
            remedy = f"Name a strategy file by its path, such as ./mine.py. {remedy}"
        raise BadConfig(fault.cause.replace(" (version 1)", ""), remedy) from fault


def twin_of(watch: Watch) -> Twin | None:
    """The trigger's twin, or None where it has none."""
    core: Any = watch.core
    own = getattr(core, "directions", None)
    if own is not None:
        return lambda closes: np.asarray(own(closes), dtype=np.int8)
    if type(core) is SmaCross:
        return lambda closes: sma_sides(core, closes)
    return None


def sma_sides(core: SmaCross, closes: Floats) -> Sides:
    """What SmaCross says of each close.

    Sums are taken in floating point, with a bound on their error (n - 1 roundings of a running sum
    of n positive numbers, Higham 2002, 4.2); whatever is closer to an edge of the dead band than
    that is computed again as the trigger does, exactly.
    """
    sides = np.full(len(closes), NOTHING, dtype=np.int8)
    if len(closes) < core.slow:
        return sides
    fast_sum, slow_sum = _window_sums(closes, core.fast, core.slow)
    difference = fast_sum / core.fast - slow_sum / core.slow
    error = ROUNDING * core.slow * 2 * float(np.max(closes))
    band = core.dead_band
    known = (difference > band).astype(np.int8) - (difference < -band).astype(np.int8)
    for index in np.flatnonzero(np.abs(np.abs(difference) - band) <= error):
        known[index] = _exact_side(core, closes, int(index) + core.slow - 1)
    sides[core.slow - 1 :] = _held(known)
    return sides


def _window_sums(closes: Floats, fast: int, slow: int) -> tuple[Floats, Floats]:
    """Sums of the last `fast` and `slow` closes, from the first full slow window on."""
    count = len(closes) - slow + 1
    total = closes[slow - 1 : slow - 1 + count].copy()
    found = total.copy() if fast == 1 else None
    for back in range(1, slow):
        total += closes[slow - 1 - back : slow - 1 - back + count]
        if back == fast - 1:
            found = total.copy()
    assert found is not None, "fast < slow"
    return found, total


def _exact_side(core: SmaCross, closes: Floats, last: int) -> int:
    fast = fsum(closes[last - core.fast + 1 : last + 1]) / core.fast
    slow = fsum(closes[last - core.slow + 1 : last + 1]) / core.slow
    difference = fast - slow
    return int(difference > core.dead_band) - int(difference < -core.dead_band)


def _held(known: Sides) -> Sides:
    """Inside the band, 0, the side is that of the bar before; FLAT until there was one."""
    places = np.where(known != 0, np.arange(len(known)), -1)
    last = np.maximum.accumulate(places)
    return np.where(last >= 0, known[np.maximum(last, 0)], 0).astype(np.int8)
