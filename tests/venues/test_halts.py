"""The kill switch is pulled on real processes while orders leave: when does the last one reach the
venue?

By `tapeline halt`, a signed record, a file and a signal, in every scope and level, with a venue
over HTTP; some of the pulls while the switch's own files cannot be written or read, while the
process is being stopped, and while Kafka or PostgreSQL say nothing. (What is canceled with Kafka
away: `test_switch_without_kafka.py`.) `TAPELINE_TEST_HALTS` asks for more, a run for each hundred;
`TAPELINE_TEST_CHAOS_SEED` draws the same pulls again.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from adverse_process import adverse_venue
from desk import Desk, desk
from proving.faults import Stopped
from pulling import BROKER_AWAY, DATABASE_AWAY, SHUTDOWN, Pull, Switch, drawn, ways_of

from tapeline.cli.runs import OPERATOR, Run, RunStore
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.postgres import EmbeddedPostgres
from tapeline.cli.stack.state import Endpoints, FolderLock, StateFile
from tapeline.cli.stack.testing import jars_cache
from tapeline.contracts.orders import OrderUpdate, Side
from tapeline.runtime.keys import OPERATOR_FOLDER, create_signer

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
HALTS = int(os.environ.get("TAPELINE_TEST_HALTS", "8"))
SEED = int(os.environ.get("TAPELINE_TEST_CHAOS_SEED", "0")) or random.SystemRandom().randrange(
    10**6
)
A_RUN = 100
PAUSE_S = 0.005
WAITING_MAX = 24
"""approved and not ended: else a busy machine would fall behind, and halts would wait in line"""
QUIET_S = 0.25
FLOWING = 4
"""orders that leave before the next halt"""
WAIT_S = 240.0
LIMIT_S = 60.0
"""generous: what is promised is printed, not asserted"""
HALTED, REDUCING = "EXECUTION_TRADING_HALTED", "EXECUTION_TRADING_REDUCING"


@dataclass
class Approver:
    """Approves entries and exits in turns."""

    run: Desk
    names: dict[str, int] = field(default_factory=dict)
    """client_order_id -> when it was on its way, nanoseconds UTC"""
    begun: dict[str, int] = field(default_factory=dict)
    """when its approval was begun"""

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._read = self._ended = 0
        self._thread = threading.Thread(target=self._approve, daemon=True)
        self._thread.start()

    def _approve(self) -> None:
        for number in count():
            if self._stopping.wait(PAUSE_S):
                return
            is_entry = number % 2 == 0
            name = f"{'in' if is_entry else 'out'}-{number}"
            side = Side.BUY if is_entry else Side.SELL
            self.begun[name] = time.time_ns()
            self.run.approve(name, side=side, is_reduce_only=not is_entry)
            self.names[name] = time.time_ns()
            while len(self.names) - self._ended_so_far() > WAITING_MAX:
                if self._stopping.wait(PAUSE_S):
                    return

    def _ended_so_far(self) -> int:
        fresh = self.run.found[self._read :]
        self._read += len(fresh)
        self._ended += sum(
            isinstance(one.record, OrderUpdate) and one.record.is_terminal for one in fresh
        )
        return self._ended

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


class Service:
    """Execution under a switch folder; whenever it has ended it is started again."""

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
                self._start()
            time.sleep(0.02)


@dataclass
class Trial:
    """One run, whose switch is pulled again and again."""

    switch: Switch
    service: Service
    approver: Approver
    windows: list[tuple[int, int, bool]] = field(default_factory=list)
    """(halted, resumed, whether exits go on), nanoseconds UTC"""
    overlapping: int = 0
    """orders on their way when the switch was pulled that came behind the first denial"""

    def sent(self, since_ns: int, *, entries_alone: bool) -> list[int]:
        """When orders that a halt concerns came to the venue."""
        posted = self.switch.run.venue.posted_since(since_ns)
        return [at for name, at in posted.items() if not entries_alone or name.startswith("in-")]

    def one(self, asked: Pull) -> float:
        """Seconds from the pull until the last order reached the venue."""
        run, flowing_ns = self.switch.run, time.time_ns()
        self.service.until(
            lambda: (
                len(self.sent(flowing_ns, entries_alone=True)) >= FLOWING // 2
                and len(self.sent(flowing_ns, entries_alone=False)) >= FLOWING
            )
        )
        known = len(run.found)
        with self.switch.gone_wrong(asked):
            began_ns = self.switch.pull(asked)
        code = REDUCING if asked.stops_entries_alone else HALTED

        def is_halted() -> bool:
            return any(
                isinstance(one.record, OrderUpdate)
                and one.record.code == code
                and self.approver.names.get(one.record.client_order_id, 0) > began_ns
                for one in run.found[known:]
            )

        self.service.until(is_halted)
        halted_ns = time.time_ns()
        time.sleep(QUIET_S)
        if asked.stops_entries_alone:
            self.service.until(lambda: self.sent(halted_ns, entries_alone=False))
        sent = self.sent(began_ns, entries_alone=asked.stops_entries_alone)
        self.windows.append((halted_ns, time.time_ns(), asked.stops_entries_alone))
        self.switch.resume(asked)
        print()
        return (max(sent, default=began_ns) - began_ns) / 1e9

    def check(self) -> int:
        """Nothing that was approved in one of the windows came to the venue in it, and nothing
        twice; orders sent. What was on its way when the switch was pulled is in the figures."""
        ledger = self.switch.run.venue.ledger()
        posted: dict[str, int] = ledger["posted_ns"]
        for halted_ns, resumed_ns, entries_alone in self.windows:
            within = [
                name
                for name, at in posted.items()
                if halted_ns < at < resumed_ns and (name.startswith("in-") or not entries_alone)
            ]
            late = [name for name in within if self.approver.begun[name] > halted_ns]
            assert not late, f"sent although halted: {late}"
            self.overlapping += len(within)
        assert set(ledger["posts"].values()) == {1}
        return len(posted)


@dataclass(frozen=True)
class Servers:
    """Servers that may fall silent."""

    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres


@pytest.fixture
def servers(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Servers]:
    """Fresh ones."""
    kafka = EmbeddedKafka(tmp_path / "kafka", jars_dir=jars_cache(pytestconfig.rootpath))
    with kafka, EmbeddedPostgres(tmp_path / "postgres") as postgres:
        yield Servers(kafka, postgres)


@pytest.fixture
def home(tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home in which `tapeline` finds the servers."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("TAPELINE_HOME", str(folder))
    StateFile(folder).set_endpoints(
        Endpoints(
            bootstrap_servers=servers.kafka.bootstrap_servers,
            database_url=servers.postgres.database_url,
        )
    )
    lock = FolderLock(folder)
    lock.acquire()
    yield folder
    lock.release()


@contextmanager
def trial(home: Path, servers: Servers, name: str) -> Iterator[Trial]:
    """A run of its own with a market at 100, orders flowing."""
    store = RunStore(home)
    run = Run(
        name=name,
        run_id=name,
        source="test",
        preset="",
        feed="test",
        is_paced=False,
        is_synthetic=True,
        shards=(0,),
        instrument_partitions=1,
        account_partitions=1,
        started_ns=time.time_ns(),
    )
    store.save(run)
    with ExitStack() as stack:
        venue = stack.enter_context(adverse_venue(home / f"venue-{name}", seed=1))
        venue.market(SYNA_X="100")
        made = stack.enter_context(
            desk(
                store.folder(name),
                servers.kafka.bootstrap_servers,
                servers.postgres.database_url,
                venue,
                run_id=name,
                timeout_s=2.0,
            )
        )
        create_signer(made.keys / "private", made.keys / OPERATOR_FOLDER, OPERATOR)
        silent = {
            BROKER_AWAY: Stopped(servers.kafka),
            DATABASE_AWAY: Stopped(servers.postgres),
        }
        switch = Switch(made, silent)
        switch.folder.mkdir()
        service = Service(made, switch.folder)
        yield Trial(switch, service, stack.enter_context(approving(made)))


@pytest.mark.timeout(3600)
def test_after_a_halt_nothing_reaches_the_venue_until_somebody_resumes(
    home: Path, servers: Servers, tell: Callable[[str], None]
) -> None:
    pulls = list(drawn(HALTS, random.Random(SEED)))
    found: list[tuple[Pull, float]] = []
    orders = approved = restarts = overlapping = 0
    for first in range(0, HALTS, A_RUN):
        with trial(home, servers, f"halts-{first}") as run:
            found += [(asked, run.one(asked)) for asked in pulls[first : first + A_RUN]]
            orders += run.check()
            approved += len(run.approver.names)
            restarts += run.service.restarts
            overlapping += run.overlapping
            run.service.run.stop(run.service.run.processes[-1], signal.SIGTERM)
    stopped = sum(asked.wrong == SHUTDOWN for asked in pulls)
    tell(
        f"halts: TAPELINE_TEST_CHAOS_SEED={SEED}: {HALTS} halts, {orders} of {approved} orders "
        f"sent, {restarts} restarts, {stopped} of them asked for; {overlapping} orders behind the "
        f"first denial; trip to last order at the venue, ms (count, p50, p99, max):"
        f"{shown(ways_of(found))}"
    )
    for asked, took_s in sorted(found, key=lambda one: -one[1])[:5]:
        print(f"{1000 * took_s:.0f} ms: {asked}")
    assert max(took_s for _, took_s in found) < LIMIT_S


def shown(ways: dict[str, list[float]]) -> str:
    """A line each."""
    lines = [""]
    for name, took in ways.items():
        figures = [took[min(int(share * len(took)), len(took) - 1)] for share in (0.5, 0.99, 1.0)]
        lines.append(f"  {name}: {len(took)}, " + ", ".join(f"{1000 * one:.0f}" for one in figures))
    return "\n".join(lines)
