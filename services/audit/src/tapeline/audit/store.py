"""The chains in PostgreSQL: where they end, which ids they hold, and adding to them.

One connection, one transaction a batch. Rows and the position are the same thing: the position is
derived from the rows, so neither can be ahead of the other. After a lost connection the outcome of
a COMMIT is unknown; the tips tell, because a batch moves all of its tips or none.
"""

from __future__ import annotations

import os
import socket
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import attrgetter
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tapeline.audit.chain import Place
from tapeline.audit.core import RANGE_COLUMNS, ROW_COLUMNS, Batch, Tip
from tapeline.audit.database import CONNECT_S, psycopg_url
from tapeline.audit.errors import ChainConflict, DatabaseAway, DatabaseUnfit

STATEMENT_MS: Final = 10_000
SILENT_S: Final = 12.0
"""a server that has not answered by then, nor ended the statement itself, is taken for away"""
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
LOGIN_REFUSED: Final = ("authentication failed", "does not exist", "permission denied")
KEEPALIVE: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_ROW_VALUES: Final = attrgetter(*ROW_COLUMNS)
_RANGE_VALUES: Final = attrgetter(*RANGE_COLUMNS)
_COPY_ROWS: Final = f"COPY audit.audit_row ({', '.join(ROW_COLUMNS)}) FROM STDIN"
_COPY_RANGES: Final = f"COPY audit.audit_range ({', '.join(RANGE_COLUMNS)}) FROM STDIN"
_TIPS: Final = """
SELECT p.topic, p.partition, last.next_offset, last.chain_index, last.head
FROM unnest(%(topics)s::text[], %(partitions)s::int[]) AS p (topic, partition)
CROSS JOIN LATERAL (
    (SELECT kafka_offset + 1 AS next_offset, chain_index, head FROM audit.audit_row r
     WHERE r.run_id = %(run_id)s AND r.topic = p.topic AND r.partition = p.partition
     ORDER BY kafka_offset DESC LIMIT 1)
    UNION ALL
    (SELECT next_offset, chain_index, head FROM audit.audit_range g
     WHERE g.run_id = %(run_id)s AND g.topic = p.topic AND g.partition = p.partition
     ORDER BY first_offset DESC LIMIT 1)
) AS last
"""
_SEEN: Final = """
SELECT topic, partition, event_id FROM audit.audit_row
WHERE event_id = ANY(%s) AND run_id = %s
"""

OnOutage = Callable[[str, float], None]
"""(reason, seconds to wait): waits, keeps the process's signs of life, raises to give up"""


def is_outage(error: BaseException) -> bool:
    """True where the database is away for now: a later attempt may succeed."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        return True  # a fail-over to a standby
    if any(word in str(cause) for word in LOGIN_REFUSED):
        return False  # it is there, and no pause will make it let us in
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)


class Store:
    """One run's chains; a single writer, held by a lock in the database."""

    def __init__(self, url: str, run_id: str, application: str = "tapeline-audit") -> None:
        self._url = psycopg_url(url)
        self._run_id = run_id
        self._engine: Engine = create_engine(
            self._url,
            poolclass=NullPool,
            connect_args={
                "connect_timeout": CONNECT_S,
                "application_name": application,
                "options": f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}",
                **KEEPALIVE,
            },
        )
        self._connection: Connection | None = None

    def close(self) -> None:
        """Drops the connection."""
        if self._connection is not None:
            with suppress(DBAPIError, psycopg.Error):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None

    def tips(self, places: Iterable[Place]) -> dict[Place, Tip]:
        """Where the chains end, for those that have begun."""
        listed = sorted(places)
        with self._open().begin():
            found = self._driver().execute(
                _TIPS,
                {
                    "run_id": self._run_id,
                    "topics": [topic for topic, _ in listed],
                    "partitions": [partition for _, partition in listed],
                },
            )
            return {
                (topic, partition): Tip(next_offset=offset, index=index, head=bytes(head))
                for topic, partition, offset, index, head in found.fetchall()
            }

    def seen(self, names: set[tuple[str, int, str]]) -> set[tuple[str, int, str]]:
        """Those of the (topic, partition, event_id) that have a row."""
        if not names:
            return set()
        ids = sorted({event_id for _, _, event_id in names})
        with self._open().begin():
            found = self._driver().execute(_SEEN, (ids, self._run_id)).fetchall()
        return {tuple(row) for row in found} & names

    def append(self, batch: Batch) -> None:
        """Adds a batch in one transaction."""
        with self._open().begin():
            cursor = self._driver().cursor()
            if batch.rows:
                with cursor.copy(_COPY_ROWS) as copy:
                    for row in batch.rows:
                        copy.write_row(_ROW_VALUES(row))
            if batch.ranges:
                with cursor.copy(_COPY_RANGES) as copy:
                    for link in batch.ranges:
                        copy.write_row(_RANGE_VALUES(link))

    def append_surely(self, batch: Batch, on_outage: OnOutage) -> None:
        """Adds a batch exactly once, however often the connection is lost meanwhile.

        Raises ChainConflict where the chains are neither as before the batch nor as behind it.
        """
        is_unsure = False

        def attempt() -> None:
            nonlocal is_unsure
            if is_unsure and self._has(batch):
                return
            is_unsure = True
            self.append(batch)

        self.persist(attempt, on_outage)

    def persist(self, attempt: Callable[[], Any], on_outage: OnOutage) -> Any:
        """Repeats an attempt with growing pauses while the database is away."""
        failures = 0
        while True:
            try:
                with self._bounded():
                    return attempt()
            except (DBAPIError, psycopg.Error, DatabaseAway) as error:
                if not isinstance(error, DatabaseAway) and not is_outage(error):
                    raise self._refusal(error) from error
                self.close()
                pause_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                failures += 1
                on_outage(_reason(error), pause_s)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Cuts the connection off where the server is silent: its kernel still answers for it, so
        neither keep-alive nor its own time limit would end the wait."""
        timer = threading.Timer(SILENT_S, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        if self._connection is not None:
            with (
                suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(self._driver().fileno())) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)

    def _has(self, batch: Batch) -> bool:
        """True when the batch is in the database, False when nothing of it is."""
        found = self.tips(batch.after)
        if found == batch.after:
            return True
        if all(found.get(place) == tip for place, tip in batch.before.items()):
            return False
        raise _conflict(found, batch.before)

    def _open(self) -> Connection:
        """The connection, which holds the lock of the run's only writer."""
        if self._connection is not None:
            return self._connection
        connection = self._engine.connect()
        try:
            with connection.begin():
                key = zlib.crc32(self._run_id.encode())
                query = text("SELECT pg_try_advisory_lock(7251311, :key)")
                is_ours = connection.execute(query, {"key": key - 2**31}).scalar_one()
            if not is_ours:
                # After a lost connection the server may hold our own lock a little longer.
                raise DatabaseAway(
                    f"Another audit writes the run {self._run_id}.",
                    "Stop it, or wait until the database has noticed that it has gone.",
                )
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._connection = connection
        return connection

    def _driver(self) -> psycopg.Connection[Any]:
        assert self._connection is not None
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        return driver

    def _refusal(self, error: DBAPIError | psycopg.Error) -> DatabaseUnfit | ChainConflict:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause).strip().splitlines()[0]
        where = f"PostgreSQL at {self._url.host}:{self._url.port}"
        if isinstance(cause, psycopg.errors.UniqueViolation):
            return ChainConflict(
                f"{where} holds rows of run {self._run_id} that this process did not write: "
                f"{reason}",
                "Make sure that one audit runs per run, then run `tapeline audit verify`.",
            )
        return DatabaseUnfit(
            f"{where} refuses: {reason}",
            "Migrate the database (`tapeline up` does), and log in as the role it has made.",
        )


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _conflict(found: Mapping[Place, Tip], before: Mapping[Place, Tip | None]) -> ChainConflict:
    [place, *_] = [place for place, tip in before.items() if found.get(place) != tip]
    return ChainConflict(
        f"The chain of {place[0]}/{place[1]} is not where this process left it.",
        "Make sure that one audit runs per run, then run `tapeline audit verify`.",
    )
