"""CPU and memory of each service and of the servers over a paced run like the demo's.

Those of the latency chain are printed with the latencies.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter

from bench.ground import JARS
from bench.tables import Result, table
from bench.usage import Usage
from tapeline.cli.follower import Follower
from tapeline.cli.plan import reporters_of
from tapeline.cli.records import Found
from tapeline.cli.runs import Run
from tapeline.cli.session import Session
from tapeline.cli.sources import chosen_source, prepared
from tapeline.contracts import topics
from tapeline.contracts.system import SliceDone
from tapeline.runtime.kafka import confluent_config

LIMIT_S = 240.0


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: argparse.Namespace) -> Result:
    """Plays the built-in prices through the whole chain; --quick stops half a minute later."""
    limit_s = 30.0 if options.quick else LIMIT_S
    for name in [name for name in os.environ if name.startswith("TAPELINE_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="tapeline-bench-") as folder:
        home = Path(folder)
        (home / "cache").mkdir()
        (home / "cache" / "jars").symlink_to(JARS, target_is_directory=True)
        source = chosen_source()
        started, configuration = prepared(home, source, "bench")
        session = Session(home, started, configuration, feed_options=source.feed_options)
        wanted = frozenset(reporters_of(started, configuration))
        with session:
            return _watched(session, started, wanted, limit_s)


def _watched(session: Session, run: Run, wanted: frozenset[str], limit_s: float) -> Result:
    finals: set[str] = set()
    slices: dict[str, int] = dict.fromkeys(wanted, 0)

    def add(found: Found) -> None:
        if isinstance(found.record, SliceDone) and found.record.reporter in wanted:
            slices[found.record.reporter] = found.record.slice
            if found.record.is_final:
                finals.add(found.record.reporter)

    assert session.stack.endpoints is not None
    settings = session.kafka_settings(session.stack.endpoints)
    follower = Follower(confluent_config(settings), run.prefix, add, (topics.PROGRESS,))
    usage = Usage(_pids(session))
    began = perf_counter()

    def is_over() -> bool:
        usage.now()
        return finals >= wanted or perf_counter() - began > limit_s

    follower.start()
    try:
        session.watch(is_over, pause_s=0.25)
    finally:
        follower.stop()
    passed_s, used = perf_counter() - began, usage.now()
    rows = [
        [name, f"{use.cpu_s:.1f}", f"{use.cpu_share:.0%}", f"{use.peak_mb:.0f}"]
        for name, use in used.items()
    ]
    cpu_s, peak_mb = (
        sum(getattr(use, key) for use in used.values()) for key in ("cpu_s", "peak_mb")
    )
    rows.append(["all", f"{cpu_s:.1f}", f"{cpu_s / passed_s:.0%}", f"{peak_mb:.0f}"])
    title = f"Paced run: {min(slices.values()):,} slices in {passed_s:.0f} s; {run.source}"
    head = ["", "CPU s", "of one processor", "peak MB"]
    print(table(title, head, rows), flush=True)
    return {
        "seconds": passed_s,
        "slices": min(slices.values()),
        "parts": {
            name: {"cpu_s": use.cpu_s, "cpu_share": use.cpu_share, "peak_mb": use.peak_mb}
            for name, use in used.items()
        },
    }


def _pids(session: Session) -> dict[str, int]:
    servers = {"Kafka": session.stack.kafka, "PostgreSQL": session.stack.postgres}
    found = {child.name: child.pid for child in session.supervisor.children}
    found.update({name: server.pid for name, server in servers.items() if server is not None})
    return found
