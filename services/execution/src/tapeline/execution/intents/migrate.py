"""Makes and changes the tables of the intents, as the database's owner.

The service logs in as APP_ROLE, which may add intents, move their state, and read; it can delete
nothing and change no other column.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from psycopg import errors, sql
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from tapeline.execution.intents.errors import IntentsAway, IntentsUnfit

SCHEMA: Final = "execution"
APP_ROLE: Final = "tapeline_execution"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
CONNECT_S: Final = 5
LOCK: Final = 7_251_310_443
"""any number: migrations of two processes wait for each other"""


def psycopg_url(url: str) -> URL:
    """A database URL for SQLAlchemy with psycopg 3, whatever scheme it came with."""
    return make_url(url).set(drivername="postgresql+psycopg")


def reason_of(error: BaseException) -> str:
    """The first line of what the database said; no password is in it."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def migrate(admin_url: str, *, app_role: str = APP_ROLE, app_password: str | None = None) -> str:
    """Brings the schema up to date, makes the service's role, and returns the service's URL.

    The role's password is set to `app_password`, or to a new one where it is None. Raises
    IntentsAway or IntentsUnfit.
    """
    url = psycopg_url(admin_url)
    password = app_password or secrets.token_urlsafe(24)
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S})
    where = f"PostgreSQL at {url.host}:{url.port}"
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _upgrade(connection)
            _grant(connection, app_role, password)
    except OperationalError as error:
        raise IntentsAway(
            f"{where} does not answer: {reason_of(error)}",
            "Start the local stack with `tapeline up`, or correct DATABASE_URL.",
        ) from error
    except DBAPIError as error:
        is_right = isinstance(error.orig, errors.InsufficientPrivilege)
        raise IntentsUnfit(
            f"{where} refuses: {reason_of(error)}",
            f"Migrate with a user that {'may create' if is_right else 'owns'} schemas and roles.",
        ) from error
    finally:
        engine.dispose()
    return url.set(username=app_role, password=password).render_as_string(hide_password=False)


def migrate_with_file(admin_url: str, password_file: Path, *, app_role: str = APP_ROLE) -> str:
    """As `migrate`, with the role's password kept in a file of mode 0600, made where missing."""
    if not password_file.exists():
        password_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = password_file.with_name(f".{password_file.name}.new")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        part.replace(password_file)
    password = password_file.read_text().strip()
    return migrate(admin_url, app_role=app_role, app_password=password)


def _upgrade(connection: Connection) -> None:
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _grant(connection: Connection, app_role: str, password: str) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    role = sql.Identifier(app_role)
    exists = driver.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (app_role,)).fetchone()
    verb = sql.SQL("ALTER" if exists else "CREATE")
    database = sql.Identifier(driver.info.dbname)
    statements = (
        sql.SQL(
            "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {}"
        ).format(verb, role, sql.Literal(password)),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role),
        sql.SQL("GRANT USAGE ON SCHEMA execution TO {}").format(role),
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA execution FROM {}").format(role),
        sql.SQL("GRANT SELECT, INSERT ON execution.intent, execution.sender TO {}").format(role),
        sql.SQL("GRANT UPDATE (state) ON execution.intent TO {}").format(role),
        sql.SQL("GRANT UPDATE (epoch, next_offset, intent_count) ON execution.sender TO {}").format(
            role
        ),
        sql.SQL("GRANT SELECT, INSERT ON execution.configuration, execution.swept TO {}").format(
            role
        ),
        sql.SQL("GRANT UPDATE (record) ON execution.configuration TO {}").format(role),
        sql.SQL("GRANT UPDATE (is_told) ON execution.swept TO {}").format(role),
    )
    for statement in statements:
        driver.execute(statement)
