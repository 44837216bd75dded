"""The broker, the database or their disks away while somebody deals: nothing is sent blind, nothing
is lost, nobody needs help, and all is caught up with soon after.

The figures are measured and printed. What is asserted about time is generous.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from proving.books import last_states
from proving.dealing import Dealer
from proving.faults import Fault, Full, Killed, Several, Stopped, small_disk
from proving.oracle import of
from proving.outage import Figures, Outage, Watch, WatchedSession
from proving.playing import Finished, environment
from proving.reading import committed

from tapeline.audit.queries import reading_connection
from tapeline.backtest.run_replay import replay_run
from tapeline.cli.configuration import load_configuration
from tapeline.cli.proofs import verified
from tapeline.cli.sources import Source, feed_options, prepared
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.postgres import EmbeddedPostgres
from tapeline.cli.stack.testing import jars_cache
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.config import Mandate
from tapeline.contracts.orders import Fill
from tapeline.contracts.topics import TOPICS
from tapeline.runtime import clock
from tapeline.runtime.settings import KafkaSettings

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.chaos]
PRESET = Path(__file__).parents[1] / "proving" / "outage.toml"
AWAY_S = float(os.environ.get("TAPELINE_TEST_OUTAGE_S", "60"))
SHORT_S = 12.0
PAUSE_S = 0.1
SETTLED_S = 8.0
DISK_MB = 700
MEMORY_MAX_MB = 100.0
RESTARTS_MAX = 12
HALT_MAX_S = 15.0
CLEARED_MAX_S = 90.0
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Servers:
    """Servers that a test may ill-treat."""

    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres

    @property
    def variables(self) -> dict[str, str]:
        """Where a session finds them."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "DATABASE_URL": self.postgres.database_url,
        }


@pytest.fixture
def servers(
    request: pytest.FixtureRequest, tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[Servers]:
    """Fresh ones; the one that the test names lives on a small disk."""
    small = getattr(request, "param", "")
    with ExitStack() as stack:
        folders = {name: tmp_path / name for name in ("kafka", "postgres")}
        if small:
            stack.enter_context(small_disk(folders[small], DISK_MB))
        kafka = EmbeddedKafka(folders["kafka"], jars_dir=jars_cache(pytestconfig.rootpath))
        postgres = EmbeddedPostgres(folders["postgres"])
        yield Servers(stack.enter_context(kafka), stack.enter_context(postgres))


@dataclass
class Bereft:
    """The session's own servers are killed; it is the session that brings them back."""

    sessions: list[WatchedSession]

    def take(self) -> None:
        """SIGKILL for both."""
        for server in self.sessions[0].stack.servers:
            os.kill(server.pid, signal.SIGKILL)

    def give(self) -> None:
        """They answer again, without help."""
        for server in self.sessions[0].stack.servers:
            server.wait_until_ready()


def endure(servers: Servers | None, home: Path, name: str, fault: Fault, away_s: float) -> Figures:
    """A run in real time with a dealer, one fault in its midst, everything proved at its end."""
    source = Source(
        stem="outage",
        preset=PRESET,
        title="SYNTHETIC prices",
        is_paced=False,
        is_synthetic=True,
        feed_options=feed_options(seed="3", instruments="SYNA.SIM", seconds="0", rate="20"),
    )
    run, configuration = prepared(home, source, name)
    with environment(servers.variables if servers is not None else {}):
        session = WatchedSession(home, run, configuration, feed_options=source.feed_options)
        if isinstance(fault, Bereft):
            fault.sessions.append(session)
        with session, Watch(session) as watch:
            assert session.stack.endpoints is not None
            database_url = session.stack.endpoints.database_url
            settings = session.kafka_settings(session.stack.endpoints)
            with Dealer(settings, run.run_id, "PAPER-1", PAUSE_S) as dealer:
                outage = Outage(
                    fault=name,
                    session=session,
                    settings=settings,
                    dealer=dealer,
                    watch=watch,
                    audited=lambda: holds_all(settings, run.name, database_url),
                )
                outage.attend(lambda: has_dealt(settings), 120.0)
                started_s = clock.monotonic_s()
                outage.attend(lambda: clock.monotonic_s() - started_s > SETTLED_S, 60.0)
                outage.run(fault.take, fault.give, away_s)
            session.supervisor.stop()
            finished = Finished(
                run=run,
                settings=settings,
                database_url=database_url,
                folder=session.folder,
                seconds=0.0,
            )
            age_ns = load_configuration(PRESET).of(Mandate)[0].decision_age_max_ns
            figures = outage.figures(age_ns, last_states(finished).held_open)
            print(f"\n{figures}")
            assert_whole(finished)
    return figures


def has_dealt(settings: KafkaSettings) -> bool:
    """The first order has been filled: the chain runs."""
    return bool(asyncio.run(committed(settings, (topics.FILLS,)))[topics.FILLS])


def holds_all(settings: KafkaSettings, run_name: str, database_url: str) -> bool:
    """The audit has a row of every decision and every fill that Kafka holds."""
    found = asyncio.run(committed(settings, (topics.DECISIONS, topics.FILLS)))
    with reading_connection(database_url) as connection:
        for topic, kind in ((topics.DECISIONS, Decision), (topics.FILLS, Fill)):
            query = f"SELECT count(*) FROM audit.{topic} WHERE run_id = %s"
            [(rows,)] = connection.execute(query, (run_name,))
            if rows < len(of(found[topic], kind)):
                return False
    return True


def assert_whole(run: Finished) -> None:
    """The chains hold everything that Kafka holds, and a replay decides the same."""
    report = verified(run.run, run.settings, run.folder, run.database_url)
    assert report.is_intact, report.first_bad
    # Bulk topics are chained in ranges that only a longer run fills; anchors anchor themselves.
    waiting = [
        place
        for place in report.pending
        if not TOPICS[place[0]].is_bulk and place[0] != topics.ANCHORS
    ]
    assert not waiting, report.pending
    result = asyncio.run(replay_run(run.settings, run.run.run_id, run.run.shards))
    assert result.differences == ()


def assert_endured(figures: Figures, *, is_broker_away: bool) -> None:
    """No order blind, no event lost, and it came back by itself."""
    assert figures.damage.is_none, str(figures.damage)
    assert figures.approved > 0
    assert figures.sent_late == 0
    if is_broker_away:
        assert figures.sent_last_s <= HALT_MAX_S
        assert figures.not_ready_s <= HALT_MAX_S
    assert max(figures.restarts.values(), default=0) <= RESTARTS_MAX
    assert figures.grown_mb <= MEMORY_MAX_MB
    assert figures.caught_up_s <= CLEARED_MAX_S


def test_a_run_endures_that_broker_and_database_are_away(
    servers: Servers, tmp_path: Path, tell: Tell
) -> None:
    fault = Several((Killed(servers.postgres), Stopped(servers.kafka)))
    figures = endure(servers, tmp_path, "broker-and-database", fault, SHORT_S)
    tell(f"outage: {figures}")
    assert_endured(figures, is_broker_away=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_session_brings_its_own_servers_back(
    tmp_path: Path, pytestconfig: pytest.Config, tell: Tell
) -> None:
    jars = tmp_path / "cache" / "jars"
    jars.parent.mkdir()
    jars.symlink_to(jars_cache(pytestconfig.rootpath))
    figures = endure(None, tmp_path, "own-servers-killed", Bereft([]), SHORT_S)
    tell(f"outage: {figures}")
    assert_endured(figures, is_broker_away=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["broker-killed", "broker-silent"])
def test_a_run_endures_a_minute_without_the_broker(
    servers: Servers, tmp_path: Path, tell: Tell, name: str
) -> None:
    fault: Fault = Killed(servers.kafka) if name == "broker-killed" else Stopped(servers.kafka)
    figures = endure(servers, tmp_path, name, fault, AWAY_S)
    tell(f"outage: {figures}")
    assert_endured(figures, is_broker_away=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["database-killed", "database-silent"])
def test_a_run_endures_a_minute_without_the_database(
    servers: Servers, tmp_path: Path, tell: Tell, name: str
) -> None:
    is_killed = name == "database-killed"
    fault: Fault = Killed(servers.postgres) if is_killed else Stopped(servers.postgres)
    figures = endure(servers, tmp_path, name, fault, AWAY_S)
    tell(f"outage: {figures}")
    assert figures.audit_waits, "the audit did not notice"
    assert_endured(figures, is_broker_away=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("servers", ["kafka"], indirect=True)
def test_a_run_endures_that_the_brokers_disk_is_full(
    servers: Servers, tmp_path: Path, tell: Tell
) -> None:
    fault = Full(servers.kafka, tmp_path / "kafka")
    figures = endure(servers, tmp_path, "broker-disk-full", fault, AWAY_S)
    tell(f"outage: {figures}")
    assert fault.has_ended_server, "the broker did not notice"
    assert_endured(figures, is_broker_away=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("servers", ["postgres"], indirect=True)
def test_a_run_endures_that_the_databases_disk_is_full(
    servers: Servers, tmp_path: Path, tell: Tell
) -> None:
    fault = Full(servers.postgres, tmp_path / "postgres")
    figures = endure(servers, tmp_path, "database-disk-full", fault, AWAY_S)
    tell(f"outage: {figures}")
    assert figures.audit_waits, "the audit did not notice"
    assert_endured(figures, is_broker_away=False)
