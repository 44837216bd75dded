"""Where a resting order stands in the queue at its price, under the venue's queue rule.

Under AHEAD everything that was displayed at the price when the order came stands before it. A trade
at the price takes from the front. A cancellation is seen only where less is displayed than was
ahead: then no more than that can be. What is not displayed is not known, and an order of which it
is not known waits for trades through its price, as under THROUGH.
"""

from __future__ import annotations

from decimal import Decimal

from tapeline.accounting.numbers import ZERO, price_from_float
from tapeline.contracts.config import QueueRule, Venue
from tapeline.contracts.market import BookSnapshot, Quote
from tapeline.contracts.orders import Order, Side
from tapeline.execution.venues.matching import QUOTE_AGE_NS_MAX, Prices, Tick, quote_of
from tapeline.execution.venues.paper_state import PaperOrder, PaperState


def size_reached(state: PaperState, held: PaperOrder, now: Prices, venue: Venue) -> Decimal | None:
    """What a trade at the very price of a resting order leaves for it and those of ours at its
    price; None: nothing. Under TOUCH a trade whose size is not known leaves all it wants. Not for
    THROUGH, under which nothing is reached."""
    if now.traded is None or now.traded != held.order.limit_price:
        return None
    if venue.queue_rule is QueueRule.TOUCH:
        return held.leaves_quantity if now.traded_size is None else now.traded_size
    ahead = ahead_of(state, held)
    if ahead is None or now.traded_size is None:
        return None
    return max(now.traded_size - ahead, ZERO)


def ahead_of(state: PaperState, held: PaperOrder) -> Decimal | None:
    """Size ahead of an order, by what the state has seen; None: not known."""
    if held.ahead is not None:
        return held.ahead
    name = held.order.instrument_id
    for shown in (state.quotes.get(name), state.books.get(name)):
        if shown is None or held.arrival_ns - shown.ts_event_ns > QUOTE_AGE_NS_MAX:
            continue
        ahead = _displayed(held.order, shown)
        if ahead is not None:
            return ahead
    return None


def ahead_after(state: PaperState, held: PaperOrder, tick: Tick, now: Prices) -> Decimal | None:
    """Size ahead of a resting order behind a tick that the state has not seen yet."""
    ahead, order = ahead_of(state, held), held.order
    if now.traded is None:
        assert isinstance(tick, Quote | BookSnapshot)
        shown = _displayed(order, tick)
        if shown is None:
            return ahead
        return shown if ahead is None else min(ahead, shown)
    assert order.limit_price is not None
    is_buying = order.side is Side.BUY
    if now.traded < order.limit_price if is_buying else now.traded > order.limit_price:
        return ZERO
    if now.traded != order.limit_price or ahead is None:
        return ahead
    return ahead if now.traded_size is None else max(ahead - now.traded_size, ZERO)


def _displayed(order: Order, shown: Quote | BookSnapshot) -> Decimal | None:
    """Size displayed at an order's limit on its own side. Better than the best nothing stands;
    below it only a book says."""
    price = order.limit_price
    assert price is not None
    is_buying = order.side is Side.BUY
    if isinstance(shown, BookSnapshot):
        for level in shown.bids if is_buying else shown.asks:
            if price_from_float(level.price) == price:
                return price_from_float(level.size)
    best = quote_of(shown) if isinstance(shown, BookSnapshot) else shown
    touch = best.bid_price if is_buying else best.ask_price
    size = best.bid_size if is_buying else best.ask_size
    if touch <= 0:
        return None
    at = price_from_float(touch)
    if at == price:
        return price_from_float(size) if size > 0 else None
    is_better = price > at if is_buying else price < at
    return ZERO if is_better else None
