"""Runs side by side: differences from the first, what they were told, and why not to compare."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest
from made_runs import crossover, equity_rows, made

from tapeline.backtest.report.analysis import analyse
from tapeline.backtest.report.comparison import (
    TooManyRuns,
    compare,
    comparison_facts,
    comparison_page,
)
from tapeline.backtest.report.figure import Figure, Unit
from tapeline.backtest.report.wording import signed
from tapeline.backtest.run_tables import Assumption


def test_differences_are_from_the_first_run() -> None:
    runs = [made(equity_rows([worth])) for worth in (1100.0, 1200.0, 1050.0)]
    compared = compare(["a", "b", "c"], [analyse(run) for run in runs])
    assert [compared.difference("total_return", at) for at in range(3)] == [
        0.0,
        pytest.approx(0.1),
        pytest.approx(-0.05),
    ]
    assert compared.difference("sharpe", 1) is None
    assert comparison_facts(compared)["differences"]["sharpe"] == [None, None, None]


def test_what_differs_comes_first_and_is_marked() -> None:
    runs = [
        made(equity_rows([1.0]), parameters={"fast": fast, "slow": "30", **more})
        for fast, more in (("10", {}), ("12", {"size": "2"}))
    ]
    compared = compare(["a", "b"], [analyse(run) for run in runs])
    assert comparison_facts(compared)["differs"] == {
        "parameter fast": ["10", "12"],
        "parameter size": ["–", "2"],
    }
    assert [name for name, _ in compared.told][:2] == ["parameter fast", "parameter size"]
    assert '<td class="differs">12</td>' in comparison_page(compared)


def test_unlike_runs_are_told() -> None:
    first = made(equity_rows([1.0, 2.0]))
    switched = msgspec.structs.replace(
        first.description,
        base_currency="EUR",
        assumptions=(Assumption(name="fee", value="0", meaning="none", is_on=False),),
    )
    other = replace(made(equity_rows([1.0])), description=switched)
    compared = compare(["a", "b"], [analyse(first), analyse(other)])
    assert [line.split(":")[0] for line in compared.warnings[:3]] == [
        "the runs do not cover the same days by the same calendar",
        "the runs have different base currencies",
        "the runs take different things for granted",
    ]


def test_warnings_of_all_are_said_once() -> None:
    runs = [
        made(equity_rows([1.0]), title=f"run {own}", warnings=("old data", own))
        for own in ("x", "y")
    ]
    compared = compare(["a", "b"], [analyse(run) for run in runs])
    assert [line for line in compared.warnings if line.endswith(("data", ": x", ": y"))] == [
        "all: old data",
        "run x: x",
        "run y: y",
    ]


def test_the_same_run_twice_has_two_names() -> None:
    one = analyse(made(equity_rows([1.0])))
    assert compare(["a", "a", "a"], [one] * 3).names == ("a", "a (2)", "a (3)")


def test_legends_say_what_differs_and_a_table_which_run_it_is() -> None:
    runs = [
        made(equity_rows([1.0, worth]), title="cross on X", parameters={"fast": fast, "slow": "30"})
        for worth, fast in ((2.0, "5"), (3.0, "10"))
    ]
    compared = compare(["digest-one", "digest-two"], [analyse(run) for run in runs])
    assert compared.labels == ("cross on X, fast 5", "cross on X, fast 10")
    said = comparison_facts(compared)["runs"]
    assert [(run["name"], run["label"]) for run in said] == [
        ("digest-one", "cross on X, fast 5"),
        ("digest-two", "cross on X, fast 10"),
    ]
    page = comparison_page(compared)
    assert '"name":"cross on X, fast 5"' in page
    assert '"name":"digest-one"' not in page
    assert '<td class="id">digest-one</td>' in page


def test_a_page_compares_many_runs_in_one_file() -> None:
    runs = [crossover(seed, 60 * 24 * 20, f"seed-{seed}") for seed in range(8)]
    page = comparison_page(compare([f"<{at}>" for at in range(8)], [analyse(run) for run in runs]))
    assert "&lt;7&gt;" in page
    assert "<7>" not in page
    assert page.count("plotly.js v") == 1
    json.dumps(comparison_facts(compare(["a"], [analyse(runs[0])])), allow_nan=False)


def test_too_many_runs_are_refused() -> None:
    one = analyse(made(equity_rows([1.0])))
    with pytest.raises(TooManyRuns, match="51 runs"):
        compare(["a"] * 51, [one] * 51)


@pytest.mark.parametrize(
    ("difference", "wanted"), [(0.012, "+1.20 %"), (-0.012, "-1.20 %"), (0.0, "=")]
)
def test_a_difference_has_a_sign(difference: float, wanted: str) -> None:
    assert signed(Figure(difference, Unit.SHARE)) == wanted
