"""A database of its own for each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

sys.path.insert(0, str(Path(__file__).parent))

from audit_samples import KEY, RUN_ID, Database, Writer, plain

from tapeline.audit.chain import ChainKey
from tapeline.audit.keys import ChainKeys
from tapeline.audit.migrate import migrate
from tapeline.audit.store import Store

_numbers = count()


@contextmanager
def new_database(server_url: str, template: str = "template0") -> Iterator[str]:
    """The owner's URL of a database that lives as long as the block."""
    name = f"audit_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(plain(server_url), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(plain(server_url), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """The owner's URL of a new database without tables."""
    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[Database]:
    """A migrated database to copy; migrating takes longer than most tests."""
    role = f"audit_test_{os.getpid()}_app"
    with new_database(postgres_url) as url:
        yield Database(url, migrate(url, app_role=role), role)
    with psycopg.connect(plain(postgres_url), autocommit=True) as connection:
        connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def database(template: Database) -> Iterator[Database]:
    """A migrated database."""
    name = make_url(template.admin_url).database
    assert name is not None
    with new_database(template.admin_url.replace(name, "postgres"), name) as url:
        app_url = make_url(template.app_url).set(database=make_url(url).database)
        yield Database(url, app_url.render_as_string(hide_password=False), template.role)


@pytest.fixture
def key() -> ChainKey:
    """The chain key of all tests."""
    return KEY


@pytest.fixture
def keys() -> ChainKeys:
    """A key folder's content."""
    return ChainKeys(current=KEY, known={KEY.key_id: KEY})


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """Writes to the test's database as the service's role."""
    store = Store(database.app_url, RUN_ID)
    yield Writer(store)
    store.close()


@pytest.fixture
def pure_writer() -> Writer:
    """Chains and stores nothing."""
    return Writer()
