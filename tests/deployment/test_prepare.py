"""What makes a deployment ready, on real Kafka and PostgreSQL."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tapeline.cli import prepare
from tapeline.contracts import topics
from tapeline.contracts.topics import TOPICS
from tapeline.execution.intents.migrate import APP_ROLE
from tapeline.runtime.codec import Decoder
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.keys import KeyRing, SigningError, group_folder
from tapeline.runtime.log_reader import LogReader
from tapeline.runtime.settings import KafkaSettings, SettingsError
from tapeline.runtime.topology import delete_topics, partition_counts

PREFIX = "prepare-test."
ROLE = f"prepare_test_{os.getpid()}"
pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture
def kafka(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaSettings]:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    monkeypatch.setenv("TAPELINE_TOPIC_PREFIX", PREFIX)
    settings = KafkaSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=PREFIX)
    yield settings
    delete_topics(settings)


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """The owner's URL of a database of this test's own."""
    url = make_url(postgres_url).set(drivername="postgresql")
    server = url.render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {ROLE}")
    yield url.set(database=ROLE).render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {ROLE} WITH (FORCE)")
        connection.execute(f"DROP ROLE {ROLE}")


def test_a_deployment_is_made_ready_and_may_be_so_again(
    kafka: KafkaSettings,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = make_url(database_url)
    (tmp_path / "password").write_text(f"{url.password or 'none'}\n")
    bare = url._replace(password=None)
    monkeypatch.setenv("DATABASE_URL", bare.render_as_string(hide_password=False))
    passfile = tmp_path / "passfile"
    arguments = ["--topics", "--configuration", "synthetic", "--keys", str(tmp_path / "keys")]
    arguments += ["--passfile", str(passfile), "--password-file", str(tmp_path / "password")]
    intents = tmp_path / "intents"
    arguments += ["--role", ROLE, "--intents-passfile", str(intents)]
    assert prepare.main(arguments) == 0
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert prepare.main(arguments) == 0

    assert kept == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(partition_counts(kafka)) == set(TOPICS)
    reader = LogReader(confluent_config(kafka), PREFIX)
    place = (topics.CONFIG, 0)
    sent = reader.read({place: (0, reader.ends([place])[place])})[place]
    decoder = Decoder(TOPICS[topics.CONFIG].records)
    records = [decoder.decode(raw.value) for raw in sent]
    count = len(records) // 2
    assert count
    assert records[:count] == records[count:]
    assert [raw.header("event_id") for raw in sent[:count]] == [
        raw.header("event_id") for raw in sent[count:]
    ]
    assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    service_url = f"postgresql://{ROLE}@{url.host}:{url.port}/{url.database}"
    with psycopg.connect(f"{service_url}?passfile={passfile}") as connection:
        assert connection.execute("SELECT count(*) FROM audit.audit_row").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM audit.audit_row")
    assert stat.S_IMODE(intents.stat().st_mode) == 0o600
    sender_url = f"postgresql://{APP_ROLE}@{url.host}:{url.port}/{url.database}"
    with psycopg.connect(f"{sender_url}?passfile={intents}") as connection:
        assert connection.execute("SELECT count(*) FROM execution.intent").fetchone() == (0,)


def test_a_group_outside_gets_a_secret_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare.make_keys(tmp_path, ["momentum"])
    ring = group_folder(tmp_path, "momentum")
    secret = (ring / "first.key").read_bytes()
    prepare.make_keys(tmp_path, ["momentum", "carry"])
    assert (ring / "first.key").read_bytes() == secret
    assert KeyRing.from_folder(ring).keys().active == "first"
    assert KeyRing.from_folder(group_folder(tmp_path, "carry")).keys().active == "first"
    assert str(ring) in capsys.readouterr().out
    with pytest.raises(SigningError):
        prepare.make_keys(tmp_path, ["../seal"])
    with pytest.raises(SystemExit):
        prepare.main(["--group", "momentum"])
    assert "--keys" in capsys.readouterr().err


def test_a_url_with_two_passwords_is_refused() -> None:
    with pytest.raises(SettingsError, match="password"):
        prepare.with_password("postgresql://tapeline:one@host/db", "two")
    assert (
        prepare.with_password("postgresql://me@host/db", "a/b") == "postgresql://me:a%2Fb@host/db"
    )
