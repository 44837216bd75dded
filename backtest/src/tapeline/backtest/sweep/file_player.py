"""Trials over one file: the fast run, over a market that all processes have mapped."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tapeline.agents.plugins import BadConfig
from tapeline.backtest.engine import strategy
from tapeline.backtest.engine.desk import get_ready
from tapeline.backtest.engine.kept_market import kept_market
from tapeline.backtest.engine.market import Market
from tapeline.backtest.engine.run import run_market
from tapeline.backtest.engine.setup import Setup
from tapeline.backtest.sweep.folds import Window
from tapeline.backtest.sweep.trial import Result, Trial, figures_of, refused


@dataclass(slots=True)
class FilePlayer:
    """Plays trials; each process has its own, loads the strategy and maps the same memory."""

    setup: Setup
    folder: Path
    """of the market"""
    _opened: tuple[Setup, Market] | None = field(default=None, init=False)

    def __reduce__(self) -> tuple[type[FilePlayer], tuple[Setup, Path]]:
        """What was opened stays in the process that opened it."""
        return FilePlayer, (self.setup, self.folder)

    def whole(self) -> Window:
        """All the time that the file covers."""
        _, market = self._open()
        ends = market.end_ns
        return Window(int(ends[0]) - self.setup.interval_ns, int(ends[-1]))

    def play(self, trial: Trial) -> Result:
        """One trial; a point that makes no strategy, or a window without a row, is refused."""
        setup, whole = self._open()
        market = whole.part(trial.start_ns, trial.end_ns)
        if market is None:
            return refused(trial, "There is no row in this part of the time.")
        parameters = {**setup.parameters, **trial.point}
        setup = replace(setup, parameters=parameters, data_digest=market.digest)
        try:
            outcome = run_market(setup, market)
        except BadConfig as error:
            return refused(trial, error.cause)
        facts = outcome.facts()
        figures, reasons = figures_of(outcome.tables("", ""))
        return Result(
            key=trial.key,
            fold=trial.fold,
            part=trial.part,
            number=trial.number,
            point=trial.point,
            figures=figures,
            reasons=reasons,
            orders=facts["orders"],
            fills=facts["fills"],
            fees=f"{outcome.fees:f}",
            final_equity=f"{outcome.final_equity:f}",
            digest=outcome.digest,
            seconds=outcome.engine_seconds,
            rows=market.tick_count,
        )

    def _open(self) -> tuple[Setup, Market]:
        if self._opened is None:
            get_ready()
            self._opened = strategy.named(self.setup), kept_market(self.folder)
        return self._opened
