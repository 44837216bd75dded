"""The session fixtures give servers that work."""

import tempfile
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tapeline.cli.stack.testing import shared_kafka, shared_postgres


@pytest.mark.kafka
def test_a_record_sent_to_the_shared_kafka_is_acknowledged(kafka_bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic("stack-fixture", 1, 1)])["stack-fixture"].result(10)
    offsets: list[int | None] = []
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    producer.produce("stack-fixture", b"x", on_delivery=lambda _, msg: offsets.append(msg.offset()))
    assert producer.flush(120) == 0
    assert offsets == [0]


@pytest.mark.postgres
def test_the_shared_postgres_answers_sqlalchemy_and_psycopg(postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    engine.dispose()
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as plain:
        assert plain.execute("SHOW data_checksums").fetchone() == ("on",)


@pytest.mark.postgres
def test_without_a_folder_a_server_lives_in_one_that_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with shared_postgres() as url, psycopg.connect(url.replace("+psycopg", "")):
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_a_server_named_in_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://named")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "named:1")
    with shared_postgres() as url, shared_kafka() as bootstrap_servers:
        assert (url, bootstrap_servers) == ("postgresql://named", "named:1")
