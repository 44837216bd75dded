"""Which limits hold for an order: of all that are set for it, the tightest.

Limits are set, from the general to the special, by: a budget's share, the account, the mandate's
own fields, the mandate's `limits`, the group, the instrument, the mandate's limits for the
instrument, an overlay in force. Each place can only tighten: a ceiling counts where it is lowest, a
floor (`..._min`) or pause where it is highest, and trading hours are kept when one place says so.
What no place sets is not limited.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Final, TypeAlias

from tapeline.accounting.numbers import ZERO, converted, decimal_from_float, fixed
from tapeline.contracts.config import Account, Limits, Mandate, RiskOverlay
from tapeline.contracts.frozen import acyclic
from tapeline.risk.appraisal import Appraiser
from tapeline.risk.history import History, correlation
from tapeline.risk.state import RiskState

TRADES_IN_HOURS: Final = "trades_in_hours"
LIMITS: Final = tuple(item.name for item in fields(Limits) if item.name != TRADES_IN_HOURS)
"""Every limit that is a number."""
PAUSES: Final = ("instrument_cooldown_ns", "group_cooldown_ns", "duplicate_window_ns")
"""Times in which something must not happen."""
FLOORS: Final = tuple(name for name in LIMITS if name.endswith("_min") or name in PAUSES)
"""Those that are tighter when larger."""
SUMS: Final = ("capital_max", "loss_amount_max")
"""Limits in money that a budget can split."""
COUNTS: Final = ("trades_per_day_max", "open_orders_max", "order_rate_max")
"""Limits in numbers that a budget can split."""
OF_MANDATE: Final = tuple(
    item.name for item in fields(Mandate) if item.name in LIMITS and item.name != "confidence_min"
)
"""Limits that are fields of every mandate. Its confidence_min, a float, is one too."""
SHOWN_DIGITS: Final = 12
"""Correlations are compared as rounded to this many decimals."""
NEVER_NS: Final = 2**63 - 1
Place: TypeAlias = tuple[str, str, str]
"""account, group, instrument"""


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The limits for orders of one group in one instrument, until an overlay ends."""

    values: dict[str, Decimal]
    """by name; durations in nanoseconds"""
    trades_in_hours: bool = False
    until_ns: int = NEVER_NS
    """first instant at which they have to be gathered again, session time"""

    def get(self, name: str) -> Decimal | None:
        """A limit, or None where none is set."""
        return self.values.get(name)


NONE: Final = InForce(values={})


@dataclass(slots=True)
class Gathered:
    """What is already worked out, kept while what it is made of stays as it is.

    It is no part of the state: what it says follows from the state alone.
    """

    state: RiskState | None = None
    config_count: int = -1
    by_place: dict[Place, InForce] = field(default_factory=dict)
    by_pair: dict[str, dict[str, tuple[History, History, Decimal | None]]] = field(
        default_factory=dict
    )
    appraiser: Appraiser = field(default_factory=Appraiser)

    def limits(self, state: RiskState, place: Place, now_ns: int) -> InForce:
        """The limits for a place."""
        if state is not self.state or state.config_count != self.config_count:
            self.state, self.config_count = state, state.config_count
            self.by_place.clear()
        found = self.by_place.get(place)
        if found is None or now_ns >= found.until_ns:
            found = gather(state, place, now_ns)
            if _is_configured(state, place):
                self.by_place[place] = found
        return found

    def correlation(self, state: RiskState, one: str, other: str) -> Decimal | None:
        """The correlation of two instruments' returns, to 12 decimals; computed once a bar."""
        first, second = state.histories.get(one), state.histories.get(other)
        if first is None or second is None:
            return None
        pairs = self.by_pair.setdefault(one, {})
        known = pairs.get(other)
        if known is not None and known[0] is first and known[1] is second:
            return known[2]
        measured = correlation(first, second)
        found = None if measured is None else decimal_from_float(round(measured, SHOWN_DIGITS))
        pairs[other] = (first, second, found)
        return found

    def may_be_alike(
        self, state: RiskState, one: str, others: Iterable[str], limit: Decimal
    ) -> list[str]:
        """Those of other instruments whose returns are correlated above a limit, in whichever
        direction, or in a way that is not known."""
        histories, pairs, least = state.histories, self.by_pair.get(one, {}), -limit
        first, found = histories.get(one), []
        for other in others:
            known = pairs.get(other)
            if known is not None and known[0] is first and known[1] is histories.get(other):
                together = known[2]
            elif other == one:
                continue
            else:
                together = self.correlation(state, one, other)
            if together is None or not least <= together <= limit:
                found.append(other)
        return found


def _is_configured(state: RiskState, place: Place) -> bool:
    """Whether a place is worth keeping: strangers' names must not fill the memory."""
    account_id, group_id, instrument_id = place
    is_group = group_id in state.groups or not group_id
    return account_id in state.routes and is_group and instrument_id in state.instruments


def gather(state: RiskState, place: Place, now_ns: int) -> InForce:
    """The tightest of all limits that are set for a place."""
    values: dict[str, Decimal] = {}
    keeps_hours = False
    account = state.routes.get(place[0])
    if account is not None:
        _tighten_all(values, _shares(state, account))
    for limits in _limits(state, place):
        keeps_hours = keeps_hours or bool(limits.trades_in_hours)
        for name in LIMITS:
            value = getattr(limits, name)
            if value is not None:
                tighten(values, name, Decimal(value))
    mandate = state.mandates.get(place[0])
    if mandate is not None:
        _tighten_all(values, [(name, Decimal(getattr(mandate, name))) for name in OF_MANDATE])
        tighten(values, "confidence_min", decimal_from_float(mandate.confidence_min))
    until_ns = NEVER_NS
    for overlay in state.overlays.values():
        if covers(overlay, place) and now_ns < overlay.expires_ns:
            tighten(values, overlay.field, overlay.value)
            until_ns = min(until_ns, overlay.expires_ns)
    return InForce(values=values, trades_in_hours=keeps_hours, until_ns=until_ns)


def tighten(values: dict[str, Decimal], name: str, value: Decimal) -> None:
    """Sets a limit unless a tighter one is set."""
    known = values.get(name)
    if known is None or is_tighter(name, value, known):
        values[name] = value


def is_tighter(name: str, value: Decimal, than: Decimal) -> bool:
    """Whether a limit lets less through than another."""
    return value > than if name in FLOORS else value < than


def covers(overlay: RiskOverlay, place: Place) -> bool:
    """Whether an overlay is about a place."""
    account_id, group_id, instrument_id = place
    return (
        overlay.account_id == account_id
        and overlay.group_id in ("", group_id)
        and overlay.instrument_id in ("", instrument_id)
    )


def _limits(state: RiskState, place: Place) -> Iterator[Limits]:
    account_id, group_id, instrument_id = place
    mandate = state.mandates.get(account_id)
    records = (
        state.routes.get(account_id),
        mandate,
        state.groups.get(group_id),
        state.instruments.get(instrument_id),
    )
    for record in records:
        if record is not None and record.limits is not None:
            yield record.limits
    if mandate is not None and mandate.instrument_limits is not None:
        own = mandate.instrument_limits.get(instrument_id)
        if own is not None:
            yield own


def _shares(state: RiskState, account: Account) -> Iterator[tuple[str, Decimal]]:
    """What an account may use of each budget: nothing where it has no share, or where the budget
    is in another currency than the account."""
    for budget in state.budgets.values():
        part = converted(fixed(budget.value), budget.shares.get(account.account_id, ZERO))
        if budget.field in COUNTS:
            part = Decimal(int(part))
        elif budget.currency != account.base_currency:
            part = ZERO
        yield budget.field, part


def _tighten_all(
    values: dict[str, Decimal], found: Iterator[tuple[str, Decimal]] | list[tuple[str, Decimal]]
) -> None:
    for name, value in found:
        tighten(values, name, value)
