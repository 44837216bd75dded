"""What the command line asks for: a run verified, an order traced, with all parts put together."""

from __future__ import annotations

from dataclasses import replace

from tapeline.audit.anchors import Anchors, anchor_of, load_anchors
from tapeline.audit.bulk import KafkaRecords
from tapeline.audit.keys import load_keys
from tapeline.audit.lineage import Lineage, trace
from tapeline.audit.settings import AuditSettings
from tapeline.audit.source import Source
from tapeline.audit.verify import Report, verify
from tapeline.contracts import topics
from tapeline.contracts.system import ChainAnchor
from tapeline.runtime.codec import DecodeError, Decoder


def verify_run(settings: AuditSettings, *, with_kafka: bool = True) -> Report:
    """Verifies the chains of the settings' run against the anchors of the file.

    With Kafka also against the anchors of the topic; records not yet chained are counted, and the
    ranges of bulk topics are compared with what Kafka still holds. Raises failures with a remedy:
    KeysUnfit, DatabaseAway, FileUnusable, KafkaUnavailable.
    """
    keys = load_keys(settings.keys_folder)
    anchors = load_anchors(settings.anchors_dir, settings.run_id) if settings.anchors_dir else None
    anchors = anchors or Anchors()
    if not with_kafka:
        return verify(settings.database_url, settings.run_id, keys, anchors)
    source = Source(settings)
    try:
        ends = source.ends(source.places())
    finally:
        source.close()
    with KafkaRecords(settings) as kafka:
        anchors = with_topic_anchors(anchors, settings.run_id, kafka, ends[topics.ANCHORS, 0])
        return verify(
            settings.database_url,
            settings.run_id,
            keys,
            anchors,
            ends=ends,
            read_range=kafka.read,
        )


def with_topic_anchors(anchors: Anchors, run_id: str, kafka: KafkaRecords, end: int) -> Anchors:
    """The anchors and those that the topic holds."""
    decoder = Decoder((ChainAnchor.AVRO,))
    found = dict.fromkeys(anchors.anchors)
    for record in kafka.read(topics.ANCHORS, 0, 0, end):
        try:
            found[anchor_of(run_id, decoder.decode(record.value))] = None
        except DecodeError:
            # Chained as undecodable; it anchors nothing.
            continue
    return replace(anchors, anchors=tuple(found))


def trace_order(settings: AuditSettings, identifier: str) -> Lineage | None:
    """The lineage of an order, decision, approval or fill, with bars and ticks from Kafka."""
    with KafkaRecords(settings) as kafka:
        return trace(settings.database_url, settings.run_id, identifier, kafka)
