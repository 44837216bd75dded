"""Execution is killed around the send: what may have left is asked after, never sent again."""

from __future__ import annotations

import signal

import psutil
import pytest
from desk import Desk
from verdict import judge

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]


@pytest.mark.parametrize(
    ("failpoint", "posts"),
    [
        ("before_intent:kill:2", "not yet"),
        ("after_intent:kill:2", "never"),
        ("before_post:kill:2", "never"),
        ("after_post:kill:2", "once"),
    ],
)
def test_a_kill_around_the_send_makes_no_second_order(
    run: Desk, failpoint: str, posts: str
) -> None:
    process = run.start(failpoint)
    run.approve("o1")
    run.until(lambda: "approval-o1" in run.ended())
    run.approve("o2")
    run.until(lambda: process.poll() is not None)
    assert process.poll() == -signal.SIGKILL
    before = run.venue.ledger()["posts"].get("o2", 0)
    run.start()
    run.until(lambda: "approval-o2" in run.ended())
    run.approve("o3")
    run.until(lambda: "approval-o3" in run.ended())
    run.settled()
    judge(run)
    made = run.venue.ledger()["posts"]
    last = run.updates("o2")[-1]
    print(failpoint, run.statuses("o2"), last.code)
    if posts == "once":
        assert (before, made["o2"], last.status.value) == (1, 1, "FILLED")
        assert "UNKNOWN" in run.statuses("o2")
    elif posts == "never":
        # It may have left, for all that its row says: it is asked after until it cannot arrive.
        assert ("o2" in made, last.code) == (False, "EXECUTION_NOT_ARRIVED")
        assert "UNKNOWN" in run.statuses("o2")
    else:
        # No row: it certainly has not left, so it may leave now, if its time is not over.
        assert "UNKNOWN" not in run.statuses("o2")
        assert made.get("o2", 0) <= 1
    assert run.statuses("o3")[-1] == "FILLED"


def test_a_paused_process_cannot_send_what_its_successor_looks_after(run: Desk) -> None:
    zombie = run.start("before_post:stop:2")
    run.approve("o1")
    run.until(lambda: "approval-o1" in run.ended())
    run.approve("o2")
    # Before its intent is written its successor would send it, and rightly so.
    run.until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_STOPPED)
    run.start()
    run.until(lambda: "approval-o2" in run.ended())
    assert run.updates("o2")[-1].code == "EXECUTION_NOT_ARRIVED"
    # The venue takes no request that is older than its receive window, and this one would be.
    run.venue.script(receive_window_s=run.receive_window_s)
    zombie.send_signal(signal.SIGCONT)
    run.until(lambda: run.venue.ledger()["posts"].get("o2") or '"fenced"' in run.output())
    run.approve("o3")
    run.until(lambda: "approval-o3" in run.ended())
    run.settled()
    judge(run)
    assert [one["client_order_id"] for one in run.venue.ledger()["orders"]] == ["o1", "o3"]
