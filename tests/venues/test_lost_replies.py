"""Orders whose replies are lost: no duplicate, none called rejected that the venue holds.

Short by default; `TAPELINE_TEST_CHAOS_TRIALS` asks for so many orders in each mode in which venues
recognise duplicates (make chaos: 2,500), `TAPELINE_TEST_CHAOS_SEED` repeats a run. Times are scaled
down: the client waits 0.2 s for an answer, the venue takes no request older than 3 s.
"""

from __future__ import annotations

import os
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from adverse_process import AdverseVenue, adverse_venue
from desk import Desk, desk
from postgres_books import audited
from trading import finished, trade, until_ended
from verdict import is_unknown

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
TRIALS = int(os.environ.get("TAPELINE_TEST_CHAOS_TRIALS", "16"))
SEED = int(os.environ.get("TAPELINE_TEST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(
    10**6
)
MODES: dict[str, dict[str, Any]] = {
    "forever": {"dedupe": "forever"},
    "open orders only": {"dedupe": "open"},
    "ten minutes": {"dedupe": "window", "dedupe_window_s": 1.0},
    "none": {"dedupe": "none"},
}
"""Ten minutes are scaled down to one second."""
LOSSES = {
    "lost_reply": 0.35,
    "lost_request": 0.03,
    "late": 0.1,
    "late_s": 0.6,
    "error_after": 0.02,
    "partial": 0.3,
    # Else the stream would say what the reply did not.
    "stream_gap": 0.8,
    "receive_window_s": 3.0,
}


LOST = ("lost_reply", "lost_request", "late", "error_after")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
def test_a_lost_reply_makes_no_second_order(
    mode: str, tmp_path: Path, kafka_bootstrap: str, postgres_url: str
) -> None:
    print(f"\nTAPELINE_TEST_CHAOS_SEED={SEED} dedupe {mode}, {TRIALS} orders")
    choice = random.Random(SEED)
    with (
        adverse_venue(tmp_path / "venue", SEED) as venue,
        desk(
            tmp_path, kafka_bootstrap, postgres_url, venue, receive_window_s=3.0, ttl_s=3.0
        ) as run,
    ):
        venue.market(SYNA_X="100")
        venue.script(**LOSSES, **MODES[mode])
        run.start(
            TAPELINE_EXECUTION_RISK_HEARTBEAT_MS_MAX="10000",
            TAPELINE_EXECUTION_VENUE_POLL_MS="1000",
        )
        began = time.monotonic()
        with audited(run) as recorded:
            trade(run, TRIALS, choice)
            orders = TRIALS + meet_each_loss(run, venue, mode)
            found = finished(run)
        assert recorded == run.at_venue()
    print(found, f"{time.monotonic() - began:.0f} s", sep="\n")
    assert found.orders == orders
    assert [name for name in LOST if not found.told.get(name)] == []
    assert found.unknown > 0


def meet_each_loss(run: Desk, venue: AdverseVenue, mode: str) -> int:
    """What chance may have left out: orders until each way to lose something has struck, and one
    order was UNKNOWN; their number. The stream says nothing meanwhile."""
    made = 0
    for name in LOST:
        others = dict.fromkeys((*LOST, "partial"), 0.0)
        venue.script(**{**LOSSES, **MODES[mode], **others, name: 1.0, "stream_gap": 1.0})
        while not (venue.ledger()["told"].get(name) and any(map(is_unknown, run.updates()))):
            order = f"o{TRIALS + made}"
            made += 1
            run.approve(order, is_reduce_only=True)
            run.until(partial(is_settled, run, order))
    venue.script(**LOSSES, **MODES[mode])
    until_ended(run, TRIALS + made)
    return made


def is_settled(run: Desk, order: str) -> bool:
    """It is UNKNOWN, or has ended."""
    return "UNKNOWN" in run.statuses(order) or f"approval-{order}" in run.ended()
