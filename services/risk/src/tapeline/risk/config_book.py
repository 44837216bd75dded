"""Configuration as risk takes it: versions ascend, and what makes no sense is not taken."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from tapeline.accounting.drawdown import curve_from
from tapeline.accounting.ledger import Ledger
from tapeline.accounting.numbers import fixed
from tapeline.contracts.config import (
    Account,
    Instrument,
    Mandate,
    RiskOverlay,
    TradingGroup,
    Venue,
)
from tapeline.risk.state import AccountState, RiskState
from tapeline.risk.worth import pair_of

CEILINGS: Final = (
    "price_collar",
    "protective_distance_max",
    "position_weight_max",
    "gross_exposure_max",
    "leverage_max",
    "daily_loss_max",
    "drawdown_max",
)
"""Limits of a mandate that are tighter when smaller."""
FLOORS: Final = ("cash_reserve_min",)
"""Limits that are tighter when larger."""


def ignored_because(state: RiskState, record: Any) -> tuple[str, str]:
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
    fault = _fault(record, known)
    if fault:
        name = f"{type(record).__name__} {entity_id}"
        return "CONFIG_INVALID", f"{name} is not taken: {fault}"
    return "", ""


def configure(state: RiskState, record: Any, shard: int, now_ns: int) -> None:
    """Takes a config record into the state."""
    if ignored_because(state, record)[0]:
        return
    place = _place(state, record)
    assert place is not None
    entities, entity_id = place
    entities[entity_id] = record
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
    return None


def _fault(record: Any, known: Any) -> str:
    """What is wrong with a record, or empty."""
    match record:
        case Instrument():
            steps = (record.tick_size, record.lot_size, record.multiplier)
            if min(steps) <= 0:
                return "tick, lot and multiplier must be positive."
        case Account() if known is not None:
            before = (known.shard, known.base_currency)
            if before != (record.shard, record.base_currency):
                return "an account keeps its shard and its base currency."
        case Mandate():
            if min(getattr(record, name) for name in CEILINGS) < 0:
                return "a limit is negative."
            if record.approval_ttl_ns <= 0:
                return "approvals need a time to live."
        case RiskOverlay():
            if record.field not in (*CEILINGS, *FLOORS):
                return f"{record.field} is not a limit that can be tightened."
    return ""


def limit(state: RiskState, mandate: Mandate, name: str, now_ns: int) -> Decimal:
    """A limit of a mandate, with the overlays that are in force: they tighten, never loosen."""
    value: Decimal = getattr(mandate, name)
    for overlay in state.overlays.values():
        if (
            overlay.account_id == mandate.account_id
            and overlay.field == name
            and now_ns < overlay.expires_ns
        ):
            tighter = max if name in FLOORS else min
            value = tighter(value, overlay.value)
    return value
