"""Everything else that venues do: odd fills, odd answers, and trades behind our back."""

from __future__ import annotations

import os
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from adverse_process import AdverseVenue, adverse_venue
from desk import ACCOUNT, INSTRUMENT, Desk, desk
from postgres_books import audited
from trading import finished, trade
from verdict import judge

from tapeline.contracts.accounts import VenueDrift
from tapeline.contracts.control import AcceptVenueTruth, ScopeKind
from tapeline.contracts.orders import Fill
from tapeline.runtime.topology import delete_topics

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
TRIALS = int(os.environ.get("TAPELINE_TEST_CHAOS_TRIALS", "12"))
SEED = int(os.environ.get("TAPELINE_TEST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(
    10**6
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "script",
    [
        {"partial": 0.7, "stream_twice": 0.5, "stream_reorder_s": 0.5},
        {"partial": 0.5, "stream_gap": 1.0, "lost_reply": 0.2},
        {"throttled": 0.15, "banned": 0.1, "retry_after_s": 0.4},
        {
            "error_before": 0.1,
            "error_after": 0.1,
            "html": 0.1,
            "half_json": 0.1,
            "ok_with_error": 0.1,
            "cut": 0.1,
            "rejected": 0.1,
            "query_fails": 0.3,
        },
    ],
    ids=["fills", "gaps", "throttle", "answers"],
)
def test_no_misbehaviour_makes_our_books_differ(
    script: dict[str, Any], tmp_path: Path, kafka_bootstrap: str, postgres_url: str
) -> None:
    print(f"\nTAPELINE_TEST_CHAOS_SEED={SEED} {script}, {TRIALS} orders")
    with (
        adverse_venue(tmp_path / "venue", SEED) as venue,
        desk(tmp_path, kafka_bootstrap, postgres_url, venue) as run,
    ):
        venue.market(SYNA_X="100")
        venue.script(**script)
        run.start(TAPELINE_EXECUTION_RISK_HEARTBEAT_MS_MAX="10000")
        with audited(run) as recorded:
            trade(run, TRIALS, random.Random(SEED))
            venue.script()
            found = finished(run)
        assert recorded == run.at_venue()
        assert run.of(VenueDrift) == [] or not run.of(VenueDrift)[-1].is_open
    print(found)
    assert found.orders == TRIALS


def test_an_order_that_arrives_late_is_never_doubled_and_stays_reserved(
    tmp_path: Path, kafka_bootstrap: str, postgres_url: str, venue: AdverseVenue
) -> None:
    venue.market(SYNA_X="100")
    venue.script(late=1.0, late_s=3.0, receive_window_s=30.0)
    with desk(tmp_path, kafka_bootstrap, postgres_url, venue, receive_window_s=30.0) as run:
        run.start()
        run.approve("o1", "3")
        run.until(lambda: "UNKNOWN" in run.statuses("o1"))
        run.approve("o2")
        run.until(lambda: "approval-o2" in run.ended())
        # What is not known at the venue lets the instrument only reduce.
        assert run.updates("o2")[-1].code == "EXECUTION_TRADING_REDUCING"
        assert "approval-o1" not in run.ended(), "its exposure must stay reserved"
        run.until(lambda: "approval-o1" in run.ended())
        assert run.statuses("o1")[-1] == "FILLED"
        run.settled()
        assert judge(run).unknown == 1


def test_a_busted_fill_leaves_all_books_equal(run: Desk) -> None:
    run.start()
    run.approve("o1", "3")
    run.approve("o2", "2")
    run.until(lambda: len(run.ended()) == 2)
    trade_id = run.of(Fill)[0].trade_id
    run.venue.bust(trade_id)
    run.settled()
    quantity = run.of(Fill)[0].quantity
    assert run.at_venue()[INSTRUMENT] == Decimal(5) - quantity
    judge(run)


def test_deposits_fees_and_funding_come_into_the_books(run: Desk) -> None:
    run.start()
    for kind, amount in (("deposit", "500"), ("fee", "-0.37"), ("funding", "-1.25")):
        run.venue.entry(ACCOUNT, kind, amount)
    run.until(lambda: run.at_venue() == run.folded() != {})
    assert run.folded()["USD"] == Decimal("100498.38")
    assert run.at_risk() == run.folded()


def test_a_trade_behind_our_back_is_found_and_accepted_by_hand_alone(run: Desk) -> None:
    run.start()
    run.approve("o1", "2")
    run.until(lambda: "approval-o1" in run.ended())
    run.settled()
    run.venue.past_us(ACCOUNT, INSTRUMENT, "-0.5")
    run.until(lambda: len(run.of(VenueDrift)) >= 2)
    run.approve("o2")
    run.until(lambda: "approval-o2" in run.ended())
    assert run.updates("o2")[-1].code == "EXECUTION_TRADING_REDUCING"
    drifts = tuple(sorted(drift.drift_id for drift in run.of(VenueDrift)))
    run.control(
        AcceptVenueTruth,
        f"accept/{ACCOUNT}",
        command_id="k1",
        scope=ScopeKind.ACCOUNT,
        scope_id=ACCOUNT,
        drift_ids=drifts,
        expires_ns=2**62,
    )
    run.settled()
    run.until(lambda: not run.of(VenueDrift)[-1].is_open)
    run.approve("o3")
    run.until(lambda: "approval-o3" in run.ended())
    assert run.statuses("o3")[-1] == "FILLED"
    run.settled()
    judge(run)


# ---- what is lost on our side


def intents(url: str, statement: str, run_id: str) -> int:
    plain = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as connection:
        return connection.execute(statement, (run_id,)).rowcount


def test_a_lost_database_is_rebuilt_by_asking_and_nothing_is_sent_again(run: Desk) -> None:
    process = run.start()
    run.approve("o1")
    run.approve("o2", limit="50")
    run.until(lambda: "approval-o1" in run.ended() and "ACCEPTED" in run.statuses("o2"))
    run.stop(process)
    for table in ("intent", "sender"):
        assert intents(
            run.admin_url, f"DELETE FROM execution.{table} WHERE run_id = %s", run.run_id
        )
    run.venue.market(SYNA_X="40")
    run.start()
    run.until(lambda: "approval-o2" in run.ended())
    run.approve("o3")
    run.until(lambda: "approval-o3" in run.ended())
    run.settled()
    judge(run)
    assert run.venue.ledger()["posts"] == {"o1": 1, "o2": 1, "o3": 1}


def test_intents_that_are_missing_stop_the_start(run: Desk) -> None:
    process = run.start()
    run.approve("o1")
    run.until(lambda: "approval-o1" in run.ended())
    run.stop(process)
    intents(run.admin_url, "DELETE FROM execution.intent WHERE run_id = %s", run.run_id)
    assert run.start().wait(60) == 64
    assert "some were deleted" in run.output()


def test_topics_that_are_missing_stop_the_start(
    tmp_path: Path, kafka_bootstrap: str, postgres_url: str
) -> None:
    with adverse_venue(tmp_path / "venue", 1) as venue:
        venue.market(SYNA_X="100")
        with desk(tmp_path / "a", kafka_bootstrap, postgres_url, venue) as first:
            process = first.start()
            first.approve("o1")
            first.until(lambda: "approval-o1" in first.ended())
            first.stop(process)
        delete_topics(first.settings)
        again = desk(tmp_path / "b", kafka_bootstrap, postgres_url, venue, run_id=first.run_id)
        with again as second:
            assert second.start().wait(60) == 64
            assert "the topic was deleted" in second.output()
        assert venue.ledger()["posts"] == {"o1": 1}
