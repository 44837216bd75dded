"""What runs are called beside others."""

from __future__ import annotations

from typing import Any

import pytest
from made_runs import bar_rows, equity_rows, made

from tapeline.backtest.run_labels import LABEL_MAX, labels_of, span_of, span_text
from tapeline.backtest.run_tables import Assumption, RunTables


def run(days: int = 2, **facts: Any) -> RunTables:
    described = {"title": "cross on X", "parameters": {"fast": "5", "slow": "30"}, **facts}
    return made(equity_rows([1.0] * days), **described)


def spread(rate: str, *, is_on: bool) -> Assumption:
    return Assumption(name="spread", value=rate, meaning="", is_on=is_on)


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        ([run()], ("cross on X",)),
        ([run(), run(title="mine on X")], ("cross on X", "mine on X")),
        (
            [run(), run(parameters={"fast": "9", "slow": "30"}), run(title="mine on X")],
            ("cross on X, fast 5", "cross on X, fast 9", "mine on X"),
        ),
        (
            [run(), run(parameters={"fast": "5"})],
            ("cross on X, slow 30", "cross on X, slow not set"),
        ),
        ([run(), run(kind="paper")], ("cross on X, backtest", "cross on X, paper")),
        (
            [run(), run(3)],
            ("cross on X, 2022-01-04 to 2022-01-05", "cross on X, 2022-01-04 to 2022-01-06"),
        ),
        (
            [
                run(assumptions=(spread("0.1 %", is_on=True),)),
                run(assumptions=(spread("0 %", is_on=False),)),
            ],
            ("cross on X, spread 0.1 %", "cross on X, spread off"),
        ),
        (
            [run(parameters={"strategy": f"mine@{digest}"}) for digest in ("0ab", "1cd")],
            ("mine, strategy mine@0ab", "mine, strategy mine@1cd"),
        ),
        (
            [run(parameters={"strategy": "ema", "fast": fast}) for fast in ("5", "8")],
            ("ema, fast 5", "ema, fast 8"),
        ),
        (
            [
                run(title=f"ema on {name}", instruments=(name,), parameters={"strategy": "ema"})
                for name in ("X", "Y")
            ],
            ("ema on X", "ema on Y"),
        ),
        ([run(), run(), run()], ("cross on X", "cross on X (2)", "cross on X (3)")),
        ([run(title="", run_id="r-1"), run(title="", run_id="r-2")], ("r-1", "r-2")),
    ],
)
def test_runs_of_one_title_are_named_by_what_differs(
    runs: list[RunTables], labels: tuple[str, ...]
) -> None:
    assert labels_of(runs) == labels


def test_a_label_has_an_end_and_stays_its_own() -> None:
    names = [f"parameter_of_some_length_{number}" for number in range(9)]
    runs = [run(parameters=dict.fromkeys(names, value)) for value in ("1", "2")]
    labels = labels_of(runs)
    assert len(set(labels)) == 2
    assert all(len(label) <= LABEL_MAX + 4 for label in labels)


def test_the_time_of_a_run_is_that_of_its_bars_else_of_its_worth() -> None:
    assert span_text(span_of(run())) == "2022-01-04 00:00 to 2022-01-05 00:00"
    with_bars = made(equity_rows([1.0]), bars=bar_rows([1.0, 2.0, 3.0]))
    assert span_text(span_of(with_bars)) == "2022-01-03 00:00 to 2022-01-06 00:00"
    assert span_text(span_of(made([]))) == "no time"
