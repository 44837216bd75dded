"""Plain tables, and the few statistics that the benchmarks print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Row = Sequence[str]


def table(title: str, head: Row, rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """A title, aligned columns, and remarks below."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(_cell(cell, widths, at) for at, cell in enumerate(line)) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([title, *(f"  {line}".rstrip() for line in text), *notes, ""])


def _cell(cell: str, widths: Sequence[int], at: int) -> str:
    return cell.ljust(widths[at]) if at == 0 else cell.rjust(widths[at])


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Median (least to most)."""
    low, middle, high = min(values), median(values), max(values)
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies, of the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


Result = Mapping[str, Any]
"""What a benchmark hands out for --json."""
