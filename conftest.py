"""Fixtures that every test may use: one real Kafka and one real PostgreSQL a session."""

from tapeline.cli.stack.testing import kafka_bootstrap, postgres_url

__all__ = ["kafka_bootstrap", "postgres_url"]
