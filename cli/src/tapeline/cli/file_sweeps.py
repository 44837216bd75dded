"""Sweeps over one file: read and looked at once, then mapped by the processes that play."""

from __future__ import annotations

from pathlib import Path

from tapeline.backtest.engine import strategy
from tapeline.backtest.engine.loading import Care, Source
from tapeline.backtest.engine.setup import Setup
from tapeline.backtest.sweep.file_player import FilePlayer
from tapeline.backtest.sweep.space import parsed
from tapeline.backtest.sweep.sweep import Sweep
from tapeline.cli.home import home
from tapeline.cli.runs import TAPE_FOLDER
from tapeline.cli.sweeps import Searched, sweep_of


def prepared(setup: Setup, source: Source, care: Care, searched: Searched) -> tuple[Sweep, Path]:
    """A sweep that is ready to run, and its folder.

    Raises BadBacktest, BadSpace, BadFolds, MarketUnusable, DataUnfit, StrategyUnusable.
    """
    parsed(searched.checked().axes)  # before a long file is read
    named = strategy.named(setup)
    market, warnings = source.keep(setup.interval_ns, care, home() / TAPE_FOLDER / "markets")
    # The name of a strategy from a file holds the digest of its code.
    what = f"{named!r}/{market.name}"
    return sweep_of(searched, FilePlayer(setup, market), setup.interval_ns, what, warnings)
