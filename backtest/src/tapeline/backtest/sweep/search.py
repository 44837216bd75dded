"""Which points are tried: all of a grid, some by chance, or those that Optuna's model proposes.

Proposals are made in rounds of a fixed size and told in their order, so that the same seed gives
the same trials however many processes play them, and whether or not the sweep was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import optuna

from tapeline.backtest.sweep.space import Axis, Choices, Point, drawn, grid, number_text

ROUND: Final = 4
"""proposals of one round"""
METHODS: Final = ("grid", "random", "bayes")
Play = Callable[[Sequence[Point]], Sequence[float | None]]
"""Points to the objective of each; None where it is not defined."""


def points_of(method: str, axes: Sequence[Axis], trials: int, seed: int) -> list[Point]:
    """The points of a search that needs no results; raises BadSpace."""
    return grid(axes) if method == "grid" else drawn(axes, trials, seed)


def search(method: str, axes: Sequence[Axis], trials: int, seed: int, play: Play) -> None:
    """Plays all points of a search; raises BadSpace."""
    if method != "bayes":
        play(points_of(method, axes, trials, seed))
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(ROUND, trials // 4))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for start in range(0, trials, ROUND):
        asked = [study.ask() for _ in range(min(ROUND, trials - start))]
        points = [proposed(trial, axes) for trial in asked]
        for trial, value in zip(asked, play(points), strict=True):
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)


def proposed(trial: optuna.Trial, axes: Sequence[Axis]) -> Point:
    """The point that Optuna proposes."""
    point: Point = {}
    for axis in axes:
        if isinstance(axis, Choices):
            point[axis.name] = _proposed_choice(trial, axis)
        else:
            point[axis.name] = number_text(trial.suggest_float(axis.name, axis.low, axis.high))
    return point


def _proposed_choice(trial: optuna.Trial, axis: Choices) -> str:
    """By its place where the values are numbers in order, so that near ones are known as near."""
    try:
        numbers = [float(value) for value in axis.values]
    except ValueError:
        return str(trial.suggest_categorical(axis.name, axis.values))
    if numbers != sorted(numbers):
        return str(trial.suggest_categorical(axis.name, axis.values))
    return axis.values[trial.suggest_int(axis.name, 0, len(axis.values) - 1)]


def best(values: Mapping[str, float | None]) -> str | None:
    """Key of the highest value, the first of equals; None where none is defined."""
    known = {key: value for key, value in values.items() if value is not None}
    return max(known, key=lambda key: known[key], default=None)
