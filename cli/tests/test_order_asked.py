from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tapeline.cli.order_asked import Asked, BadOrder
from tapeline.cli.volume_profile import DAY_NS, profile_of
from tapeline.contracts.market import Bar, TickOrigin
from tapeline.contracts.orders import Algorithm, OrderType

D = Decimal
HOUR = 3_600_000_000_000
MINUTE = HOUR // 60


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(), {"order_type": OrderType.MARKET, "algorithm": Algorithm.NONE}),
        (Asked(limit="9"), {"order_type": OrderType.LIMIT, "limit_price": D(9)}),
        (Asked(stop="9"), {"order_type": OrderType.STOP_MARKET, "stop_price": D(9)}),
        (Asked(stop="9", limit="10"), {"order_type": OrderType.STOP_LIMIT}),
        (
            Asked(take_profit="12", stop_loss="8.5"),
            {"take_profit_price": D(12), "stop_loss_price": D("8.5")},
        ),
        (
            Asked(algorithm="twap", over="1h"),
            {"algorithm": Algorithm.TWAP, "duration_ns": HOUR, "slice_count": 12},
        ),
        (Asked(algorithm="TWAP", over="90s", slices=3), {"slice_count": 3}),
        (
            Asked(algorithm="vwap", over="30m", profile="5, 0,1.5"),
            {"volume_profile": (D(5), D(0), D("1.5")), "slice_count": None},
        ),
        (
            Asked(algorithm="iceberg", limit="9", visible="4"),
            {"visible_quantity": D(4), "duration_ns": None},
        ),
    ],
)
def test_options_become_the_fields_of_a_decision(asked: Asked, expected: dict[str, Any]) -> None:
    fields = asked.fields()
    assert {name: fields[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Asked(limit="x"), "The limit 'x' is not a positive number"),
        (Asked(stop="-1"), "The stop '-1' is not a positive number"),
        (Asked(stop_loss="nan"), "The stop-loss 'nan' is not a positive number"),
        (Asked(algorithm="sniper"), "'sniper' is no algorithm"),
        (Asked(algorithm="twap"), "TWAP needs a duration"),
        (Asked(algorithm="twap", over="soon"), "'soon' is no duration"),
        (Asked(algorithm="twap", over="1h", slices=101), "101 slices are not possible"),
        (Asked(algorithm="twap", over="1h", stop_loss="8"), "not both"),
        (Asked(algorithm="vwap", over="1h", profile="1,-2"), "'-2' is no volume"),
        (Asked(algorithm="iceberg", visible="4"), "needs a limit and a visible part"),
        (Asked(algorithm="iceberg", limit="9"), "needs a limit and a visible part"),
        (Asked(over="1h"), "--over is for algorithms"),
        (Asked(visible="1"), "--visible is for algorithms"),
    ],
)
def test_what_makes_no_sense_is_said(asked: Asked, reason: str) -> None:
    with pytest.raises(BadOrder) as caught:
        asked.fields()
    assert reason in str(caught.value)


def bar(open_ns: int, volume: float, interval_ns: int = 10 * MINUTE) -> Bar:
    return Bar(
        instrument_id="SPY.ARCA",
        feed="test",
        interval_ns=interval_ns,
        ts_open_ns=open_ns,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        volume=volume,
        tick_count=1,
        late_count=0,
        is_complete=True,
        origin=TickOrigin.EXCHANGE,
        ts_event_ns=open_ns + interval_ns,
        ts_init_ns=open_ns + interval_ns,
    )


def test_a_profile_is_what_traded_at_these_times_of_day() -> None:
    start = 100 * DAY_NS + 10 * HOUR
    yesterday, before = start - DAY_NS, start - 2 * DAY_NS
    bars = [
        bar(yesterday, 5.0),
        bar(before, 1.5),
        bar(yesterday + 30 * MINUTE, 2.0),
        bar(before + 59 * MINUTE, 4.0),
        # Outside of the hour, of another interval, and an older version of a bar.
        bar(yesterday + HOUR, 100.0),
        bar(yesterday - 1, 100.0),
        bar(yesterday, 1000.0, HOUR),
    ]
    assert profile_of(bars, start, HOUR, 2) == (D("6.5"), D(6))
    assert profile_of([*bars, bar(yesterday, 3.0)], start, HOUR, 2)[0] == D("4.5")


def test_a_profile_over_midnight_and_without_any_volume() -> None:
    start = 100 * DAY_NS - 30 * MINUTE
    late, early = start - DAY_NS, start - DAY_NS + 30 * MINUTE
    assert profile_of([bar(late, 1.0), bar(early, 3.0)], start, HOUR, 2) == (D(1), D(3))
    assert profile_of([], start, HOUR, 2) == ()
    assert profile_of([bar(late, 0.0)], start, HOUR, 2) == ()
