"""Plays the short run: the whole chain as processes on real Kafka and real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tapeline.backtest.run_replay import RunReplay, replay_run
from tapeline.cli.backtests import Asked, played_run
from tapeline.cli.follower import Follower
from tapeline.cli.home import VARIABLE
from tapeline.cli.plan import reporters_of
from tapeline.cli.records import Found
from tapeline.cli.runs import Run
from tapeline.cli.session import Session
from tapeline.cli.sources import Source, feed_options, prepared
from tapeline.contracts import topics
from tapeline.contracts.system import SliceDone
from tapeline.runtime import clock
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import KafkaSettings

PRESET = Path(__file__).parent / "short.toml"
LOAD_PRESET = Path(__file__).parent / "load.toml"
LOAD_OPTIONS = {
    "seed": "5",
    "instruments": "SYNA.SIM,SYNB.SIM,SYNC.SIM,SYND.SIM",
    "seconds": "3600",
    "rate": "10",
    "spike_share": "0.0005",
    "duplicate_share": "0.002",
    "disorder_share": "0.002",
}
START, END = "2014-01-01", "2014-06-19"
LIMIT_S = 900.0
"""for a whole run on a busy machine; a quiet one needs a tenth"""
LOAD_LIMIT_S = 1800.0
MakeSession = Callable[..., Session]
Meanwhile = Callable[[Session, "Progress"], bool]
"""Called again and again while the run plays; True: it has nothing more to do."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Servers that several runs share, and the folder of the runs."""

    home: Path
    bootstrap_servers: str
    database_url: str
    token: str = field(default_factory=lambda: secrets.token_hex(3))
    """in the names of the runs: the servers may hold those of another session"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that was played to its end; its servers still run."""

    run: Run
    settings: KafkaSettings
    database_url: str
    folder: Path
    seconds: float
    replay: RunReplay | None = None

    @property
    def digests(self) -> dict[str, str]:
        """Of what was decided, approved and filled, as the replay found them."""
        assert self.replay is not None
        return self.replay.digests()


class Progress:
    """How far each reporter has come, followed in a thread."""

    def __init__(self, session: Session) -> None:
        assert session.stack.endpoints is not None
        settings = session.kafka_settings(session.stack.endpoints)
        self.wanted = frozenset(reporters_of(session.run, session.configuration))
        self.slices: dict[str, int] = dict.fromkeys(self.wanted, 0)
        self.finals: set[str] = set()
        self._follower = Follower(
            confluent_config(settings), session.run.prefix, self._add, (topics.PROGRESS,)
        )

    def __enter__(self) -> Progress:
        self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.stop()

    @property
    def slice(self) -> int:
        """The last slice that everybody has finished."""
        return min(self.slices.values())

    @property
    def is_over(self) -> bool:
        """Everybody has finished the last slice."""
        assert self._follower.failure is None, self._follower.failure
        return self.finals >= self.wanted

    def _add(self, found: Found) -> None:
        if isinstance(found.record, SliceDone) and found.record.reporter in self.wanted:
            self.slices[found.record.reporter] = found.record.slice
            if found.record.is_final:
                self.finals.add(found.record.reporter)


def short_source(end: str = END) -> Source:
    """Half a year of daily prices, or more."""
    return Source(
        stem="short", preset=PRESET, title="", feed_options=feed_options(start=START, end=end)
    )


def load_source() -> Source:
    """An hour of generated ticks, faults among them."""
    return Source(
        stem="load",
        preset=LOAD_PRESET,
        title="SYNTHETIC prices",
        is_synthetic=True,
        feed_options=feed_options(**LOAD_OPTIONS),
    )


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def play(
    ground: Ground,
    stem: str,
    *,
    source: Source | None = None,
    variables: Mapping[str, str] | None = None,
    make_session: MakeSession = Session,
    meanwhile: Meanwhile = lambda _session, _progress: True,
    limit_s: float = LIMIT_S,
) -> Finished:
    """Plays a run, the short one where not said, with the services as processes of their own."""
    source = source or short_source()
    run, configuration = prepared(ground.home, source, f"{stem}-{ground.token}")
    started_s = clock.monotonic_s()
    servers = {
        "KAFKA_BOOTSTRAP_SERVERS": ground.bootstrap_servers,
        "DATABASE_URL": ground.database_url,
    }
    with environment({**servers, **(variables or {})}):
        session = make_session(ground.home, run, configuration, feed_options=source.feed_options)
        with session, Progress(session) as progress:

            def is_done() -> bool:
                passed_s = clock.monotonic_s() - started_s
                assert passed_s < limit_s, f"{run.name}: {progress.slices} after {passed_s:.0f} s"
                has_finished = meanwhile(session, progress)
                return progress.is_over and has_finished

            session.watch(is_done, pause_s=0.02)
            session.supervisor.stop()
            assert session.stack.endpoints is not None
            return Finished(
                run=run,
                settings=session.kafka_settings(session.stack.endpoints),
                database_url=ground.database_url,
                folder=session.folder,
                seconds=clock.monotonic_s() - started_s,
            )


def from_the_tape(finished: Finished) -> dict[str, str]:
    """Digests of the run played once more, from the tape that is pulled of its topics."""
    places = {
        VARIABLE: str(finished.folder.parent.parent),
        "KAFKA_BOOTSTRAP_SERVERS": finished.settings.kafka_bootstrap_servers,
        "DATABASE_URL": finished.database_url,
    }
    asked = Asked(run_id=finished.run.run_id)
    with environment(places):
        again = played_run(finished.run.name, asked, lambda _part: None, lambda _done, _all: None)
    return dict(again.digests)


def replayed(finished: Finished) -> Finished:
    """The run with its replay: what was decided, approved and filled, decided once more."""
    result = asyncio.run(replay_run(finished.settings, finished.run.run_id, finished.run.shards))
    return replace(finished, replay=result)
