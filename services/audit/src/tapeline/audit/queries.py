"""Figures for people and for the command line, from the views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import psycopg

from tapeline.audit.database import CONNECT_S, database_away, psycopg_url

NS_PER_MS: Final = 1_000_000


@contextmanager
def reading_connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A read-only connection in one consistent view; raises DatabaseAway."""
    url = psycopg_url(database_url)
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = psycopg.connect(plain, connect_timeout=CONNECT_S)
    except psycopg.OperationalError as error:
        raise database_away(url, error) from error
    with connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCount:
    """How much of a topic is chained."""

    topic: str
    records: int
    """of bulk topics: in closed ranges"""
    duplicates: int
    undecodable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFills:
    """What a group traded."""

    account_id: str
    group_id: str
    currency: str
    fills: int
    orders: int
    notional: Decimal
    commission: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as its latest update shows it."""

    client_order_id: str
    account_id: str
    group_id: str
    instrument_id: str
    status: str
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None
    code: str
    reason: str
    ts_event_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Broker append times between two records of one order, milliseconds."""

    decision_to_approval_ms: tuple[int, ...]
    approval_to_command_ms: tuple[int, ...]
    decision_to_fill_ms: tuple[int, ...]


def runs(database_url: str) -> tuple[str, ...]:
    """Runs that the database holds rows of."""
    # A loose index scan: a run may have millions of rows, and there are few runs.
    query = """
        WITH RECURSIVE run AS (
            (SELECT min(run_id) AS run_id FROM audit.audit_row)
            UNION ALL
            SELECT (SELECT min(r.run_id) FROM audit.audit_row r WHERE r.run_id > run.run_id)
            FROM run WHERE run.run_id IS NOT NULL)
        SELECT run_id FROM run WHERE run_id IS NOT NULL
    """
    with reading_connection(database_url) as connection:
        return tuple(row[0] for row in connection.execute(query).fetchall())


def counts_by_topic(database_url: str, run_id: str) -> tuple[TopicCount, ...]:
    """Chained records of each topic, in the order of names."""
    query = """
        SELECT topic, count(*), count(*) FILTER (WHERE is_duplicate),
            count(*) FILTER (WHERE record_type = 'undecodable')
        FROM audit.audit_row WHERE run_id = %(run_id)s GROUP BY topic
        UNION ALL
        SELECT topic, sum(record_count)::bigint, 0, 0
        FROM audit.audit_range WHERE run_id = %(run_id)s GROUP BY topic
        ORDER BY 1
    """
    with reading_connection(database_url) as connection:
        return tuple(
            TopicCount(topic=topic, records=records, duplicates=duplicates, undecodable=bad)
            for topic, records, duplicates, bad in connection.execute(query, {"run_id": run_id})
        )


def orders_by_status(database_url: str, run_id: str) -> dict[str, int]:
    """Orders by the status of their latest update."""
    query = "SELECT status, count(*) FROM audit.orders WHERE run_id = %s GROUP BY 1 ORDER BY 1"
    return _counts(database_url, query, run_id)


def denials_by_code(database_url: str, run_id: str) -> dict[str, int]:
    """Denied decisions by code."""
    query = """
        SELECT code, count(*) FROM audit.denials WHERE run_id = %s GROUP BY 1 ORDER BY 2 DESC, 1
    """
    return _counts(database_url, query, run_id)


def incidents_by_code(database_url: str, run_id: str) -> dict[str, int]:
    """Incidents by code."""
    query = """
        SELECT code, count(*) FROM audit.incidents WHERE run_id = %s GROUP BY 1 ORDER BY 2 DESC, 1
    """
    return _counts(database_url, query, run_id)


def fills_by_group(database_url: str, run_id: str) -> tuple[GroupFills, ...]:
    """Fills, orders, notional and commission of each account and group."""
    query = """
        SELECT account_id, group_id, currency, count(*), count(DISTINCT client_order_id),
            sum(quantity * price), sum(commission)
        FROM audit.fills WHERE run_id = %s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """
    with reading_connection(database_url) as connection:
        return tuple(
            GroupFills(
                account_id=account_id,
                group_id=group_id,
                currency=currency,
                fills=fills,
                orders=orders,
                notional=notional,
                commission=commission,
            )
            for account_id, group_id, currency, fills, orders, notional, commission in (
                connection.execute(query, (run_id,))
            )
        )


def orders(
    database_url: str, run_id: str, *, status: str | None = None, limit: int = 100
) -> tuple[Order, ...]:
    """The latest orders, newest first."""
    query = """
        SELECT client_order_id, account_id, group_id, instrument_id, status, quantity,
            filled_quantity, average_price, code, reason, ts_event_ns
        FROM audit.orders
        WHERE run_id = %(run_id)s AND (%(status)s::text IS NULL OR status = %(status)s)
        ORDER BY ts_event_ns DESC, client_order_id LIMIT %(limit)s
    """
    values = {"run_id": run_id, "status": status, "limit": limit}
    names = tuple(Order.__dataclass_fields__)
    with reading_connection(database_url) as connection:
        rows = connection.execute(query, values).fetchall()
    return tuple(Order(**dict(zip(names, row, strict=True))) for row in rows)


def an_order_with_fills(database_url: str, run_id: str) -> str | None:
    """The order of the run's first fill, to show as an example; None where nothing was filled."""
    query = """
        SELECT client_order_id FROM audit.fills WHERE run_id = %s
        ORDER BY ts_event_ns, fill_id LIMIT 1
    """
    with reading_connection(database_url) as connection:
        found = connection.execute(query, (run_id,)).fetchone()
    return None if found is None else str(found[0])


def latency(database_url: str, run_id: str, samples_max: int = 100_000) -> Latency:
    """How long the broker's append times of one decision lie apart, at most so many samples."""
    query = """
        WITH step AS (
            SELECT decision_id, record_type, min(append_ms) AS at
            FROM audit.audit_row
            WHERE run_id = %s AND decision_id IS NOT NULL AND record_type IN (
                'tapeline.agents.Decision', 'tapeline.orders.ApprovedOrder',
                'tapeline.orders.OrderUpdate', 'tapeline.orders.Fill')
            GROUP BY 1, 2)
        SELECT approval.at - decision.at, command.at - approval.at, fill.at - decision.at
        FROM step decision
        JOIN step approval ON approval.decision_id = decision.decision_id
            AND approval.record_type = 'tapeline.orders.ApprovedOrder'
        LEFT JOIN step command ON command.decision_id = decision.decision_id
            AND command.record_type = 'tapeline.orders.OrderUpdate'
        LEFT JOIN step fill ON fill.decision_id = decision.decision_id
            AND fill.record_type = 'tapeline.orders.Fill'
        WHERE decision.record_type = 'tapeline.agents.Decision'
        LIMIT %s
    """
    with reading_connection(database_url) as connection:
        rows = connection.execute(query, (run_id, samples_max)).fetchall()
    columns = [tuple(row[number] for row in rows if row[number] is not None) for number in range(3)]
    return Latency(
        decision_to_approval_ms=columns[0],
        approval_to_command_ms=columns[1],
        decision_to_fill_ms=columns[2],
    )


def _counts(database_url: str, query: str, run_id: str) -> dict[str, int]:
    with reading_connection(database_url) as connection:
        rows = connection.execute(query, (run_id,)).fetchall()
    return {str(name): int(number) for name, number in rows}
