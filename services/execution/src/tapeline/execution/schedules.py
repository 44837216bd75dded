"""Whether a signed schedule holds together: looked at on the way in, and again at the last hop.

    plain          no schedule: one send, the order itself
    protected      WHOLE, then a take profit, a stop loss or both
    sliced         SLICEs in ascending time, whose quantities add up to the order's

Execution takes nothing on trust here: the sum of what may be sent is never above what was approved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tapeline.accounting.numbers import ZERO
from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    ChildRole,
    Order,
    OrderType,
    ScheduledChild,
)
from tapeline.execution.venues.order_view import PROTECTIVE

CHILDREN_MAX: Final = 100
"""Every command carries its schedule; this keeps it small."""
_SLICED: Final = (Algorithm.TWAP, Algorithm.VWAP, Algorithm.ICEBERG)


def fault(approved: ApprovedOrder) -> str:
    """What is wrong with an approval's sends, or empty."""
    order, approval = approved.order, approved.approval
    schedule = approval.schedule
    if schedule is None:
        is_one = approval.child_count == 1
        return "" if is_one else f"It covers {approval.child_count} sends without a schedule."
    children = schedule.children
    if approval.child_count != len(children) or not 0 < len(children) <= CHILDREN_MAX:
        return f"It covers {approval.child_count} sends, its schedule lists {len(children)}."
    if any(child.quantity <= 0 for child in children):
        return "A send of its schedule has no positive quantity."
    if schedule.algorithm is Algorithm.NONE:
        return _protected_fault(order, children)
    if schedule.algorithm not in _SLICED:
        return f"The algorithm {schedule.algorithm.value} is not known."
    return _sliced_fault(approved, children)


def _protected_fault(order: Order, children: Sequence[ScheduledChild]) -> str:
    entry, legs = children[0], children[1:]
    if entry.role is not ChildRole.WHOLE or entry.quantity != order.quantity:
        return "Its first send is not the whole order."
    if not _has_terms_of(entry, order):
        return "Its first send has other terms than the order."
    roles = [leg.role for leg in legs]
    if not roles or len(set(roles)) != len(roles) or not set(roles) <= set(PROTECTIVE):
        return "It needs a take profit, a stop loss or both, each once."
    for leg in legs:
        if leg.quantity > order.quantity:
            return f"Its {leg.role.value} is larger than the order."
        is_profit = leg.role is ChildRole.TAKE_PROFIT
        kinds = (OrderType.LIMIT,) if is_profit else (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
        if leg.order_type not in kinds:
            return f"Its {leg.role.value} cannot be {leg.order_type.value}."
    return ""


def _sliced_fault(approved: ApprovedOrder, children: Sequence[ScheduledChild]) -> str:
    order, approval = approved.order, approved.approval
    if any(child.role is not ChildRole.SLICE for child in children):
        return "A sliced order has slices only."
    if sum((child.quantity for child in children), ZERO) != order.quantity:
        return "Its slices do not add up to the order."
    if any(not _has_terms_of(child, order) for child in children):
        return "A slice has other terms than the order."
    times = [child.send_ns for child in children]
    if times != sorted(times) or times[0] < approval.issued_ns:
        return "Its slices are not in ascending time behind the approval."
    if any(child.last_send_ns > approval.last_send_ns for child in children):
        return "A slice may be sent after the last time of the approval."
    return ""


def _has_terms_of(child: ScheduledChild, order: Order) -> bool:
    terms = (child.order_type, child.limit_price, child.stop_price)
    return terms == (order.order_type, order.limit_price, order.stop_price)
