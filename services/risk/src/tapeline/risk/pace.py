"""How fast an account decides and trades, as guards measure it.

Everything here follows from what risk itself said, so that recovery by `evolve` knows it too. Only
accounts of this shard and groups that are configured (or MANUAL) are counted: names made up by
others leave nothing behind.
"""

from __future__ import annotations

from typing import Final

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.orders import ApprovedOrder
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.risk.in_force import InForce
from tapeline.risk.state import MANUAL, Pace, RiskState

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS


def group_key(account_id: str, group_id: str) -> str:
    """Name of a group's pace."""
    return f"{account_id}/{group_id}"


def instrument_key(account_id: str, instrument_id: str) -> str:
    """Name of the pace of an account in one instrument."""
    return f"{account_id}//{instrument_id}"


def looked_at_count(pace: Pace | None, now_ns: int) -> int:
    """Decisions looked at in the second that ends now; one that is a second old has left it."""
    if pace is None:
        return 0
    found = pace.looked_at_count
    for at_ns, count in pace.looked_at:
        if now_ns - at_ns < SECOND_NS:
            break
        found -= count
    return found


def entry_count(pace: Pace | None, now_ns: int) -> int:
    """Entries on the UTC day of now."""
    return 0 if pace is None or pace.day != now_ns // DAY_NS else pace.entry_count


def note_answer(state: RiskState, record: ApprovedOrder | Denial) -> None:
    """Counts a decision that was looked at: all but those denied for coming too fast."""
    if isinstance(record, Denial):
        if record.code is DenialCode.ORDER_RATE:
            return
        account_id, group_id = record.account_id, record.group_id
    else:
        account_id, group_id = record.order.account_id, record.order.group_id
    if account_id not in state.accounts:
        return
    _look(state, account_id, record.ts_init_ns)
    if group_id in state.groups or group_id == MANUAL:
        _look(state, group_key(account_id, group_id), record.ts_init_ns)


def _look(state: RiskState, key: str, now_ns: int) -> None:
    pace = _pace(state, key)
    kept = pace.looked_at
    pace.looked_at_count += 1
    if kept and kept[-1][0] == now_ns:
        kept[-1] = (now_ns, kept[-1][1] + 1)
        return
    kept.append((now_ns, 1))
    while now_ns - kept[0][0] >= SECOND_NS:
        pace.looked_at_count -= kept.pop(0)[1]


def _pace(state: RiskState, key: str) -> Pace:
    found = state.paces.get(key)
    if found is None:
        found = state.paces[key] = Pace()
    return found


def note_entry(state: RiskState, approved: ApprovedOrder) -> None:
    """Notes that an order which opens or enlarges a position was approved."""
    order, now_ns = approved.order, approved.ts_init_ns
    keys = (
        order.account_id,
        group_key(order.account_id, order.group_id),
        instrument_key(order.account_id, order.instrument_id),
    )
    for key in keys:
        pace = _pace(state, key)
        pace.entry_count = entry_count(pace, now_ns) + 1
        pace.entry_ns, pace.day = now_ns, now_ns // DAY_NS


# ---- the same order again


def order_text(decision: Decision) -> str:
    """What makes an explicit order the same as another; empty for what is not one."""
    if decision.kind is not DecisionKind.ORDER:
        return ""
    figures = (decision.quantity, decision.limit_price, decision.stop_price)
    said = ["-" if figure is None else f"{figure.normalize():f}" for figure in figures]
    kind = (str(decision.side), str(decision.order_type), str(decision.algorithm))
    return "/".join((*kind, *said))


def orders_key(account_id: str, group_id: str, instrument_id: str) -> str:
    """Where a group's explicit orders in one instrument are remembered."""
    return f"{account_id}/{group_id}/{instrument_id}"


def note_asked(state: RiskState, decision: Decision) -> None:
    """Keeps what was asked for until it is known whether it was approved."""
    state.asked = (decision.decision_id, order_text(decision))


def note_order(state: RiskState, approved: ApprovedOrder, limits: InForce) -> None:
    """Remembers an explicit order that was approved, for the duplicate window."""
    window_ns = limits.get("duplicate_window_ns")
    decision_id, text = state.asked
    if window_ns is None or not text or decision_id != approved.approval.decision_id:
        return
    order, now_ns = approved.order, approved.ts_init_ns
    key = orders_key(order.account_id, order.group_id, order.instrument_id)
    known = state.recent_orders.get(key, {})
    kept = {one: at_ns for one, at_ns in known.items() if now_ns - at_ns < window_ns}
    state.recent_orders[key] = {**kept, text: now_ns}


def ordered_ns(state: RiskState, decision: Decision) -> int | None:
    """When the same explicit order was last approved, as far as it is remembered."""
    key = orders_key(decision.account_id, decision.group_id, decision.instrument_id)
    known = state.recent_orders.get(key)
    return None if known is None else known.get(order_text(decision))
