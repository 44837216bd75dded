"""Guards of pace: how often a group decides, enters, and asks for the same (see guards.py)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.contracts.risk import DenialCode
from tapeline.risk import pace
from tapeline.risk.in_force import InForce
from tapeline.risk.question import Question, Refusal, Wish, seconds
from tapeline.risk.state import Pace, RiskState
from tapeline.risk.worth import Worth


def order_rate(
    state: RiskState, limits: InForce, place: tuple[str, str], now_ns: int
) -> Refusal | None:
    """So many decisions of an account and of its group, the `place`, in any second and no more: the
    first guard, and a cheap one.

    What it denies is not counted, so a group that keeps on asking has its share of each second.
    """
    for name, key in (
        ("order_rate_max", place[0]),
        ("group_order_rate_max", pace.group_key(*place)),
    ):
        limit = limits.values.get(name)
        if limit is None:
            continue
        count = 1 + pace.looked_at_count(state.paces.get(key), now_ns)
        if count > limit:
            return Refusal(
                code=DenialCode.ORDER_RATE,
                reason="Too many decisions within a second.",
                measured=Decimal(count),
                limit=limit,
            )
    return None


def _pace(question: Question, key: str) -> Pace | None:
    return question.state.paces.get(key)


# ---- for what opens or enlarges


def cooled_down(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """Time must pass between entries, of an account in an instrument and of a group."""
    decision, limits = question.decision, question.limits.values
    if "instrument_cooldown_ns" not in limits and "group_cooldown_ns" not in limits:
        return None
    for name, key, whose in (
        (
            "instrument_cooldown_ns",
            pace.instrument_key(decision.account_id, decision.instrument_id),
            "in the instrument",
        ),
        (
            "group_cooldown_ns",
            pace.group_key(decision.account_id, decision.group_id),
            "of the group",
        ),
    ):
        limit, found = question.limit(name), _pace(question, key)
        if limit is None or found is None or found.entry_ns is None:
            continue
        passed_ns = question.now_ns - found.entry_ns
        if passed_ns < limit:
            return Refusal(
                code=DenialCode.COOLDOWN,
                reason=f"The last entry {whose} was too short a time ago, in seconds.",
                measured=seconds(passed_ns),
                limit=seconds(limit),
            )
    return None


def trades_left(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """A day has so many entries."""
    decision, limits = question.decision, question.limits.values
    if "trades_per_day_max" not in limits and "group_trades_per_day_max" not in limits:
        return None
    for name, key, whose in (
        ("trades_per_day_max", decision.account_id, "account"),
        (
            "group_trades_per_day_max",
            pace.group_key(decision.account_id, decision.group_id),
            "group",
        ),
    ):
        limit = question.limit(name)
        if limit is None:
            continue
        count = 1 + pace.entry_count(_pace(question, key), question.now_ns)
        if count > limit:
            return Refusal(
                code=DenialCode.TRADES_PER_DAY,
                reason=f"The {whose} has had its entries of the UTC day.",
                measured=Decimal(count),
                limit=limit,
            )
    return None


def orders_left(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """An account has so many open orders, those of unknown fate included."""
    assert question.account is not None
    limit = question.limit("open_orders_max")
    if limit is None:
        return None
    count = Decimal(question.account.open_order_count + 1)
    if count > limit:
        return Refusal(
            code=DenialCode.OPEN_ORDERS,
            reason="The account has too many open orders.",
            measured=count,
            limit=limit,
        )
    return None


def not_repeated(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """The same explicit order of a group is approved once in a while only.

    A target weight may be repeated: it asks for what is held already.
    """
    window_ns = question.limit("duplicate_window_ns")
    if window_ns is None:
        return None
    ordered_ns = pace.ordered_ns(question.state, question.decision)
    if ordered_ns is None or question.now_ns - ordered_ns >= window_ns:
        return None
    return Refusal(
        code=DenialCode.DUPLICATE_DECISION,
        reason="The same order was approved a short time ago, in seconds.",
        measured=seconds(question.now_ns - ordered_ns),
        limit=seconds(window_ns),
    )


PACE_GUARDS: Final = (cooled_down, trades_left, orders_left, not_repeated)
