"""When a tick fills an order on paper, at what price and how much of it.

The rules err against us. A market order pays the ask or earns the bid; where only trades are known,
half a spread is added or taken off. A marketable limit order does the same while the market stays
within its limit. A resting limit order fills at its limit, and only when a quote crosses it or a
trade prints strictly through it: at the limit itself, others stood before us in the queue. A stop
waits until a trade prints, or a quote stands, at its price or beyond; from that very tick on it is
a market or a limit order, so behind a gap it pays the price of the tick it finds, never its stop.
A book is a quote with more levels behind it: a taker goes through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from tapeline.accounting.numbers import (
    ONE,
    ZERO,
    divide_rounded,
    fixed,
    price_from_float,
    product,
    root_rounded,
    round_down_to_lot,
    round_down_to_tick,
    round_up_to_tick,
)
from tapeline.contracts.config import Instrument, Venue
from tapeline.contracts.frozen import acyclic, replace
from tapeline.contracts.market import BookLevel, BookSnapshot, Quote, TickOrigin, Trade
from tapeline.contracts.orders import LiquiditySide, Order, OrderType, Side, TimeInForce
from tapeline.execution.venues.order_view import STOPS
from tapeline.execution.venues.paper_state import PaperOrder, Stance

Tick: TypeAlias = Trade | Quote | BookSnapshot
QUOTE_AGE_NS_MAX: Final = 5_000_000_000
"""A quote older than that says nothing about the price of a trade."""
AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)
"""Judged by the first tick, never at rest."""
_NO_LEVEL: Final = BookLevel(price=0.0, size=0.0)


@acyclic
@dataclass(frozen=True, slots=True)
class Prices:
    """What a tick means for takers, rounded to the tick size against them."""

    buy: Decimal | None
    """paid by a buyer; None: nothing is offered"""
    sell: Decimal | None
    """earned by a seller; None: nothing is bid"""
    traded: Decimal | None
    """the tick's own trade, unrounded; None for a quote"""
    buy_size: Decimal | None
    """quantity that a buyer finds; None: the feed does not say"""
    sell_size: Decimal | None
    asks: tuple[BookLevel, ...] = ()
    """all levels of a book, best first"""
    bids: tuple[BookLevel, ...] = ()

    @property
    def traded_size(self) -> Decimal | None:
        """Of the tick's own trade; None: the feed does not say."""
        return self.buy_size

    def taken(self, side: Side) -> Decimal | None:
        """Price for a taker."""
        return self.buy if side is Side.BUY else self.sell

    def size(self, side: Side) -> Decimal | None:
        """Quantity that an order of a side finds."""
        return self.buy_size if side is Side.BUY else self.sell_size


def quote_of(book: BookSnapshot) -> Quote:
    """The best bid and ask of a book; a side without levels is not quoted."""
    bid = book.bids[0] if book.bids else _NO_LEVEL
    ask = book.asks[0] if book.asks else _NO_LEVEL
    return Quote(
        instrument_id=book.instrument_id,
        feed=book.feed,
        feed_sequence=book.feed_sequence,
        bid_price=bid.price,
        ask_price=ask.price,
        bid_size=bid.size,
        ask_size=ask.size,
        origin=TickOrigin.EXCHANGE,
        quality=(),
        ts_event_ns=book.ts_event_ns,
        ts_init_ns=book.ts_init_ns,
    )


def prices_of(tick: Tick, quote: Quote | None, instrument: Instrument, venue: Venue) -> Prices:
    """Prices of a tick; `quote` is the last one before a trade, if any."""
    if isinstance(tick, BookSnapshot):
        best = prices_of(quote_of(tick), None, instrument, venue)
        return replace(best, asks=tick.asks, bids=tick.bids)
    if isinstance(tick, Quote):
        bid, ask = _positive(tick.bid_price), _positive(tick.ask_price)
        if bid is not None and ask is not None:
            bid, ask = min(bid, ask), max(bid, ask)
        traded, buy_size, sell_size = None, _positive(tick.ask_size), _positive(tick.bid_size)
    else:
        traded = _positive(tick.price)
        bid, ask = _around(traded, tick, quote, venue.half_spread_rate)
        buy_size = sell_size = _positive(tick.size)
    step = instrument.tick_size
    return Prices(
        None if ask is None else round_up_to_tick(ask, step),
        None if bid is None else (round_down_to_tick(bid, step) or None),
        traded,
        buy_size,
        sell_size,
    )


def _positive(value: float) -> Decimal | None:
    return price_from_float(value) if value > 0 else None


def _around(
    traded: Decimal | None, tick: Trade, quote: Quote | None, half_spread_rate: Decimal
) -> tuple[Decimal | None, Decimal | None]:
    """Bid and ask around a trade: the last quote's, never better than the trade itself."""
    if traded is None:
        return None, None
    if quote is not None and tick.ts_event_ns - quote.ts_event_ns <= QUOTE_AGE_NS_MAX:
        bid, ask = _positive(quote.bid_price), _positive(quote.ask_price)
        if bid is not None and ask is not None:
            return min(bid, ask, traded), max(bid, ask, traded)
    return traded * (ONE - half_spread_rate), traded * (ONE + half_spread_rate)


def is_marketable(order: Order, prices: Prices) -> bool:
    """Whether an order would take liquidity at these prices."""
    price = prices.taken(order.side)
    if price is None:
        return False
    if order.limit_price is None:
        return True
    return price <= order.limit_price if order.side is Side.BUY else price >= order.limit_price


def is_triggered(order: Order, prices: Prices) -> bool:
    """Whether a tick reaches a stop: a trade by its price, a quote by the side that we would take.

    Half a spread that is only assumed does not trigger.
    """
    price = prices.taken(order.side) if prices.traded is None else prices.traded
    if price is None or order.stop_price is None:
        return False
    return price >= order.stop_price if order.side is Side.BUY else price <= order.stop_price


def _stop_stance(order: Order, now: Prices) -> Stance:
    if not is_triggered(order, now):
        return Stance.WAITING
    return Stance.TAKING if is_marketable(order, now) or not order.limit_price else Stance.RESTING


def stance_at(held: PaperOrder, before: Prices | None, now: Prices) -> Stance:
    """How an order stands to an eligible tick; `before` is the market it arrived in, if known."""
    order = held.order
    if order.order_type in STOPS and held.stance in (Stance.ARRIVING, Stance.WAITING):
        return _stop_stance(order, now)
    if order.order_type in (OrderType.MARKET, OrderType.STOP_MARKET):
        return Stance.TAKING
    if order.time_in_force in AT_ONCE:
        return Stance.TAKING if is_marketable(order, now) else Stance.RESTING
    stance = held.stance
    if stance is Stance.ARRIVING:
        stance = Stance.TAKING if is_marketable(order, before or now) else Stance.RESTING
    if stance is Stance.TAKING and not is_marketable(order, now):
        return Stance.RESTING
    return stance


def fill_price(
    order: Order, stance: Stance, prices: Prices
) -> tuple[Decimal, LiquiditySide] | None:
    """Price and liquidity side at which a tick fills an order, or None."""
    if stance is Stance.WAITING:
        return None
    taken = prices.taken(order.side)
    if stance is Stance.TAKING:
        return None if taken is None else (taken, LiquiditySide.TAKER)
    limit = order.limit_price
    if limit is None or order.time_in_force in AT_ONCE:
        return None
    if prices.traded is None:
        is_hit = is_marketable(order, prices)
    elif order.side is Side.BUY:
        is_hit = prices.traded < limit
    else:
        is_hit = prices.traded > limit
    return (limit, LiquiditySide.MAKER) if is_hit else None


@acyclic
@dataclass(frozen=True, slots=True)
class Offer:
    """What a tick has for one side of ours at one price."""

    price: Decimal
    size: Decimal | None
    """None: the feed does not say"""
    level: int = 0
    """0 for the best, then deeper"""
    depth: int = 1
    """displayed levels, from `level` on, that come to this price"""


def offers(side: Side, prices: Prices, step: Decimal) -> tuple[Offer, ...]:
    """What a taker meets in a book, best first; `step` is the tick size.

    No level is better than the whole book's price: where bids stand above asks, a buyer pays the
    best bid for what is asked below it, as of a crossed quote.
    """
    best, found = prices.taken(side), list[Offer]()
    for number, level in enumerate(prices.asks if side is Side.BUY else prices.bids):
        price, size = _positive(level.price), _positive(level.size)
        if price is None or best is None:
            continue
        if side is Side.BUY:
            price = max(round_up_to_tick(price, step), best)
        else:
            price = min(round_down_to_tick(price, step), best)
        last = found[-1] if found else None
        if last is None or last.price != price:
            found.append(Offer(price, size, number))
        else:
            size = None if size is None or last.size is None else fixed(last.size + size)
            found[-1] = replace(last, size=size, depth=number + 1 - last.level)
    return tuple(found)


def impacted(order: Order, offer: Offer, taken: Decimal, venue: Venue, step: Decimal) -> Decimal:
    """The price of a taker that takes the tick's size up to `taken`, moved against it.

    Square-root impact: price x (1 +- impact_rate x sqrt(taken / displayed size)), rounded to the
    tick against us. Form: Almgren et al., Direct Estimation of Equity Market Impact (2005), with
    the displayed size in the place of a day's volume and volatility in `impact_rate`.
    """
    if venue.impact_rate is None or offer.size is None:
        return offer.price
    root = root_rounded(divide_rounded(taken, offer.size))
    moved = product(offer.price, product(venue.impact_rate, root))
    if order.side is Side.BUY:
        return round_up_to_tick(offer.price + moved, step)
    return round_down_to_tick(offer.price - moved, step)


def fill_quantity(
    wanted: Decimal, offer: Offer, taken: Decimal, consumed: Decimal, terms: tuple[Decimal, Decimal]
) -> Decimal:
    """How much of `wanted` a tick of some size gives; `terms` are lot size and participation.

    One order takes at most its share of the size, and all our orders together (`taken` so far) at
    most the size; what we took of it when it was displayed before (`consumed`) is gone. Without a
    limit, or where the feed does not say, all of it.
    """
    lot_size, participation_max = terms
    if offer.size is None or not participation_max:
        return wanted
    share = round_down_to_lot(max(offer.size * participation_max - consumed, ZERO), lot_size)
    left = round_down_to_lot(max(offer.size - taken - consumed, ZERO), lot_size)
    return min(wanted, share, left)
