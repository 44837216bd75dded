"""Watches for trips of the kill switch by file and signal, in threads that need no Kafka.

A trip closes the process for sends at once, in memory; then it is kept on disk; then each shard
steps it as an input in front of all others, so that the journal has it. It is over when every shard
of the process has taken a signed control record that supersedes it. Nothing that goes wrong on the
way undoes what was done before it: the switch stays pulled.

Errors:
    Overtaken   a transaction with sends was under way for too long when the switch was pulled; the
                process ends before it commits, and recovers in front of it
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from tapeline.contracts.control import LocalTrip
from tapeline.runtime import trip_signal
from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.exits import UNAVAILABLE, Failure, FileUnusable
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.telemetry import get_logger
from tapeline.runtime.trips import Latch, halt_files, signal_trip, trip_of_file

State = TypeVar("State")
POLL_S: Final = 0.05
IN_FLIGHT_S: Final = 0.2
"""how long a transaction that was begun before a trip may still take to leave"""
log = get_logger(__name__)


class Overtaken(Failure):
    """The switch was pulled while a transaction with sends was under way."""

    exit_code = UNAVAILABLE


def never_released(_state: Any, _trip: LocalTrip) -> bool:
    """For services that know no trips: the process stays latched."""
    return False


def sends_nothing(_record: Any) -> bool:
    """For services that send nothing to a venue."""
    return False


class TripWatch:
    """What the process has been told by file and signal; safe to call from any thread."""

    def __init__(
        self, folder: Path | None, name: str, shards: Iterable[str], clock: Clock = SYSTEM
    ) -> None:
        self.name = name
        self._folder = folder
        self._clock = clock
        self._latch = None if folder is None else Latch(folder, name)
        self._lock = threading.Lock()
        self._open: dict[str, LocalTrip] = {}
        self._since_s: dict[str, float] = {}
        self._ended: dict[str, None] = {}
        self._released: dict[str, frozenset[str]] = {}
        self._heard: dict[str, None] = {}
        self._shards = frozenset(shards)
        self._is_kept = True
        self._blind = ""
        self._stopping = threading.Event()

    @classmethod
    def of(cls, service: str, settings: ServiceSettings) -> TripWatch:
        """The watch of a process over its switch folder and its signal."""
        shards = [f"{service}/{shard}" for shard in settings.shards]
        return cls(settings.switch_dir, "-".join((service, *map(str, settings.shards))), shards)

    def start(self) -> None:
        """Takes up what was kept and what lies there, then watches; raises FileUnusable."""
        trip_signal.block()
        if self._folder is not None:
            _require_folder(self._folder)
        if self._latch is not None:
            for trip in self._latch.load():
                self.pull(trip)
        self.look()
        threading.Thread(target=self._listen, name="switch-signal", daemon=True).start()
        threading.Thread(target=self._watch, name="switch-file", daemon=True).start()

    def stop(self) -> None:
        """Ends the watch over the folder; what was pulled stays pulled."""
        self._stopping.set()

    # ---- what senders ask

    def open_trips(self) -> Sequence[LocalTrip]:
        """Trips that nothing has superseded yet, oldest first."""
        return tuple(self._open.values()) if self._open else ()

    def blind_because(self) -> str:
        """Why the switch folder cannot be watched, or empty; a sender must not send meanwhile."""
        return self._blind

    # ---- what shards ask

    def untaken(self, taken: Iterable[str]) -> list[LocalTrip]:
        """The open trips that a shard has not taken."""
        known = frozenset(taken)
        return [trip for trip in self.open_trips() if trip.trip_id not in known]

    def age_s(self, trip: LocalTrip) -> float:
        """Seconds since this process heard of a trip."""
        return self._clock.monotonic_s() - self._since_s.get(trip.trip_id, float("inf"))

    def release(self, shard: str, trip_id: str) -> None:
        """A shard has seen a trip superseded; it is over when all have."""
        with self._lock:
            done = self._released.get(trip_id, frozenset()) | {shard}
            self._released[trip_id] = done
            if done < self._shards or trip_id not in self._open:
                return
            self._ended[trip_id] = None
            del self._open[trip_id]
        self._keep()
        log.warning("switch_released", trip=trip_id)

    # ---- pulling

    def pull(self, trip: LocalTrip) -> None:
        """Closes for sends, then keeps it on disk. Raises nothing: the switch stays pulled."""
        with self._lock:
            if trip.trip_id in self._open or trip.trip_id in self._ended:
                return
            self._since_s[trip.trip_id] = self._clock.monotonic_s()
            self._open = {**self._open, trip.trip_id: trip}
        self._keep()
        log.error(
            "switch_pulled",
            origin=trip.origin,
            scope=f"{trip.scope.value} {trip.scope_id}".strip(),
            level=trip.level.value,
            reason=trip.reason,
        )

    def look(self) -> None:
        """One look at the switch folder."""
        if self._folder is None:
            return
        try:
            for path in halt_files(self._folder):
                trip = trip_of_file(path, self._clock.wall_ns())
                # A resume removes files: one that goes while it is read was heard before, or else
                # it halts everything like any that cannot be understood.
                if path.name in self._heard and not os.path.lexists(path):
                    continue
                self._heard[path.name] = None
                self.pull(trip)
            self._see("")
        except OSError as error:
            self._see(f"{self._folder} cannot be watched: {error.strerror}")
        if not self._is_kept:
            self._keep()

    def _see(self, blind: str) -> None:
        if blind != self._blind:
            self._blind = blind
            log.error("switch_folder", state=blind or "watched again")

    def _keep(self) -> None:
        if self._latch is None:
            return
        with self._lock:
            trips = tuple(self._open.values())
            try:
                self._latch.keep(trips)
                self._is_kept = True
            except Exception as error:  # noqa: BLE001 - whatever it is, the switch stays pulled
                # Repeated with the next look; what is in memory holds.
                if self._is_kept:
                    log.error("switch_not_kept", error=repr(error))
                self._is_kept = False

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the watch must not end before the process
                self._see(f"the watch fails: {error!r}")

    def _listen(self) -> None:
        while True:
            number = trip_signal.wait()
            with suppress(Exception):  # such as a log that cannot be written; the next one counts
                self.pull(signal_trip(number, self._clock.wall_ns(), f"{self.name}/{os.getpid()}"))


class ShardTrips(Generic[State]):
    """The trips as one shard's thread takes them."""

    def __init__(
        self,
        watch: TripWatch,
        shard: str,
        *,
        is_released: Callable[[State, LocalTrip], bool],
        is_send: Callable[[Any], bool],
    ) -> None:
        self._watch = watch
        self._shard = shard
        self._is_released = is_released
        self._is_send = is_send
        self._taken: dict[str, None] = {}

    def take(self) -> list[LocalTrip]:
        """Trips that the shard must step next."""
        found = self._watch.untaken(self._taken)
        self._taken.update(dict.fromkeys(trip.trip_id for trip in found))
        return found

    def refuse_overtaken(self, records: Iterable[Any]) -> None:
        """Raises Overtaken where what is about to be committed sends, and was stepped before a
        trip that is older than what may be in flight."""
        waiting = self._watch.untaken(self._taken)
        if not waiting or max(map(self._watch.age_s, waiting)) < IN_FLIGHT_S:
            return
        if any(self._is_send(record) for record in records):
            raise Overtaken(
                f"{self._shard} was about to send what was decided before the kill switch was "
                f"pulled ({waiting[0].reason}).",
                "Nothing was sent; started again, the process takes the halt first.",
            )

    def committed(self, state: State) -> None:
        """After a commit: which trips are over for this shard."""
        for trip in self._watch.open_trips():
            if trip.trip_id in self._taken and self._is_released(state, trip):
                self._watch.release(self._shard, trip.trip_id)


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        halt_files(folder)
    except OSError as error:
        raise FileUnusable(
            f"The switch folder {folder} cannot be read: {error.strerror}.",
            "Point TAPELINE_SWITCH_DIR to a folder that this user may write.",
        ) from error
