"""How an approved order may be worked: the sends that its approval covers, all of them signed.

    TWAP      equal slices, equally far apart
    VWAP      slices in proportion to the volume profile that the decision brings, equally far apart
    ICEBERG   one visible part after the other
    levels    the order itself, then a take profit and a stop loss for what it opens

Quantities are whole lots. A slice is what the running total, rounded down to lots, grows by, so the
slices add up to the order exactly and no rounding piles up in the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ONE, ZERO, fixed, round_down_to_lot, share
from tapeline.contracts.agents import Decision
from tapeline.contracts.frozen import acyclic
from tapeline.contracts.orders import (
    Algorithm,
    Approval,
    ChildRole,
    Order,
    OrderType,
    Schedule,
    ScheduledChild,
)
from tapeline.contracts.risk import DenialCode
from tapeline.risk.question import Refusal

CHILDREN_MAX: Final = 100
"""Every command carries the schedule of its order."""
ICEBERG_DURATION_NS: Final = 86_400_000_000_000
"""Where the decision names no end."""
FOREVER_NS: Final = 2**63 - 1
"""A position must not be left without protection because an approval grew old."""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an approval permits besides its order."""

    schedule: Schedule | None
    child_count: int
    last_send_ns: int


def plan(
    decision: Decision, order: Order, approval: Approval, opening: Decimal, lot_size: Decimal
) -> Plan | Refusal:
    """The sends of an order, of which `opening` opens or enlarges; its decision is well formed
    (order_terms.py)."""
    if decision.algorithm is not Algorithm.NONE:
        return _sliced(decision, order, approval, lot_size)
    if order.take_profit_price is None and order.stop_loss_price is None:
        return Plan(schedule=None, child_count=1, last_send_ns=approval.expires_ns)
    children = (_entry(order, approval), *_legs(order, approval, opening))
    return Plan(
        schedule=Schedule(algorithm=Algorithm.NONE, children=children),
        child_count=len(children),
        last_send_ns=approval.expires_ns,
    )


def _sliced(
    decision: Decision, order: Order, approval: Approval, lot_size: Decimal
) -> Plan | Refusal:
    duration_ns = decision.duration_ns or ICEBERG_DURATION_NS
    if decision.algorithm is Algorithm.ICEBERG:
        assert decision.visible_quantity is not None
        sizes = parts(order.quantity, decision.visible_quantity, lot_size)
        gap_ns = 0
    else:
        weights = decision.volume_profile or (ONE,) * (decision.slice_count or 1)
        sizes = split(order.quantity, weights, lot_size)
        gap_ns = duration_ns // len(weights)
    count = sum(1 for size in sizes if size)
    if not 0 < count <= CHILDREN_MAX:
        return Refusal(
            code=DenialCode.SCHEDULE,
            reason="The order would be worked in too many parts.",
            measured=Decimal(count),
            limit=Decimal(CHILDREN_MAX),
        )
    start_ns = approval.issued_ns
    end_ns = start_ns + duration_ns
    times = [start_ns + place * gap_ns for place, size in enumerate(sizes) if size]
    # The first slice goes out with the approval, whichever part of the time it belongs to.
    times[0] = start_ns
    children = tuple(
        _slice(order, size, send_ns, end_ns)
        for size, send_ns in zip((size for size in sizes if size), times, strict=True)
    )
    schedule = Schedule(algorithm=decision.algorithm, end_ns=end_ns, children=children)
    return Plan(schedule=schedule, child_count=count, last_send_ns=end_ns - 1)


def split(quantity: Decimal, weights: Sequence[Decimal], lot_size: Decimal) -> tuple[Decimal, ...]:
    """Quantities in proportion to weights, in lots, that add up to `quantity`; some may be 0."""
    total, passed, given = sum(weights, ZERO), ZERO, ZERO
    found = []
    for weight in weights:
        passed += weight
        reached = quantity if passed == total else share(quantity, passed, total)
        reached = round_down_to_lot(reached, lot_size)
        found.append(fixed(reached - given))
        given = reached
    found[-1] = fixed(found[-1] + quantity - given)
    return tuple(found)


def parts(quantity: Decimal, visible: Decimal, lot_size: Decimal) -> tuple[Decimal, ...]:
    """Equal parts of at most `visible`, in lots, and what is left; empty where they would be too
    many or too small."""
    part = max(round_down_to_lot(visible, lot_size), ZERO)
    if not part or part * CHILDREN_MAX < quantity:
        return ()
    found, left = [], quantity
    while left > 0:
        found.append(fixed(min(part, left)))
        left -= found[-1]
    return tuple(found)


def _slice(order: Order, size: Decimal, send_ns: int, end_ns: int) -> ScheduledChild:
    return ScheduledChild(
        role=ChildRole.SLICE,
        quantity=size,
        order_type=order.order_type,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        send_ns=send_ns,
        last_send_ns=end_ns - 1,
    )


def _entry(order: Order, approval: Approval) -> ScheduledChild:
    return ScheduledChild(
        role=ChildRole.WHOLE,
        quantity=order.quantity,
        order_type=order.order_type,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        send_ns=approval.issued_ns,
        last_send_ns=approval.expires_ns - 1,
    )


def _legs(order: Order, approval: Approval, opening: Decimal) -> list[ScheduledChild]:
    legs: list[tuple[ChildRole, OrderType, Decimal | None, Decimal | None]] = []
    if order.take_profit_price is not None:
        legs.append((ChildRole.TAKE_PROFIT, OrderType.LIMIT, order.take_profit_price, None))
    if order.stop_loss_price is not None:
        legs.append((ChildRole.STOP_LOSS, OrderType.STOP_MARKET, None, order.stop_loss_price))
    return [
        ScheduledChild(
            role=role,
            quantity=fixed(opening),
            order_type=order_type,
            limit_price=limit_price,
            stop_price=stop_price,
            send_ns=approval.issued_ns,
            last_send_ns=FOREVER_NS,
        )
        for role, order_type, limit_price, stop_price in legs
    ]
