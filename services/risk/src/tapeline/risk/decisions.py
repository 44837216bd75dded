"""The answer to one decision: an approved order, perhaps for less, or a denial."""

from __future__ import annotations

from tapeline.accounting.numbers import ZERO, fixed
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Account
from tapeline.contracts.frozen import replace
from tapeline.contracts.orders import Order, OrderAction
from tapeline.contracts.risk import DenialCode
from tapeline.risk import amended, guards, limits, pace, rush, sizing
from tapeline.risk.answers import Scribe, cause_of
from tapeline.risk.entry_guards import ENTRY_GUARDS
from tapeline.risk.in_force import Gathered
from tapeline.risk.pace_guards import PACE_GUARDS
from tapeline.risk.question import Question, Refusal, Wish, question_of
from tapeline.risk.routes import venue_symbol
from tapeline.risk.rush import Asked, DecisionHead, PutOff
from tapeline.risk.schedules import plan
from tapeline.risk.state import MANUAL, NOTHING, OpenOrder, RiskState
from tapeline.risk.worth import FUTURE_TOLERANCE_NS, Worth, combined
from tapeline.runtime.core import Input, Output

REMEMBERED_MAX = 512
"""Refused as from the future, an account and group: while clocks differ these are all decisions."""


def order_key(decision: Asked) -> str:
    """Decisions ascend per account and group; operators share one group name."""
    return f"{decision.account_id}/{decision.group_id}"


def is_from_future(decision: Asked, now_ns: int) -> bool:
    """Whether a decision's numbers are ahead of the session, and must not move the last ones."""
    return decision.cycle_ns > now_ns + FUTURE_TOLERANCE_NS


def is_answered(state: RiskState, decision: Asked) -> bool:
    """Whether a decision is not above the last one of its group: it has had its answer."""
    key = order_key(decision)
    if decision.decision_id in state.refused_from_future.get(key, ()):
        return True
    last = state.last_decisions.get(key)
    return last is not None and (decision.cycle_ns, decision.index) <= last


def remember(state: RiskState, decision: Asked, now_ns: int) -> None:
    """Notes that a decision has had its answer."""
    if is_answered(state, decision):
        return
    key = order_key(decision)
    if is_from_future(decision, now_ns):
        known = state.refused_from_future.get(key, ())
        state.refused_from_future[key] = (*known, decision.decision_id)[-REMEMBERED_MAX:]
    else:
        state.last_decisions[key] = (decision.cycle_ns, decision.index)


def take(state: RiskState, event: Input, gathered: Gathered) -> None:
    """Notes a decision: it has had its answer, or waits for it with others that came too fast."""
    decision: Decision = event.record
    too_fast = _too_fast(state, gathered, decision, event.session_ns)
    if too_fast is not None:
        rush.wait(state, decision, too_fast, event.session_ns)
    else:
        pace.note_asked(state, decision)
    remember(state, decision, event.session_ns)


def put_off(state: RiskState, gathered: Gathered, head: DecisionHead, now_ns: int) -> PutOff | None:
    """A decision that comes above its rate, and is not read; None for any other."""
    too_fast = _too_fast(state, gathered, head, now_ns)
    return None if too_fast is None else PutOff(head, too_fast)


def take_put_off(state: RiskState, put: PutOff, now_ns: int) -> None:
    """Notes that a decision waits for its answer, as `take` does."""
    rush.wait(state, put.head, put.refused, now_ns)
    remember(state, put.head, now_ns)


def _too_fast(state: RiskState, gathered: Gathered, decision: Asked, now_ns: int) -> Refusal | None:
    if is_answered(state, decision):
        return None
    return rush.refusal(state, gathered, decision, now_ns)


def answer(
    state: RiskState, scribe: Scribe, event: Input, gathered: Gathered
) -> tuple[Output, ...]:
    """What follows from a decision; nothing when it has had its answer."""
    decision: Decision = event.record
    if is_answered(state, decision):
        return ()
    too_fast = rush.refusal(state, gathered, decision, event.session_ns)
    if too_fast is not None:
        return tuple(rush.hear(state, scribe, decision, too_fast))
    question = question_of(state, scribe.context, event, gathered)
    if decision.kind is DecisionKind.CANCEL:
        return (_cancel(question, scribe),)
    if decision.kind is DecisionKind.AMEND:
        return _amend(question, scribe)
    for guard in guards.DECISION_GUARDS:
        refusal = guard(question)
        if refusal is not None:
            return (scribe.denied(decision, refusal),)
    sized = _sized(question)
    if isinstance(sized, Refusal):
        return (scribe.denied(decision, sized),)
    wish, reduced, asked = sized
    approved = _approved(question, scribe, wish)
    if isinstance(approved, Refusal):
        return (scribe.denied(decision, approved),)
    if reduced is None:
        return (approved,)
    return (approved, scribe.reduced(decision, reduced, asked.quantity, wish.quantity))


def _sized(question: Question) -> Refusal | tuple[Wish, Refusal | None, Wish]:
    """(what is approved, what made it smaller, what was asked), or a refusal."""
    assert question.account is not None
    worth = _worth(question) if _needs_worth(question) else None
    asked = sizing.wish_of(question, worth)
    if isinstance(asked, Refusal):
        return asked
    wish, reduced = asked, None
    if asked.opening:
        worth = worth or _worth(question)
        wish, reduced = _entry(question, asked, worth)
    wish = sizing.to_lot(question, wish)
    too_little = sizing.opening_too_small(question, wish)
    if too_little is not None:
        wish = sizing.to_lot(question, wish.without_opening())
        reduced = reduced or too_little
    too_small = sizing.increments(question, wish)
    if too_small is not None:
        return reduced or too_small
    for guard in guards.ORDER_GUARDS:
        refusal = guard(question, wish)
        if refusal is not None:
            return refusal
    return wish, reduced, asked


def _worth(question: Question) -> Worth | None:
    assert question.account is not None
    return question.gathered.appraiser.worth(question.state, question.account)


def _needs_worth(question: Question) -> bool:
    """A weight is a share of NAV; an order without an opening part needs no NAV."""
    return bool(question.decision.target_weight) and (
        question.decision.kind is DecisionKind.TARGET_WEIGHT
    )


def _entry(question: Question, wish: Wish, worth: Worth | None) -> tuple[Wish, Refusal | None]:
    """The wish with what may be opened of it, and what stood in the way."""
    for guard in ENTRY_GUARDS:
        if question.is_amendment and guard in PACE_GUARDS:
            continue
        refusal = guard(question, wish, worth)
        if refusal is not None:
            return wish.without_opening(), refusal
    assert worth is not None
    return limits.fitted(question, wish, worth)


def _approved(question: Question, scribe: Scribe, wish: Wish) -> Output | Refusal:
    decision, mandate, instrument = question.decision, question.mandate, question.instrument
    assert mandate is not None
    assert instrument is not None
    cause = cause_of(decision)
    approval = scribe.approval(
        cause, decision.decision_id, decision.account_id, mandate.approval_ttl_ns
    )
    is_entry = bool(wish.opening)
    order = Order(
        client_order_id=scribe.derived(cause, Order.AVRO),
        account_id=decision.account_id,
        group_id=decision.group_id,
        instrument_id=decision.instrument_id,
        venue=_route(question).venue,
        side=wish.side,
        order_type=wish.order_type,
        quantity=fixed(wish.quantity),
        limit_price=wish.limit_price,
        stop_price=wish.stop_price,
        time_in_force=decision.time_in_force,
        expire_time_ns=decision.expire_time_ns,
        is_reduce_only=decision.is_reduce_only or _reduces_account(question, wish),
        is_post_only=decision.is_post_only,
        take_profit_price=decision.take_profit_price if is_entry else None,
        stop_loss_price=decision.stop_loss_price if is_entry else None,
        arrival_price=sizing.own_price(question),
        venue_symbol=_symbol(question),
    )
    planned = plan(decision, order, approval, wish.opening, instrument.lot_size)
    if isinstance(planned, Refusal):
        return planned
    if planned.schedule is not None:
        approval = replace(
            approval,
            schedule=planned.schedule,
            child_count=planned.child_count,
            last_send_ns=planned.last_send_ns,
        )
    return scribe.approved(sizing.action_of(question, wish), order, approval)


def _route(question: Question) -> Account:
    return question.state.routes[question.decision.account_id]


def _symbol(question: Question) -> str:
    assert question.instrument is not None
    return venue_symbol(question.state, _route(question), question.instrument)


def _reduces_account(question: Question, wish: Wish) -> bool:
    """Whether the venue, which knows no groups, sees a reduction too."""
    account, instrument_id = question.account, question.decision.instrument_id
    assert account is not None
    if wish.opening:
        return False
    reserves = account.reserves.get(instrument_id)
    pending = NOTHING if reserves is None else combined(reserves)
    held = -wish.sign * account.ledger.net_quantity(instrument_id)
    return held - pending.on(wish.side) >= wish.quantity


def _cancel(question: Question, scribe: Scribe) -> Output:
    """A cancel passes in every trading state when its order is known and open."""
    decision = question.decision
    for guard in (guards.account_known, guards.author_verified, guards.key_present):
        refusal = guard(question)
        if refusal is not None:
            return scribe.denied(decision, refusal)
    target = _target(question)
    if target is None:
        return scribe.denied(decision, _unknown(decision))
    mandate = question.mandate
    ttl_ns = scribe.ttl_ns if mandate is None else mandate.approval_ttl_ns
    approval = scribe.approval(
        cause_of(decision), decision.decision_id, decision.account_id, ttl_ns
    )
    return scribe.approved(OrderAction.CANCEL, target.order, approval)


def _unknown(decision: Decision) -> Refusal:
    return Refusal(
        code=DenialCode.ORDER_UNKNOWN,
        reason=f"Order {decision.client_order_id or '(none)'} is not open for this group.",
    )


# ---- amendments


def _amend(question: Question, scribe: Scribe) -> tuple[Output, ...]:
    """New terms for an open order, which passes the ladder again for all that is left of it, as if
    it were not there yet; what is already filled stays out of it."""
    decision = question.decision
    first = (guards.account_known, guards.author_verified, guards.key_present)
    for guard in first:
        refusal = guard(question)
        if refusal is not None:
            return (scribe.denied(decision, refusal),)
    target = _target(question)
    if target is None:
        return (scribe.denied(decision, _unknown(decision)),)
    order = amended.terms(target.order, decision)
    fault = amended.fault(target, order)
    if fault:
        refusal = Refusal(code=DenialCode.AMENDMENT, reason=fault)
        return (scribe.denied(decision, refusal),)
    again = amended.question_again(question, target, order)
    for decision_guard in guards.DECISION_GUARDS:
        refusal = decision_guard(again)
        if refusal is not None:
            return (scribe.denied(decision, refusal),)
    if amended.is_only_less(target.order, order):
        return (_amended(question, scribe, order),)
    sized = _sized(again)
    if isinstance(sized, Refusal):
        return (scribe.denied(decision, sized),)
    wish, reduced, asked = sized
    order = replace(order, quantity=fixed(target.filled + wish.quantity))
    approved = _amended(question, scribe, order)
    if reduced is None:
        return (approved,)
    return (approved, scribe.reduced(decision, reduced, asked.quantity, wish.quantity))


def _amended(question: Question, scribe: Scribe, order: Order) -> Output:
    decision, mandate = question.decision, question.mandate
    assert mandate is not None
    approval = scribe.approval(
        cause_of(decision), decision.decision_id, decision.account_id, mandate.approval_ttl_ns
    )
    return scribe.approved(OrderAction.AMEND, order, approval)


def _target(question: Question) -> OpenOrder | None:
    decision, state = question.decision, question.state
    approval_id = state.approval_ids.get(decision.client_order_id or "", "")
    target = state.open_orders.get(approval_id)
    if target is None or target.has_ended:
        return None
    # Behind the end of a protected entry its legs can still be taken off.
    if target.remaining <= ZERO and not target.is_scheduled:
        return None
    if target.order.account_id != decision.account_id:
        return None
    if decision.group_id not in (MANUAL, target.order.group_id):
        return None
    return target
