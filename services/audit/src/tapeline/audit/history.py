"""Records of a run as steps on a way: looked up by their ids, and by what they follow from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

DEPTH_MAX: Final = 10
"""causes behind each other; more would be a circle"""
ROUNDS_MAX: Final = 5
_COLUMNS: Final = """
SELECT record_type, topic, partition, kafka_offset, event_id, causation_id, decision_id,
    client_order_id, append_ms, body FROM audit.audit_row
"""
_BY_ID: Final = (
    _COLUMNS + "WHERE event_id = ANY(%(ids)s) AND run_id = %(run_id)s ORDER BY kafka_offset"
)
_RELATED: Final = (
    _COLUMNS
    + """
WHERE run_id = %(run_id)s AND NOT is_duplicate AND decision_id = ANY(%(decisions)s)
UNION
"""
    + _COLUMNS
    + """
WHERE run_id = %(run_id)s AND NOT is_duplicate AND client_order_id = ANY(%(orders)s)
UNION
"""
    + _COLUMNS
    + """
WHERE run_id = %(run_id)s AND NOT is_duplicate AND record_type = 'tapeline.risk.Denial'
    AND body->'also_decision_ids' ?| %(decisions)s
ORDER BY append_ms, topic, partition, kafka_offset
"""
)
_CYCLE: Final = (
    _COLUMNS
    + """
WHERE run_id = %(run_id)s AND NOT is_duplicate
    AND record_type IN ('tapeline.agents.LlmCall', 'tapeline.agents.AgentMessage')
    AND body->>'group_id' = %(group_id)s AND body->>'cycle_ns' = %(cycle_ns)s
ORDER BY append_ms, topic, kafka_offset
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One record on the way."""

    record_type: str
    """Avro full name"""
    topic: str
    partition: int
    offset: int
    event_id: str
    causation_id: str
    """id of its cause, or empty"""
    append_ms: int
    """when the broker appended it, milliseconds UTC"""
    body: Mapping[str, Any]
    """its fields; decimals as text"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCause:
    """A record of a bulk topic that something names as its cause."""

    event_id: str
    topic: str
    partition: int
    offset: int


def bulk_cause(name: str) -> BulkCause | None:
    """id@topic/partition/offset, taken apart."""
    event_id, at, place = name.partition("@")
    parts = place.split("/")
    if not at or len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    topic, partition, offset = parts[0], int(parts[1]), int(parts[2])
    return BulkCause(event_id=event_id, topic=topic, partition=partition, offset=offset)


class History:
    """Looks records up in the database; collects what is missing."""

    def __init__(self, connection: psycopg.Connection[Any], run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id
        self.gaps: list[str] = []
        self.bulk_causes: list[BulkCause] = []

    def related(self, identifier: str) -> list[Step]:
        """Every record of the orders and decisions that an id belongs to."""
        found = self._rows(_BY_ID, ids=[identifier])
        decisions, orders = {identifier: None}, {identifier: None}
        decisions |= {row["decision_id"]: None for row in found if row["decision_id"]}
        orders |= {row["client_order_id"]: None for row in found if row["client_order_id"]}
        rows: list[dict[str, Any]] = []
        for _ in range(ROUNDS_MAX):
            rows = self._rows(_RELATED, decisions=list(decisions), orders=list(orders))
            more_decisions = {row["decision_id"]: None for row in rows if row["decision_id"]}
            more_orders = {row["client_order_id"]: None for row in rows if row["client_order_id"]}
            if more_decisions.keys() <= decisions.keys() and more_orders.keys() <= orders.keys():
                break
            decisions |= more_decisions
            orders |= more_orders
        return [_step(row) for row in rows]

    def causes(self, ids: Iterable[str]) -> list[Step]:
        """The records these ids name and what they follow from, oldest first."""
        found: dict[str, Step] = {}
        front = list(dict.fromkeys(name for name in ids if name))
        for _ in range(DEPTH_MAX):
            self.bulk_causes += [cause for cause in map(bulk_cause, front) if cause is not None]
            wanted = [name for name in front if "@" not in name and name not in found]
            if not wanted:
                break
            rows = {row["event_id"]: _step(row) for row in self._rows(_BY_ID, ids=wanted)}
            self.gaps += [
                f"The record {name}, named as a cause, is not in the audit."
                for name in wanted
                if name not in rows
            ]
            found |= rows
            front = list(dict.fromkeys(step.causation_id for step in rows.values()))
            front = [name for name in front if name]
        return list(reversed(found.values()))

    def cycle(self, group_id: str, cycle_ns: str) -> list[Step]:
        """What was asked and said in a group's cycle."""
        return [_step(row) for row in self._rows(_CYCLE, group_id=group_id, cycle_ns=cycle_ns)]

    def _rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query, {"run_id": self._run_id, **values})
            return list(cursor.fetchall())


def _step(row: Mapping[str, Any]) -> Step:
    return Step(
        record_type=row["record_type"],
        topic=row["topic"],
        partition=row["partition"],
        offset=row["kafka_offset"],
        event_id=row["event_id"] or "",
        causation_id=row["causation_id"] or "",
        append_ms=row["append_ms"],
        body=row["body"],
    )
