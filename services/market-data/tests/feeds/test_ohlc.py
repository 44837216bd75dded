from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.contracts.market import TickOrigin
from tapeline.market_data.feeds.ohlc import bar_ticks

OPEN, HIGH = TickOrigin.BAR_OPEN, TickOrigin.BAR_HIGH
LOW, CLOSE = TickOrigin.BAR_LOW, TickOrigin.BAR_CLOSE


@pytest.mark.parametrize(
    ("prices", "order"),
    [
        ((10.0, 12.0, 9.0, 11.0), (OPEN, LOW, HIGH, CLOSE)),
        ((10.0, 12.0, 9.0, 10.0), (OPEN, LOW, HIGH, CLOSE)),
        ((11.0, 12.0, 9.0, 10.0), (OPEN, HIGH, LOW, CLOSE)),
    ],
)
def test_a_rising_bar_dips_first_and_a_falling_one_spikes_first(
    prices: tuple[float, float, float, float], order: tuple[TickOrigin, ...]
) -> None:
    ticks = bar_ticks("A.X", 1000, 90, prices, 8.0)
    assert tuple(tick.origin for tick in ticks) == order
    by_origin = dict(zip((OPEN, HIGH, LOW, CLOSE), prices, strict=True))
    assert [tick.price for tick in ticks] == [by_origin[origin] for origin in order]
    assert [tick.ts_event_ns for tick in ticks] == [1000, 1030, 1060, 1089]


@given(st.floats(min_value=0, max_value=1e15, allow_nan=False))
def test_the_sizes_add_up_to_the_volume_exactly(volume: float) -> None:
    sizes = [tick.size for tick in bar_ticks("A.X", 0, 100, (1.0, 1.0, 1.0, 1.0), volume)]
    assert sum(sizes) == volume
    assert min(sizes) >= 0
