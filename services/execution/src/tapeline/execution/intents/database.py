"""One connection to PostgreSQL, for one thread at a time; what goes wrong there has two names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from tapeline.execution.intents.errors import IntentsAway, IntentsUnfit
from tapeline.execution.intents.migrate import CONNECT_S, psycopg_url, reason_of

STATEMENT_MS: Final = 5_000
KEEPALIVE: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
Result = TypeVar("Result")


class Database:
    """The database of one run."""

    def __init__(self, url: str, run_id: str) -> None:
        self.run_id = run_id
        self._url = psycopg_url(url)
        self._engine: Engine = create_engine(
            self._url,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=False,
            connect_args={
                "connect_timeout": CONNECT_S,
                "application_name": "tapeline-execution",
                "options": f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}",
                **KEEPALIVE,
            },
        )

    def close(self) -> None:
        """Drops the connection."""
        self._engine.dispose()

    def do(self, work: Callable[[Connection], Result]) -> Result:
        """Runs work in one transaction; raises IntentsAway, IntentsUnfit."""
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            raise self._failure(error) from error

    def _failure(self, error: DBAPIError) -> IntentsAway | IntentsUnfit:
        where = f"PostgreSQL at {self._url.host}:{self._url.port}"
        is_away = error.connection_invalidated or isinstance(
            error.orig,
            psycopg.OperationalError
            | psycopg.InterfaceError
            | psycopg.errors.ReadOnlySqlTransaction,
        )
        if is_away:
            return IntentsAway(
                f"{where} does not answer: {reason_of(error)}",
                "Nothing is sent to external venues until it does.",
            )
        return IntentsUnfit(
            f"{where} refuses: {reason_of(error)}",
            "Migrate the database (`tapeline up` does), and log in as the role it has made.",
        )
