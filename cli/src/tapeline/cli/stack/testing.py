"""Real Kafka and real PostgreSQL for tests, as session fixtures.

Both take, in this order: the server named in the environment, a container where a Docker
engine answers and already holds the image (nothing is pulled), the embedded server. A root
`conftest.py` imports the two fixtures; the servers start when the first test asks for them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tapeline.cli.stack.containers import kafka_container, postgres_container
from tapeline.cli.stack.external import KAFKA_VARIABLE, POSTGRES_VARIABLE
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.postgres import EmbeddedPostgres


@contextmanager
def shared_kafka(data_dir: Path | None = None, jars_dir: Path | None = None) -> Iterator[str]:
    """The bootstrap servers of a broker that lives as long as the block."""
    named = os.environ.get(KAFKA_VARIABLE)
    if named:
        yield named
        return
    with kafka_container() as container, _folder(data_dir) as folder:
        if container is not None:
            yield container
            return
        with EmbeddedKafka(folder, jars_dir=jars_dir or jars_cache(Path.cwd())) as kafka:
            yield kafka.bootstrap_servers


@contextmanager
def shared_postgres(data_dir: Path | None = None) -> Iterator[str]:
    """The database URL of a server that lives as long as the block."""
    named = os.environ.get(POSTGRES_VARIABLE)
    if named:
        yield named
        return
    with postgres_container() as container, _folder(data_dir) as folder:
        if container is not None:
            yield container
            return
        with EmbeddedPostgres(folder) as postgres:
            yield postgres.database_url


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with TemporaryDirectory(prefix="tapeline-") as folder:
        yield Path(folder)


def jars_cache(root: Path) -> Path:
    """Where the jars of all runs and stacks of one checkout are kept."""
    return root / ".tapeline" / "cache" / "jars"


@pytest.fixture(scope="session")
def kafka_bootstrap(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The bootstrap servers of one broker for the whole session."""
    data_dir = tmp_path_factory.mktemp("kafka")
    with shared_kafka(data_dir, jars_cache(pytestconfig.rootpath)) as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one database for the whole session."""
    with shared_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url
