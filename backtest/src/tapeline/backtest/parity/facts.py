"""The parity of two runs as plain values, for scripts, tables and the page."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from tapeline.backtest.parity.alignment import ZERO, Match, Placed
from tapeline.backtest.parity.attribution import BUCKETS, Parity, Part
from tapeline.backtest.run_tables import Description

MEANINGS: Final[Mapping[str, str]] = {
    "signal": "another side or size was asked for, or sized by risk",
    "timing": "the market moved between the two fills",
    "fill": "dealt better or worse than the market, or not to the full",
    "fee": "fees at another rate",
    "funding": "cash without a fill: funding, borrow, dividends",
    "data": "other prices, or a decision that differs after other bars",
    "missing": "an order that only one of the runs has, or that was denied",
}
"""What each bucket holds, in words."""
assert tuple(MEANINGS) == BUCKETS


def number(value: Fraction) -> float:
    """Rounded to a float, for people and JSON."""
    return float(value)


def facts_of(found: Parity) -> dict[str, Any]:
    """Everything; money is in the base currency, B minus A."""
    return {
        "a": _run(found.a, found.profit_a, found.labels[0], found.spans[0]),
        "b": _run(found.b, found.profit_b, found.labels[1], found.spans[1]),
        "currency": found.a.base_currency,
        "gap": number(found.gap),
        "buckets": {name: number(value) for name, value in found.buckets.items()},
        "not_in_the_tables": number(found.untold),
        "orders": {match.value: found.count(match) for match in Match},
        "warnings": list(found.warnings),
        "pairs": [pair_facts(part) for part in found.parts],
    }


def _run(
    described: Description, profit: Fraction, label: str, span: tuple[int, int] | None
) -> dict[str, Any]:
    return {
        "label": label,
        "covers_ns": span,
        "title": described.title or described.run_id,
        "run_id": described.run_id,
        "kind": described.kind,
        "parameters": dict(described.parameters),
        "profit": number(profit),
        "orders": described.orders,
        "fills": described.fills,
        "fees": described.fees,
    }


def changed(facts: dict[str, Any]) -> list[str]:
    """Parameters that the runs do not share, such as `band 0.1, then 0.2`."""
    a, b = facts["a"]["parameters"], facts["b"]["parameters"]
    names = sorted(name for name in {**a, **b} if a.get(name) != b.get(name))
    return [f"{name} {a.get(name, 'not set')}, then {b.get(name, 'not set')}" for name in names]


def pair_facts(part: Part) -> dict[str, Any]:
    """One pair of orders."""
    pair = part.pair
    return {
        "ts_decided_ns": pair.ts_ns,
        "group_id": pair.known.group_id,
        "instrument_id": pair.known.instrument_id,
        "leg": pair.known.leg,
        "match": pair.match.value,
        "a": _order(pair.a),
        "b": _order(pair.b),
        "gap": number(part.total),
        "buckets": {name: number(value) for name, value in part.buckets.items() if value},
    }


def _order(order: Placed | None) -> dict[str, Any] | None:
    if order is None:
        return None
    quantity = order.quantity
    return {
        "side": order.side,
        "wanted": number(abs(order.wanted)),
        "filled": number(abs(quantity)),
        "price": number(order.paid / quantity) if quantity else None,
        "fee": number(order.fee),
        "ts_filled_ns": order.fills[-1].ts_event_ns if order.fills else None,
        "status": order.status,
        "code": order.code,
    }


def by_line(found: Parity) -> list[dict[str, Any]]:
    """The buckets of each group and instrument, the largest gap first."""
    lines: dict[tuple[str, str], dict[str, Fraction]] = {}
    for part in found.parts:
        key = (part.pair.known.group_id, part.pair.known.instrument_id)
        line = lines.setdefault(key, dict.fromkeys(BUCKETS, ZERO))
        for name, value in part.buckets.items():
            line[name] += value
    for instrument_id, value in found.funding.items():
        lines.setdefault(("", instrument_id), dict.fromkeys(BUCKETS, ZERO))["funding"] += value
    rows = [
        {
            "group_id": group_id,
            "instrument_id": instrument_id,
            "gap": number(sum(line.values(), ZERO)),
            **{name: number(value) for name, value in line.items()},
        }
        for (group_id, instrument_id), line in lines.items()
    ]
    return sorted(rows, key=lambda row: -abs(row["gap"]))
