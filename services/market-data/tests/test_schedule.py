from __future__ import annotations

from tapeline.market_data.schedule import Schedule

SECOND = 1_000_000_000


def test_a_rate_spaces_records_evenly_whatever_their_event_times() -> None:
    schedule = Schedule(100, rate=4.0, speed=1.0)
    assert [schedule.due_ns(ts) - 100 for ts in (5, 5, 9, 1)] == [
        0,
        SECOND // 4,
        SECOND // 2,
        3 * SECOND // 4,
    ]


def test_a_rate_does_not_drift_over_many_records() -> None:
    schedule = Schedule(0, rate=3.0, speed=1.0)
    last = [schedule.due_ns(0) for _ in range(3_001)][-1]
    assert last == 1000 * SECOND


def test_a_speed_keeps_the_spacing_of_the_feed() -> None:
    schedule = Schedule(100, rate=0.0, speed=2.0)
    assert [schedule.due_ns(ts) - 100 for ts in (1000, 1010, 3000)] == [0, 5, 1000]


def test_send_times_never_go_back() -> None:
    schedule = Schedule(0, rate=0.0, speed=1.0)
    assert [schedule.due_ns(ts) for ts in (10, 30, 20, 31)] == [0, 20, 20, 21]
