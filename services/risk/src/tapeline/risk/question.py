"""One decision, with everything its answer depends on."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.exposure import Unit
from tapeline.accounting.numbers import ZERO, bounded, divide_rounded
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import Instrument, Mandate, TradingGroup
from tapeline.contracts.frozen import acyclic, quick, replace
from tapeline.contracts.market import MarkPrice
from tapeline.contracts.orders import OrderType, Side
from tapeline.contracts.risk import DenialCode, TradingState
from tapeline.risk import switchboard, venue_trust
from tapeline.risk.in_force import Gathered, InForce
from tapeline.risk.state import AccountState, RiskState
from tapeline.runtime.core import Context, Input

SECOND_NS: Final = Decimal(1_000_000_000)


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A no, with the figure that was measured and the limit it broke."""

    code: DenialCode
    reason: str
    measured: Decimal | None = None
    limit: Decimal | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A decision before the state at the time; what is not known is None."""

    state: RiskState
    context: Context
    decision: Decision
    now_ns: int
    verdict: str
    account: AccountState | None
    mandate: Mandate | None
    group: TradingGroup | None
    instrument: Instrument | None
    limits: InForce
    gathered: Gathered
    unit: Unit | None
    """of the instrument in the account's currency; None where a price or a rate is missing"""
    is_amendment: bool = False
    """True: it enlarges or moves an order that is open, which is no entry of its own"""

    def limit(self, name: str) -> Decimal | None:
        """A limit for this decision, or None where none is set."""
        return self.limits.values.get(name)

    def required(self, name: str) -> Decimal:
        """A limit that every mandate has."""
        return self.limits.values[name]

    @property
    def mark(self) -> MarkPrice | None:
        """Our own price of the instrument."""
        return self.state.marks.get(self.decision.instrument_id)

    @property
    def position(self) -> Decimal:
        """What the group holds."""
        assert self.account is not None
        line = self.account.ledger.line(self.decision.group_id, self.decision.instrument_id)
        return line.quantity

    def trading_state(self) -> TradingState:
        """The strictest of all scopes that the decision is in."""
        account_id, instrument_id = self.decision.account_id, self.decision.instrument_id
        found = TradingState.ACTIVE
        if self.state.trading_states:
            route = self.state.routes.get(account_id)
            venue = "" if route is None else route.venue
            scopes = switchboard.scopes_of(account_id, self.decision.group_id, instrument_id, venue)
            found = switchboard.strictest(self.state, scopes)
        is_certain = venue_trust.is_certain(self.state, account_id, instrument_id)
        return found if is_certain or found is not TradingState.ACTIVE else TradingState.REDUCING


@acyclic
@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a decision comes down to: a side, and how much of it closes and how much opens."""

    side: Side
    closing: Decimal
    opening: Decimal
    order_type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None = None
    is_full_close: bool = False
    """takes all that is left of the line"""

    @property
    def quantity(self) -> Decimal:
        """All of it."""
        return self.closing + self.opening

    @property
    def sign(self) -> int:
        """1 for a purchase, -1 for a sale."""
        return 1 if self.side is Side.BUY else -1

    def without_opening(self) -> Wish:
        """The part that only closes."""
        return replace(self, opening=ZERO)


def seconds(nanoseconds: int | Decimal) -> Decimal:
    """A duration as a figure to show."""
    return bounded(divide_rounded(Decimal(nanoseconds), SECOND_NS))


def question_of(state: RiskState, context: Context, event: Input, gathered: Gathered) -> Question:
    """Looks up what a decision mentions."""
    decision: Decision = event.record
    account_id, instrument_id = decision.account_id, decision.instrument_id
    account = state.accounts.get(account_id)
    return Question(
        state=state,
        context=context,
        decision=decision,
        now_ns=event.session_ns,
        verdict=event.verdict,
        account=account,
        mandate=state.mandates.get(account_id),
        group=state.groups.get(decision.group_id),
        instrument=state.instruments.get(instrument_id),
        limits=gathered.limits(
            state, (account_id, decision.group_id, instrument_id), event.session_ns
        ),
        gathered=gathered,
        unit=unit_in(state, account, instrument_id, gathered),
    )


def unit_in(
    state: RiskState, account: AccountState | None, instrument_id: str, gathered: Gathered
) -> Unit | None:
    """What one unit of an instrument is worth to an account."""
    if account is None:
        return None
    return gathered.appraiser.unit(state, instrument_id, account.account.base_currency)
