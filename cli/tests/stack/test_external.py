"""Servers named in the environment: asked within a bound, and their failure explained."""

from pathlib import Path

import pytest

from tapeline.cli.stack import external
from tapeline.cli.stack.errors import ServerUnreachable
from tapeline.cli.stack.stack import LocalStack

CLOSED = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def short_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "ANSWER_SECONDS_MAX", 2)


def test_a_kafka_that_does_not_answer_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "root", environment={"KAFKA_BOOTSTRAP_SERVERS": CLOSED})
    with pytest.raises(ServerUnreachable, match=r"No Kafka answers at 127\.0\.0\.1:1") as raised:
        stack.start()
    assert "unset KAFKA_BOOTSTRAP_SERVERS" in raised.value.remedy
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"postgresql+psycopg://u:secret@{CLOSED}/d", "refused"),
        ("mysql://u:secret@h/d", "does not begin with"),
        ("nonsense secret", "does not begin with"),
    ],
)
def test_a_database_that_does_not_answer_is_explained_without_its_password(
    url: str, why: str
) -> None:
    with pytest.raises(ServerUnreachable, match=why) as raised:
        external.require_postgres(url)
    assert "secret" not in str(raised.value)


def test_tls_and_sasl_settings_are_taken_from_the_environment() -> None:
    environment = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SSL_CA_LOCATION": "",
        "KAFKA_OTHER": "x",
    }
    assert external.kafka_security(environment) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
    }


@pytest.mark.kafka
@pytest.mark.postgres
def test_with_both_servers_named_nothing_of_our_own_is_started(
    tmp_path: Path, kafka_bootstrap: str, postgres_url: str
) -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap, "DATABASE_URL": postgres_url}
    with LocalStack(tmp_path, environment=environment) as stack:
        assert stack.kafka is None
        assert stack.postgres is None
        assert stack.endpoints is not None
        assert stack.endpoints.bootstrap_servers == kafka_bootstrap
        assert stack.endpoints.database_url == postgres_url
