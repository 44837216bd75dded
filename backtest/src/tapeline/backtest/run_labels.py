"""What people call several runs: by strategy or title, and what tells those of one name apart.

A run_id is a digest. Beside others a run is named by what was done otherwise: the parameters that
differ, else the first of other facts that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import polars as pl

from tapeline.backtest.run_tables import RunTables

PARAMETERS_MAX: Final = 4
"""in a label; more are in the table of what differs"""
LABEL_MAX: Final = 70
"""characters"""
TIMES: Final = (
    ("bars", "ts_open_ns", "ts_close_ns"),
    ("equity", "ts_event_ns", "ts_event_ns"),
    ("orders", "ts_decided_ns", "ts_decided_ns"),
)
"""(table, its first time, its last), the first that has rows counts"""
Facts: TypeAlias = Mapping[str, str]


def labels_of(runs: Sequence[RunTables]) -> tuple[str, ...]:
    """A label for each, all of them different, in the order of the runs."""
    are_of_one = len({run.description.instruments for run in runs}) == 1
    found = [_name(run, is_short=are_of_one and len(runs) > 1) for run in runs]
    for facts_of in KINDS:
        for places in _alike(found):
            facts = [facts_of(runs[place]) for place in places]
            for place, own in zip(places, facts, strict=True):
                text = _differing(own, facts)
                found[place] += f", {text}" if text else ""
    found = [_short(label) for label in found]
    for places in _alike(found):
        for number, place in enumerate(places[1:], 2):
            found[place] += f" ({number})"
    return tuple(found)


def _name(run: RunTables, *, is_short: bool) -> str:
    """Its title; where the others have the same instruments, its strategy alone."""
    facts = run.description
    strategy = facts.parameters.get("strategy", "").partition("@")[0]
    return (strategy if is_short else "") or facts.title or facts.run_id


def span_of(run: RunTables) -> tuple[int, int] | None:
    """(first, last) time that a run covers, nanoseconds UTC; None for one without any."""
    for name, first, last in TIMES:
        rows = run[name]
        if rows.height:
            low, high = rows[first].min(), rows[last].max()
            if isinstance(low, int) and isinstance(high, int):
                return low, high
    return None


def span_text(span: tuple[int, int] | None) -> str:
    """2022-01-10 00:00 to 2022-01-20 00:00, UTC."""
    return "no time" if span is None else " to ".join(map(_minute, span))


def instruments_of(run: RunTables) -> tuple[str, ...]:
    """Those of which a run has bars or orders, by name."""
    both = pl.concat([run[name]["instrument_id"] for name in ("bars", "orders")])
    return tuple(sorted(both.drop_nulls().unique().to_list()))


def _minute(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M}"


def _alike(labels: Sequence[str]) -> Iterator[list[int]]:
    """Places of labels that several have."""
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    return (some for some in list(places.values()) if len(some) > 1)


def _differing(own: Facts, facts: Sequence[Facts]) -> str:
    names = sorted({name for one in facts for name in one})
    differing = [name for name in names if len({one.get(name) for one in facts}) > 1]
    more = " …" if len(differing) > PARAMETERS_MAX else ""
    told = (f"{name} {own.get(name) or 'not set'}".strip() for name in differing[:PARAMETERS_MAX])
    return ", ".join(told) + more


def _short(label: str) -> str:
    return label if len(label) <= LABEL_MAX else f"{label[: LABEL_MAX - 1]}…"


def _parameters(run: RunTables) -> Facts:
    return run.description.parameters


def _instruments(run: RunTables) -> Facts:
    return {"": ", ".join(run.description.instruments)}


def _days(run: RunTables) -> Facts:
    span = span_of(run)
    return {"": "" if span is None else " to ".join(_minute(ts_ns)[:10] for ts_ns in span)}


def _data(run: RunTables) -> Facts:
    return {"": Path(run.description.source).name}


def _assumptions(run: RunTables) -> Facts:
    return {one.name: one.value if one.is_on else "off" for one in run.description.assumptions}


def _cash(run: RunTables) -> Facts:
    return {"cash": run.description.starting_cash}


def _kind(run: RunTables) -> Facts:
    return {"": run.description.kind}


KINDS: Final[tuple[Callable[[RunTables], Facts], ...]] = (
    _parameters,
    _kind,
    _instruments,
    _days,
    _assumptions,
    _cash,
    _data,
)
