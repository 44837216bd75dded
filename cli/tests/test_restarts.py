"""Restarts wait longer and longer, and are given up only for what a process does by itself."""

from __future__ import annotations

import pytest

from tapeline.cli.restarts import FAILURES_MAX, LONGEST_S, WINDOW_S, Patience
from tapeline.runtime import exits


def test_a_process_that_ends_again_soon_waits_twice_as_long() -> None:
    patience = Patience()
    delays = [patience.delay_s("risk", exits.INTERNAL, float(now)) for now in range(6)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_S]


def test_a_process_that_ran_well_for_a_while_is_started_at_once_again() -> None:
    patience = Patience()
    for now in range(5):
        patience.delay_s("risk", exits.INTERNAL, float(now))
    assert patience.delay_s("risk", exits.INTERNAL, 5.0 + WINDOW_S) == 0.5


@pytest.mark.parametrize("code", [exits.INTERNAL, exits.WATCHDOG, exits.FENCED, -9])
def test_one_that_keeps_falling_over_is_given_up(code: int) -> None:
    patience = Patience()
    delays = [patience.delay_s("risk", code, float(now)) for now in range(FAILURES_MAX + 1)]
    assert None not in delays[:-1]
    assert delays[-1] is None


def test_one_whose_broker_is_away_is_never_given_up() -> None:
    patience = Patience()
    delays = [patience.delay_s("risk", exits.UNAVAILABLE, float(now)) for now in range(100)]
    assert delays[-1] == LONGEST_S


def test_wrong_settings_are_given_up_at_once() -> None:
    assert Patience().delay_s("risk", exits.USAGE, 0.0) is None


def test_processes_do_not_count_for_each_other() -> None:
    patience = Patience()
    for now in range(FAILURES_MAX + 1):
        patience.delay_s("risk", exits.INTERNAL, float(now))
    assert patience.delay_s("execution", exits.INTERNAL, 9.0) == 0.5
