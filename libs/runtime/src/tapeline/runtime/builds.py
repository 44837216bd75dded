"""Whose build is on the money path: two builds must never trade one run side by side.

Every process of the money path says on `heartbeats` which build it is, which schemas it knows and
since when it runs. A start listens before it fences anybody: where a process of another build
lives, the start is refused. And whoever runs goes on listening: of two that started at the same
moment the later one leaves.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tapeline.contracts import topics
from tapeline.contracts.registry import SCHEMAS
from tapeline.contracts.system import Heartbeat
from tapeline.runtime import clock, exits
from tapeline.runtime.codec import DecodeError, Decoder, fingerprint_of
from tapeline.runtime.intake import Resolve
from tapeline.runtime.log import Raw, TopicPartition
from tapeline.runtime.log_reader import LogReader

PLACE: Final[TopicPartition] = (topics.HEARTBEATS, 0)
LOOK_BACK: Final = 512
"""records of `heartbeats` that a start looks at"""
SILENT_S: Final = 6.0
"""a process that was heard within so long may be alive; one that says nothing for so long is not"""
PAUSE_S: Final = 0.25


class MixedBuilds(exits.Failure):
    """A process of another build is on the money path of this run."""

    exit_code = exits.USAGE

    @classmethod
    def because(cls, ours: Heartbeat, theirs: Heartbeat) -> MixedBuilds:
        """Names both."""
        return cls(
            f"{name_of(ours)} is build {text_of(ours)}, but {name_of(theirs)} of this run is "
            f"build {text_of(theirs)}.",
            "Stop every risk and execution process of the run, then start all of them from one "
            "build.",
        )


def schema_set() -> str:
    """Digest of every schema this build knows."""
    marks = sorted((name, fingerprint_of(schema)) for name, schema in SCHEMAS.items())
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:16]


def name_of(beat: Heartbeat) -> str:
    """Such as risk/0."""
    return f"{beat.service}/{beat.shard}"


def text_of(beat: Heartbeat) -> str:
    """Build and schemas as people compare them."""
    return f"{beat.build_id} (schemas {beat.schema_set or 'unknown'})"


def is_alien(ours: Heartbeat, theirs: Heartbeat) -> bool:
    """Whether the other one is of the money path and of another build. Those beside the money path
    have no shard."""
    if theirs.shard < 0:
        return False
    return (theirs.build_id, theirs.schema_set) != (ours.build_id, ours.schema_set)


def is_later(ours: Heartbeat, theirs: Heartbeat) -> bool:
    """Whether we started later, so that it is ours to leave. A build that does not say since when
    it runs is taken for the earlier one."""
    return (ours.started_ns, name_of(ours)) > (theirs.started_ns, name_of(theirs))


@dataclass(frozen=True, slots=True)
class Heard:
    """A heartbeat and when the broker got it."""

    beat: Heartbeat
    append_ms: int


class Peers:
    """The builds on the money path as one process hears them."""

    def __init__(self, ours: Heartbeat, resolve: Resolve | None = None) -> None:
        """`resolve` finds the schemas of builds that are not ours."""
        self.ours = ours
        self._decoder = Decoder((Heartbeat.AVRO,), resolve)

    def aliens(self, raws: Iterable[Raw]) -> dict[str, Heard]:
        """The last heartbeat of each process of another build, by name."""
        found: dict[str, Heard] = {}
        for raw in raws:
            try:
                beat = self._decoder.decode(raw.value)
            except DecodeError:
                continue  # nobody of the money path writes what it has not published
            if is_alien(self.ours, beat):
                found[name_of(beat)] = Heard(beat, raw.append_ms)
        return found

    def refuse_to_mix(
        self, reader: LogReader, is_stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Returns when no process of another build lives; raises MixedBuilds where one does.

        Where one was heard a moment ago, this waits: who beats again is alive, who is silent for
        SILENT_S has ended.
        """
        heard = self.aliens(_read_last(reader))
        newest_ms = max((item.append_ms for item in heard.values()), default=0)
        silent_s = clock.wall_ns() / 1e9 - newest_ms / 1e3
        if silent_s >= SILENT_S:
            return
        next_offset = reader.ends([PLACE])[PLACE]
        until_s = clock.monotonic_s() + min(SILENT_S, SILENT_S - silent_s)
        while clock.monotonic_s() < until_s and not is_stopping():
            time.sleep(PAUSE_S)
            end = reader.ends([PLACE])[PLACE]
            beats = self.aliens(reader.read({PLACE: (next_offset, end)})[PLACE])
            if beats:
                raise MixedBuilds.because(self.ours, next(iter(beats.values())).beat)
            next_offset = end

    def check(self, raws: Iterable[Raw]) -> None:
        """Raises MixedBuilds where one of another build is heard that was there before us."""
        for heard in self.aliens(raws).values():
            if is_later(self.ours, heard.beat):
                raise MixedBuilds.because(self.ours, heard.beat)


def _read_last(reader: LogReader) -> list[Raw]:
    low, high = reader.starts([PLACE])[PLACE], reader.ends([PLACE])[PLACE]
    return reader.read({PLACE: (max(low, high - LOOK_BACK), high)})[PLACE]
