"""The service on real Kafka and real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from urllib.error import HTTPError

import pytest
from audit_samples import RUN_ID, Database, decision, trade, watermark
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaPlace
from confluent_kafka.admin import AdminClient
from sqlalchemy import make_url
from story import BAR, BAR_ID, fill, signal
from tcp_proxy import Cut, TcpProxy

from tapeline.audit.anchors import FILE_NAME, load_anchors
from tapeline.audit.app import build
from tapeline.audit.bulk import KafkaRecords
from tapeline.audit.errors import ChainConflict, LogMismatch
from tapeline.audit.inspection import trace_order, verify_run
from tapeline.audit.keys import create_key
from tapeline.audit.queries import counts_by_topic, incidents_by_code
from tapeline.audit.recorder import Recorder
from tapeline.audit.settings import AuditSettings
from tapeline.audit.verify import Report
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.codec import encode
from tapeline.runtime.topology import Topology, create_topics

pytestmark = [pytest.mark.postgres, pytest.mark.kafka]
WAIT_S = 300.0
SMALL = Topology(instrument=2, account=2, universe=1, service=4)
_runs = count()


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Returns when it is so; fails after a long time."""
    deadline_s = monotonic_s() + WAIT_S
    pause = Event()
    while not is_so():
        assert monotonic_s() < deadline_s, what
        pause.wait(0.02)


@dataclass
class Run:
    """One run's topics, keys, anchors and database."""

    settings: AuditSettings
    producer: Producer
    stopping: Event = field(default_factory=Event)

    def send(
        self, topic: str, partition: int, record: Any, event_id: str = "", cause: str = ""
    ) -> None:
        """Produces one record."""
        texts = {"event_id": event_id, "causation_id": cause} if event_id else {}
        self.producer.produce(
            self.settings.topic_prefix + topic,
            key=b"key",
            value=record if record is None or isinstance(record, bytes) else encode(record),
            partition=partition,
            headers=[(name, text.encode()) for name, text in texts.items()],
        )

    def send_decisions(self, numbers: range, partition: int = 0) -> None:
        """Produces decisions and waits for their acknowledgements."""
        for number in numbers:
            self.send("decisions", partition, decision(number), f"decision-{number}")
        self.flush()

    def flush(self) -> None:
        """Waits for acknowledgements."""
        assert self.producer.flush(30) == 0

    @contextmanager
    def recorder(self, **changes: Any) -> Iterator[Recorder]:
        """A recorder that has started."""
        with ExitStack() as stack:
            recorder = build(self.with_settings(**changes), self.stopping, stack)
            recorder.start()
            yield recorder

    def with_settings(self, **changes: Any) -> AuditSettings:
        """The settings with some changed."""
        return AuditSettings(**{**self.settings.model_dump(), **changes})

    def record_everything(self, **changes: Any) -> None:
        """What a service does that is stopped at once: chains what Kafka holds, and ends."""
        self.stopping.set()
        with self.recorder(**changes) as recorder:
            recorder.run()
        self.stopping.clear()

    def report(self) -> Report:
        """Verification with everything: anchors of file and topic, Kafka's ends and records."""
        return verify_run(self.settings)

    def counts(self) -> dict[str, int]:
        """Chained records by topic."""
        return {c.topic: c.records for c in counts_by_topic(self.settings.database_url, RUN_ID)}


@pytest.fixture
def run(kafka_bootstrap: str, database: Database, tmp_path: Path) -> Iterator[Run]:
    """A new run."""
    create_key(tmp_path / "keys" / "audit", "2026-01")
    settings = AuditSettings(
        kafka_bootstrap_servers=kafka_bootstrap,
        topic_prefix=f"audit-{os.getpid()}-{next(_runs)}.",
        run_id=RUN_ID,
        database_url=database.app_url,
        keys_dir=tmp_path / "keys",
        anchors_dir=tmp_path / "anchors",
        anchor_s=3600.0,
    )
    create_topics(settings, SMALL)
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "linger.ms": 5})
    yield Run(settings, producer)
    producer.flush(60)


def test_every_record_of_every_topic_is_chained(run: Run) -> None:
    """Good, bad and empty records, on every partition; bulk topics to the final watermark."""
    for name, topic in TOPICS.items():
        if not topic.is_bulk and name != "schemas":
            for partition in range(SMALL.partitions(name)):
                run.send(name, partition, b"not Avro", f"{name}-{partition}")
                run.send(name, partition, None)
    for partition in range(2):
        for number in range(50):
            run.send("ticks", partition, trade(number))
        run.send("ticks", partition, watermark(is_final=True))
    run.send_decisions(range(20))
    run.record_everything()
    report = run.report()
    assert report.findings == ()
    # Only the last anchors, which stand for the rest, are behind the chain of anchors itself.
    assert report.pending == {}
    counts = run.counts()
    assert counts["ticks"] == 102
    assert counts["decisions"] == 24
    assert counts["approved-orders"] == 4
    assert counts["journal"] == 8
    assert counts["anchors"] > 10
    assert counts["schemas"] == 3


def test_an_open_range_is_pending_and_closed_by_a_later_start(run: Run) -> None:
    for number in range(30):
        run.send("ticks", 0, trade(number))
    run.flush()
    run.record_everything()
    assert run.report().pending == {("ticks", 0): 30}
    run.send("ticks", 0, watermark(is_final=True))
    run.flush()
    run.record_everything()
    report = run.report()
    assert (report.findings, report.pending, report.range_count) == ((), {}, 1)
    assert run.counts()["ticks"] == 31


def test_aborted_records_are_not_chained_and_their_offsets_are_no_gap(run: Run) -> None:
    writer = Producer(
        {
            "bootstrap.servers": run.settings.kafka_bootstrap_servers,
            "transactional.id": f"{run.settings.topic_prefix}risk-0",
        }
    )
    writer.init_transactions(30)
    for number, is_committed in enumerate((True, False, True)):
        writer.begin_transaction()
        topic = f"{run.settings.topic_prefix}fills"
        writer.produce(topic, encode(fill()), partition=0, headers=[("event_id", b"%d" % number)])
        writer.flush(30)
        if is_committed:
            writer.commit_transaction(30)
        else:
            writer.abort_transaction(30)
    run.record_everything()
    report = run.report()
    assert (report.findings, report.pending) == ((), {})
    assert run.counts()["fills"] == 2


def test_a_later_start_goes_on_where_the_rows_end(run: Run) -> None:
    run.send_decisions(range(10))
    run.record_everything()
    run.send_decisions(range(10, 15))
    run.record_everything()
    assert run.counts()["decisions"] == 15
    assert run.report().findings == ()


def test_anchors_are_on_the_topic_and_in_the_file(run: Run) -> None:
    run.send_decisions(range(25))
    with run.recorder(anchor_rows=10) as recorder:
        wait_until(lambda: recorder.step(0.1) == 0 and run.counts().get("decisions") == 25, "rows")
    assert run.settings.anchors_dir is not None
    row_counts = [  # how many depends on how the rows came
        anchor.row_count
        for anchor in load_anchors(run.settings.anchors_dir, RUN_ID).anchors
        if anchor.topic == "decisions"
    ]
    assert row_counts
    assert min(row_counts) >= 10
    run.record_everything()
    with KafkaRecords(run.settings) as kafka:
        assert len(kafka.read("anchors", 0, 0, 10_000)) >= 2


def test_the_topics_anchors_are_enough_where_the_file_is_lost(run: Run, database: Database) -> None:
    run.send_decisions(range(10))
    run.record_everything()
    assert run.settings.anchors_dir is not None
    (run.settings.anchors_dir / FILE_NAME).unlink()
    assert run.report().anchor_count > 0
    with database.admin() as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("DELETE FROM audit.audit_row WHERE topic = 'decisions'")
    [finding] = run.report().findings
    assert (finding.code, finding.topic) == ("TAIL_MISSING", "decisions")
    assert verify_run(run.settings, with_kafka=False).is_intact


def test_a_database_that_goes_away_loses_nothing(
    run: Run, database: Database, tmp_path: Path
) -> None:
    """Away while records come in, and again at a COMMIT of unknown outcome."""
    url = make_url(database.app_url)
    assert url.host is not None
    with TcpProxy(url.host, url.port or 5432) as proxy, ExitStack() as stack:
        proxied = url.set(host="127.0.0.1", port=proxy.port)
        settings = run.with_settings(
            database_url=proxied.render_as_string(hide_password=False),
            health_port_file=tmp_path / "port",
        )
        recorder = build(settings, run.stopping, stack)
        recorder.start()
        port = (tmp_path / "port").read_text().strip()
        assert ready(port) == 200
        run.send_decisions(range(50))
        proxy.go_down()
        codes: list[int] = []
        on_outage = recorder._on_outage

        def watch(reason: str, pause_s: float) -> None:
            on_outage(reason, pause_s)
            codes.append(ready(port))
            if len(codes) == 3:
                proxy.come_back()

        recorder._on_outage = watch  # type: ignore[method-assign]
        wait_until(lambda: recorder.step(0.1) > 0, "the first batch")
        assert codes[:3] == [503, 503, 503]
        assert ready(port) == 200
        proxy.cut_next_commit(Cut.AFTER)
        run.send_decisions(range(50, 100))
        wait_until(lambda: recorder.step(0.1) > 0 and proxy.was_cut.is_set(), "the cut")
    run.record_everything()
    assert run.counts()["decisions"] == 100
    assert run.report().findings == ()


def ready(port: str) -> int:
    """Status of the readiness probe."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return int(error.code)


def test_an_order_is_traced_to_its_ticks_in_kafka(run: Run) -> None:
    for number in range(300):
        run.send("ticks", 1, trade(number))
    run.flush()
    run.send("bars", 1, watermark(is_final=False))
    run.send("bars", 1, BAR)
    run.send("signals", 0, signal("signal-1"), "signal-1", f"{BAR_ID}@bars/1/1")
    run.send("decisions", 0, decision(1), "decision-1", "signal-1")
    run.send("fills", 0, fill(), "fill-1", "report-1")
    run.flush()
    run.record_everything()
    found = trace_order(run.settings, "order-1")
    assert found is not None
    assert found.is_complete
    assert (found.ticks[0].first_offset, found.ticks[0].count) == (100, 100)


def delete_records(run: Run, topic: str, before: int) -> None:
    """As retention does."""
    admin = AdminClient({"bootstrap.servers": run.settings.kafka_bootstrap_servers})
    place = KafkaPlace(run.settings.topic_prefix + topic, 0, before)
    for future in admin.delete_records([place]).values():
        future.result()


def test_records_that_kafka_deleted_unread_stop_the_audit_until_accepted(run: Run) -> None:
    run.send_decisions(range(10))
    run.record_everything()
    run.send_decisions(range(10, 30))
    delete_records(run, "decisions", 20)
    with pytest.raises(LogMismatch, match="records 10 to 19") as caught, run.recorder():
        pass
    assert "TAPELINE_AUDIT_ACCEPTS_LOSS_OF=decisions" in caught.value.remedy
    run.record_everything(accepts_loss_of=("decisions",))
    assert run.counts()["decisions"] == 20
    assert incidents_by_code(run.settings.database_url, RUN_ID) == {"AUDIT_RECORDS_LOST": 1}
    assert run.report().findings == ()


def test_another_log_under_the_same_run_is_refused(run: Run) -> None:
    run.send_decisions(range(10))
    run.record_everything()
    other = Run(run.with_settings(topic_prefix=f"{run.settings.topic_prefix}other."), run.producer)
    create_topics(other.settings, SMALL)
    with pytest.raises(LogMismatch, match="not the log"), other.recorder():
        pass


def test_rows_that_were_cut_are_an_incident_and_chained_again(run: Run, database: Database) -> None:
    run.send_decisions(range(10))
    run.record_everything()
    with database.admin() as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            "DELETE FROM audit.audit_row WHERE topic = 'decisions' AND kafka_offset > 4"
        )
    assert [finding.code for finding in run.report().findings] == ["TAIL_MISSING"]
    run.record_everything()
    assert run.report().findings == ()
    assert incidents_by_code(run.settings.database_url, RUN_ID) == {"AUDIT_CHAIN_BEHIND_ANCHOR": 1}


def test_a_chain_that_was_rewritten_is_not_continued(run: Run, database: Database) -> None:
    run.send_decisions(range(10))
    run.record_everything()
    with database.admin() as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            "UPDATE audit.audit_row SET head = previous_head"
            " WHERE topic = 'decisions' AND kafka_offset = 9"
        )
    with pytest.raises(ChainConflict, match="verify"), run.recorder():
        pass


@contextmanager
def process(run: Run, **changes: str) -> Iterator[subprocess.Popen[bytes]]:
    """The service as its own process."""
    settings = run.settings
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TAPELINE_")
    }
    assert settings.anchors_dir is not None
    environment |= {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "DATABASE_URL": settings.database_url,
        "TAPELINE_TOPIC_PREFIX": settings.topic_prefix,
        "TAPELINE_RUN_ID": RUN_ID,
        "TAPELINE_KEYS_DIR": str(settings.keys_dir),
        "TAPELINE_AUDIT_ANCHORS_DIR": str(settings.anchors_dir),
        "TAPELINE_AUDIT_BATCH_RECORDS": "50",
        **changes,
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "tapeline.audit"], env=environment, stderr=subprocess.PIPE
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def end(child: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Waits for the end of a process; its exit code and what it said."""
    _, said = child.communicate(timeout=WAIT_S)
    return child.returncode, said.decode()


def test_processes_that_are_killed_lose_and_repeat_nothing(run: Run) -> None:
    rounds, records = 3, 300
    for number in range(rounds):
        run.send_decisions(range(number * records, (number + 1) * records), partition=number % 2)
        for tick in range(records):
            run.send("ticks", 0, trade(tick))
        run.flush()
        chained = run.counts().get("decisions", 0)
        with process(run) as child:
            # Killed while it writes: some rows of the round are in, hardly ever all.
            wait_until(
                lambda chained=chained: run.counts().get("decisions", 0) > chained,  # type: ignore[misc]
                "progress",
            )
            child.kill()
    run.send("ticks", 0, watermark(is_final=True))
    run.flush()
    with process(run) as child:
        child.terminate() if is_started(run, child) else None
        code, _ = end(child)
    assert code == 0
    report = run.report()
    assert (report.findings, report.pending) == ((), {})
    counts: Mapping[str, int] = run.counts()
    assert counts["decisions"] == rounds * records
    assert counts["ticks"] == rounds * records + 1


def is_started(run: Run, child: subprocess.Popen[bytes]) -> bool:
    """Waits until everything is in."""
    wait_until(lambda: run.counts().get("ticks", 0) > 0 or child.poll() is not None, "ticks")
    return child.poll() is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"TAPELINE_AUDIT_ANCHOR_ROWS": "many"}, "TAPELINE_AUDIT_ANCHOR_ROWS"),
        ({"TAPELINE_AUDIT_ANKER_ROWS": "1"}, "TAPELINE_AUDIT_ANKER_ROWS is not a setting"),
        ({"TAPELINE_KEYS_DIR": "/nonexistent"}, "/nonexistent/audit does not exist"),
        ({"TAPELINE_AUDIT_ANCHORS_DIR": "/proc/anchors"}, "/proc/anchors"),
    ],
)
def test_a_wrong_setting_is_one_message_with_a_remedy(
    changes: dict[str, str], said: str, run: Run
) -> None:
    with process(run, **changes) as child:
        code, message = end(child)
    assert code == 64
    assert said in message
    assert "Traceback" not in message


def test_a_torn_line_of_the_anchor_file_does_not_spoil_the_next(run: Run) -> None:
    run.send_decisions(range(5))
    run.record_everything()
    assert run.settings.anchors_dir is not None
    path = run.settings.anchors_dir / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"run_id":"run-1","topic":"deci')
    run.send_decisions(range(5, 10))
    run.record_everything()
    found = load_anchors(run.settings.anchors_dir, RUN_ID)
    assert found.damaged_lines == (whole.count(b"\n") + 1,)
    assert found.latest()["decisions", 0].row_count == 10
