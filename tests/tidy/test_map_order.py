"""Cores do not depend on the order of their maps: it is another one behind a snapshot.

Found is who takes the first or last of a map: `next(iter(...))`, `popitem`, a place of a list made
of one, the first item that suits, the best of several that may be alike. Going through all of a map
is fine, and so is whatever is sorted first. What is said in the order of a map is found by the
twins of the tests, see docs/testing.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import PurePath

import pytest
from repository import files, text_of

SNAPSHOT = (
    "services/risk/src/tapeline/risk/*.py",
    "services/execution/src/tapeline/execution/*.py",
    "services/execution/src/tapeline/execution/venues/*.py",
    "services/agents/src/tapeline/agents/*.py",
    "services/agents/src/tapeline/agents/llm/*.py",
    "services/agents/src/tapeline/agents/triggers/*.py",
    "services/market-data/src/tapeline/market_data/bars*.py",
    "libs/accounting/src/tapeline/accounting/*.py",
)
PROCESS_MEMORY = ("last_look.py",)
"""forgets the oldest of a map that is in no snapshot: its order is that of arrival"""


def kept_in_snapshots() -> list[str]:
    return [
        path
        for path in files(".py")
        if any(PurePath(path).match(pattern) for pattern in SNAPSHOT)
        and PurePath(path).name not in PROCESS_MEMORY
    ]


def test_no_core_takes_the_first_of_a_map() -> None:
    paths = kept_in_snapshots()
    assert len(paths) > 80
    found = [f"{path}:{what}" for path in paths for what in firsts(text_of(path))]
    assert found == [], "the order of a map is lost in a snapshot: sort, or take a min"


@pytest.mark.parametrize(
    "source",
    [
        "next(iter(state.orders))",
        "next(reversed(gone))",
        "next((one for one in state.orders.values() if one.is_open), None)",
        "state.used.popitem()",
        "list(board.trips.items())[1:]",
        "tuple(state.trips)[-1]",
        "min(state.orders.values(), key=age)",
        "def f():\n    for name, one in orders.items():\n        if one:\n            return name",
        "for one in () if book is None else book.drifts.values():\n    break",
    ],
)
def test_what_takes_the_first_of_a_map_is_found(source: str) -> None:
    assert list(firsts(source))


@pytest.mark.parametrize(
    "source",
    [
        "min(one.due_ns for one in state.orders.values())",
        "[one for one in state.orders.values() if one.is_open]",
        "next((one for one in sorted(state.orders) if one), None)",
        "def f():\n    for name, one in sorted(orders.items()):\n        return name",
        "def f():\n    for one in orders.values():\n        if one:\n            return False",
        "(only,) = reserves.values()",
    ],
)
def test_what_looks_at_all_of_a_map_is_not(source: str) -> None:
    assert not list(firsts(source))


def firsts(source: str) -> Iterator[str]:
    """Line and kind of each place that depends on the order of a map."""
    for node in ast.walk(ast.parse(source)):
        kind = kind_of(node)
        if kind:
            yield f"{getattr(node, 'lineno', 0)}: {kind}"


def kind_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and node.attr == "popitem":
        return "popitem"
    if isinstance(node, ast.Subscript) and is_call_of(node.value, "list", "tuple"):
        return "a place of a list that is made of something"
    if isinstance(node, ast.For) and goes_through_a_map(node.iter) and ends_early(node):
        return "the first that suits"
    if isinstance(node, ast.Call) and node.args:
        first = node.args[0]
        if is_call_of(node, "next") and is_call_of(first, "iter", "reversed"):
            return "the first or last"
        if is_call_of(node, "next") and isinstance(first, ast.GeneratorExp):
            return "the first that suits" if goes_through_a_map(first.generators[0].iter) else ""
        is_best = is_call_of(node, "min", "max") and any(one.arg == "key" for one in node.keywords)
        if is_best and goes_through_a_map(first):
            return "the best, of which there may be several"
    return ""


def is_call_of(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def goes_through_a_map(node: ast.expr) -> bool:
    found = list(ast.walk(node))
    is_view = any(
        isinstance(one, ast.Call)
        and isinstance(one.func, ast.Attribute)
        and one.func.attr in ("keys", "values", "items")
        for one in found
    )
    return is_view and not any(is_call_of(one, "sorted") for one in found)


def ends_early(loop: ast.For) -> bool:
    """With a value that depends on where it ends; a constant is the same for all."""
    return any(
        isinstance(one, ast.Break)
        or (
            isinstance(one, ast.Return)
            and one.value is not None
            and not isinstance(one.value, ast.Constant)
        )
        for one in ast.walk(loop)
    )
