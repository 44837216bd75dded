"""Orders whose replies are lost: no duplicate, none called rejected that the venue holds.

Short by default; `TAPELINE_TEST_CHAOS_TRIALS` asks for so many orders in each mode in which venues
recognise duplicates (make chaos: 2,500), `TAPELINE_TEST_CHAOS_SEED` repeats a run. Times are scaled
down: the client waits 0.2 s for an answer, the venue takes no request older than 3 s.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from adverse_process import adverse_venue
from desk import desk
from postgres_books import audited
from trading import finished, trade

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
TRIALS = int(os.environ.get("TAPELINE_TEST_CHAOS_TRIALS", "16"))
SEED = int(os.environ.get("TAPELINE_TEST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(
    10**6
)
RESOLVED_S_MAX = 10.0
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
            found = finished(run)
        assert recorded == run.at_venue()
    print(found, f"{time.monotonic() - began:.0f} s", sep="\n")
    assert found.orders == TRIALS
    assert sum(found.told.get(name, 0) for name in LOST) >= TRIALS // 8
    assert found.unknown > 0
    assert found.p99_s <= RESOLVED_S_MAX
