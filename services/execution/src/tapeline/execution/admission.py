"""Whether an approval may be carried out: the last look before a venue sees an order.

Refusals are values with stable codes, in order of precedence. Nothing is taken from risk on trust
that can be checked here again: signature, run, mode, account, expiry, trading state, and that risk
is alive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from tapeline.contracts.frozen import acyclic, quick, replace
from tapeline.contracts.orders import ApprovedOrder, Mode, OrderAction
from tapeline.contracts.risk import TradingState
from tapeline.execution import external, schedules, switchboard
from tapeline.execution.external_state import OUTSIDE_MODES
from tapeline.execution.order_table import Trigger, next_status
from tapeline.execution.state import ExecutionState
from tapeline.runtime.core import Context, Input

SECOND_NS: Final = 1_000_000_000


class Code(StrEnum):
    """Why execution said no. The shell's verdicts add EXECUTION_BAD_MAC, EXECUTION_UNKNOWN_KEY,
    EXECUTION_REVOKED_KEY and their like, after a while (doubts.py)."""

    WRONG_RUN = "EXECUTION_WRONG_RUN"
    WRONG_MODE = "EXECUTION_WRONG_MODE"
    WRONG_ACCOUNT = "EXECUTION_WRONG_ACCOUNT"
    EXPIRED = "EXECUTION_EXPIRED"
    REUSED = "EXECUTION_REUSED"
    SCHEDULE = "EXECUTION_SCHEDULE"
    SCHEDULE_OVER = "EXECUTION_SCHEDULE_OVER"
    NOT_AMENDABLE = "EXECUTION_NOT_AMENDABLE"
    NOT_POSITIVE = "EXECUTION_NOT_POSITIVE"
    DUPLICATE_ORDER = "EXECUTION_DUPLICATE_ORDER"
    UNKNOWN_ORDER = "EXECUTION_UNKNOWN_ORDER"
    UNKNOWN_INSTRUMENT = "EXECUTION_UNKNOWN_INSTRUMENT"
    UNKNOWN_VENUE = "EXECUTION_UNKNOWN_VENUE"
    TRADING_HALTED = "EXECUTION_TRADING_HALTED"
    TRADING_REDUCING = "EXECUTION_TRADING_REDUCING"
    RISK_SILENT = "EXECUTION_RISK_SILENT"
    LIVE_NOT_PERMITTED = "EXECUTION_LIVE_NOT_PERMITTED"
    VENUE_NOT_PACED = "EXECUTION_VENUE_NOT_PACED"


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a deployment may tune; times are session time."""

    risk_heartbeat_age_ns_max: int = 2 * SECOND_NS
    """older signs of life of risk refuse every new order"""
    approval_kept_ns: int = 60 * SECOND_NS
    """how long past its expiry a used approval is remembered by id, and how long the genuine one is
    waited for where one came that does not verify; longer than risk's approvals are valid"""
    ended_order_kept_ns: int = 10 * SECOND_NS
    """how long an ended order is remembered for what a venue still says about it"""
    external_order_kept_ns: int = 3600 * SECOND_NS
    """the same at an external venue, whose fills may be found late"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A no, with its reason for a person."""

    code: str
    reason: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that an answer depends on."""

    state: ExecutionState
    event: Input
    context: Context
    rules: Rules
    subject: ApprovedOrder | None = None
    """one send of a schedule, as an order of its own; None: the event's approval"""

    @property
    def approved(self) -> ApprovedOrder:
        """The record asked about."""
        record: ApprovedOrder = self.event.record if self.subject is None else self.subject
        return record


_Check: TypeAlias = Callable[[Question], Refusal | None]


def refusal(question: Question) -> Refusal | None:
    """The first reason against an approval, or None. That its id is new is the caller's check."""
    specific = _OF_ACTION.get(question.approved.action, _OF_ORDERS)
    return _first(question, (*_ALWAYS, *specific))


def refusal_of_send(question: Question) -> Refusal | None:
    """The first reason against a later send of an approval that was taken, or None."""
    return _first(question, _OF_SENDS)


def _first(question: Question, checks: Sequence[_Check]) -> Refusal | None:
    for check in checks:
        found = check(question)
        if found is not None:
            return found
    return None


def is_verified(event: Input) -> bool:
    """Whether the shell has found an approval to be risk's own; see doubts.py for what is not."""
    return not event.verdict


def is_answered(state: ExecutionState, approved: ApprovedOrder) -> bool:
    """Whether an approval of that id has been answered or is being carried out."""
    approval_id = approved.approval.approval_id
    if approval_id in state.used:
        return True
    parent = state.parents.get(approved.order.client_order_id)
    if parent is not None and approval_id == parent.approval_id:
        return True
    order = state.known_order(approved.order.client_order_id)
    if order is None:
        return False
    return approval_id in (order.approval_id, *(cancel.approval_id for cancel in order.cancels))


def _no(code: str, reason: str) -> Refusal:
    return Refusal(code=str(code), reason=reason)


def _never_denied(question: Question) -> Refusal | None:
    name = question.approved.approval.approval_id
    if name in question.state.doubts and question.state.doubts[name].is_denied:
        return _no(Code.REUSED, f"{name} was denied: one that did not verify had come before it.")
    return None


def _run_and_mode(question: Question) -> Refusal | None:
    approval, context = question.approved.approval, question.context
    if approval.run_id != context.run_id:
        return _no(Code.WRONG_RUN, f"Approved for run {approval.run_id}; this is {context.run_id}.")
    if approval.mode != context.mode:
        return _no(Code.WRONG_MODE, f"Approved for {approval.mode.value}; this is {context.mode}.")
    return None


def _account(question: Question) -> Refusal | None:
    order, approval = question.approved.order, question.approved.approval
    if approval.account_id != order.account_id:
        return _no(
            Code.WRONG_ACCOUNT,
            f"Approved for account {approval.account_id}; the order names {order.account_id}.",
        )
    account = question.state.accounts.get(order.account_id)
    if account is None:
        return _no(Code.WRONG_ACCOUNT, f"Account {order.account_id} is not configured.")
    if account.shard != question.context.shard:
        return _no(
            Code.WRONG_ACCOUNT,
            f"Account {order.account_id} lives on shard {account.shard}.",
        )
    return None


def _expiry(question: Question) -> Refusal | None:
    expires_ns, session_ns = question.approved.approval.expires_ns, question.event.session_ns
    if session_ns >= expires_ns:
        return _no(Code.EXPIRED, f"Expired {session_ns - expires_ns} ns ago.")
    return None


def _action(question: Question) -> Refusal | None:
    approved = question.approved
    fault = schedules.fault(approved)
    if fault:
        return _no(Code.SCHEDULE, fault)
    if approved.order.quantity <= 0:
        return _no(Code.NOT_POSITIVE, f"Quantity {approved.order.quantity} is not positive.")
    return None


def _order_id_is_new(question: Question) -> Refusal | None:
    order_id = question.approved.order.client_order_id
    state = question.state
    if state.known_order(order_id) is not None or order_id in state.parents:
        return _no(Code.DUPLICATE_ORDER, f"Order {order_id} was sent under another approval.")
    return None


def _destination(question: Question) -> Refusal | None:
    order, state = question.approved.order, question.state
    if order.instrument_id not in state.instruments:
        return _no(Code.UNKNOWN_INSTRUMENT, f"{order.instrument_id} is not configured.")
    venue = state.venues.get(order.venue)
    if venue is None:
        return _no(Code.UNKNOWN_VENUE, f"Venue {order.venue or '(none)'} is not configured.")
    context = question.context
    if context.is_paced and external.goes_outside(state, context.mode, order.venue):
        return _no(Code.VENUE_NOT_PACED, f"Venue {order.venue} has a clock of its own.")
    return None


def _live_switch(question: Question) -> Refusal | None:
    """Live needs an account that is meant for it and an operator who has switched it on."""
    if question.context.mode != Mode.LIVE:
        return None
    account_id = question.approved.order.account_id
    if question.state.accounts[account_id].mode is not Mode.LIVE:
        return _no(Code.LIVE_NOT_PERMITTED, f"Account {account_id} is not a live account.")
    if not question.state.external.live_switches.get(account_id, False):
        return _no(Code.LIVE_NOT_PERMITTED, f"Account {account_id} is not switched on for live.")
    return None


def _certainty(question: Question) -> Refusal | None:
    """While we do not know what the venue holds of an instrument, nothing opens."""
    approved = question.approved
    if question.context.mode not in OUTSIDE_MODES or external.is_reducing(approved):
        return None
    reason = external.uncertain_because(question.state, approved.order)
    return _no(Code.TRADING_REDUCING, f"{reason} Only reducing orders pass.") if reason else None


def _trading_state(question: Question) -> Refusal | None:
    board, approved = question.state.switchboard, question.approved
    if switchboard.permits(board, approved):
        return None
    if switchboard.trading_state(board, approved.order) is TradingState.HALTED:
        return _no(Code.TRADING_HALTED, "Trading is halted for a scope of this order.")
    if _takes_back(question):
        return None
    return _no(Code.TRADING_REDUCING, "Only reducing orders pass for a scope of this order.")


def _takes_back(question: Question) -> bool:
    """Whether an amendment only makes its order smaller."""
    approved = question.approved
    held = question.state.orders.get(approved.order.client_order_id)
    if approved.action is not OrderAction.AMEND or held is None:
        return False
    new, old = approved.order, held.order
    return new.quantity < old.quantity and replace(old, quantity=new.quantity) == new


def _risk_is_alive(question: Question) -> Refusal | None:
    heartbeat, rules = question.state.heartbeat, question.rules
    # Slices are complete only with risk's own watermark, so risk is alive by construction.
    if question.context.is_paced:
        return None
    age_ns = question.event.session_ns - heartbeat.ts_event_ns
    # One from the future would look fresh for as long as it is ahead.
    if abs(age_ns) > rules.risk_heartbeat_age_ns_max:
        return _no(Code.RISK_SILENT, "Risk has not shown a sign of life for too long.")
    return None


def _target(question: Question) -> Refusal | None:
    order, state = question.approved.order, question.state
    name = order.client_order_id
    target = state.known_order(name) or state.parents.get(name)
    if target is None or target.approved.order.account_id != order.account_id:
        return _no(Code.UNKNOWN_ORDER, f"Order {name} is not known.")
    return None


def _amendable(question: Question) -> Refusal | None:
    approved = question.approved
    new, held = approved.order, question.state.orders.get(approved.order.client_order_id)
    if held is None:
        return _no(Code.NOT_AMENDABLE, f"Order {new.client_order_id} has ended.")
    old = held.order
    if next_status(held.status, Trigger.REQUEST_AMENDMENT) is None:
        return _no(Code.NOT_AMENDABLE, f"The order is {held.status.value}.")
    if held.amendment is not None:
        return _no(Code.NOT_AMENDABLE, "The venue has not answered the last amendment yet.")
    if held.approved.approval.schedule is not None or approved.approval.schedule is not None:
        return _no(Code.NOT_AMENDABLE, "Orders with a schedule are canceled and ordered anew.")
    free = {
        "quantity": new.quantity,
        "limit_price": new.limit_price,
        "stop_price": new.stop_price,
    }
    if replace(old, **free) != new:  # type: ignore[arg-type]
        return _no(Code.NOT_AMENDABLE, "Only quantity, limit and stop price can be amended.")
    if new.quantity <= held.filled_quantity:
        return _no(Code.NOT_AMENDABLE, f"{held.filled_quantity} are filled already.")
    return None


_ALWAYS: Final[tuple[_Check, ...]] = (_never_denied, _run_and_mode, _account, _expiry)
_OF_ORDERS: Final[tuple[_Check, ...]] = (
    _action,
    _order_id_is_new,
    _destination,
    _live_switch,
    _trading_state,
    _certainty,
    _risk_is_alive,
)
# A cancel passes in every trading state, and whether or not risk still breathes.
_OF_CANCELS: Final[tuple[_Check, ...]] = (_target,)
_OF_AMENDMENTS: Final[tuple[_Check, ...]] = (
    _action,
    _target,
    _amendable,
    _trading_state,
    _risk_is_alive,
    _live_switch,
    _certainty,
)
_OF_SENDS: Final[tuple[_Check, ...]] = (
    _destination,
    _trading_state,
    _risk_is_alive,
    _live_switch,
    _certainty,
)
_OF_ACTION: Final = {OrderAction.CANCEL: _OF_CANCELS, OrderAction.AMEND: _OF_AMENDMENTS}
