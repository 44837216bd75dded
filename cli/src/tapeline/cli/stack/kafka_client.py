"""Does a broker answer? Asked through a client, the way the services will."""

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ANSWER_SECONDS_MAX = 5.0


def lists_metadata(
    bootstrap_servers: str,
    timeout_s: float = ANSWER_SECONDS_MAX,
    security: dict[str, str] | None = None,
) -> bool:
    """True when a client gets the cluster's metadata with at least one broker in it."""
    client = AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "socket.connection.setup.timeout.ms": 2000,
            # A refused connection is an answer here, not an event to print.
            "log_level": 0,
            **(security or {}),
        }
    )
    try:
        return bool(client.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False
