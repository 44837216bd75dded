"""The pages about controls and limits name guards, codes, tests and settings that exist."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import PurePath

import pytest
from repository import files, text_of

from tapeline.contracts.config import Limits, Sizing, SizingMethod
from tapeline.contracts.risk import DenialCode
from tapeline.risk import guards
from tapeline.risk.entry_guards import ENTRY_GUARDS
from tapeline.risk.in_force import COUNTS, SUMS

CONTROLS, LIMITS = "docs/controls.md", "docs/limits.md"
CLAUSES = (
    "capital",
    "size",
    "price",
    "duplicate",
    "restricted",
    "rate",
    "authorised person",
    "kill",
)
NOTHING = "–"
"""a control that is no denial"""


def rows() -> list[tuple[str, str, str, str]]:
    """(clause, guard, code, test) of each row."""
    found = []
    for line in text_of(CONTROLS).splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 4 and cells[0] != "clause":
            found.append((cells[0].replace("*", ""), cells[1], cells[2], cells[3]))
    return found


def names_in(path: str) -> set[str]:
    """Functions and classes of a module, nested ones too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, kinds)}


def modules() -> dict[str, str]:
    """risk.guards -> its file."""
    found = {}
    for path in files(".py"):
        parts = PurePath(path).with_suffix("").parts
        if "src" in parts and "tapeline" in parts:
            found[".".join(parts[parts.index("tapeline") + 1 :])] = path
    return found


def test_every_clause_has_its_rows() -> None:
    named = [clause.partition(":")[0] for clause, _, _, _ in rows()]
    assert [clause for clause in CLAUSES if clause not in named] == []
    assert len(rows()) > 50


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_guard_code_and_test_of_a_control_exist(row: tuple[str, str, str, str]) -> None:
    _, guard, code, test = row
    module, _, name = guard.rpartition(".")
    assert module in modules(), f"there is no module tapeline.{module}"
    assert name in names_in(modules()[module]), f"tapeline.{module} has no {name}"
    assert code == NOTHING or code in DenialCode.__members__
    path, _, function = test.partition("::")
    assert path in files(".py"), f"there is no file {path}"
    assert function in names_in(path), f"{path} has no test {function}"


def test_every_guard_of_the_ladder_is_a_control() -> None:
    listed = {guard.rpartition(".")[2] for _, guard, _, _ in rows()}
    ladder = (*guards.DECISION_GUARDS, *ENTRY_GUARDS, *guards.ORDER_GUARDS)
    asked_for_sense = ("instrument_known", "well_formed", "numbers_positive")
    also_measured = ("volume_known", "sector_named")
    missing = [guard.__name__ for guard in ladder if guard.__name__ not in listed]
    assert [name for name in missing if name not in (*asked_for_sense, *also_measured)] == []


def test_every_code_is_explained() -> None:
    unused = ("UNKNOWN",)
    text = text_of(CONTROLS)
    missing = [code for code in DenialCode.__members__ if not re.search(rf"\b{code}\b", text)]
    assert [code for code in missing if code not in unused] == []


def test_every_limit_and_every_figure_of_a_sizing_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)`", text_of(LIMITS)))
    for record in (Limits, Sizing):
        assert {field.name for field in dataclasses.fields(record)} - named == set()
    assert set(SUMS) | set(COUNTS) <= named
    for method in SizingMethod:
        assert method is SizingMethod.UNKNOWN or f"| {method.value} |" in text_of(LIMITS)
