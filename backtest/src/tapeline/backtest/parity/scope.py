"""What two runs cover that the other does not: there is nothing to hold it against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from tapeline.backtest.run_labels import instruments_of, span_of, span_text
from tapeline.backtest.run_tables import RunTables

MINUTE_NS: Final = 60_000_000_000
NAMED_MAX: Final = 5


def unlike(a: RunTables, b: RunTables) -> list[str]:
    """Why part of the comparison is of one run alone, in words."""
    return [*_times(a, b), *_instruments(a, b)]


def _times(a: RunTables, b: RunTables) -> list[str]:
    of_a, of_b = span_of(a), span_of(b)
    if of_a is None or of_b is None:
        return []
    # The last bar of a run may be open still.
    apart_ns = max(a.description.interval_ns, b.description.interval_ns, MINUTE_NS)
    if all(abs(one - other) <= apart_ns for one, other in zip(of_a, of_b, strict=True)):
        return []
    first, last = max(of_a[0], of_b[0]), min(of_a[1], of_b[1])
    covered = f"A covers {span_text(of_a)} UTC, B {span_text(of_b)}."
    if first >= last:
        return [f"{covered} They share no time: no order of one can be matched with the other's."]
    outside = [_outside(run, first, last) for run in (a, b)]
    return [
        f"{covered} Both are compared whole; what was decided outside of the time they share "
        f"({span_text((first, last))}) counts as missing or data: {outside[0]:,} orders of A, "
        f"{outside[1]:,} of B."
    ]


def _outside(run: RunTables, first_ns: int, last_ns: int) -> int:
    return run["orders"].filter(~pl.col("ts_decided_ns").is_between(first_ns, last_ns)).height


def _instruments(a: RunTables, b: RunTables) -> list[str]:
    of_a, of_b = instruments_of(a), instruments_of(b)
    found = []
    for letter, run, own, others in (("A", a, of_a, of_b), ("B", b, of_b, of_a)):
        alone = [name for name in own if name not in others]
        if alone and others:
            count = run["orders"].filter(pl.col("instrument_id").is_in(alone)).height
            found.append(
                f"Only {letter} has {_listed(alone)}: {count:,} of its orders, which count as "
                "missing."
            )
    return found


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")
