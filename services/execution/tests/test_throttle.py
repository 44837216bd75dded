"""When a venue may be asked, on a clock that the tests move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.execution.outside.throttle import FAILURES_MAX, OPEN_S, OPEN_S_MAX, PROBE_S, Throttle


class Hand:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def throttle(rate: int = 1000) -> tuple[Throttle, Hand]:
    hand = Hand()
    return Throttle(rate, hand), hand


def broken() -> tuple[Throttle, Hand]:
    made, hand = throttle()
    for _ in range(FAILURES_MAX):
        made.took()
        made.failed()
    return made, hand


@given(
    rate=st.integers(1, 20),
    waits=st.lists(st.floats(0.0, 0.7, allow_nan=False), min_size=1, max_size=200),
)
def test_no_second_sees_more_requests_than_allowed(rate: int, waits: list[float]) -> None:
    made, hand = throttle(rate)
    left: list[float] = []
    for wait in waits:
        hand.now_s += wait
        if not made.pause_s():
            made.took()
            made.succeeded()
            left.append(hand.now_s)
    for end in left:
        assert len([one for one in left if end - 1.0 < one <= end]) <= rate


def test_after_the_pause_it_says_a_request_may_leave() -> None:
    made, hand = throttle(2)
    made.took()
    hand.now_s += 0.25
    made.took()
    assert made.pause_s() == pytest.approx(0.75)
    hand.now_s += made.pause_s()
    assert made.pause_s() == 0
    made.took()
    assert made.pause_s() == pytest.approx(0.25)


def test_the_venues_own_word_holds_whatever_else() -> None:
    made, hand = throttle()
    made.told_to_wait(7.5)
    made.succeeded()
    assert made.pause_s() == 7.5
    made.told_to_wait(2.0)
    assert made.pause_s() == 7.5
    with pytest.raises(AssertionError):
        made.took()
    hand.now_s += 7.5
    assert made.pause_s() == 0


def test_one_failure_less_leaves_the_circuit_closed() -> None:
    made, _ = throttle()
    for _ in range(FAILURES_MAX - 1):
        made.failed()
    assert (made.is_open, made.pause_s()) == (False, 0)
    made.succeeded()
    made.failed()
    assert not made.is_open


def test_behind_an_open_circuit_one_request_tries() -> None:
    made, hand = broken()
    assert made.pause_s() == OPEN_S
    hand.now_s += OPEN_S
    assert made.pause_s() == 0
    made.took()
    assert made.pause_s() == PROBE_S
    made.succeeded()
    assert (made.is_open, made.pause_s()) == (False, 0)


def test_each_failed_try_doubles_the_pause_up_to_its_most() -> None:
    made, hand = broken()
    pauses = []
    for _ in range(8):
        pauses.append(made.pause_s())
        hand.now_s += made.pause_s()
        made.failed(made.took())
    assert pauses[:4] == [OPEN_S, OPEN_S * 2, OPEN_S * 4, OPEN_S * 8]
    assert pauses[-1] == OPEN_S_MAX


def test_what_was_on_its_way_when_the_circuit_opened_makes_no_pause_longer() -> None:
    made, hand = broken()
    for _ in range(50):
        made.failed(False)
    assert made.pause_s() == OPEN_S
    hand.now_s += OPEN_S
    is_try = made.took()
    made.failed(False)
    assert (is_try, made.pause_s()) == (True, PROBE_S)
    made.failed(is_try)
    assert made.pause_s() == OPEN_S * 2


def test_a_word_to_wait_ends_the_try() -> None:
    made, hand = broken()
    hand.now_s += OPEN_S
    made.took()
    made.told_to_wait(3.0)
    assert made.pause_s() == 3.0
    hand.now_s += 3.0
    assert made.pause_s() == 0
