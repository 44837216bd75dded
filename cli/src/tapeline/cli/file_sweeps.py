"""Sweeps over one file: read and looked at once, then mapped by the processes that play."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from tapeline.backtest.engine import strategy
from tapeline.backtest.engine.loading import Care, Source
from tapeline.backtest.engine.setup import Setup
from tapeline.backtest.sweep.book import Book
from tapeline.backtest.sweep.file_player import FilePlayer
from tapeline.backtest.sweep.folds import folds_of
from tapeline.backtest.sweep.space import parsed
from tapeline.backtest.sweep.sweep import Plan, Sweep
from tapeline.cli.home import home
from tapeline.cli.runs import TAPE_FOLDER
from tapeline.cli.sweeps import FOLDER, Searched


def prepared(setup: Setup, source: Source, care: Care, searched: Searched) -> tuple[Sweep, Path]:
    """A sweep that is ready to run, and its folder.

    Raises BadBacktest, BadSpace, BadFolds, MarketUnusable, DataUnfit, StrategyUnusable.
    """
    axes = parsed(searched.checked().axes)
    strategy.named(setup)
    market, warnings = source.keep(setup.interval_ns, care, home() / TAPE_FOLDER / "markets")
    player = FilePlayer(setup, market)
    folds = folds_of(
        player.whole(),
        setup.interval_ns,
        count=searched.folds,
        share=searched.share,
        is_anchored=searched.is_anchored,
    )
    plan = Plan(
        axes=axes,
        method=searched.method,
        trials=searched.trials,
        seed=searched.seed,
        objective=searched.objective,
        folds=folds,
        workers=searched.workers or os.cpu_count() or 1,
        part=searched.numbered(),
    )
    what = f"{setup!r}/{market.name}/{replace(searched, workers=0, part='1/1')!r}"
    folder = home() / FOLDER / f"sweep-{sha256(what.encode()).hexdigest()[:12]}"
    number, parts = plan.part
    book = Book(folder, "trials" if parts == 1 else f"trials-{number}-of-{parts}")
    return Sweep(plan, player, book, warnings=warnings), folder
