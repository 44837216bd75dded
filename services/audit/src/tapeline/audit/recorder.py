"""The loop: fetch, chain, store, anchor. One thread, one database connection.

Kafka is the buffer: while the database is away nothing more is fetched than the consumer's own
bounded queue, and nothing is lost, because the position is what the database holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Final

from confluent_kafka import KafkaException

from tapeline.audit.anchors import Anchor
from tapeline.audit.chain import Chain, ChainKey, Place, Record
from tapeline.audit.core import NOWHERE, Entry, Ledger, Scribe, Tip, is_bulk, names_of
from tapeline.audit.emitter import Emitter
from tapeline.audit.errors import ChainConflict, DatabaseAway, LogMismatch
from tapeline.audit.reading import Reader
from tapeline.audit.settings import AuditSettings
from tapeline.audit.source import Source, misplaced
from tapeline.audit.store import Store
from tapeline.audit.witness import Witness
from tapeline.contracts import topics
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.health import Health
from tapeline.runtime.telemetry import Metrics, get_logger

FETCH_S: Final = 0.1
HEARTBEAT_S: Final = 2.0
FLUSH_S: Final = 5.0
STAGE: Final = "audit"
log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a recorder works with."""

    source: Source
    store: Store
    reader: Reader
    emitter: Emitter
    witness: Witness
    health: Health
    metrics: Metrics
    clock: Clock = SYSTEM


class Recorder:
    """Chains one run's topics until it is told to stop."""

    def __init__(
        self, settings: AuditSettings, key: ChainKey, parts: Parts, stopping: Event
    ) -> None:
        self._settings = settings
        self._key = key
        self._parts = parts
        self._stopping = stopping
        self._ledger = Ledger(tips={})
        self._places: tuple[Place, ...] = ()
        self._scribe = Scribe(settings.run_id, {})
        self._heartbeat_at_s = parts.clock.monotonic_s()
        self._give_up_at_s = float("inf")
        self._links = parts.metrics.counter("tapeline_audit_links", "Links stored.", ("topic",))
        self._insert_seconds = parts.metrics.histogram(
            "tapeline_audit_insert_seconds", "Time to store one batch."
        )

    @property
    def ledger(self) -> Ledger:
        """Where the chains stand."""
        return self._ledger

    def start(self) -> None:
        """Takes the positions from the database and begins to consume there.

        Raises LogMismatch where Kafka does not hold what comes next, and ChainConflict where a
        chain's head is not the anchored one.
        """
        parts = self._parts
        self._places = parts.source.places()
        chains = {place: Chain(self._key, self._settings.run_id, place) for place in self._places}
        self._scribe = Scribe(self._settings.run_id, chains)
        tips = self._persist(lambda: parts.store.tips(self._places))
        self._ledger = Ledger(tips=tips)
        self._compare_with_anchors(parts.witness.latest, tips)
        positions = {place: self._ledger.position(place) for place in self._places}
        starts, ends = parts.source.starts(self._places), parts.source.high_watermarks(self._places)
        for place, reason in misplaced(positions, starts, ends):
            is_deleted = positions[place] < starts[place]
            self._accept_or_refuse(place, reason, is_deleted)
            positions[place] = NOWHERE
        parts.source.assign(positions)
        parts.health.set_ready(True)
        log.info("started", partitions=len(positions), chained=len(tips), key_id=self._key.key_id)

    def run(self) -> None:
        """Until stopped; then what Kafka holds already, and the last anchors."""
        while not self._stopping.is_set():
            self.step(FETCH_S)
        self._bound_the_end()
        parts = self._parts
        # What the audit itself has said is chained too.
        parts.emitter.flush(FLUSH_S)
        is_drained = self._drain(self._places)
        parts.emitter.anchors(parts.witness.everything(self._ledger.tips))
        parts.emitter.flush(FLUSH_S)
        # Anchors are chained as well; the head of their own chain goes to the file alone.
        own = [place for place in self._places if place[0] == topics.ANCHORS]
        is_drained = self._drain(own) and is_drained
        parts.witness.everything(self._ledger.tips)
        links = sum(tip.index for tip in self._ledger.tips.values())
        log.info("stopped", is_drained=is_drained, links=links)

    def step(self, timeout_s: float) -> int:
        """Fetches and stores one batch; returns the number of records."""
        parts = self._parts
        records = parts.source.fetch(self._settings.batch_records, timeout_s)
        parts.health.beat()
        if records:
            self._store(records)
        parts.emitter.anchors(parts.witness.due(self._ledger.tips))
        now_s = parts.clock.monotonic_s()
        if now_s - self._heartbeat_at_s >= HEARTBEAT_S and not self._stopping.is_set():
            self._heartbeat_at_s = now_s
            self._show_lag()
        return len(records)

    def _store(self, records: Sequence[Record]) -> None:
        parts = self._parts
        with parts.metrics.step_seconds.labels(STAGE).time():
            entries = [self._entry(record) for record in records]
            names = names_of(entries)
            seen = self._persist(lambda: parts.store.seen(names))
            batch, ledger = self._scribe.chain(self._ledger, entries, seen)
            if batch.rows or batch.ranges:
                with self._insert_seconds.time():
                    parts.store.append_surely(batch, self._on_outage)
            # Only now: the ledger is never ahead of the database.
            self._ledger = ledger
        parts.health.set_ready(True, part="database")
        for place, tip in batch.after.items():
            before = batch.before[place]
            links = tip.index - (before.index if before is not None else 0)
            self._links.labels(place[0]).inc(links)
        for record in records:
            parts.metrics.consumed.labels(record.topic).inc()
        parts.metrics.last_progress.labels(STAGE).set(parts.clock.wall_ns() / 1e9)

    def _entry(self, record: Record) -> Entry:
        reader = self._parts.reader
        if is_bulk(record.topic):
            return Entry(record=record, is_final=reader.is_final_watermark(record))
        return Entry(record=record, reading=reader.read(record))

    def _drain(self, places: Collection[Place]) -> bool:
        """Chains what these partitions hold now; False when the time for it is over."""
        source = self._parts.source
        try:
            ends = source.ends(places)
        except KafkaException as error:
            log.warning("not_drained", reason=str(error))
            return False
        while not source.has_reached(ends):
            if self._parts.clock.monotonic_s() > self._give_up_at_s:
                return False
            self.step(FETCH_S)
        return True

    def _persist(self, attempt: Callable[[], Any]) -> Any:
        return self._parts.store.persist(attempt, self._on_outage)

    def _on_outage(self, reason: str, pause_s: float) -> None:
        parts = self._parts
        parts.health.set_ready(False, reason, part="database")
        parts.health.beat()
        log.warning("database_away", reason=reason, pause_s=pause_s)
        if self._stopping.is_set():
            self._bound_the_end()
        if parts.clock.monotonic_s() > self._give_up_at_s:
            raise DatabaseAway(
                f"The database is away while the audit ends: {reason}",
                "Nothing is lost: start the audit again when the database is back.",
            )
        time.sleep(pause_s)

    def _bound_the_end(self) -> None:
        end_s = self._parts.clock.monotonic_s() + self._settings.drain_s
        self._give_up_at_s = min(self._give_up_at_s, end_s)

    def _show_lag(self) -> None:
        parts = self._parts
        lags = parts.source.lags({place: self._ledger.position(place) for place in self._places})
        for (topic, partition), lag in lags.items():
            parts.metrics.lag.labels(topic, partition).set(lag)
        parts.emitter.heartbeat(sum(lags.values()))

    def _compare_with_anchors(
        self, latest: Mapping[Place, Anchor], tips: Mapping[Place, Tip]
    ) -> None:
        for place, anchor in sorted(latest.items()):
            tip = tips.get(place)
            where = f"{place[0]}/{place[1]}"
            if tip is not None and tip.index == anchor.row_count and tip.head.hex() != anchor.head:
                raise ChainConflict(
                    f"The chain of {where} does not end in the head that was anchored.",
                    "Run `tapeline audit verify`: somebody has rewritten it.",
                )
            if tip is None or tip.index < anchor.row_count:
                links = 0 if tip is None else tip.index
                reason = (
                    f"{where} has {links} links, but {anchor.row_count} were anchored: rows were "
                    "removed or an old backup was restored; they are chained again from Kafka."
                )
                log.error("chain_behind_anchor", topic=place[0], partition=place[1], links=links)
                self._parts.emitter.incident("AUDIT_CHAIN_BEHIND_ANCHOR", reason, place)

    def _accept_or_refuse(self, place: Place, reason: str, is_deleted: bool) -> None:
        where = f"{self._settings.topic_prefix}{place[0]}/{place[1]}"
        if not is_deleted:
            raise LogMismatch(
                f"{where} is not the log that was chained: {reason}.",
                "Give a new Kafka a new TAPELINE_RUN_ID, or point the audit to the old one.",
            )
        is_short = TOPICS[place[0]].retention == "short"
        if not is_short and place[0] not in self._settings.accepts_loss_of:
            raise LogMismatch(
                f"{where} no longer holds what has to be chained next: {reason}.",
                f"Set TAPELINE_AUDIT_ACCEPTS_LOSS_OF={place[0]} to go on behind the gap.",
            )
        log.error("records_lost", topic=place[0], partition=place[1], reason=reason)
        self._parts.emitter.incident(
            "AUDIT_RECORDS_LOST", f"{where}: {reason} before they were chained.", place
        )
