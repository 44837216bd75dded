"""The course of a sweep over made-up trials: what is judged on what, and what is played again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tapeline.backtest.sweep import sweep as sweeps
from tapeline.backtest.sweep.book import Book
from tapeline.backtest.sweep.folds import Fold, Window, folds_of
from tapeline.backtest.sweep.space import parsed
from tapeline.backtest.sweep.sweep import Plan, Sweep
from tapeline.backtest.sweep.trial import FIGURES, Player, Result, Trial

WHOLE = Window(0, 100)
FOLDS = folds_of(WHOLE, 10, count=2, share=0.4)
SPACE = ["a.x=1..5", "b.y=1,2"]


class Killed(Exception):
    pass


@dataclass
class MadeUp:
    """In-sample x = 3 is best, out-of-sample x = 5 would be."""

    results_left: int = 10_000
    reason_inside: str = ""
    """why no figure is defined in-sample; out-of-sample likewise"""
    reason_outside: str = ""
    played: list[Trial] = field(default_factory=list)

    def whole(self) -> Window:
        return WHOLE

    def play(self, trial: Trial) -> Result:
        if not self.results_left:
            raise Killed
        self.results_left -= 1
        self.played.append(trial)
        x, y = float(trial.point["a.x"]), float(trial.point["b.y"])
        is_inside = (trial.start_ns, trial.end_ns) in [
            (fold.inside.start_ns, fold.inside.end_ns) for fold in FOLDS
        ]
        value = -((x - 3) ** 2) - y if is_inside else 10 * x
        reason = self.reason_inside if is_inside else self.reason_outside
        return Result(
            key=trial.key,
            fold=trial.fold,
            part=trial.part,
            number=trial.number,
            point=trial.point,
            figures=dict.fromkeys(FIGURES, None if reason else value),
            reasons=dict.fromkeys(FIGURES, reason) if reason else {},
            orders=1,
            fills=1,
            fees="0",
            final_equity="1",
            digest=f"{trial.key} {trial.start_ns} {trial.end_ns}",
            seconds=0.0,
            rows=1,
        )


class InThisProcess:
    """Plays where the test is."""

    def __init__(self, player: MadeUp, workers: int) -> None:
        del workers
        self._player = player

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def play(self, trials: Sequence[Trial], on_result: Callable[[Result], None]) -> None:
        for trial in trials:
            on_result(self._player.play(trial))


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "Pool", InThisProcess)


def course(folder: Path, player: MadeUp, name: str = "trials", **changes: Any) -> Sweep:
    """A sweep that is played to its end, or to that of its player."""
    values: dict[str, Any] = {
        "axes": parsed(SPACE),
        "method": "grid",
        "trials": 8,
        "seed": 1,
        "objective": "sharpe",
        "folds": FOLDS,
        "workers": 1,
    }
    plan = Plan(**{**values, **changes})
    found = Sweep(plan, cast("Player", player), Book(folder, name))
    found.run()
    return found


def window(trial: Trial) -> Window:
    return Window(trial.start_ns, trial.end_ns)


def test_the_best_in_sample_is_judged_on_what_follows_and_nothing_else_is(tmp_path: Path) -> None:
    player = MadeUp()
    found = course(tmp_path, player)
    for fold in FOLDS:
        mine = [trial for trial in player.played if trial.fold == fold.number]
        inside = [trial for trial in mine if trial.part == "in"]
        (outside,) = [trial for trial in mine if trial.part == "out"]
        assert len(inside) == 10
        assert {window(trial) for trial in inside} == {fold.inside}
        assert window(outside) == fold.outside
        assert outside.point == {"a.x": "3", "b.y": "1"}
        told = summary_of(found, fold)
        assert told["point"] == outside.point
        assert (told["objective_in"], told["objective_out"]) == (-1.0, 30.0)
        assert (told["out"], told["trials"]) == (dict.fromkeys(FIGURES, 30.0), 10)


def test_what_is_best_out_of_sample_is_never_chosen(tmp_path: Path) -> None:
    # Results out of sample of every point lie in the book, each better than all in sample.
    course(tmp_path / "whole", MadeUp())
    found = course(tmp_path, MadeUp())
    for fold in FOLDS:
        for number, point in enumerate(found.plan.axes[0].values):  # type: ignore[union-attr]
            trial = sweeps.trial_of(fold, "out", number, {"a.x": point, "b.y": "2"})
            found.book.add(MadeUp().play(trial))
    for fold in FOLDS:
        chosen = found.chosen(fold)
        assert chosen is not None
        assert (chosen.part, chosen.point) == ("in", {"a.x": "3", "b.y": "1"})
        assert summary_of(found, fold)["objective_in"] == -1.0


def test_an_objective_that_is_not_defined_says_why(tmp_path: Path) -> None:
    found = course(tmp_path / "out", MadeUp(reason_outside="no order was filled"))
    told = summary_of(found, FOLDS[0])
    assert (told["objective_out"], told["undefined_out"]) == (None, "no order was filled")
    assert "not defined out of sample: no order was filled" in found.summary()["warnings"][0]
    rows = found.table().select("part", "undefined").unique().sort("part").rows()
    assert rows == [("in", ""), ("out", "no order was filled")]
    nothing = course(tmp_path / "in", MadeUp(reason_inside="fewer than two daily returns"))
    told = summary_of(nothing, FOLDS[1])
    assert (told["point"], told["undefined_in"]) == (None, {"fewer than two daily returns": 10})
    assert "(10 trials)" in nothing.summary()["warnings"][1]


def summary_of(sweep: Sweep, fold: Fold) -> dict[str, Any]:
    folds: list[dict[str, Any]] = sweep.summary()["folds"]
    return folds[fold.number - 1]


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_a_sweep_that_was_killed_anywhere_plays_the_rest_once(tmp_path: Path, method: str) -> None:
    whole_player = MadeUp()
    whole = course(tmp_path / "whole", whole_player, method=method)
    keys = [trial.key for trial in whole_player.played]
    assert len(keys) == len(set(keys)) == whole.table().height
    for results in range(0, len(keys), 3):
        folder = tmp_path / f"{results}"
        first, second = MadeUp(results_left=results), MadeUp()
        with pytest.raises(Killed):
            course(folder, first, method=method)
        again = course(folder, second, method=method)
        assert [trial.key for trial in (*first.played, *second.played)] == keys
        assert again.table().equals(whole.table())
        assert again.summary() == whole.summary()


def test_parts_share_the_trials_and_what_joins_them_plays_the_judgement_alone(
    tmp_path: Path,
) -> None:
    players = [MadeUp() for _ in range(3)]
    for number, player in enumerate(players, start=1):
        course(tmp_path, player, f"trials-{number}-of-3", part=(number, 3))
    keys = [[trial.key for trial in player.played] for player in players]
    assert sum(map(len, keys)) == len(set().union(*keys)) == 20
    assert max(map(len, keys)) - min(map(len, keys)) <= 2
    last = MadeUp()
    joined = course(tmp_path, last)
    assert [trial.part for trial in last.played] == ["out", "out"]
    whole = course(tmp_path / "whole", MadeUp())
    assert joined.table().equals(whole.table())
