"""What plays the trials of a sweep over one file: all of its time, once opened, with the point's
parameters before those of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine_samples import MINUTE, START, bars, setup

from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.run import run_market
from tapeline.backtest.sweep import file_player
from tapeline.backtest.sweep.file_player import FilePlayer
from tapeline.backtest.sweep.folds import Window
from tapeline.backtest.sweep.trial import Trial

CLOSES = (10 + np.sin(np.arange(60) / 3)).round(2).tolist()
MARKET = bars([10.0, *CLOSES[:-1]], CLOSES)


def trial(**point: str) -> Trial:
    window = Window(START, START + 60 * MINUTE)
    return Trial(
        fold=1,
        part="in",
        number=0,
        point=point,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders in the order in which they were opened."""
    found: list[Path] = []

    def kept_market(folder: Path) -> Market:
        found.append(folder)
        return MARKET

    monkeypatch.setattr(file_player, "kept_market", kept_market)
    return found


def test_its_time_is_that_of_the_file_from_the_first_row_to_the_last(opened: list[Path]) -> None:
    assert FilePlayer(setup(), Path("f")).whole() == Window(START, START + 60 * MINUTE)
    assert opened == [Path("f")]


def test_a_file_is_opened_once_and_the_point_goes_before_the_run(opened: list[Path]) -> None:
    player = FilePlayer(setup(parameters={"fast": "2", "slow": "9"}), Path("f"))
    digests = set()
    for fast in ("3", "5"):
        plan = setup(parameters={"fast": fast, "slow": "9"}, data_digest=MARKET.digest)
        found = player.play(trial(fast=fast))
        assert (found.digest, found.rows) == (run_market(plan, MARKET).digest, 60)
        digests.add(found.digest)
    assert len(digests) == 2
    assert opened == [Path("f")]
