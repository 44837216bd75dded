"""How orders reach the paper venue, whether it takes them, and when it looks at them again."""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import Final

from tapeline.accounting.numbers import ZERO, is_multiple
from tapeline.contracts.config import Instrument
from tapeline.contracts.orders import Order, OrderType, Side, TimeInForce, VenueCommand
from tapeline.execution.venues.matching import Prices, is_marketable
from tapeline.execution.venues.order_view import STOPS
from tapeline.execution.venues.paper_state import PaperAccount, PaperOrder, PaperState, Stance

DAY_NS: Final = 86_400_000_000_000


def arrival_ns(state: PaperState, command: VenueCommand) -> int:
    """When a command reaches its venue."""
    venue = state.venues.get(command.venue)
    if venue is None:
        return command.ts_event_ns
    jitter_ns_max = venue.latency_jitter_ns
    jitter = jitter_ns(command.command_id, jitter_ns_max) if jitter_ns_max else 0
    return command.ts_event_ns + venue.latency_ns + jitter


def jitter_ns(command_id: str, jitter_ns_max: int) -> int:
    """Between 0 and the most, evenly, and always the same for the same command."""
    drawn = int.from_bytes(blake2b(command_id.encode(), digest_size=8).digest(), "big")
    return drawn % (jitter_ns_max + 1)


def expires_ns(order: Order, arrives_ns: int) -> int | None:
    """First instant at which an order no longer works: DAY ends with the UTC day of arrival."""
    if order.time_in_force is TimeInForce.DAY:
        return (arrives_ns // DAY_NS + 1) * DAY_NS
    if order.time_in_force is TimeInForce.GTD:
        return order.expire_time_ns
    return None


def earliest(*times: int | None) -> int | None:
    """The first of the times that are there."""
    found: int | None = None
    for time in times:
        if time is not None and (found is None or time < found):
            found = time
    return found


def dues(held: PaperOrder) -> list[int]:
    """Times at which an order needs the clock."""
    amended_ns = None if held.amendment is None else held.amendment.arrival_ns
    arrives_ns = None if held.is_accepted else held.arrival_ns
    times = [held.cancel_ns, held.expires_ns, arrives_ns, amended_ns]
    return [time for time in times if time is not None]


def is_due(held: PaperOrder, now_ns: int) -> bool:
    """Whether one of those times has come."""
    return any(time <= now_ns for time in dues(held))


def next_due_ns(state: PaperState, now_ns: int) -> int | None:
    """The first time behind `now_ns` at which some order needs the clock."""
    times = (time for held in state.orders.values() for time in dues(held) if time > now_ns)
    return min(times, default=None)


def reducible(state: PaperState, order: Order) -> Decimal:
    """How much an order may fill: all of it, or for reduce-only what the account holds against."""
    if not order.is_reduce_only:
        return order.quantity
    account = state.accounts.get(order.account_id, PaperAccount())
    position = account.positions.get(order.instrument_id, ZERO)
    return max(-position if order.side is Side.BUY else position, ZERO)


def has_increments(instrument: Instrument) -> bool:
    """Whether prices and quantities of an instrument have a grid at all."""
    return instrument.tick_size > 0 and instrument.lot_size > 0


def is_beyond_limits(instrument: Instrument, price: Decimal) -> bool:
    """Whether the exchange lets nothing trade at a price."""
    low, high = instrument.limit_down_price, instrument.limit_up_price
    return (low is not None and price < low) or (high is not None and price > high)


def fault(state: PaperState, held: PaperOrder) -> str:
    """Why an order cannot be taken whatever the market does, or empty. Said at once."""
    order = held.order
    instrument = state.instruments.get(order.instrument_id)
    if instrument is None or order.venue not in state.venues:
        return "the instrument is not traded here"
    terms = _terms_fault(order, held.arrival_ns)
    return _quantity_fault(order, instrument) or _price_fault(order, instrument) or terms


def _quantity_fault(order: Order, instrument: Instrument) -> str:
    if order.quantity <= 0 or not is_multiple(order.quantity, instrument.lot_size):
        return f"quantity is not a positive multiple of the lot {instrument.lot_size}"
    # It must be possible to get out of what is left of a position.
    if order.quantity < instrument.quantity_min and not order.is_reduce_only:
        return f"quantity is below the minimum {instrument.quantity_min}"
    return ""


def _price_fault(order: Order, instrument: Instrument) -> str:
    has_limit = order.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    for name, price, is_due in (
        ("limit price", order.limit_price, has_limit),
        ("stop price", order.stop_price, order.order_type in STOPS),
    ):
        if not is_due and price is None:
            continue
        if not is_due:
            return f"a {order.order_type.value.lower().replace('_', ' ')} order has no {name}"
        if price is None or price <= 0 or not is_multiple(price, instrument.tick_size):
            return f"{name} is not a positive multiple of the tick {instrument.tick_size}"
    return ""


def _terms_fault(order: Order, arrives_ns: int) -> str:
    is_immediate = order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
    if order.order_type in STOPS and (is_immediate or order.is_post_only):
        return "a stop waits and then takes: neither IOC, FOK nor post only"
    if order.is_post_only and (order.order_type is OrderType.MARKET or is_immediate):
        return "post only: such an order can only take liquidity"
    if order.time_in_force is TimeInForce.GTD and (order.expire_time_ns or 0) <= arrives_ns:
        return "its expiry is missing or over"
    return ""


def amendment_fault(state: PaperState, held: PaperOrder) -> str:
    """Why an order cannot get its new terms, or empty."""
    assert held.amendment is not None
    old, new = held.order, held.amendment.order
    instrument = state.instruments[old.instrument_id]
    if new.quantity <= held.filled_quantity:
        return f"{held.filled_quantity} are filled already"
    if new.order_type is not old.order_type or new.side is not old.side:
        return "side and type of an order stay as they are"
    if new.stop_price != old.stop_price and held.stance in (Stance.TAKING, Stance.RESTING):
        return "the stop has been triggered"
    return _quantity_fault(new, instrument) or _price_fault(new, instrument)


def standing_fault(state: PaperState, order: Order, prices: Prices | None) -> str:
    """Why an order is rejected on arrival in a market of these prices, which only post-only orders
    look at, or empty."""
    if order.is_reduce_only and not reducible(state, order):
        return "reduce only: there is nothing to reduce"
    instrument = state.instruments[order.instrument_id]
    if instrument.is_halted:
        return "trading in the instrument is halted"
    for price in (order.limit_price, order.stop_price):
        if price is not None and is_beyond_limits(instrument, price):
            return "a price of it is beyond the limit up or down"
    if order.is_post_only and prices is not None and is_marketable(order, prices):
        return "post only: it would take liquidity"
    return ""
