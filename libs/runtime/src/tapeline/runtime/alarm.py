"""Tells people that a process stops and must not simply be started again: an Incident on Kafka.

It is sent outside any transaction: what is wrong may be the very thing that keeps transactions from
being committed. An alarm that cannot be sent is in the log and in the process's last words.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException, Producer

from tapeline.contracts import topics
from tapeline.contracts.system import Incident
from tapeline.runtime import clock
from tapeline.runtime.codec import encode
from tapeline.runtime.ids import derive_id
from tapeline.runtime.kafka import confluent_config, topic_name
from tapeline.runtime.log import TopicPartition
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.telemetry import get_logger

SEND_S: Final = 5.0
REASON_MAX: Final = 2000
NOWHERE: Final[TopicPartition] = ("", -1)
log = get_logger(__name__)


def raise_alarm(
    settings: ServiceSettings,
    service: str,
    code: str,
    reason: str,
    place: TopicPartition = NOWHERE,
    offset: int = -1,
) -> bool:
    """Logs and sends a critical incident; True when Kafka has it, within SEND_S."""
    log.error("alarm", code=code, reason=reason)
    now_ns = clock.wall_ns()
    record = Incident(
        service=service,
        severity="critical",
        code=code,
        reason=reason[:REASON_MAX],
        topic=place[0],
        partition=place[1],
        offset=offset,
        ts_event_ns=now_ns,
        ts_init_ns=now_ns,
    )
    event_id = derive_id(settings.run_id, service, f"{code}/{now_ns}", "Incident")
    try:
        producer = Producer(
            confluent_config(
                settings,
                enable_idempotence=True,
                message_timeout_ms=int(SEND_S * 1000),
                error_cb=lambda _error: None,
            )
        )
        producer.produce(
            topic_name(settings, topics.INCIDENTS),
            encode(record),
            service.encode(),
            0,
            headers=[
                ("event_id", event_id.encode()),
                ("causation_id", b""),
                ("correlation_id", b""),
                ("producer", service.encode()),
                ("run_id", settings.run_id.encode()),
            ],
        )
        return int(producer.flush(SEND_S)) == 0
    except KafkaException as error:
        log.error("alarm_not_sent", code=code, error=str(error))
        return False
