"""Mutants of a source file: what cosmic-ray's operators make of it, one change each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

OPERATORS: Final = (
    # Each comparison: its neighbour at the limit, and its opposite.
    *(
        f"core/ReplaceComparisonOperator_{pair}"
        for pair in (
            *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"),
            *("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt"),
            *("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
        )
    ),
    *(
        f"core/ReplaceBinaryOperator_{pair}"
        for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul")
    ),
    "core/ReplaceUnaryOperator_USub_UAdd",
    "core/ReplaceUnaryOperator_Delete_Not",
    "core/AddNot",
    "core/ReplaceTrueWithFalse",
    "core/ReplaceFalseWithTrue",
    "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd",
    "core/ReplaceBreakWithContinue",
    "core/ReplaceContinueWithBreak",
    "core/NumberReplacer",
    "core/ZeroIterationForLoop",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one file."""

    path: str
    """of the file, from the root of the repository"""
    operator: str
    """without its prefix"""
    occurrence: int
    line: int
    before: str
    """the line as it stands"""
    after: str
    """and what becomes of it"""
    source: str
    """the whole file, changed"""

    @property
    def key(self) -> str:
        """Name of the change within its file."""
        return f"{self.operator}/{self.occurrence}"


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a file that compiles and changes something that is executed."""
    spared = _spared(source)
    nodes = list(ast_nodes(get_ast(source)))
    for name in OPERATORS:
        operator = get_operator(name)()
        positions = [place for node in nodes for place in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(positions):
            if any(first <= start <= last for first, last in spared):
                continue
            changed = mutate_code(source, operator, occurrence)
            if changed is None or changed == source or not _compiles(changed):
                continue
            before, after = _lines(source, changed, start[0])
            if after == before.replace("*, ", "/, ", 1):
                continue  # how an argument may be passed, in a signature
            yield Mutant(
                path=path,
                operator=name.removeprefix("core/"),
                occurrence=occurrence,
                line=start[0],
                before=before,
                after=after,
                source=changed,
            )


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _lines(source: str, changed: str, line: int) -> tuple[str, str]:
    """The line that differs, before and after."""
    old, new = source.splitlines(), changed.splitlines()
    for before, after in zip(old, new, strict=False):
        if before != after:
            return before.strip(), after.strip()
    return old[line - 1].strip(), "(left out)"


def _spared(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans that say nothing of behaviour: annotations, which stay text, and how a dataclass is
    declared (frozen, slots, kw_only)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for part in _annotations(node):
            if part is not None:
                end = (part.end_lineno or part.lineno, part.end_col_offset or part.col_offset)
                found.append(((part.lineno, part.col_offset), end))
    return found


def _annotations(node: Any) -> list[Any]:
    if isinstance(node, ast.AnnAssign | ast.arg):
        return [node.annotation]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.returns]
    if isinstance(node, ast.ClassDef):
        return node.decorator_list
    return []
