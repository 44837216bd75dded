"""Wiring of the audit service: `python -m tapeline.audit`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from threading import Event

from tapeline.audit.anchors import AnchorPolicy
from tapeline.audit.emitter import RECORDS, Emitter
from tapeline.audit.keys import load_keys
from tapeline.audit.reading import Reader
from tapeline.audit.recorder import Parts, Recorder
from tapeline.audit.settings import AuditSettings
from tapeline.audit.source import Source
from tapeline.audit.store import Store
from tapeline.audit.witness import Witness
from tapeline.runtime.health import Health, HealthServer
from tapeline.runtime.kafka import wait_for_kafka
from tapeline.runtime.schemas import SchemaTopic
from tapeline.runtime.settings import SettingsError, load_settings, main_guard
from tapeline.runtime.telemetry import Metrics, configure_logging


def main() -> int:
    """Runs the service until SIGTERM or Ctrl-C; returns the process's exit code."""
    return main_guard(lambda: run(load_settings(AuditSettings), Event()))


def run(settings: AuditSettings, stopping: Event) -> int:
    """Runs until `stopping` is set."""
    configure_logging(settings, settings.service)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    with ExitStack() as stack:
        recorder = build(settings, stopping, stack)
        recorder.start()
        recorder.run()
    return 0


def build(settings: AuditSettings, stopping: Event, stack: ExitStack) -> Recorder:
    """A recorder with all its parts; the stack closes them."""
    if not settings.database_url:
        raise SettingsError("DATABASE_URL is not set.", "Set it to the audit role's URL.")
    if settings.anchors_dir is None:
        raise SettingsError(
            "TAPELINE_AUDIT_ANCHORS_DIR is not set.",
            "Name a folder for the anchors, outside the database's disk where possible.",
        )
    key = load_keys(settings.keys_folder).current
    policy = AnchorPolicy(rows=settings.anchor_rows, seconds=settings.anchor_s)
    witness = Witness(settings.anchors_dir, settings.run_id, key.key_id, policy)
    stack.callback(witness.close)
    health, metrics = Health(settings.watchdog_s), Metrics()
    stack.enter_context(HealthServer(health, metrics, settings))
    wait_for_kafka(settings)
    schemas = SchemaTopic(settings)
    schemas.publish(RECORDS)
    store = Store(settings.database_url, settings.run_id)
    stack.callback(store.close)
    source = Source(settings)
    stack.callback(source.close)
    parts = Parts(
        source=source,
        store=store,
        reader=Reader(schemas.resolve),
        emitter=Emitter(settings),
        witness=witness,
        health=health,
        metrics=metrics,
    )
    return Recorder(settings, key, parts, stopping)
