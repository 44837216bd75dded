"""How clients reach Kafka: their settings, names with the run's prefix, waiting for a broker.

Errors:
    KafkaUnavailable  no broker answers, or it refuses us
    ClientLost        a client gave no answer in time, or one after which it must not be used again
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata

from tapeline.runtime import exits
from tapeline.runtime.clock import monotonic_s
from tapeline.runtime.settings import KafkaSettings

CONNECT_S: Final = 1.0
METADATA_S: Final = 3.0
RETRY_S: Final = 0.25
_REFUSED: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_quiet: Final = logging.getLogger("kafka.librdkafka")
# Before logging is set up, Python would print the lines to standard error.
_quiet.addHandler(logging.NullHandler())


class KafkaUnavailable(exits.Failure):
    """No broker answers at the configured address, or it refuses us."""

    exit_code = exits.UNAVAILABLE


class ClientLost(exits.Failure):
    """A client must be thrown away: what it still does, or has done, is not known."""

    exit_code = exits.INTERNAL

    @classmethod
    def because(cls, what: str, error: object = "") -> ClientLost:
        """`what` without its full stop, and what the client said."""
        reason = f": {type(error).__name__} {error}".rstrip() if error else ""
        return cls(f"{what}{reason}.", "The process starts over from what is committed.")


def topic_name(settings: KafkaSettings, topic: str) -> str:
    """A topic's name on the cluster: the run's prefix in front."""
    return settings.topic_prefix + topic


def group_id(settings: KafkaSettings, name: str) -> str:
    """The consumer group of a stage: the run's prefix in front, / becomes a dot."""
    return settings.topic_prefix + name.replace("/", ".")


def confluent_config(settings: KafkaSettings, **extra: Any) -> dict[str, Any]:
    """Settings of a confluent-kafka client; `extra` takes names with _ for dots.

    Its log lines go to the logger kafka.librdkafka, never to standard error by themselves.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "log.connection.close": False,
        "logger": _quiet,
        # Not the default 100 ms to 10 s: a broker that comes back is found within a second.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1000,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_sasl_username
        config["sasl.password"] = _password(settings.kafka_sasl_password_file)
    files = {
        "ssl.ca.location": settings.kafka_ssl_ca_file,
        "ssl.certificate.location": settings.kafka_ssl_cert_file,
        "ssl.key.location": settings.kafka_ssl_key_file,
    }
    config.update({name: str(path) for name, path in files.items() if path is not None})
    for name, value in extra.items():
        config[name if name.endswith("_cb") else name.replace("_", ".")] = value
    return config


def aiokafka_config(settings: KafkaSettings) -> dict[str, Any]:
    """Arguments that every aiokafka client shares."""
    config: dict[str, Any] = {
        "bootstrap_servers": [
            address.strip() for address in settings.kafka_bootstrap_servers.split(",")
        ],
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.kafka_sasl_mechanism
        config["sasl_plain_username"] = settings.kafka_sasl_username
        config["sasl_plain_password"] = _password(settings.kafka_sasl_password_file)
    if settings.kafka_security_protocol.endswith("SSL"):
        config["ssl_context"] = _ssl_context(settings)
    return config


def admin_client(settings: KafkaSettings) -> AdminClient:
    """For topics and groups; its errors are raised by its calls, not printed."""
    return AdminClient(confluent_config(settings, error_cb=_ignore))


def cluster_metadata(settings: KafkaSettings, timeout_s: float = 10.0) -> ClusterMetadata:
    """Brokers, topics and partitions, from the cluster; raises KafkaUnavailable."""
    try:
        return admin_client(settings).list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise _unavailable(settings, timeout_s, reason_of(error)) from error


def is_reachable(settings: KafkaSettings, timeout_s: float = CONNECT_S) -> bool:
    """True when one of the addresses accepts a connection; says nothing about Kafka behind it."""
    return not _connect_problem(settings, timeout_s)


def wait_for_kafka(settings: KafkaSettings, timeout_s: float | None = None) -> None:
    """Returns when a broker answers; raises KafkaUnavailable when none does in time.

    The time is that of the settings where it is None.

    A refused login or certificate is final and raised at once.
    """
    timeout_s = settings.kafka_wait_s if timeout_s is None else timeout_s
    deadline = monotonic_s() + timeout_s
    while True:
        problem = _connect_problem(settings, CONNECT_S) or _metadata_problem(settings)
        if not problem:
            return
        if monotonic_s() + RETRY_S >= deadline:
            raise _unavailable(settings, timeout_s, problem)
        time.sleep(RETRY_S)


def _connect_problem(settings: KafkaSettings, timeout_s: float) -> str:
    problem = ""
    for address in settings.kafka_bootstrap_servers.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
        except OSError as error:
            problem = str(error.strerror or error)
        else:
            return ""
    return problem


def _metadata_problem(settings: KafkaSettings) -> str:
    errors: list[KafkaError] = []
    client = AdminClient(confluent_config(settings, error_cb=errors.append))
    deadline = monotonic_s() + METADATA_S
    problem = "no answer"
    while monotonic_s() < deadline:
        try:
            client.list_topics(timeout=0.5)
        except KafkaException as error:
            problem = reason_of(error)
            client.poll(0)
        else:
            return ""
        for refusal in errors:
            if refusal.code() in _REFUSED:
                raise _refused(settings, refusal)
        # What the connection met says more than that the request got no answer.
        problem = errors[0].str() if errors else problem
    return problem


def _refused(settings: KafkaSettings, error: KafkaError) -> KafkaUnavailable:
    return KafkaUnavailable(
        f"Kafka at {settings.kafka_bootstrap_servers} refuses us: {error.str()}.",
        "Check TAPELINE_KAFKA_SECURITY_PROTOCOL and the TAPELINE_KAFKA_SASL_ and _SSL_ "
        "settings against the broker's listeners.",
    )


def _unavailable(settings: KafkaSettings, tried_s: float, reason: str) -> KafkaUnavailable:
    return KafkaUnavailable(
        f"No Kafka broker answers at {settings.kafka_bootstrap_servers} "
        f"(tried for {tried_s:.0f} s): {reason}.",
        "Start the local stack with `tapeline up`, or point KAFKA_BOOTSTRAP_SERVERS to a broker.",
    )


def reason_of(error: KafkaException) -> str:
    """What Kafka says about a failure, without the wrapping."""
    first = error.args[0] if error.args else error
    text = first.str() if isinstance(first, KafkaError) else str(first)
    return text.rstrip(".")


def _ignore(_error: KafkaError) -> None:
    """The call that fails raises it as well."""


def _password(path: Path | None) -> str:
    assert path is not None, "the settings check this"
    try:
        return path.read_text().removesuffix("\n")
    except OSError as error:
        raise exits.FileUnusable(
            f"The password file {path} cannot be read: {error.strerror}.",
            "Point TAPELINE_KAFKA_SASL_PASSWORD_FILE to a file this user may read.",
        ) from error


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    cafile = settings.kafka_ssl_ca_file
    try:
        context = ssl.create_default_context(cafile=str(cafile) if cafile else None)
        if settings.kafka_ssl_cert_file and settings.kafka_ssl_key_file:
            context.load_cert_chain(settings.kafka_ssl_cert_file, settings.kafka_ssl_key_file)
    except (OSError, ssl.SSLError) as error:
        raise exits.FileUnusable(
            f"The TLS files for Kafka cannot be used: {error}.",
            "Check TAPELINE_KAFKA_SSL_CA_FILE, _CERT_FILE and _KEY_FILE: PEM, and a matching pair.",
        ) from error
    return context
