"""When a process is ended for lack of progress, and when it is not."""

from __future__ import annotations

import threading

from tapeline.runtime import exits
from tapeline.runtime.health import Health
from tapeline.runtime.watchdog import Progress, Watchdog


class HandClock:
    """Moved by hand."""

    now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return 0


def progress_at(position: int, end: int) -> tuple[Progress, HandClock]:
    clock = HandClock()
    progress = Progress(clock)
    progress.at("bars/0", position)
    progress.ends_at("bars/0", end)
    return progress, clock


def test_work_without_progress_is_a_stall_after_the_limit_and_not_before() -> None:
    progress, clock = progress_at(5, end=9)
    clock.now_s += 10.0
    assert progress.stalled(10.0) == ""
    clock.now_s += 0.1
    assert "bars/0" in progress.stalled(10.0)


def test_a_partition_without_work_never_stalls() -> None:
    progress, clock = progress_at(9, end=9)
    clock.now_s += 1000.0
    assert progress.stalled(10.0) == ""


def test_work_that_has_just_come_has_waited_for_no_time() -> None:
    progress, clock = progress_at(9, end=9)
    clock.now_s += 1000.0
    progress.ends_at("bars/0", 12)
    assert progress.stalled(10.0) == ""
    clock.now_s += 11.0
    assert progress.stalled(10.0)


def test_more_work_does_not_excuse_a_partition_that_stands() -> None:
    progress, clock = progress_at(5, end=9)
    for end in range(10, 22):
        clock.now_s += 1.0
        progress.ends_at("bars/0", end)
        progress.at("bars/0", 5)
    assert progress.stalled(10.0)


def test_each_record_that_is_stepped_is_progress() -> None:
    progress, clock = progress_at(5, end=99)
    for position in range(6, 40):
        clock.now_s += 9.0
        progress.at("bars/0", position)
    assert progress.stalled(10.0) == ""


def test_one_stuck_partition_is_found_among_those_that_run() -> None:
    progress, clock = progress_at(5, end=99)
    for position in range(20):
        clock.now_s += 1.0
        progress.at("bars/1", position)
        progress.ends_at("bars/1", 99)
    assert progress.stalled(10.0).startswith("bars/0")


def test_restoring_a_state_is_progress_of_all() -> None:
    progress, clock = progress_at(5, end=99)
    clock.now_s += 9.0
    progress.touch()
    clock.now_s += 9.0
    assert progress.stalled(10.0) == ""


def test_a_step_that_may_take_long_is_excused_for_so_long() -> None:
    progress, clock = progress_at(5, end=9)
    progress.excuse(60.0)
    clock.now_s += 60.0
    assert progress.stalled(10.0) == ""
    clock.now_s += 10.1
    assert progress.stalled(10.0)


def test_what_is_not_assigned_any_more_is_forgotten() -> None:
    progress, clock = progress_at(5, end=9)
    progress.clear()
    clock.now_s += 100.0
    assert progress.stalled(10.0) == ""
    assert progress.lags() == {}


def test_lag_is_what_is_left_to_step() -> None:
    progress, _ = progress_at(5, end=9)
    assert progress.lags() == {"bars/0": 4}


def test_the_watchdog_ends_a_process_whose_loop_does_not_beat() -> None:
    clock, ended, codes = HandClock(), threading.Event(), []
    health = Health(watchdog_s=15, clock=clock)

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    with Watchdog(health, end, check_s=0.001):
        clock.now_s += 16
        assert ended.wait(120)
    assert codes == [exits.WATCHDOG]


def test_the_watchdog_passes_on_what_its_checks_find() -> None:
    watchdog = Watchdog(Health(15), lambda _: None)
    watchdog.watch("fine", lambda: "")
    assert watchdog.complaint() == ""
    watchdog.watch("bars", lambda: "stands at 5")
    assert watchdog.complaint() == "bars: stands at 5"
