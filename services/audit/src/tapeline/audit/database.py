"""How the database is reached."""

from __future__ import annotations

from typing import Final

from sqlalchemy import make_url
from sqlalchemy.engine import URL

from tapeline.audit.errors import DatabaseAway

CONNECT_S: Final = 5


def psycopg_url(url: str) -> URL:
    """A database URL for SQLAlchemy with psycopg 3, whatever scheme it came with."""
    return make_url(url).set(drivername="postgresql+psycopg")


def database_away(url: URL, error: Exception) -> DatabaseAway:
    """The failure for a database that does not answer; the password is not in it."""
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return DatabaseAway(
        f"PostgreSQL at {url.host}:{url.port} does not answer: {reason}",
        "Start the local stack with `tapeline up`, or correct DATABASE_URL.",
    )
