"""Own liquidity consumed: what our orders took of a displayed size is not there a second time.

What was taken at a price is remembered while that price is displayed on that side. Where more is
displayed afterwards the difference is new; where less is, what we took is no more than that; once
the price is gone from the display nothing is remembered. It counts where the venue limits
participation at all, for sizes of quotes and books: each trade is a volume of its own.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ZERO, fixed, price_from_float
from tapeline.contracts.config import Venue
from tapeline.contracts.frozen import replace
from tapeline.contracts.market import BookSnapshot, Quote, Trade
from tapeline.contracts.orders import LiquiditySide, Order, Side, VenueReport
from tapeline.execution.venues.matching import Offer, Tick, offers, prices_of
from tapeline.execution.venues.paper_state import PaperState

Levels = dict[str, Decimal]
"""price as text -> size or quantity"""
_SIDES: Final = (Side.BUY, Side.SELL)


def is_counted(venue: Venue) -> bool:
    """Whether a venue remembers what we took."""
    return venue.is_own_size_consumed and bool(venue.participation_max)


def consumed(state: PaperState, order: Order, tick: Tick, offer: Offer) -> Decimal:
    """What is gone already of the size that a tick offers to an order."""
    sides = state.consumed.get(order.instrument_id)
    if not sides or isinstance(tick, Trade) or not is_counted(state.venues[order.venue]):
        return ZERO
    levels = sides.get(order.side.value, {})
    standing = _standing(tick, order.side)[offer.level : offer.level + offer.depth]
    gone = (
        min(levels.get(_text(price_from_float(price)), ZERO), price_from_float(size))
        for price, size in standing
        if price > 0
    )
    return sum(gone, ZERO)


def taken(state: PaperState, order: Order, report: VenueReport) -> PaperState:
    """After a fill: if it was of a displayed size, that is gone."""
    name = order.instrument_id
    quote, book = state.quotes.get(name), state.books.get(name)
    now_ns = report.ts_event_ns
    shown = book if book is not None and book.ts_event_ns == now_ns else quote
    if shown is None or shown.ts_event_ns != now_ns or not is_counted(state.venues[order.venue]):
        return state
    levels = _levels_of(state, shown, order, report)
    if not levels:
        return state
    sides = state.consumed.get(name, {})
    before = sides.get(order.side.value, {})
    side = {**before, **_spread(report, levels, before)}
    return replace(state, consumed={**state.consumed, name: {**sides, order.side.value: side}})


def _levels_of(
    state: PaperState, shown: Quote | BookSnapshot, order: Order, report: VenueReport
) -> Levels:
    """The displayed levels that a fill was of: for a taker those that came to its price, else the
    best."""
    standing = _standing(shown, order.side)
    begin, behind = 0, 1
    if report.liquidity_side is LiquiditySide.TAKER and isinstance(shown, BookSnapshot):
        instrument = state.instruments[order.instrument_id]
        prices = prices_of(shown, None, instrument, state.venues[order.venue])
        for offer in offers(order.side, prices, instrument.tick_size):
            if offer.price == report.price:
                begin, behind = offer.level, offer.level + offer.depth
    return _sizes(standing[begin:behind])


def _spread(report: VenueReport, levels: Levels, before: Levels) -> Levels:
    """What is gone of each level after a fill of them all, the best first."""
    assert report.quantity is not None
    left, gone = report.quantity, dict[str, Decimal]()
    for price, size in levels.items():
        had = before.get(price, ZERO)
        part = min(left, max(size - had, ZERO))
        gone[price] = fixed(had + part)
        left -= part
    *_, last = levels
    gone[last] = fixed(gone[last] + left)
    return gone


def displayed(state: PaperState, tick: Tick) -> PaperState:
    """After a tick: what is displayed no more, or less of it, is not remembered."""
    name = tick.instrument_id
    sides = state.consumed.get(name)
    if sides is None or isinstance(tick, Trade):
        return state
    kept: dict[str, Levels] = {}
    for side in _SIDES:
        shown = _displayed_levels(tick, side)
        before = sides.get(side.value, {})
        left = {at: min(gone, shown[at]) for at, gone in before.items() if at in shown}
        if left:
            kept[side.value] = left
    if kept == sides:
        return state
    others = {key: value for key, value in state.consumed.items() if key != name}
    return replace(state, consumed={**others, name: kept} if kept else others)


def _displayed_levels(shown: Quote | BookSnapshot, side: Side) -> Levels:
    """What stands on the side that orders of `side` take, best first."""
    return _sizes(_standing(shown, side))


def _sizes(standing: list[tuple[float, float]]) -> Levels:
    return {
        _text(price_from_float(price)): price_from_float(size)
        for price, size in standing
        if price > 0
    }


def _standing(shown: Quote | BookSnapshot, side: Side) -> list[tuple[float, float]]:
    """Price and size of each level as the feed gives them, numbered as offers are."""
    if isinstance(shown, BookSnapshot):
        levels = shown.asks if side is Side.BUY else shown.bids
        return [(one.price, one.size) for one in levels]
    if side is Side.BUY:
        return [(shown.ask_price, shown.ask_size)]
    return [(shown.bid_price, shown.bid_size)]


def _text(price: Decimal) -> str:
    return f"{fixed(price):f}"
