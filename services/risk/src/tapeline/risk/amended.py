"""Amendments: new quantity and prices of an order that is open, and what they reserve meanwhile.

Until the venue answers, the order may have its old terms or its new ones, so the larger of both is
reserved, at the dearer price. With the answer one of them holds and the rest is released.
"""

from __future__ import annotations

from decimal import Decimal

from tapeline.accounting.numbers import ZERO, fixed
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    Order,
    OrderUpdate,
    ReportNotice,
)
from tapeline.risk import books
from tapeline.risk.question import Question, unit_in
from tapeline.risk.state import AccountState, Amendment, OpenOrder, RiskState


def terms(order: Order, decision: Decision) -> Order:
    """The order as the decision wants it; what it does not mention stays."""
    return replace(
        order,
        quantity=order.quantity if decision.quantity is None else fixed(decision.quantity),
        limit_price=decision.limit_price or order.limit_price,
        stop_price=decision.stop_price or order.stop_price,
    )


def fault(target: OpenOrder, order: Order) -> str:
    """Why an order cannot get these terms, or empty."""
    old = target.order
    if target.is_scheduled:
        return "An order with slices or protective legs is canceled and ordered anew."
    if target.amendment is not None:
        return "The last amendment of the order has no answer yet."
    if order == old:
        return "The amendment changes nothing."
    if (order.limit_price is None, order.stop_price is None) != (
        old.limit_price is None,
        old.stop_price is None,
    ):
        return f"A {old.order_type.value} order has no such price."
    if order.quantity <= target.filled:
        return f"{target.filled:f} are filled already; cancel the rest."
    return ""


def is_only_less(old: Order, new: Order) -> bool:
    """Whether an amendment takes back a part of the quantity and changes nothing else."""
    return new.quantity < old.quantity and replace(old, quantity=new.quantity) == new


def question_again(question: Question, target: OpenOrder, order: Order) -> Question:
    """The question of an order for what is left, before a state that has not reserved it."""
    state, account, decision = question.state, question.account, question.decision
    assert account is not None
    asked = replace(
        decision,
        kind=DecisionKind.ORDER,
        # What the pace of decisions and limits are counted for is whoever amends.
        group_id=order.group_id,
        instrument_id=order.instrument_id,
        side=order.side,
        quantity=fixed(order.quantity - target.filled),
        order_type=order.order_type,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        time_in_force=order.time_in_force,
        expire_time_ns=order.expire_time_ns,
        is_reduce_only=order.is_reduce_only,
        is_post_only=order.is_post_only,
        take_profit_price=None,
        stop_loss_price=None,
        algorithm=Algorithm.NONE,
    )
    freed = (-target.remaining, -target.opening)
    place = (order.account_id, order.group_id, order.instrument_id)
    return replace(
        question,
        decision=asked,
        account=books.reserved(state, account, target, freed),
        group=state.groups.get(order.group_id),
        instrument=state.instruments.get(order.instrument_id),
        limits=question.gathered.limits(state, place, question.now_ns),
        is_amendment=True,
        unit=unit_in(state, account, order.instrument_id, question.gathered),
    )


def asked(state: RiskState, approved: ApprovedOrder, now_ns: int) -> None:
    """Takes in the approval of an amendment: the larger of both is reserved."""
    account = state.accounts[approved.order.account_id]
    target_id = state.approval_ids.get(approved.order.client_order_id, "")
    target = state.open_orders.get(target_id)
    assert target is not None, "an amendment is approved for an open order"
    free = books.reserved(state, account, target, (-target.remaining, -target.opening))
    remaining, opening = _worst(free, target, approved.order)
    waiting = replace(
        target,
        remaining=max(target.remaining, remaining),
        opening=max(target.opening, opening),
        price=max(target.price, books.reservation_price(approved.order)),
        amendment=Amendment(approval_id=approved.approval.approval_id, order=approved.order),
    )
    state.open_orders[target_id] = waiting
    account = books.reserved(state, free, waiting, (waiting.remaining, waiting.opening))
    account = replace(account, approved_count=account.approved_count + 1)
    state.accounts[approved.order.account_id] = books.changed(account, now_ns, books.LOOK_AGAIN_NS)


def answered(state: RiskState, update: OrderUpdate, now_ns: int) -> None:
    """Takes in the end of an amendment's approval; other updates change nothing."""
    target_id = state.approval_ids.get(update.client_order_id, "")
    target = state.open_orders.get(target_id)
    if target is None or target.amendment is None or not update.is_terminal:
        return
    if target.amendment.approval_id != update.approval_id:
        return
    account = state.accounts[target.order.account_id]
    is_amended = update.notice is ReportNotice.AMENDED
    order = target.amendment.order if is_amended else target.order
    free = books.reserved(state, account, target, (-target.remaining, -target.opening))
    valid = replace(target, order=order, amendment=None, price=books.reservation_price(order))
    remaining, opening = _worst(free, valid, order)
    if target.has_ended:
        remaining, opening = target.remaining, target.opening
    valid = replace(valid, remaining=remaining, opening=opening)
    state.open_orders[target_id] = valid
    account = books.reserved(state, free, valid, (remaining, opening))
    state.accounts[target.order.account_id] = books.changed(account, now_ns)


def _worst(free: AccountState, target: OpenOrder, order: Order) -> tuple[Decimal, Decimal]:
    """(remaining, opening part) of an order, on top of what is reserved without it."""
    remaining = max(fixed(order.quantity - target.filled), ZERO)
    against = books.closable(free, order.group_id, order.instrument_id, order.side)
    return remaining, max(fixed(remaining - against), ZERO)
