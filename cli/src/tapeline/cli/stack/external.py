"""Servers named in the environment instead of our own: their names, and whether they answer."""

import os
from collections.abc import Mapping

import psycopg

from tapeline.cli.stack.errors import ServerUnreachable
from tapeline.cli.stack.kafka_client import lists_metadata

KAFKA_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
POSTGRES_VARIABLE = "DATABASE_URL"
ANSWER_SECONDS_MAX = 10

# The client's own setting for each variable: KAFKA_SASL_MECHANISM is sasl.mechanism, and so on.
_SECURITY = (
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
)


def kafka_security(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The TLS and SASL settings of the environment, as confluent-kafka names them."""
    variables = {name: f"KAFKA_{name.upper().replace('.', '_')}" for name in _SECURITY}
    return {
        name: environment[variable]
        for name, variable in variables.items()
        if environment.get(variable)
    }


def kafka_answers(bootstrap_servers: str) -> bool:
    """Whether the brokers list their metadata within the bound."""
    return lists_metadata(bootstrap_servers, ANSWER_SECONDS_MAX, kafka_security())


def postgres_answers(url: str) -> bool:
    """Whether the database answers a query within the bound."""
    return _postgres_problem(url) is None


def require_kafka(bootstrap_servers: str) -> None:
    """Raise ServerUnreachable unless the named brokers answer."""
    if not kafka_answers(bootstrap_servers):
        raise ServerUnreachable(
            f"No Kafka answers at {bootstrap_servers} within {ANSWER_SECONDS_MAX} s "
            f"({KAFKA_VARIABLE}).",
            f"Start it, correct the address or its KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_* and "
            f"KAFKA_SSL_* settings, or unset {KAFKA_VARIABLE} to use the embedded Kafka.",
        )


def require_postgres(url: str) -> None:
    """Raise ServerUnreachable unless the named database answers."""
    problem = _postgres_problem(url)
    if problem is not None:
        raise ServerUnreachable(
            f"No PostgreSQL answers at the address in {POSTGRES_VARIABLE}: {problem}",
            f"Start it, correct the URL, or unset {POSTGRES_VARIABLE} to use the embedded one.",
        )


def _postgres_problem(url: str) -> str | None:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        return "the URL does not begin with postgresql:// or postgresql+psycopg://"
    try:
        with psycopg.connect(f"postgresql://{rest}", connect_timeout=ANSWER_SECONDS_MAX) as it:
            it.execute("SELECT 1")
    except psycopg.Error as error:
        # Never the URL itself: it holds the password.
        return str(error).strip()
    return None
