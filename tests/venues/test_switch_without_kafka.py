"""The kill switch is pulled while Kafka is away: what is open at the venue is canceled there."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adverse_process import AdverseVenue
from desk import Desk, desk
from proving.kafka_proxy import KafkaProxy, Plan, ProxiedKafka

from tapeline.cli.stack.testing import jars_cache
from tapeline.contracts.orders import Side
from tapeline.contracts.system import Incident

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
LIMIT_S = 240.0
UNTOUCHED = Plan(seed=1, every=1, left={})


@pytest.fixture
def proxied(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[ProxiedKafka]:
    """A broker whose clients are told to come through a proxy."""
    with ProxiedKafka(tmp_path / "kafka", jars_dir=jars_cache(pytestconfig.rootpath)) as kafka:
        yield kafka


def states(venue: AdverseVenue) -> dict[str, str]:
    return {one["client_order_id"]: one["status"] for one in venue.ledger()["orders"]}


class Supervised:
    """Execution, started again whenever it has ended, as every deployment does."""

    def __init__(self, run: Desk, folder: Path) -> None:
        self._run, self._folder = run, folder
        self.process: subprocess.Popen[bytes] | None = None

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not is_so():
            if self.process is None or self.process.poll() is not None:
                self.process = self._run.launch(TAPELINE_SWITCH_DIR=str(self._folder))
            assert time.monotonic() < deadline_s, self._run.output()[-5000:]
            time.sleep(0.05)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_trip_without_kafka_cancels_at_the_venue(
    tmp_path: Path,
    proxied: ProxiedKafka,
    postgres_url: str,
    venue: AdverseVenue,
    *,
    restarts: bool,
) -> None:
    venue.market(SYNA_X="100")
    switch = tmp_path / "switch"
    port = (proxied.advertised, proxied.port, UNTOUCHED)
    proxy = KafkaProxy(*port)
    proxy.__enter__()
    with desk(tmp_path, proxy.bootstrap_servers, postgres_url, venue) as run:
        execution = Supervised(run, switch)
        execution.process = run.start(TAPELINE_SWITCH_DIR=str(switch))
        run.approve("held")
        run.approve("entry", limit="50")
        run.approve("exit", limit="150", side=Side.SELL, is_reduce_only=True)
        execution.until(lambda: {"entry": "OPEN", "exit": "OPEN"}.items() <= states(venue).items())
        run.until(lambda: "ACCEPTED" in run.statuses("entry"))
        proxy.__exit__(None, None, None)
        if restarts:
            run.stop(execution.process, signal.SIGKILL)
        pulled_s = time.monotonic()
        (switch / "halt").touch()
        execution.until(lambda: states(venue)["entry"] == "CANCELED")
        print(f"restarts {restarts}: canceled {time.monotonic() - pulled_s:.1f} s after the trip")
        assert states(venue)["exit"] == "OPEN"
        with KafkaProxy(*port):
            execution.until(lambda: "approval-entry" in run.ended())
            execution.until(
                lambda: any(one.code == "SWITCH_CANCELED_ALONE" for one in run.of(Incident))
            )
            assert run.ended()["approval-entry"].status.value == "CANCELED"
            run.approve("late")
            execution.until(lambda: "approval-late" in run.ended())
            assert run.ended()["approval-late"].code == "EXECUTION_TRADING_HALTED"
            told = [one for one in run.of(Incident) if one.code == "SWITCH_CANCELED_ALONE"]
            assert "entry CANCELED" in told[0].reason
            assert venue.ledger()["posts"] == {"held": 1, "entry": 1, "exit": 1}
            assert states(venue)["exit"] == "OPEN"
            run.settled()
