"""The embedded broker: data and port survive stops and crashes, failures are explained."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tapeline.cli.stack.errors import PortBusy, ServerFailed
from tapeline.cli.stack.kafka import EmbeddedKafka

pytestmark = pytest.mark.kafka
Gone = Callable[..., bool]
TOPIC = "records"


@pytest.fixture
def kafka(tmp_path: Path, jars_dir: Path) -> Iterator[EmbeddedKafka]:
    kafka = EmbeddedKafka(tmp_path / "kafka, with odd name é", jars_dir=jars_dir)
    yield kafka
    if kafka.started:
        kafka.kill()


def send(kafka: EmbeddedKafka, value: bytes) -> None:
    reported: list[object] = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    producer.produce(TOPIC, value, on_delivery=lambda error, _: reported.append(error))
    assert producer.flush(120) == 0
    assert reported == [None]


def read(kafka: EmbeddedKafka, count: int) -> list[bytes | None]:
    settings = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    messages = consumer.consume(count, timeout=120)
    consumer.close()
    return [message.value() for message in messages]


def test_records_and_port_survive_a_stop_a_kill_by_us_and_a_kill_by_others(
    kafka: EmbeddedKafka, gone: Gone
) -> None:
    kafka.start()
    address = kafka.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(20)
    send(kafka, b"before the stop")

    kafka.stop()
    assert (kafka.data_dir / "logs" / ".kafka_cleanshutdown").exists()
    kafka.start()
    send(kafka, b"before the kill")

    os.kill(kafka.pid, signal.SIGKILL)
    assert gone(kafka.pid)
    kafka.start()
    assert kafka.bootstrap_servers == address
    assert read(kafka, 2) == [b"before the stop", b"before the kill"]
    kafka.stop()
    assert gone(kafka.pid)


def test_a_busy_port_is_refused_before_anything_starts(tmp_path: Path, jars_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        kafka = EmbeddedKafka(tmp_path, port, jars_dir=jars_dir)
        with pytest.raises(PortBusy, match=f"Port {port} for Kafka is taken"):
            kafka.start()
    assert not kafka.started


def test_a_broker_that_cannot_start_is_explained_by_its_log_and_leaves_no_process(
    kafka: EmbeddedKafka, gone: Gone
) -> None:
    logs = kafka.data_dir / "logs"
    logs.mkdir(parents=True)
    (logs / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=99\n")
    with pytest.raises(ServerFailed, match="while starting") as raised:
        kafka.start()
    assert "node id matches" in raised.value.log_tail
    assert gone(kafka.pid)


def test_a_heap_too_small_to_run_is_explained(tmp_path: Path, jars_dir: Path) -> None:
    kafka = EmbeddedKafka(tmp_path, heap_mb=1, jars_dir=jars_dir)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "meta.properties").touch()
    with pytest.raises(ServerFailed, match="while starting") as raised:
        kafka.start()
    assert "heap" in raised.value.log_tail.lower()
