"""The page holds what was found, all that it needs, and nothing that a name could smuggle in."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import msgspec
import pytest
from parity_samples import Deal, run_of

from tapeline.backtest.parity.attribution import BUCKETS, parity
from tapeline.backtest.parity.facts import by_line, facts_of
from tapeline.backtest.parity.page import page_of
from tapeline.backtest.run_tables import RunTables

CLOSES = (100.0, 102.0, 101.0, 105.0)
DEAL = Deal(minute=1, quantity=1.0, price=100.0)


def test_the_page_stands_alone_and_tells_the_gap() -> None:
    a, b = run_of([DEAL], CLOSES), run_of([replace(DEAL, price=100.5)], CLOSES, prefix="b")
    page = page_of(parity(a, b), a, b)
    assert "B made 0.50 less than A: fill −0.50." in page
    outside = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="[^"]*"', page)
    assert outside == []
    for name in BUCKETS:
        assert f"<td>{name}</td>" in page


def test_names_of_a_run_are_text_on_the_page() -> None:
    a = run_of([DEAL], CLOSES)
    named = msgspec.structs.replace(a.description, title="<script>x</script>")
    b = RunTables(named, a.tables)
    assert "<script>x" not in page_of(parity(a, b), a, b)


def test_facts_are_plain_and_add_up() -> None:
    a, b = run_of([DEAL], CLOSES), run_of([], CLOSES, prefix="b", funding={1: 2.0})
    found = parity(a, b)
    facts = json.loads(json.dumps(facts_of(found)))
    assert facts["gap"] == -2.9
    assert sum(facts["buckets"].values()) == pytest.approx(facts["gap"])
    assert facts["orders"]["ONLY_A"] == 1
    assert facts["pairs"][0]["b"] is None
    assert sum(line["gap"] for line in by_line(found)) == pytest.approx(facts["gap"])


def test_two_empty_runs_make_a_page_too() -> None:
    a, b = run_of([], CLOSES), run_of([], CLOSES, prefix="b")
    page = page_of(parity(a, b), a, b)
    assert "Neither run placed an order." in page
    assert "By group and instrument" not in page
    # Nothing is drawn that has no data: only the waterfall is.
    assert page.count('class="chart"') == 1
    assert '"id":"chart1"' not in page


def test_a_run_without_orders_is_told_first() -> None:
    a, b = run_of([DEAL], CLOSES), run_of([], CLOSES, prefix="b")
    assert "B has no orders at all" in page_of(parity(a, b), a, b)


def test_two_equal_runs_say_so() -> None:
    a, b = run_of([DEAL], CLOSES), run_of([DEAL], CLOSES, prefix="b")
    assert "same money, order by order" in page_of(parity(a, b), a, b)


def test_the_page_names_the_parameters_that_differ() -> None:
    a = run_of([DEAL], CLOSES)
    described = msgspec.structs.replace(a.description, parameters={"fast": "5", "slow": "30"})
    other = msgspec.structs.replace(a.description, parameters={"fast": "10", "slow": "30"})
    one, two = RunTables(described, a.tables), RunTables(other, a.tables)
    page = page_of(parity(one, two), one, two)
    assert "Parameters that differ: fast 5, then 10." in page
    assert "Parameters that differ" not in page_of(parity(one, one), one, one)
