"""What a rule of the paper venue needs and does not have: named, never taken for zero in silence.

Under TELL the venue does without and says so once for each name; under REJECT it takes no order
that needs it. What is written as zero in the configuration is an assumption, not missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ZERO
from tapeline.contracts.config import AssetClass, Instrument, MissingInputRule, Venue
from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.market import BookSnapshot, Quote, Trade
from tapeline.contracts.orders import Order, Side
from tapeline.execution.venues.paper_state import PaperAccount, PaperState

FUNDING_RATE: Final = "PAPER_FUNDING_RATE_MISSING"
BORROW_RATE: Final = "PAPER_BORROW_RATE_MISSING"
EXCHANGE_RATE: Final = "PAPER_EXCHANGE_RATE_MISSING"
SIZE: Final = "PAPER_SIZE_MISSING"
DERIVATIVES: Final = (AssetClass.CRYPTO_PERPETUAL, AssetClass.FUTURE)
"""Nothing is borrowed to be short of them."""


@acyclic
@dataclass(frozen=True, slots=True)
class Missing:
    """One input that a rule lacks."""

    code: str
    subject: str
    """what it is missing for: an instrument, or the day of one"""
    reason: str

    @property
    def name(self) -> str:
        """Under which it is told once."""
        return f"{self.code} {self.subject}"


def for_order(state: PaperState, order: Order) -> tuple[Missing, ...]:
    """What is missing for an order that is submitted now; an unknown instrument lacks nothing."""
    instrument = state.instruments.get(order.instrument_id)
    venue = state.venues.get(order.venue)
    if instrument is None or venue is None:
        return ()
    return tuple(_for_order(state, order, instrument, venue))


def _for_order(
    state: PaperState, order: Order, instrument: Instrument, venue: Venue
) -> Iterator[Missing]:
    name, account = order.instrument_id, state.accounts.get(order.account_id, PaperAccount())
    is_perpetual = instrument.asset_class is AssetClass.CRYPTO_PERPETUAL
    if is_perpetual and venue.is_funding_charged and name not in state.funding:
        yield Missing(
            FUNDING_RATE,
            name,
            f"{name} is a perpetual contract and no funding rate of it is known: what its "
            "positions pay is left out. Give the run a feed of funding rates.",
        )
    if borrow_rate(instrument, venue) is None and order.side is Side.SELL:
        held = account.positions.get(name, ZERO)
        if held < order.quantity and instrument.asset_class not in DERIVATIVES:
            yield Missing(
                BORROW_RATE,
                name,
                f"An order sells {name} short and its borrow rate is not known: short positions "
                "cost nothing. Set borrow_rate of the instrument or the venue.",
            )
    if venue.fee_tiers and instrument.currency != account.base_currency:
        yield Missing(
            EXCHANGE_RATE,
            name,
            f"{name} trades in {instrument.currency}, fee tiers count {account.base_currency}, and "
            "no rate between them is known: its fills do not count towards a tier.",
        )


def borrow_rate(instrument: Instrument, venue: Venue) -> Decimal | None:
    """What a short position costs a year; None: not known."""
    return venue.borrow_rate if instrument.borrow_rate is None else instrument.borrow_rate


def refusal(state: PaperState, order: Order) -> str:
    """Why an order is not taken under REJECT, or empty."""
    venue = state.venues.get(order.venue)
    if venue is None or venue.missing_input_rule is not MissingInputRule.REJECT:
        return ""
    return next((missing.reason for missing in for_order(state, order)), "")


def in_tick(state: PaperState, tick: Trade | Quote | BookSnapshot) -> tuple[Missing, ...]:
    """What is missing to fill the open orders of an instrument by a tick: its size."""
    if not lacks_size(tick):
        return ()
    name = tick.instrument_id
    venues = (
        state.venues[state.orders[order_id].order.venue]
        for order_id in state.by_instrument.get(name, ())
    )
    if not any(needs_size(venue) for venue in venues):
        return ()
    reason = (
        f"A {type(tick).__name__.lower()} of {name} has no size, which participation and impact "
        "need: they are left out where it is so. Use a feed with sizes."
    )
    return (Missing(SIZE, name, reason),)


def lacks_size(tick: Trade | Quote | BookSnapshot) -> bool:
    """Whether the feed does not say how much there is at a price of a tick."""
    if isinstance(tick, Trade):
        return tick.size <= 0 < tick.price
    if isinstance(tick, BookSnapshot):
        return False
    return (tick.bid_size <= 0 < tick.bid_price) or (tick.ask_size <= 0 < tick.ask_price)


def needs_size(venue: Venue) -> bool:
    """Whether a rule of the venue needs the size of a tick."""
    return bool(venue.participation_max) or venue.impact_rate is not None


def untold(state: PaperState, found: Iterable[Missing]) -> tuple[Missing, ...]:
    """Those that no incident has named yet."""
    return tuple(missing for missing in found if missing.name not in state.told)


def with_told(state: PaperState, found: Iterable[Missing]) -> PaperState:
    """The state once they are told."""
    new = {missing.name: True for missing in untold(state, found)}
    return replace(state, told={**state.told, **new}) if new else state


def after_tick(state: PaperState, tick: Trade | Quote | BookSnapshot) -> PaperState:
    """The state once what a tick lacks is told."""
    found = in_tick(state, tick)
    return with_told(state, found) if found else state
