"""Warnings and automatic halts of an account: how near its limits it is, by confirmed prices.

An account that holds something is looked at every second. Losses are measured at confirmed prices:
of the last three distinct marks of each instrument the one that is best for the account. So no bad
tick, however long it stands, halts an account, and three marks that agree always do. A warning of
loss, gross exposure or leverage is given once when 80 % of a limit is reached, and again only after
less than 70 % of it. Limits of a single position are there to be used in full by target weights.

An automatic halt is HALTED for the account, and cancels its open orders but the protective ones. It
stays until an operator resumes; after that it halts again only once the loss has been below 80 % of
the limit, so that it does not fight the operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ZERO, bounded, divide_rounded, price_from_float
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.risk import DenialCode, LimitWarning
from tapeline.risk import halts
from tapeline.risk.answers import Scribe, shown
from tapeline.risk.in_force import Gathered, InForce
from tapeline.risk.state import NO_BREAKER, AccountState, Breaker, RiskState
from tapeline.risk.worth import Worth, unit_of
from tapeline.runtime.core import Output

CONFIRMATIONS: Final = 3
"""distinct marks that must agree"""
LOOK_AGAIN_NS: Final = 1_000_000_000
WARNED_FROM: Final = Decimal("0.8")
QUIET_BELOW: Final = Decimal("0.7")
AGE_MAX_NS: Final = 60_000_000_000
"""without a limit of its own an account's marks are fresh for so long"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One limit of an account, and how much of it is used."""

    name: str
    code: DenialCode
    what: str
    measured: Decimal
    limit: Decimal
    halts: bool = False

    def is_at(self, share: Decimal) -> bool:
        """Whether that share of the limit is reached."""
        return self.limit > 0 and self.measured >= share * self.limit

    def is_over(self) -> bool:
        """Whether the limit is broken."""
        return self.measured > self.limit


# ---- marks


def follow(
    window: tuple[tuple[int, float], ...], ts_ns: int, price: float
) -> tuple[tuple[int, float], ...]:
    """The last distinct marks after one more; those ahead of it, from a wrong clock, are gone."""
    kept = window
    if window and window[-1][0] >= ts_ns:
        kept = tuple(item for item in window if item[0] < ts_ns)
    return (*kept, (ts_ns, price))[-CONFIRMATIONS:]


def _confirmed_nav(
    state: RiskState, account: AccountState, worth: Worth, age_max_ns: int, now_ns: int
) -> Decimal | None:
    """NAV at confirmed prices; None where marks are missing, or none has come since."""
    nav, newest_ns, base = worth.cash, 0, account.account.base_currency
    for instrument_id in account.ledger.lines:
        signed = account.ledger.net_quantity(instrument_id)
        if not signed:
            continue
        window = state.mark_windows.get(instrument_id, ())
        unit = unit_of(state, instrument_id, base)
        if len(window) < CONFIRMATIONS or unit is None:
            return None
        newest_ns = max(newest_ns, window[-1][0])
        prices = [price for _, price in window]
        best = price_from_float(max(prices) if signed > 0 else min(prices))
        nav += replace(unit, price=best).value(signed)
    is_fresh = newest_ns > account.watched_mark_ns and now_ns - newest_ns <= age_max_ns
    return nav if is_fresh else None


# ---- readings


def readings(
    state: RiskState, account: AccountState, gathered: Gathered, now_ns: int
) -> tuple[Reading, ...]:
    """What is known of an account's limits now."""
    worth = gathered.appraiser.worth(state, account)
    if worth is None or worth.nav <= 0:
        return ()
    limits = gathered.limits(state, (account.account.account_id, "", ""), now_ns)
    age_max_ns = int(limits.get("mark_age_max_ns") or AGE_MAX_NS)
    found = list(_exposures(worth, limits))
    nav = _confirmed_nav(state, account, worth, age_max_ns, now_ns)
    if nav is not None:
        found += _losses(account, nav, limits, now_ns)
    return tuple(found)


def _exposures(worth: Worth, limits: InForce) -> Iterable[Reading]:
    for code, name, what, used in (
        (DenialCode.GROSS_EXPOSURE, "gross_exposure_max", "Gross exposure", worth.gross),
        (DenialCode.LEVERAGE, "leverage_max", "Leverage", worth.gross_of_lines),
    ):
        limit = limits.get(name)
        if limit is not None:
            measured = bounded(divide_rounded(used, worth.nav))
            yield Reading(name=name, code=code, what=what, measured=measured, limit=limit)


def _losses(account: AccountState, nav: Decimal, limits: InForce, now_ns: int) -> Iterable[Reading]:
    curve = account.curve
    start, loss = curve.day_start_at(now_ns), curve.daily_loss(nav, now_ns)
    drawdown = curve.drawdown(nav)
    for code, name, what, used, of in (
        (DenialCode.DAILY_LOSS, "daily_loss_max", "The day's loss", loss, start),
        (DenialCode.DAILY_LOSS, "loss_amount_max", "The day's loss", loss, Decimal(1)),
        (DenialCode.DRAWDOWN, "drawdown_max", "The loss from the peak", drawdown, curve.peak),
    ):
        limit = limits.get(name)
        if limit is not None and of > 0:
            measured = bounded(divide_rounded(max(used, ZERO), of))
            yield Reading(
                name=name, code=code, what=what, measured=measured, limit=limit, halts=True
            )


# ---- decide


def outputs(state: RiskState, scribe: Scribe, gathered: Gathered) -> tuple[Output, ...]:
    """Warnings and halts of the accounts, when it is time to look."""
    if not is_due(state, scribe.now_ns):
        return ()
    found: list[Output] = []
    for account_id in sorted(state.accounts):
        account = state.accounts[account_id]
        if not account.ledger.lines:
            continue
        over: list[Reading] = []
        for reading in readings(state, account, gathered, scribe.now_ns):
            breaker = account.breakers.get(reading.name, NO_BREAKER)
            if reading.is_at(WARNED_FROM) and not breaker.is_warned:
                found.append(_warning(scribe, account_id, reading))
            if reading.halts and reading.is_over() and not breaker.has_tripped:
                over.append(reading)
        if over:
            found += _halt(state, scribe, account_id, over[0])
    return tuple(found)


def _warning(scribe: Scribe, account_id: str, reading: Reading) -> Output:
    record = LimitWarning(
        account_id=account_id,
        code=reading.code,
        measured=shown(reading.measured) or ZERO,
        limit=shown(reading.limit) or ZERO,
        reason=f"{reading.what} has reached {WARNED_FROM:.0%} of {reading.name}.",
        ts_event_ns=scribe.now_ns,
        ts_init_ns=scribe.now_ns,
    )
    cause = f"{scribe.event.event_id}/{account_id}/{reading.name}"
    return scribe.risk_event(record, cause, LimitWarning.AVRO)


def _halt(
    state: RiskState, scribe: Scribe, account_id: str, reading: Reading
) -> tuple[Output, ...]:
    scope = halts.Scope(ScopeKind.ACCOUNT, account_id, account_id)
    what = f"{reading.what[0].lower()}{reading.what[1:]}"
    reason = (
        f"Automatic: {what} is {reading.measured.normalize():f} at {CONFIRMATIONS} marks each, "
        f"{reading.name} is {reading.limit.normalize():f}."
    )
    return halts.automatic(state, scribe, scope, reading.code, reason)


# ---- evolve


def is_due(state: RiskState, now_ns: int) -> bool:
    """Whether it is time to look."""
    return state.watch_ns is not None and state.watch_ns <= now_ns


def begin(state: RiskState, now_ns: int) -> None:
    """Something has changed what is held: accounts are looked at from now on."""
    if state.watch_ns is None:
        state.watch_ns = now_ns + LOOK_AGAIN_NS


def look(state: RiskState, gathered: Gathered, now_ns: int) -> None:
    """Notes what was warned of and halted, and when to look again."""
    if not is_due(state, now_ns):
        return
    is_held = False
    for account_id in sorted(state.accounts):
        account = state.accounts[account_id]
        if not account.ledger.lines:
            continue
        is_held = True
        state.accounts[account_id] = _looked_at(state, account, gathered, now_ns)
    state.watch_ns = now_ns + LOOK_AGAIN_NS if is_held else None


def _looked_at(
    state: RiskState, account: AccountState, gathered: Gathered, now_ns: int
) -> AccountState:
    found = readings(state, account, gathered, now_ns)
    breakers = dict(account.breakers)
    for reading in found:
        breaker = breakers.get(reading.name, NO_BREAKER)
        is_warned = reading.is_at(QUIET_BELOW if breaker.is_warned else WARNED_FROM)
        has_tripped = reading.halts and (
            reading.is_over() or (breaker.has_tripped and reading.is_at(WARNED_FROM))
        )
        breakers[reading.name] = Breaker(is_warned=is_warned, has_tripped=has_tripped)
    newest_ns = account.watched_mark_ns
    if any(reading.halts for reading in found):
        windows = (state.mark_windows.get(name, ()) for name in account.ledger.lines)
        newest_ns = max((window[-1][0] for window in windows if window), default=newest_ns)
    return replace(
        account,
        breakers={name: breakers[name] for name in breakers if breakers[name] != NO_BREAKER},
        watched_mark_ns=newest_ns,
    )
