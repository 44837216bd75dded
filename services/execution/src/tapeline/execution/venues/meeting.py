"""One order and one tick: at which prices the tick fills the order, and how much of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from tapeline.accounting.numbers import ZERO, fixed, round_down_to_lot
from tapeline.contracts.config import Instrument, MissingInputRule, QueueRule, Venue
from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.market import BookSnapshot
from tapeline.contracts.orders import LiquiditySide, Order, OrderType, Side, TimeInForce
from tapeline.execution.venues import arrival, liquidity, missing, queue
from tapeline.execution.venues.matching import (
    AT_ONCE,
    Offer,
    Prices,
    Tick,
    fill_price,
    fill_quantity,
    impacted,
    offers,
)
from tapeline.execution.venues.paper_state import PaperOrder, PaperState, Stance

Hit: TypeAlias = tuple[Decimal, LiquiditySide]
Filled: TypeAlias = tuple[Offer, Decimal, LiquiditySide]
"""price with its level, quantity, side"""


@acyclic
@dataclass(frozen=True, slots=True)
class Meeting:
    """What a tick finds of an order that was at the venue before it."""

    state: PaperState
    held: PaperOrder
    stance: Stance
    """to this tick"""
    tick: Tick
    now: Prices
    taken: dict[tuple[Side, int], Decimal]
    """of the tick's size, by our orders so far: side and level"""
    before: PaperState
    """before any order met the tick"""

    @property
    def _venue(self) -> Venue:
        return self.state.venues[self.held.order.venue]

    @property
    def _instrument(self) -> Instrument:
        return self.state.instruments[self.held.order.instrument_id]

    def lacks_size(self) -> bool:
        """Whether the order would be filled and the venue's rules refuse to without a size."""
        venue, order = self._venue, self.held.order
        if venue.missing_input_rule is not MissingInputRule.REJECT or not missing.needs_size(venue):
            return False
        is_hit = fill_price(order, self.stance, self.now) is not None
        return is_hit and self.now.size(order.side) is None

    def fills(self) -> list[Filled]:
        """The fills, best price first; none where an all-or-none order would not get all."""
        held, order = self.held, self.held.order
        hit, wanted = fill_price(order, self.stance, self.now), held.leaves_quantity
        if hit is None and self.stance is Stance.RESTING:
            hit, wanted = self._queued()
        if hit is None:
            return []
        wanted = min(wanted, arrival.reducible(self.state, order))
        found = list(self._taken_from(self._met(hit), wanted, hit[1]))
        is_all_or_none = order.time_in_force is TimeInForce.FOK
        filled = sum((quantity for _, quantity, _ in found), ZERO)
        return [] if is_all_or_none and filled < held.leaves_quantity else found

    def _met(self, hit: Hit) -> tuple[Offer, ...]:
        """Prices and sizes that the order meets."""
        order, (price, liquidity_side) = self.held.order, hit
        if liquidity_side is LiquiditySide.TAKER:
            if not self._venue.is_stop_gapped and self._is_just_triggered():
                assert order.stop_price is not None
                price = order.stop_price
            elif self.now.asks or self.now.bids:
                return offers(order.side, self.now, self._instrument.tick_size)
        return (Offer(price, self.now.size(order.side)),)

    def _taken_from(
        self, met: tuple[Offer, ...], wanted: Decimal, liquidity_side: LiquiditySide
    ) -> Iterator[Filled]:
        order, is_book = self.held.order, isinstance(self.tick, BookSnapshot)
        for offer in met:
            quantity = self._quantity(wanted, offer)
            if quantity <= 0:
                continue
            if liquidity_side is LiquiditySide.TAKER and not is_book:
                taken = self.taken.get((order.side, 0), ZERO) + quantity
                paid = impacted(order, offer, taken, self._venue, self._instrument.tick_size)
                offer = offer if paid is offer.price else replace(offer, price=paid)
            if _may_trade(order, offer.price, self._instrument):
                yield offer, quantity, liquidity_side
                wanted -= quantity

    def _quantity(self, wanted: Decimal, offer: Offer) -> Decimal:
        """How much of `wanted` an offer gives."""
        order, gone = self.held.order, ZERO
        if self.before.consumed:
            gone = liquidity.consumed(self.before, order, self.tick, offer)
        return fill_quantity(
            wanted,
            offer,
            self.taken.get((order.side, offer.level), ZERO),
            gone,
            (self._instrument.lot_size, self._venue.participation_max),
        )

    def _queued(self) -> tuple[Hit | None, Decimal]:
        """Price and size at which a trade at its own price fills a resting order."""
        order, venue = self.held.order, self._venue
        if venue.queue_rule is QueueRule.THROUGH or order.time_in_force in AT_ONCE:
            return None, ZERO
        reached = queue.size_reached(self.before, self.held, self.now, venue)
        if reached is None or order.limit_price is None:
            return None, ZERO
        left = fixed(max(reached - self.taken.get((order.side, 0), ZERO), ZERO))
        wanted = min(self.held.leaves_quantity, round_down_to_lot(left, self._instrument.lot_size))
        return (order.limit_price, LiquiditySide.MAKER), wanted

    def _is_just_triggered(self) -> bool:
        """Whether a stop has waited until this tick."""
        is_stop = self.held.order.order_type is OrderType.STOP_MARKET
        return is_stop and self.held.stance in (Stance.ARRIVING, Stance.WAITING)


def _may_trade(order: Order, price: Decimal, instrument: Instrument) -> bool:
    """Whether a price is within the order's limit and the exchange's."""
    if price <= 0 or arrival.is_beyond_limits(instrument, price):
        return False
    limit = order.limit_price
    if limit is None:
        return True
    return price <= limit if order.side is Side.BUY else price >= limit
