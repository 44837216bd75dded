"""A recorded bar as four ticks, in the usual order.

A bar that rose or stayed: open, low, high, close; one that fell: open, high, low, close. That is
the path most testers assume (a rising market dips first, a falling one spikes first). It is an
assumption, so the ticks are marked BAR_OPEN, BAR_LOW, BAR_HIGH and BAR_CLOSE.
"""

from __future__ import annotations

from tapeline.contracts.market import TickOrigin
from tapeline.market_data.feeds.interface import RawTrade

Prices = tuple[float, float, float, float]
"""open, high, low, close"""


def bar_ticks(
    instrument_id: str, start_ns: int, interval_ns: int, prices: Prices, volume: float
) -> tuple[RawTrade, RawTrade, RawTrade, RawTrade]:
    """Four ticks inside the interval: at its start, thirds, and one nanosecond before its end.

    A quarter of the volume each; the last takes what rounding leaves, so that adding the sizes in
    order gives the volume exactly.
    """
    opened, high, low, closed = prices
    quarter = volume / 4.0
    last = volume - (quarter + quarter + quarter)
    third_ns = interval_ns // 3
    first_extreme = (low, TickOrigin.BAR_LOW)
    second_extreme = (high, TickOrigin.BAR_HIGH)
    if closed < opened:
        first_extreme, second_extreme = second_extreme, first_extreme

    def tick(after_ns: int, price: float, size: float, origin: TickOrigin) -> RawTrade:
        return RawTrade(
            instrument_id=instrument_id,
            price=price,
            size=size,
            ts_event_ns=start_ns + after_ns,
            origin=origin,
        )

    return (
        tick(0, opened, quarter, TickOrigin.BAR_OPEN),
        tick(third_ns, first_extreme[0], quarter, first_extreme[1]),
        tick(2 * third_ns, second_extreme[0], quarter, second_extreme[1]),
        tick(interval_ns - 1, closed, last, TickOrigin.BAR_CLOSE),
    )
