"""What a venue is to see of a command: the order itself, or one send of its schedule.

Everything but the quantity follows from what risk signed, so an adapter never has to choose:

    WHOLE, SLICE              the order's side, with the child's type, prices and quantity
    TAKE_PROFIT, STOP_LOSS    the other side, reduce-only, good till canceled
"""

from __future__ import annotations

from typing import Final

from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    ApprovedOrder,
    ChildRole,
    Order,
    OrderType,
    ScheduledChild,
    Side,
    TimeInForce,
    VenueCommand,
)

STOPS: Final = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
"""Order types that wait for their stop price."""
PROTECTIVE: Final = (ChildRole.TAKE_PROFIT, ChildRole.STOP_LOSS)
"""Roles of the legs that close what the order opened."""


def opposite(side: Side) -> Side:
    """The side that undoes a side."""
    return Side.SELL if side is Side.BUY else Side.BUY


def child_of(approved: ApprovedOrder, child_index: int) -> ScheduledChild | None:
    """The send of a schedule, or None for an approval without one or for a number not in it."""
    schedule = approved.approval.schedule
    if schedule is None or not 0 <= child_index < len(schedule.children):
        return None
    return schedule.children[child_index]


def role_of(approved: ApprovedOrder, child_index: int) -> ChildRole:
    """What a send is under its approval."""
    child = child_of(approved, child_index)
    return ChildRole.WHOLE if child is None else child.role


def order_of(command: VenueCommand) -> Order:
    """The order that a command submits, amends, cancels or asks for."""
    order, child = command.approved.order, child_of(command.approved, command.child_index)
    name, quantity = command.client_order_id, command.quantity
    if child is None and name == order.client_order_id and quantity is order.quantity:
        return order
    sent = replace(order, client_order_id=name, quantity=quantity)
    if child is None:
        return sent
    sent = replace(
        sent,
        order_type=child.order_type,
        limit_price=child.limit_price,
        stop_price=child.stop_price,
    )
    if child.role not in PROTECTIVE:
        return sent
    level = child.limit_price if child.stop_price is None else child.stop_price
    return replace(
        sent,
        side=opposite(order.side),
        time_in_force=TimeInForce.GTC,
        expire_time_ns=None,
        is_reduce_only=True,
        is_post_only=False,
        take_profit_price=None,
        stop_loss_price=None,
        arrival_price=order.arrival_price if level is None else level,
    )
