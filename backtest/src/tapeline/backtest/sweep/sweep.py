"""A sweep from its first trial to its table.

On each fold every point is played in-sample; the best by the objective is played once more on the
out-of-sample part, and only it: looking at the others there would be choosing by it.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any, Final

import polars as pl

from tapeline.backtest.sweep.book import Book
from tapeline.backtest.sweep.folds import Fold, Window
from tapeline.backtest.sweep.pool import Pool
from tapeline.backtest.sweep.search import best, points_of, search
from tapeline.backtest.sweep.space import Axis, Point
from tapeline.backtest.sweep.trial import FIGURES, Player, Result, Trial

EULER: Final = 0.5772156649015329
"""the constant of Euler and Mascheroni"""
OnTrial = Callable[[int, int], None]
"""Hears (results, results in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched, and how."""

    axes: Sequence[Axis]
    method: str
    trials: int
    """points of each fold, for searches other than a grid"""
    seed: int
    objective: str
    folds: Sequence[Fold]
    workers: int
    part: tuple[int, int] = (1, 1)
    """(i, n): of the in-sample trials only those of part i of n, for processes on a cluster"""

    def total(self) -> int:
        """Results in all."""
        count = self.trials
        if self.method != "bayes":
            count = len(points_of(self.method, self.axes, self.trials, self.seed))
        return (count + 1) * len(self.folds)


@dataclass(slots=True)
class Sweep:
    """Plays a plan; what its book has already is not played again."""

    plan: Plan
    player: Player
    book: Book
    on_trial: OnTrial = lambda _done, _total: None
    warnings: tuple[str, ...] = ()
    """what a reader must know of the data"""

    def run(self) -> None:
        """Plays what is missing; raises what trials raise."""
        is_whole = self.plan.part == (1, 1)
        with Pool(self.player, self.plan.workers) as pool:
            for fold in self.plan.folds:
                self._search(pool, fold)
                chosen = self.chosen(fold)
                if is_whole and chosen is not None:
                    outside = trial_of(fold, "out", chosen.number, chosen.point)
                    self._play(pool, [outside])

    def chosen(self, fold: Fold) -> Result | None:
        """The best in-sample result of a fold; None where the objective is defined for none."""
        found = self._of(fold.number, "in")
        key = best({result.key: result.figures[self.plan.objective] for result in found})
        return None if key is None else self.book.results[key]

    def judged(self, fold: Fold) -> Result | None:
        """What the chosen point did out-of-sample."""
        return next(iter(self._of(fold.number, "out")), None)

    def _of(self, fold: int, part: str) -> list[Result]:
        found = [
            result
            for result in self.book.results.values()
            if (result.fold, result.part) == (fold, part)
        ]
        return sorted(found, key=lambda result: result.number)

    def _search(self, pool: Pool, fold: Fold) -> None:
        plan, counted = self.plan, [0]

        def play(points: Sequence[Point]) -> list[float | None]:
            trials = [
                trial_of(fold, "in", counted[0] + index, point)
                for index, point in enumerate(points)
            ]
            counted[0] += len(points)
            mine, parts = plan.part
            self._play(pool, [item for item in trials if item.number % parts == mine - 1])
            found = [self.book.results.get(trial.key) for trial in trials]
            return [None if item is None else item.figures[plan.objective] for item in found]

        search(plan.method, plan.axes, plan.trials, plan.seed, play)

    def _play(self, pool: Pool, trials: Sequence[Trial]) -> None:
        missing = {trial.key: trial for trial in trials if trial.key not in self.book.results}
        self._tell()
        pool.play(list(missing.values()), self._take)

    def _take(self, result: Result) -> None:
        self.book.add(result)
        self._tell()

    def _tell(self) -> None:
        self.on_trial(len(self.book.results), self.plan.total())

    # ---- what came of it

    def table(self) -> pl.DataFrame:
        """A row a result: fold, part, number, each parameter, each figure, counts."""
        results = sorted(
            self.book.results.values(), key=lambda item: (item.fold, item.part, item.number)
        )
        names = [axis.name for axis in self.plan.axes]
        rows = [
            {
                "fold": result.fold,
                "part": result.part,
                "trial": result.number,
                **{name: result.point[name] for name in names},
                **result.figures,
                "orders": result.orders,
                "fills": result.fills,
                "fees": float(result.fees),
                "final_equity": float(result.final_equity),
                "digest": result.digest,
                "seconds": result.seconds,
                "refused": result.refused,
                "undefined": "" if result.refused else result.reason(self.plan.objective),
            }
            for result in results
        ]
        numbers = dict.fromkeys((*FIGURES, "fees", "final_equity", "seconds"), pl.Float64)
        return pl.DataFrame(rows, schema_overrides=numbers)

    def summary(self) -> dict[str, Any]:
        """In-sample and out-of-sample side by side, and how much chance may have had a hand."""
        folds = [self._fold_summary(fold) for fold in self.plan.folds]
        return {
            "objective": self.plan.objective,
            "method": self.plan.method,
            "seed": self.plan.seed,
            "trials": sum(1 for result in self.book.results.values() if result.part == "in"),
            "folds": folds,
            "seconds_played": sum(result.seconds for result in self.book.results.values()),
            "warnings": [*self.warnings, *warnings_of(folds)],
        }

    def _fold_summary(self, fold: Fold) -> dict[str, Any]:
        chosen, judged = self.chosen(fold), self.judged(fold)
        objective, inside = self.plan.objective, self._of(fold.number, "in")
        values = [result.figures[objective] for result in inside]
        reasons = Counter(filter(None, (result.reason(objective) for result in inside)))
        known = [value for value in values if value is not None]
        return {
            "fold": fold.number,
            "in_sample": _window(fold.inside),
            "out_of_sample": _window(fold.outside),
            "trials": len(values),
            "point": None if chosen is None else chosen.point,
            "in": None if chosen is None else chosen.figures,
            "out": None if judged is None else judged.figures,
            "objective_in": None if chosen is None else chosen.figures[self.plan.objective],
            "objective_out": None if judged is None else judged.figures[self.plan.objective],
            "undefined_in": dict(reasons.most_common()),
            "undefined_out": "" if judged is None else judged.reason(objective),
            "best_by_chance": best_by_chance(known),
        }


def trial_of(fold: Fold, part: str, number: int, point: Point) -> Trial:
    """A point on a part of a fold."""
    window: Window = fold.inside if part == "in" else fold.outside
    return Trial(
        fold=fold.number,
        part=part,
        number=number,
        point=point,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
    )


def best_by_chance(values: Sequence[float]) -> float | None:
    """The highest of N values that is to be expected although none is better than the others:
    mean + standard deviation x ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))), g of Euler and Mascheroni,
    Z the inverse of the normal distribution (Bailey and Lopez de Prado 2014, The Deflated Sharpe
    Ratio, with their mean of zero replaced by the trials' own)."""
    count = len(values)
    if count < 2:
        return None
    normal = NormalDist()
    upper = normal.inv_cdf(1 - 1 / count)
    further = normal.inv_cdf(1 - 1 / (count * 2.718281828459045))
    return fmean(values) + stdev(values) * ((1 - EULER) * upper + EULER * further)


def warnings_of(folds: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know before believing the best trial."""
    found = []
    for fold in folds:
        inside, outside = fold["objective_in"], fold["objective_out"]
        by_chance, name = fold["best_by_chance"], f"fold {fold['fold']}"
        if inside is None:
            why = "; ".join(
                f"{reason} ({count:,} trials)" for reason, count in fold["undefined_in"].items()
            )
            found.append(
                f"{name}: the objective is defined for no trial, so nothing was chosen: {why}"
            )
            continue
        if outside is None:
            found.append(
                f"{name}: the objective is not defined out of sample: {fold['undefined_out']}"
            )
        elif outside < inside / 2 or outside < 0 <= inside:
            found.append(f"{name}: out of sample {outside:.4g} after {inside:.4g} in sample")
        if by_chance is not None and inside <= by_chance:
            found.append(
                f"{name}: the best of {fold['trials']} trials ({inside:.4g}) is not above what "
                f"chance alone would give ({by_chance:.4g})"
            )
    return found


def _window(window: Window) -> dict[str, int]:
    return {"start_ns": window.start_ns, "end_ns": window.end_ns}


def write(sweep: Sweep, folder: Path) -> Path:
    """The table as Parquet, whole or not at all."""
    path = folder / "results.parquet"
    # Jobs on a cluster end together in one folder, and their processes have the same numbers.
    part = path.with_suffix(f".{platform.node()}-{os.getpid()}.part")
    sweep.table().write_parquet(part)
    part.replace(path)
    return path
