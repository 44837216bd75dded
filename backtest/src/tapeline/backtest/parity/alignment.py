"""Which order of one run answers to which of another: by group, instrument, time and side.

Ids are not compared: two runs derive them from different run ids.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

from tapeline.backtest.run_tables import RunTables

ZERO: Final = Fraction(0)
PROTECTIVE: Final = ("TAKE_PROFIT", "STOP_LOSS")
SIGNS: Final = {"BUY": 1, "SELL": -1}


class Match(StrEnum):
    """How two orders were found to belong together."""

    EXACT = "EXACT"
    """decided at the same time, same side"""
    NEAR = "NEAR"
    """same side, decided within the tolerance"""
    OPPOSITE = "OPPOSITE"
    """decided at the same time, other side"""
    ONLY_A = "ONLY_A"
    ONLY_B = "ONLY_B"


def exact(value: float | None) -> Fraction:
    """The number that the shortest text of a float says; a missing one is 0."""
    return ZERO if value is None else Fraction(repr(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """One fill, exactly."""

    ts_event_ns: int
    quantity: Fraction
    """signed, in units of the underlying"""
    price: Fraction
    fee: Fraction


@dataclass(slots=True, kw_only=True)
class Placed:
    """An order of a run with its fills, or one of its protective legs."""

    group_id: str
    instrument_id: str
    ts_decided_ns: int
    side: str
    """BUY, SELL, or empty where a wish never became an order"""
    leg: str = ""
    """TAKE_PROFIT or STOP_LOSS for a protective leg"""
    status: str = ""
    code: str = ""
    wanted: Fraction = ZERO
    """signed quantity that was ordered; 0 where nothing was"""
    fills: list[Filled] = field(default_factory=list)

    @property
    def quantity(self) -> Fraction:
        """Signed quantity that was filled."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def paid(self) -> Fraction:
        """Signed notional: what the fills cost, before fees."""
        return sum((fill.quantity * fill.price for fill in self.fills), ZERO)

    @property
    def fee(self) -> Fraction:
        """Paid on its fills."""
        return sum((fill.fee for fill in self.fills), ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two orders that answer to each other, or one without the other."""

    match: Match
    a: Placed | None
    b: Placed | None

    @property
    def known(self) -> Placed:
        """The first of the two that there is."""
        found = self.a or self.b
        assert found is not None
        return found

    @property
    def ts_ns(self) -> int:
        """When it was decided first."""
        return min(item.ts_decided_ns for item in (self.a, self.b) if item is not None)


def placed_orders(run: RunTables) -> list[Placed]:
    """The orders of a run; fills that name no order of it make one of their own."""
    by_client: dict[str, Placed] = {}
    by_decision: dict[tuple[str, str], Placed] = {}
    found: list[Placed] = []
    for row in run["orders"].iter_rows(named=True):
        placed = _order_of(row)
        found.append(placed)
        if row["client_order_id"]:
            by_client[row["client_order_id"]] = placed
        by_decision.setdefault((row["decision_id"] or "", row["instrument_id"]), placed)
    legs: dict[tuple[int, str], Placed] = {}
    for row in run["fills"].sort("ts_event_ns", maintain_order=True).iter_rows(named=True):
        order: Placed | None = by_client.get(row["client_order_id"] or "")
        if order is None:
            order = by_decision.get((row["decision_id"] or "", row["instrument_id"]))
        if order is not None and row["role"] in PROTECTIVE:
            order = _leg_of(order, row, legs, found)
        if order is None or order.side != row["side"]:
            order = _order_of({**row, "ts_decided_ns": row["ts_event_ns"]})
            found.append(order)
            if row["client_order_id"]:
                by_client[row["client_order_id"]] = order
        order.fills.append(_filled(row))
        if not order.wanted:
            order.wanted = order.quantity
    return found


def _order_of(row: Mapping[str, Any]) -> Placed:
    multiplier = exact(row.get("multiplier")) or Fraction(1)
    sign = SIGNS.get(row["side"] or "", 0)
    is_order = "order_type" in row
    return Placed(
        group_id=row["group_id"] or "",
        instrument_id=row["instrument_id"],
        ts_decided_ns=row["ts_decided_ns"] or 0,
        side=row["side"] or "",
        status=row.get("status") or "",
        code=row.get("code") or "",
        wanted=sign * exact(row["quantity"]) * multiplier if is_order else ZERO,
    )


def _leg_of(
    parent: Placed, row: Mapping[str, Any], legs: dict[tuple[int, str], Placed], found: list[Placed]
) -> Placed:
    key = (id(parent), row["role"])
    if key not in legs:
        legs[key] = Placed(
            group_id=parent.group_id,
            instrument_id=parent.instrument_id,
            ts_decided_ns=parent.ts_decided_ns,
            side=row["side"] or "",
            leg=row["role"],
            status="FILLED",
        )
        found.append(legs[key])
    return legs[key]


def _filled(row: Mapping[str, Any]) -> Filled:
    multiplier = exact(row.get("multiplier")) or Fraction(1)
    sign = SIGNS[row["side"]]
    return Filled(
        ts_event_ns=row["ts_event_ns"],
        quantity=sign * exact(row["quantity"]) * multiplier,
        price=exact(row["price"]),
        fee=exact(row["fee"]),
    )


def aligned(a: Iterable[Placed], b: Iterable[Placed], tolerance_ns: int) -> list[Pair]:
    """Every order of both runs in exactly one pair, by the time of the first decision."""
    pairs: list[Pair] = []
    of_a, of_b = _by_line(a), _by_line(b)
    for line in sorted({*of_a, *of_b}):
        pairs += _aligned_line(of_a.get(line, []), of_b.get(line, []), tolerance_ns)
    return sorted(pairs, key=lambda pair: (pair.ts_ns, pair.known.group_id, pair.known.leg))


def _by_line(orders: Iterable[Placed]) -> dict[tuple[str, str, str], list[Placed]]:
    found: dict[tuple[str, str, str], list[Placed]] = {}
    for order in sorted(orders, key=lambda order: order.ts_decided_ns):
        found.setdefault((order.group_id, order.instrument_id, order.leg), []).append(order)
    return found


def _aligned_line(a: Sequence[Placed], b: Sequence[Placed], tolerance_ns: int) -> list[Pair]:
    found = _same_time(a, b, Match.EXACT)
    found += _same_time(*_left(a, b, found), Match.OPPOSITE)
    found += _near(*_left(a, b, found), tolerance_ns)
    only_a, only_b = _left(a, b, found)
    found += [Pair(match=Match.ONLY_A, a=order, b=None) for order in only_a]
    return found + [Pair(match=Match.ONLY_B, a=None, b=order) for order in only_b]


def _left(
    a: Sequence[Placed], b: Sequence[Placed], pairs: Sequence[Pair]
) -> tuple[list[Placed], list[Placed]]:
    """What is in no pair yet."""
    taken_a, taken_b = {id(pair.a) for pair in pairs}, {id(pair.b) for pair in pairs}
    return (
        [order for order in a if id(order) not in taken_a],
        [order for order in b if id(order) not in taken_b],
    )


def _fits(a: Placed, b: Placed) -> bool:
    """A wish that never became an order has no side, and goes with either."""
    return a.side == b.side or not a.side or not b.side


def _same_time(a: Sequence[Placed], b: Sequence[Placed], match: Match) -> list[Pair]:
    """What was decided at the same time, in order."""
    waiting: dict[int, list[Placed]] = {}
    for order in b:
        waiting.setdefault(order.ts_decided_ns, []).append(order)
    pairs: list[Pair] = []
    for order in a:
        same = waiting.get(order.ts_decided_ns, [])
        for index, other in enumerate(same):
            if match is Match.OPPOSITE or _fits(order, other):
                pairs.append(Pair(match=match, a=order, b=same.pop(index)))
                break
    return pairs


def _near(a: Sequence[Placed], b: Sequence[Placed], tolerance_ns: int) -> list[Pair]:
    """The closest in time first; each order once."""
    times = [order.ts_decided_ns for order in b]
    distances: list[tuple[int, int, int]] = []
    for i, order in enumerate(a):
        low = bisect_left(times, order.ts_decided_ns - tolerance_ns)
        high = bisect_right(times, order.ts_decided_ns + tolerance_ns)
        distances += [
            (abs(order.ts_decided_ns - times[j]), i, j)
            for j in range(low, high)
            if _fits(order, b[j])
        ]
    of_a: dict[int, int] = {}
    used_b: dict[int, int] = {}
    for _, i, j in sorted(distances):
        if i not in of_a and j not in used_b:
            of_a[i], used_b[j] = j, i
    return [Pair(match=Match.NEAR, a=a[i], b=b[j]) for i, j in sorted(of_a.items())]
