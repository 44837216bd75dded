"""The parts of a sweep by themselves: spaces, folds, searches, the book, what is to be doubted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.backtest.sweep.book import Book
from tapeline.backtest.sweep.folds import BadFolds, Window, folds_of
from tapeline.backtest.sweep.search import best, search
from tapeline.backtest.sweep.space import (
    BadSpace,
    Between,
    Choices,
    Point,
    drawn,
    grid,
    parsed,
    size,
)
from tapeline.backtest.sweep.sweep import best_by_chance, warnings_of
from tapeline.backtest.sweep.trial import FIGURES, Result

# ---- spaces


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("a.b=5,10, 20", Choices("a.b", ("5", "10", "20"))),
        ("a.b=20..60/20", Choices("a.b", ("20", "40", "60"))),
        ("a.b=2..4", Choices("a.b", ("2", "3", "4"))),
        ("a.b=0.1..0.3/0.1", Choices("a.b", ("0.1", "0.2", "0.3"))),
        ("a.b=0.1..0.3", Between("a.b", 0.1, 0.3)),
        ("a.b=-1..1", Choices("a.b", ("-1", "0", "1"))),
    ],
)
def test_values_are_read(text: str, axis: Any) -> None:
    assert parsed([text]) == (axis,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.b", "names no values"),
        ("=5", "names no values"),
        ("a.b=5,,6", "empty or repeated"),
        ("a.b=5,5", "empty or repeated"),
        ("a.b=5..x", "no range"),
        ("a.b=5..5", "empty range"),
        ("a.b=6..5", "empty range"),
        ("a.b=1..5/0", "empty range"),
        ("a.b=1..inf", "empty range"),
    ],
)
def test_what_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadSpace, match=says):
        parsed([text])


def test_no_parameter_is_refused() -> None:
    with pytest.raises(BadSpace, match="nothing to search"):
        parsed([])


def test_a_grid_has_every_combination_once() -> None:
    axes = parsed(["a.x=1,2", "b.y=3..5"])
    found = grid(axes)
    assert len(found) == size(axes) == 6
    assert len({tuple(point.items()) for point in found}) == 6
    with pytest.raises(BadSpace, match="has no steps"):
        grid(parsed(["a.x=0.1..0.2"]))


def test_chance_is_the_same_for_a_seed_and_repeats_no_point() -> None:
    axes = parsed(["a.x=1..50", "b.y=0.5..0.9"])
    found = drawn(axes, 40, 7)
    assert found == drawn(axes, 40, 7)
    assert found != drawn(axes, 40, 8)
    assert len({tuple(point.items()) for point in found}) == 40
    assert all(
        1 <= int(point["a.x"]) <= 50 and 0.5 <= float(point["b.y"]) <= 0.9 for point in found
    )
    assert len(drawn(parsed(["a.x=1..3"]), 40, 7)) == 3


# ---- folds


def test_one_fold_keeps_the_end_back() -> None:
    (fold,) = folds_of(Window(0, 100), 10, count=1, share=0.3)
    assert (fold.inside, fold.outside) == (Window(0, 70), Window(70, 100))


def test_walk_forward_moves_along() -> None:
    found = folds_of(Window(0, 100), 10, count=3, share=0.6)
    assert [(fold.inside, fold.outside) for fold in found] == [
        (Window(0, 40), Window(40, 60)),
        (Window(20, 60), Window(60, 80)),
        (Window(40, 80), Window(80, 100)),
    ]
    anchored = folds_of(Window(0, 100), 10, count=3, share=0.6, is_anchored=True)
    assert [fold.inside for fold in anchored] == [Window(0, 40), Window(0, 60), Window(0, 80)]


@given(
    st.integers(2, 500), st.integers(1, 8), st.floats(0.05, 0.95), st.booleans(), st.integers(0, 9)
)
def test_parameters_are_never_judged_on_what_they_were_chosen_on(
    slices: int, count: int, share: float, is_anchored: bool, rest: int
) -> None:
    whole = Window(1000, 1000 + slices * 10 + rest)
    try:
        found = folds_of(whole, 10, count=count, share=share, is_anchored=is_anchored)
    except BadFolds:
        return
    assert len(found) == count
    for fold in found:
        assert whole.start_ns <= fold.inside.start_ns < fold.inside.end_ns
        assert fold.inside.end_ns == fold.outside.start_ns < fold.outside.end_ns
    for before, after in pairwise(found):
        assert before.outside.end_ns == after.outside.start_ns
    assert found[-1].outside.end_ns == whole.end_ns


@pytest.mark.parametrize(("count", "share"), [(1, 0.0), (1, 1.0), (0, 0.5), (9, 0.5), (1, 0.01)])
def test_time_that_cannot_be_cut_is_refused(count: int, share: float) -> None:
    with pytest.raises(BadFolds):
        folds_of(Window(0, 100), 10, count=count, share=share)


# ---- searches


def hill(point: Point) -> float | None:
    """Highest at x = 70, y = 0.25; not defined for some."""
    x, y = float(point["a.x"]), float(point["b.y"])
    return None if x == 13 else -abs(x - 70) / 10 - abs(y - 0.25) * 20


def tried(method: str, trials: int, seed: int = 3) -> list[Point]:
    found: list[Point] = []

    def play(points: Any) -> list[float | None]:
        found.extend(points)
        return [hill(point) for point in points]

    search(method, parsed(["a.x=1..100", "b.y=0.0..1.0"]), trials, seed, play)
    return found


def test_a_model_of_the_results_finds_the_hill_sooner_than_chance() -> None:
    def height(method: str) -> float:
        found = [value for point in tried(method, 60) if (value := hill(point)) is not None]
        return max(found)

    assert height("bayes") > height("random")
    assert height("bayes") > -1


def test_the_same_seed_proposes_the_same() -> None:
    assert tried("bayes", 20) == tried("bayes", 20)
    assert tried("bayes", 20) != tried("bayes", 20, seed=4)


def test_what_is_not_defined_is_never_the_best() -> None:
    assert best({"a": None, "b": -3.0, "c": -3.0, "d": -4.0}) == "b"
    assert best({"a": None}) is None
    assert best({}) is None


# ---- the book


def a_result(number: int = 0, value: float | None = 1.0) -> Result:
    return Result(
        key=f"1/in/a.x={number}",
        fold=1,
        part="in",
        number=number,
        point={"a.x": str(number)},
        figures=dict.fromkeys(FIGURES, value),
        orders=1,
        fills=1,
        fees="0.1",
        final_equity="10",
        digest="d",
        seconds=0.1,
        rows=5,
    )


def test_what_was_noted_is_found_again(tmp_path: Path) -> None:
    for number in range(3):
        Book(tmp_path).add(a_result(number))
    assert [item.number for item in Book(tmp_path).results.values()] == [0, 1, 2]


@given(cut=st.integers(1, 200))
def test_half_a_line_of_a_killed_process_costs_that_line_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("book")
    book = Book(folder)
    book.add(a_result(0))
    book.add(a_result(1))
    path = folder / "trials.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: max(first, len(whole) - cut)])
    again = Book(folder)
    assert a_result(0).key in again.results
    again.add(a_result(2))
    assert a_result(2).key in Book(folder).results
    assert a_result(0).key in Book(folder).results


def test_parts_of_a_cluster_write_files_of_their_own(tmp_path: Path) -> None:
    Book(tmp_path, "trials-1-of-2").add(a_result(0))
    Book(tmp_path, "trials-2-of-2").add(a_result(1))
    assert len(Book(tmp_path).results) == 2


# ---- what is to be doubted


def test_the_best_by_chance_is_that_of_the_formula() -> None:
    # N = 10, mean 0, standard deviation 1: 0.42278 x 1.28155 + 0.57722 x 1.78940 (by hand)
    values = [-1.4863, -0.9, -0.6, -0.3, -0.1, 0.1, 0.3, 0.6, 0.9, 1.4863]
    from statistics import stdev

    assert best_by_chance(values) == pytest.approx(stdev(values) * 1.57469, abs=1e-3)
    assert best_by_chance([1.0]) is None


@pytest.mark.parametrize(
    ("inside", "outside", "by_chance", "says"),
    [
        (2.0, 0.9, 1.0, ["out of sample"]),
        (2.0, 1.1, 1.0, []),
        (2.0, -0.1, None, ["out of sample"]),
        (2.0, 1.5, 2.0, ["chance alone"]),
        (2.0, None, 1.0, ["not defined out of sample: because"]),
        (None, None, None, ["no trial, so nothing was chosen: because (9 trials)"]),
    ],
)
def test_doubts_are_told(inside: Any, outside: Any, by_chance: Any, says: list[str]) -> None:
    fold = {"fold": 1, "trials": 9, "objective_in": inside, "objective_out": outside}
    fold |= {"undefined_in": {"because": 9}, "undefined_out": "because"}
    found = warnings_of([{**fold, "best_by_chance": by_chance}])
    assert len(found) == len(says)
    assert all(text in warning for text, warning in zip(says, found, strict=True))
