"""Configuration as risk takes it: versions ascend, and what makes no sense is not taken."""

from __future__ import annotations

from typing import Any, Final

from tapeline.accounting.drawdown import curve_from
from tapeline.accounting.ledger import Ledger
from tapeline.accounting.numbers import ZERO, fixed
from tapeline.contracts.config import (
    Account,
    Budget,
    Instrument,
    Limits,
    Mandate,
    RiskOverlay,
    Sizing,
    SizingMethod,
    TradingGroup,
    Venue,
)
from tapeline.contracts.frozen import replace
from tapeline.risk.history import History
from tapeline.risk.in_force import (
    COUNTS,
    FLOORS,
    LIMITS,
    OF_MANDATE,
    PAUSES,
    SUMS,
    is_tighter,
)
from tapeline.risk.state import AccountState, RiskState
from tapeline.risk.worth import pair_of

SIGNED: Final = (*(name for name in FLOORS if name not in PAUSES), "correlation_max")
"""Limits that may be below zero."""


def ignored_because(state: RiskState, record: Any, now_ns: int) -> tuple[str, str]:
    """(code, reason) of why a config record is not taken; empty codes for what counts.

    CONFIG_REPEATED is silent: the same record again. Triggers and watchlists are not risk's.
    """
    place = _place(state, record)
    if place is None:
        return "CONFIG_FOREIGN", ""
    entities, entity_id = place
    known = entities.get(entity_id)
    if known == record:
        return "CONFIG_REPEATED", ""
    if known is not None and record.version <= known.version:
        return (
            "CONFIG_OLD_VERSION",
            f"{type(record).__name__} {entity_id} version {record.version} does not follow "
            f"{known.version}; publish it again with a higher one.",
        )
    fault = _fault(record, known, now_ns)
    if fault:
        name = f"{type(record).__name__} {entity_id}"
        return "CONFIG_INVALID", f"{name} is not taken: {fault}"
    return "", ""


def configure(state: RiskState, record: Any, shard: int, now_ns: int) -> None:
    """Takes a config record into the state."""
    if ignored_because(state, record, now_ns)[0]:
        return
    place = _place(state, record)
    assert place is not None
    entities, entity_id = place
    entities[entity_id] = record
    state.config_count += 1
    if isinstance(record, Instrument):
        _keep_history(state, record)
    if isinstance(record, Instrument) and (pair := pair_of(record)):
        state.currency_pairs[pair] = record.instrument_id
    if isinstance(record, Account) and record.shard == shard:
        state.accounts[record.account_id] = _account_state(state, record, now_ns)


def _account_state(state: RiskState, record: Account, now_ns: int) -> AccountState:
    known = state.accounts.get(record.account_id)
    if known is None:
        cash = fixed(record.initial_cash)
        return AccountState(
            account=record,
            ledger=Ledger().deposit(record.base_currency, cash),
            curve=curve_from(cash, now_ns),
            due_ns=now_ns,
        )
    return replace(known, account=record, is_changed=True)


def _place(state: RiskState, record: Any) -> tuple[dict[str, Any], str] | None:
    """The map a record belongs to, and its id there."""
    match record:
        case Instrument():
            return state.instruments, record.instrument_id
        case Account():
            return state.routes, record.account_id
        case TradingGroup():
            return state.groups, record.group_id
        case Mandate():
            return state.mandates, record.account_id
        case RiskOverlay():
            return state.overlays, record.overlay_id
        case Venue():
            return state.venues, record.venue
        case Budget():
            return state.budgets, record.budget_id
    return None


def _keep_history(state: RiskState, record: Instrument) -> None:
    """Begins, or begins anew, to keep the bars that a record asks for."""
    known = state.histories.get(record.instrument_id)
    if record.history_interval_ns is None:
        state.histories.pop(record.instrument_id, None)
    elif known is None or known.interval_ns != record.history_interval_ns:
        state.histories[record.instrument_id] = History(interval_ns=record.history_interval_ns)


def _fault(record: Any, known: Any, now_ns: int) -> str:
    """What is wrong with a record, or empty."""
    fault = _limits_fault(getattr(record, "limits", None))
    if fault:
        return fault
    match record:
        case Instrument():
            return _instrument_fault(record)
        case Account() if known is not None:
            before = (known.shard, known.base_currency)
            if before != (record.shard, record.base_currency):
                return "an account keeps its shard and its base currency."
        case Mandate():
            return _mandate_fault(record)
        case TradingGroup():
            return _sizing_fault(record.sizing)
        case RiskOverlay():
            return _overlay_fault(record, known, now_ns)
        case Budget():
            return _budget_fault(record)
    return ""


def _instrument_fault(record: Instrument) -> str:
    if min(record.tick_size, record.lot_size, record.multiplier) <= 0:
        return "tick, lot and multiplier must be positive."
    if record.history_interval_ns is not None and record.history_interval_ns <= 0:
        return "an interval of bars is longer than nothing."
    return ""


def _limits_fault(limits: Limits | None) -> str:
    if limits is None:
        return ""
    for name in LIMITS:
        value = getattr(limits, name)
        if value is not None and value < 0 and name not in SIGNED:
            return f"the limit {name} is negative."
    return ""


def _mandate_fault(record: Mandate) -> str:
    if min(getattr(record, name) for name in OF_MANDATE if name not in SIGNED) < 0:
        return "a limit is negative."
    if record.approval_ttl_ns <= 0:
        return "approvals need a time to live."
    faults = [_limits_fault(limits) for limits in (record.instrument_limits or {}).values()]
    return next((fault for fault in faults if fault), "")


def _sizing_fault(sizing: Sizing | None) -> str:
    if sizing is None:
        return ""
    needs = {
        SizingMethod.FIXED: (sizing.fixed_weight, sizing.fixed_quantity),
        SizingMethod.VOLATILITY_TARGET: (sizing.volatility_target,),
        SizingMethod.KELLY: (sizing.kelly_fraction,),
    }
    said = [value for value in needs.get(sizing.method, (ZERO,)) if value is not None]
    if not said:
        return f"sizing by {sizing.method.value} lacks its figure."
    figures = (*said, sizing.weight_max or ZERO, sizing.payoff_ratio or ZERO)
    return "a figure of its sizing is negative." if min(figures) < 0 else ""


def _overlay_fault(record: RiskOverlay, known: RiskOverlay | None, now_ns: int) -> str:
    """While an overlay is in force it can be made tighter or longer, and nothing else."""
    if record.field not in LIMITS:
        return f"{record.field} is not a limit that can be tightened."
    if record.value < 0 and record.field not in SIGNED:
        return "a limit is negative."
    if known is None or now_ns >= known.expires_ns:
        return ""
    before = (known.account_id, known.group_id, known.instrument_id, known.field)
    if before != (record.account_id, record.group_id, record.instrument_id, record.field):
        return "it is in force for something else."
    if is_tighter(record.field, known.value, record.value) or record.expires_ns < known.expires_ns:
        return "it is in force, and can only be made tighter or longer until it expires."
    return ""


def _budget_fault(record: Budget) -> str:
    if record.field not in (*SUMS, *COUNTS):
        return (
            f"{record.field} is not a limit that can be split; {', '.join((*SUMS, *COUNTS))} are."
        )
    if bool(record.currency) is not (record.field in SUMS):
        return "a sum has a currency, a count has none."
    if min(record.value, *record.shares.values(), ZERO) < 0:
        return "a share, or the whole, is negative."
    if sum(record.shares.values(), ZERO) > 1:
        return "its shares are more than the whole."
    return ""
