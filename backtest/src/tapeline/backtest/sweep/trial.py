"""One trial: a point of the space played on one window, and its figures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from tapeline.agents.plugins import BadConfig
from tapeline.backtest.paced.run import Facts, run_paced
from tapeline.backtest.paced.setup import Choice, Setup
from tapeline.backtest.report.growth import daily_returns, worth_of
from tapeline.backtest.report.performance import performance
from tapeline.backtest.run_tables import RunTables
from tapeline.backtest.strategies import offer_kept
from tapeline.backtest.sweep.folds import Window
from tapeline.backtest.sweep.space import Point
from tapeline.backtest.tape.slice_tape import SliceTape

FIGURES: Final = ("total_return", "sharpe", "sortino", "calmar", "max_drawdown", "volatility")
OBJECTIVES: Final = ("total_return", "sharpe", "sortino", "calmar")
Change = Callable[[Sequence[Any], Mapping[str, str]], tuple[Any, ...]]
"""Configuration records with parameters -> the records with them."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be played."""

    fold: int
    part: str
    """in (in-sample) or out (out-of-sample)"""
    number: int
    """of the point within the fold, from 0"""
    point: Point
    start_ns: int
    end_ns: int

    @property
    def key(self) -> str:
        """What a result is found by again."""
        values = ",".join(f"{name}={self.point[name]}" for name in sorted(self.point))
        return f"{self.fold}/{self.part}/{values}"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; a figure that is not defined is null."""

    key: str
    fold: int
    part: str
    number: int
    point: Point
    figures: dict[str, float | None]
    orders: int
    fills: int
    fees: str
    final_equity: str
    digest: str
    seconds: float
    rows: int
    """records of the market that were played"""
    refused: str = ""
    """why the configuration of this point cannot be put to work; then it has no figures"""
    reasons: dict[str, str] = {}
    """of figures that are not defined: why"""

    def reason(self, figure: str) -> str:
        """Why a figure has no value; empty where it has one."""
        if self.figures[figure] is not None:
            return ""
        without = "no order was filled" if not self.fills else "not told"
        return self.refused or self.reasons.get(figure) or without


class Player(Protocol):
    """Plays trials in whatever process it comes to."""

    def whole(self) -> Window:
        """All the time that its data cover."""
        ...

    def play(self, trial: Trial) -> Result:
        """One trial."""
        ...


@dataclass(slots=True)
class TapePlayer:
    """Plays trials over one tape; each process has its own, and maps the same memory."""

    setup: Setup
    folder: Path
    """of the slices"""
    width_ns: int
    change: Change
    instruments: frozenset[str] = frozenset()
    strategies: Path | None = None
    """folder of the strategy files that the configuration names"""
    _tape: SliceTape | None = field(default=None, init=False)

    def whole(self) -> Window:
        """All the time that the tape covers."""
        tape = self.tape()
        return Window(tape.start_ns, tape.end_ns)

    def play(self, trial: Trial) -> Result:
        """One trial."""
        offer_kept(self.strategies)
        records = self.change(self.setup.records, trial.point)
        choice = Choice(start_ns=trial.start_ns, end_ns=trial.end_ns, instruments=self.instruments)
        slices = self.tape().played(choice)
        setup = self.setup.with_records(records).during(choice)
        try:
            run = asyncio.run(run_paced(setup, slices, Facts()))
        except BadConfig as error:
            return refused(trial, error.cause)
        described = run.tables.description
        figures, reasons = figures_of(run.tables)
        return Result(
            key=trial.key,
            fold=trial.fold,
            part=trial.part,
            number=trial.number,
            point=trial.point,
            figures=figures,
            reasons=reasons,
            orders=described.orders,
            fills=described.fills,
            fees=described.fees,
            final_equity=described.final_equity,
            digest=described.digest,
            seconds=described.engine_seconds + described.load_seconds,
            rows=described.events,
        )

    def tape(self) -> SliceTape:
        """What is played, mapped."""
        if self._tape is None:
            self._tape = SliceTape(self.folder, self.width_ns)
        return self._tape


def refused(trial: Trial, why: str) -> Result:
    """The result of a point that makes no configuration, such as a fast average above the slow."""
    return Result(
        key=trial.key,
        fold=trial.fold,
        part=trial.part,
        number=trial.number,
        point=trial.point,
        figures=dict.fromkeys(FIGURES),
        orders=0,
        fills=0,
        fees="0",
        final_equity="0",
        digest="",
        seconds=0.0,
        rows=0,
        refused=why,
    )


def figures_of(run: RunTables) -> tuple[dict[str, float | None], dict[str, str]]:
    """The figures of the report, by name, and of those that have no value why."""
    worth = worth_of(run)
    daily = None if worth is None else daily_returns(run, worth)
    found = performance(worth, daily)
    # Of a run that did nothing this says more than that its returns do not vary.
    idle = "" if run["fills"].height else "no order was filled: "
    reasons = {name: f"{idle}{found[name].reason}" for name in FIGURES if found[name].reason}
    return {name: found[name].value for name in FIGURES}, reasons
