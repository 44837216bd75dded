"""The kill switch is pulled on real processes while orders leave: when does the last one reach the
venue?

By a signed record, a file and a signal, with Kafka, PostgreSQL and a venue over HTTP there. What
happens with Kafka away is measured without it (`test_trips_under_sends.py`).
`TAPELINE_TEST_HALTS` asks for more, `TAPELINE_TEST_CHAOS_SEED` repeats the ways.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from desk import Desk

from tapeline.contracts.risk import TradingState
from tapeline.runtime.trips import write_halt_file

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
HALTS = int(os.environ.get("TAPELINE_TEST_HALTS", "3"))
SEED = int(os.environ.get("TAPELINE_TEST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(
    10**6
)
WAYS = ("record", "file", "signal")
PAUSE_S = 0.01
QUIET_S = 1.0
FLOWING = 10
"""orders that leave before the next halt"""
WAIT_S = 60.0
LIMIT_S = 5.0
"""generous: what is promised is printed, not asserted"""
HALTED = "EXECUTION_TRADING_HALTED"


@dataclass
class Approver:
    """Approves one order after the other."""

    run: Desk
    names: dict[str, int] = field(default_factory=dict)
    """client_order_id -> when it was on its way, nanoseconds UTC"""

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._approve, daemon=True)
        self._thread.start()

    def _approve(self) -> None:
        for number in count():
            if self._stopping.wait(PAUSE_S):
                return
            name = f"o{number}"
            # Reducing orders go on while others of the instrument are UNKNOWN.
            self.run.approve(name, is_reduce_only=True)
            self.names[name] = time.time_ns()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def approving(run: Desk) -> Iterator[Approver]:
    approver = Approver(run)
    try:
        yield approver
    finally:
        approver.stop()


def pull(run: Desk, folder: Path, way: str, number: int) -> None:
    if way == "record":
        run.switch(TradingState.HALTED)
    elif way == "file":
        write_halt_file(folder, f"halt-{number}", {"level": "cancel-all"})
    else:
        run.processes[-1].send_signal(signal.SIGUSR1)


class Service:
    """Execution under a switch folder; who is overtaken by a halt ends, and is started again."""

    def __init__(self, run: Desk, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.restarts = -1
        self._start()

    def _start(self) -> None:
        self.restarts += 1
        self.run.start(TAPELINE_SWITCH_DIR=str(self.folder))

    def until(self, is_so: Callable[[], object]) -> None:
        """Keeps it up until something holds."""
        deadline_s = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < deadline_s, self.run.output()[-3000:]
            if self.run.processes[-1].poll() is not None:
                assert "Overtaken" in self.run.output()[-3000:], self.run.output()[-3000:]
                self._start()
            time.sleep(0.02)


def one_halt(service: Service, approver: Approver, way: str, number: int) -> float:
    """Seconds from the trip until the last order reached the venue."""
    run, folder = service.run, service.folder

    def sent_since(since_ns: int) -> list[int]:
        return [at for at in run.venue.ledger()["posted_ns"].values() if at > since_ns]

    def is_halted() -> bool:
        return any(
            update.code == HALTED and approver.names.get(update.client_order_id, 0) > began_ns
            for update in run.updates()[-200:]
        )

    began_ns = time.time_ns()
    service.until(lambda: len(sent_since(began_ns)) >= FLOWING)
    began_ns = time.time_ns()
    pull(run, folder, way, number)
    service.until(is_halted)
    halted_ns = time.time_ns()
    time.sleep(QUIET_S)
    sent = sent_since(began_ns)
    assert not [at for at in sent if at > halted_ns], f"{way}: sent although halted"
    for path in folder.glob("halt*"):
        path.unlink()
    run.switch(TradingState.ACTIVE)
    return (max(sent, default=began_ns) - began_ns) / 1e9


@pytest.mark.timeout(1800)
def test_after_a_halt_nothing_reaches_the_venue_until_somebody_resumes(
    run: Desk, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    folder = tmp_path / "switch"
    folder.mkdir()
    service = Service(run, folder)
    choice = random.Random(SEED)
    ways = [WAYS[number % len(WAYS)] for number in range(HALTS)]
    choice.shuffle(ways)
    with approving(run) as approver:
        took = sorted(one_halt(service, approver, way, number) for number, way in enumerate(ways))
    shown = ", ".join(
        f"{name} {1000 * took[min(int(share * len(took)), len(took) - 1)]:.0f}"
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    )
    orders = len(run.venue.ledger()["posts"])
    tell(
        f"halts: TAPELINE_TEST_CHAOS_SEED={SEED}: {HALTS} halts by record, file and signal, "
        f"{orders} of {len(approver.names)} orders sent, {service.restarts} restarts; "
        f"trip to last order at the venue, ms: {shown}"
    )
    assert took[-1] < LIMIT_S
