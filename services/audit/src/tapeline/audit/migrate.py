"""Makes and changes the tables, as the database's owner; the service itself may only add and read.

Roles: the owner is whoever `admin_url` names. The service logs in as APP_ROLE, which holds INSERT
and SELECT on the two tables and SELECT on the views, nothing else. A trigger refuses changes even
to the owner, so that a slip is not an edit; who switches it off is found by `verify`.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from psycopg import errors, sql
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from tapeline.audit.database import CONNECT_S, database_away, psycopg_url
from tapeline.audit.errors import DatabaseUnfit
from tapeline.audit.tables import SCHEMA

APP_ROLE: Final = "tapeline_audit"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
LOCK: Final = 7_251_310_442
"""any number: migrations of two processes wait for each other"""
_TABLES: Final = ("audit_row", "audit_range")


def migrate(admin_url: str, *, app_role: str = APP_ROLE, app_password: str | None = None) -> str:
    """Brings the schema up to date, makes the service's role, and returns the service's URL.

    The role's password is set to `app_password`, or to a new one where it is None. Raises
    DatabaseAway or DatabaseUnfit.
    """
    url = psycopg_url(admin_url)
    password = app_password or secrets.token_urlsafe(24)
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S})
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _upgrade(connection)
            _grant(connection, app_role, password)
    except OperationalError as error:
        raise database_away(url, error) from error
    except DBAPIError as error:
        raise _unfit(url, error) from error
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


def delete_run(admin_url: str, run_id: str) -> int:
    """Removes a run's rows and ranges, as the owner, and returns their number.

    For runs that are thrown away; `verify` of the run then reports its chains as missing for as
    long as its anchors exist.
    """
    deleted = 0
    url = psycopg_url(admin_url)
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S})
    try:
        with engine.begin() as connection:
            for table in _TABLES:
                name = f"{SCHEMA}.{table}"
                connection.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER append_only"))
                done = connection.execute(
                    text(f"DELETE FROM {name} WHERE run_id = :run_id"),  # noqa: S608 - constant
                    {"run_id": run_id},
                )
                deleted += done.rowcount
                connection.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER append_only"))
    except OperationalError as error:
        raise database_away(url, error) from error
    finally:
        engine.dispose()
    return deleted


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
        sql.SQL("GRANT USAGE ON SCHEMA audit TO {}").format(role),
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM {}").format(role),
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA audit TO {}").format(role),
        sql.SQL("GRANT INSERT ON audit.audit_row, audit.audit_range TO {}").format(role),
    )
    for statement in statements:
        driver.execute(statement)


def _unfit(url: URL, error: DBAPIError) -> DatabaseUnfit:
    reason = str(error.orig or error).strip().splitlines()[0]
    remedy = "Migrate with a user that owns the database."
    if isinstance(error.orig, errors.InsufficientPrivilege):
        remedy = "Migrate with a user that may create schemas and roles."
    return DatabaseUnfit(f"PostgreSQL at {url.host}:{url.port} refuses: {reason}", remedy)
