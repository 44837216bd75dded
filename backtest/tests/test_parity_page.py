"""The page holds what was found, all that it needs, and nothing that a name could smuggle in."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import msgspec
import polars as pl
import pytest
from parity_samples import MINUTE_NS, Deal, run_of

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


def test_the_page_names_the_runs_by_what_differs_and_their_ids_in_a_table() -> None:
    deals = [DEAL]
    one, two = run_of(deals, CLOSES, prefix="id-one"), run_of(deals, CLOSES, prefix="id-two")
    runs = [
        RunTables(
            msgspec.structs.replace(run.description, title="cross", parameters={"fast": fast}),
            run.tables,
        )
        for run, fast in ((one, "5"), (two, "10"))
    ]
    page = page_of(parity(*runs), *runs)
    assert "<h1>Parity: cross, fast 5 and cross, fast 10</h1>" in page
    assert "<td>id-one</td>" in page
    assert '"tickformat":",.' in page


def part(run: RunTables, first: int, behind: int, name: str = "") -> RunTables:
    """Its minutes from one to another, maybe of another instrument."""
    tables = {
        key: rows.filter(pl.col(at).is_between(first * MINUTE_NS, behind * MINUTE_NS))
        for key, rows, at in (
            ("bars", run["bars"], "ts_close_ns"),
            ("orders", run["orders"], "ts_decided_ns"),
            ("fills", run["fills"], "ts_event_ns"),
        )
    }
    if name:
        tables = {
            key: rows.with_columns(instrument_id=pl.lit(name)) for key, rows in tables.items()
        }
    return RunTables(run.description, tables)


LONG = tuple(100.0 + number for number in range(30))
DEALS = [Deal(minute=minute, quantity=1.0, price=100.0) for minute in (2, 5, 12, 25)]


def test_runs_over_other_times_are_told_with_what_is_compared() -> None:
    a, b = run_of(DEALS, LONG), run_of(DEALS, LONG, prefix="b")
    assert parity(a, b).warnings == ()
    # A bar more or less at either end is the same time.
    assert parity(a, part(b, 2, 29)).warnings == ()
    cut = part(b, 10, 20)
    (warning,) = parity(a, cut).warnings
    assert "A covers 1970-01-01 00:00 to 1970-01-01 00:30 UTC, B 1970-01-01 00:09" in warning
    assert "3 orders of A, 0 of B" in warning
    assert warning in facts_of(parity(a, cut))["warnings"]
    assert warning in page_of(parity(a, cut), a, cut)
    (apart,) = parity(part(a, 0, 8), part(b, 12, 30)).warnings
    assert "They share no time" in apart


def test_instruments_of_one_run_alone_are_told() -> None:
    a, b = run_of(DEALS, LONG), run_of(DEALS, LONG, prefix="b")
    assert parity(a, part(b, 0, 30, "ETH.V")).warnings == (
        "Only A has BTC.V: 4 of its orders, which count as missing.",
        "Only B has ETH.V: 4 of its orders, which count as missing.",
    )
