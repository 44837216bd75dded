"""Orders to an external venue, through the real process and back."""

from __future__ import annotations

import itertools
import signal
import time
from decimal import Decimal
from pathlib import Path

import pytest
from adverse_process import AdverseVenue
from desk import Desk, desk

from tapeline.contracts.orders import Mode, OrderAction, Side
from tapeline.contracts.risk import TradingState

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_an_order_goes_out_and_comes_back_as_a_fill(run: Desk) -> None:
    process = run.start()
    run.approve("o1", "2.5")
    run.until(lambda: "approval-o1" in run.ended())
    assert run.statuses("o1")[0] == "SUBMITTED"
    assert run.statuses("o1")[-1] == "FILLED"
    run.approve("o2", "1", side=Side.SELL)
    run.approve("o3", "1", limit="50")
    run.until(lambda: "approval-o2" in run.ended() and "ACCEPTED" in run.statuses("o3"))
    run.approve("o3", "1", action=OrderAction.CANCEL, approval_id="cancel-o3", limit="50")
    run.until(lambda: "approval-o3" in run.ended() and "cancel-o3" in run.ended())
    assert run.statuses("o3")[-1] == "CANCELED"
    run.settled()
    assert run.folded() == run.at_venue() == run.at_risk()
    assert run.venue.ledger()["posts"] == {"o1": 1, "o2": 1, "o3": 1}
    assert run.stop(process) == 0


def last(run: Desk) -> str:
    """The order that was spoken of last."""
    return run.updates()[-1].client_order_id


@pytest.mark.parametrize("change", ["halted", "switched off", "risk silent"])
def test_what_must_not_leave_does_not(run: Desk, change: str) -> None:
    run.start()
    run.approve("o1")
    run.until(lambda: "approval-o1" in run.ended())
    if change == "halted":
        run.switch(TradingState.HALTED)
    elif change == "switched off":
        run.live(False)
    else:
        run.is_beating = False
        tried = itertools.count()

        def is_refused() -> bool:
            run.approve(f"x{next(tried)}")
            time.sleep(0.5)
            return "DENIED" in run.statuses(last(run))

        run.until(is_refused)
    run.approve("o2")
    run.until(lambda: "approval-o2" in run.ended())
    assert (
        run.updates("o2")[-1].code
        == {
            "halted": "EXECUTION_TRADING_HALTED",
            "switched off": "EXECUTION_LIVE_NOT_PERMITTED",
            "risk silent": "EXECUTION_RISK_SILENT",
        }[change]
    )
    assert "o2" not in run.venue.ledger()["posts"]


def test_a_shadow_run_does_everything_but_the_send(
    tmp_path: Path, kafka_bootstrap: str, postgres_url: str, venue: AdverseVenue
) -> None:
    with desk(tmp_path, kafka_bootstrap, postgres_url, venue, mode=Mode.SHADOW) as run:
        process = run.start()
        run.approve("o1", "2.5")
        run.approve("o2", limit="50")
        run.until(lambda: all("ACCEPTED" in run.statuses(name) for name in ("o1", "o2")))
        run.trade("100")
        run.until(lambda: "approval-o1" in run.ended())
        assert run.statuses("o1")[-1] == "FILLED"
        run.stop(process, signal.SIGKILL)
        run.start()
        run.approve("o2", action=OrderAction.CANCEL, approval_id="cancel-o2", limit="50")
        run.until(lambda: "cancel-o2" in run.ended())
        assert run.statuses("o2")[-1] == "CANCELED"
        assert run.folded() == run.at_risk() == {"SYNA.X": Decimal("2.5"), "USD": Decimal(99_750)}
        ledger = run.venue.ledger()
        assert (ledger["posts"], ledger["orders"], ledger["trades"]) == ({}, [], [])
