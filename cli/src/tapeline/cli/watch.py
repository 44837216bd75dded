"""What a run has said so far, for whoever looks at it while it plays."""

from __future__ import annotations

import threading
from typing import Any

from tapeline.cli.follower import Follower
from tapeline.cli.records import Found, TopicRecords
from tapeline.cli.screen import SHOWN, Rates
from tapeline.cli.session import Session
from tapeline.cli.stack.errors import StackError
from tapeline.cli.tally import WATCHED, Tally
from tapeline.runtime import clock
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.log_reader import LogReader

STALL_S = 90.0


class DemoStalled(StackError):
    """Nothing has moved for too long."""


class Watch:
    """A tally that a follower fills and the screen reads."""

    def __init__(self, session: Session) -> None:
        assert session.stack.endpoints is not None
        settings = session.kafka_settings(session.stack.endpoints)
        self.config: dict[str, Any] = confluent_config(settings)
        self.tally = Tally()
        self.lock = threading.Lock()
        self.prefix = session.run.prefix
        self.records = TopicRecords(LogReader(self.config, self.prefix))
        self.follower = Follower(self.config, self.prefix, self._add)
        self.rates = Rates(self._counts)
        self.started_s = clock.monotonic_s()
        self._moved_s = self.started_s
        self._last = (-1, -1)

    def _add(self, found: Found) -> None:
        with self.lock:
            self.tally.add(found)

    def _counts(self) -> dict[str, int]:
        """What the tally has seen, and of bulk topics the offsets."""
        counts = self.records.counts(list(SHOWN))
        with self.lock:
            seen = {name: self.tally.records[name] for name in SHOWN if name in WATCHED}
        return {**counts, **seen}

    def check_progress(self) -> None:
        """Raises DemoStalled when no slice and no record has come for too long."""
        now = (sum(self.tally.slices.values()), self.tally.records.total())
        if now != self._last:
            self._last, self._moved_s = now, clock.monotonic_s()
        elif clock.monotonic_s() - self._moved_s > STALL_S:
            raise DemoStalled(
                f"Nothing has moved for {STALL_S:.0f} s.",
                "Look at the logs of the services in the run's folder.",
            )
