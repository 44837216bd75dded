"""The shared servers, so that these tests also run alone."""

from tapeline.cli.stack.testing import kafka_bootstrap, postgres_url

__all__ = ["kafka_bootstrap", "postgres_url"]
