"""What a command that looks at a run needs: servers that answer, and the run.

Where a session runs its servers are used; else they are started for the time of the command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapeline.cli.home import home
from tapeline.cli.records import TopicRecords
from tapeline.cli.runs import Run, RunStore
from tapeline.cli.stack.errors import StackError
from tapeline.cli.stack.state import Endpoints, running_endpoints
from tapeline.contracts import topics
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.settings import KafkaSettings


class NothingRuns(StackError):
    """A command needs a run that is under way."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A run and the servers that hold it."""

    run: Run
    endpoints: Endpoints
    folder: Path
    home: Path
    is_running: bool

    @property
    def settings(self) -> KafkaSettings:
        """How a client reaches the run's topics."""
        return KafkaSettings(
            kafka_bootstrap_servers=self.endpoints.bootstrap_servers, topic_prefix=self.run.prefix
        )

    @property
    def config(self) -> dict[str, Any]:
        """Settings of a confluent-kafka client."""
        return confluent_config(self.settings)

    @property
    def reader(self) -> LogReader:
        """Looks things up in the run's topics."""
        return LogReader(self.config, self.run.prefix)

    @property
    def records(self) -> TopicRecords:
        """Reads the run's topics, decoded."""
        return TopicRecords(self.reader)

    @property
    def audit_url(self) -> str:
        """The audit's database, as the role that may read."""
        from tapeline.audit.migrate import migrate_with_file

        return migrate_with_file(self.endpoints.database_url, self.home / "audit.password")


@contextmanager
def desk(name: str = "", *, must_run: bool = False) -> Iterator[Desk]:
    """The desk for a run; `last` or empty is the newest one."""
    folder = home()
    store = RunStore(folder)
    run = store.get(name)
    found = running_endpoints(folder)
    if found is not None:
        yield Desk(run, found, store.folder(run.name), folder, True)
        return
    if must_run:
        raise NothingRuns(
            "Nothing runs: there is nobody to act on this.", "Start it with `tapeline up`."
        )
    # Commands that need no server of their own must not wait for what starts one.
    from tapeline.cli.stack.stack import LocalStack

    with LocalStack(folder) as stack:
        assert stack.endpoints is not None
        found_run = Desk(run, stack.endpoints, store.folder(run.name), folder, False)
        # A broker that has just started answers before it knows its partitions; this waits.
        found_run.records.counts(list(topics.TOPICS))
        yield found_run
