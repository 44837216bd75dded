"""What the audit itself says on Kafka: anchors, incidents, heartbeats. A plain idempotent producer:
an anchor that is sent twice does no harm."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import Producer

from tapeline.audit.anchors import Anchor
from tapeline.audit.chain import Place
from tapeline.contracts import topics
from tapeline.contracts.system import Heartbeat, Incident
from tapeline.runtime.clock import SYSTEM, Clock
from tapeline.runtime.codec import encode
from tapeline.runtime.ids import derive_id
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import ServiceSettings

INSTANCE: Final = "audit/0"
RECORDS: Final = (
    "tapeline.system.ChainAnchor",
    "tapeline.system.Heartbeat",
    "tapeline.system.Incident",
)
SEND_MS: Final = 30_000
REASON_MAX: Final = 2000


class Emitter:
    """Sends in the background; `flush` waits for the acknowledgements."""

    def __init__(self, settings: ServiceSettings, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._clock = clock
        self._producer = Producer(
            confluent_config(
                settings,
                enable_idempotence=True,
                message_timeout_ms=SEND_MS,
                linger_ms=5,
                error_cb=lambda _error: None,
            )
        )

    def anchors(self, anchors: Iterable[Anchor]) -> None:
        """Puts anchors on their topic; the file has them already."""
        for anchor in anchors:
            where = f"{anchor.topic}/{anchor.partition}"
            cause = f"{where}/{anchor.next_offset}/{anchor.row_count}"
            self._send(topics.ANCHORS, where, anchor.record(), cause)

    def incident(self, code: str, reason: str, place: Place, offset: int = -1) -> None:
        """Tells people; the code is stable."""
        now_ns = self._clock.wall_ns()
        record = Incident(
            service="audit",
            severity="critical",
            code=code,
            reason=reason[:REASON_MAX],
            topic=place[0],
            partition=place[1],
            offset=offset,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        self._send(topics.INCIDENTS, "audit", record, f"{code}/{place}/{offset}/{now_ns}")

    def heartbeat(self, lag: int) -> None:
        """Alive, and so many records behind."""
        now_ns = self._clock.wall_ns()
        record = Heartbeat(
            service="audit",
            shard=-1,
            build_id=self._settings.build_id,
            lag=lag,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )
        self._send(topics.HEARTBEATS, INSTANCE, record, str(now_ns))

    def flush(self, timeout_s: float) -> bool:
        """True when everything has been acknowledged."""
        return int(self._producer.flush(timeout_s)) == 0

    def _send(self, topic: str, key: str, record: Any, cause: str) -> None:
        run_id = self._settings.run_id
        event_id = derive_id(run_id, INSTANCE, cause, type(record).__name__)
        # The broker being away must not stop the chains: what does not fit is left out here.
        with suppress(BufferError):
            self._producer.produce(
                self._settings.topic_prefix + topic,
                key=key.encode(),
                value=encode(record),
                partition=0,
                headers=[
                    ("event_id", event_id.encode()),
                    ("causation_id", b""),
                    ("correlation_id", b""),
                    ("producer", INSTANCE.encode()),
                    ("run_id", run_id.encode()),
                ],
            )
        self._producer.poll(0)
