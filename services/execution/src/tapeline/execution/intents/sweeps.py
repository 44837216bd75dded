"""What the kill switch keeps in PostgreSQL, so that it can cancel at venues without Kafka.

The configuration of venues, accounts and instruments, as the sender knew it last; and a row for
each order that it has canceled by itself, until an incident has told of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from tapeline.contracts import topics
from tapeline.execution.intents.store import IntentStore
from tapeline.runtime.codec import Decoder, encode

DECODER: Final = Decoder(topics.TOPICS[topics.CONFIG].records)
_REMEMBER: Final = text(
    "INSERT INTO execution.configuration (run_id, name, record) VALUES (:run_id, :name, :record) "
    "ON CONFLICT (run_id, name) DO UPDATE SET record = EXCLUDED.record"
)
_RECALL: Final = text(
    "SELECT record FROM execution.configuration WHERE run_id = :run_id ORDER BY name"
)
_NOTE: Final = text(
    "INSERT INTO execution.swept (run_id, trip_id, command_id, shard, client_order_id, answer, "
    "swept_ns) VALUES (:run_id, :trip_id, :command_id, :shard, :client_order_id, :answer, "
    ":swept_ns) ON CONFLICT DO NOTHING"
)
_SWEPT: Final = text(
    "SELECT trip_id, command_id, shard, client_order_id, answer, swept_ns, is_told "
    "FROM execution.swept WHERE run_id = :run_id AND shard = ANY(:shards) "
    "ORDER BY swept_ns, command_id"
)
_TELL: Final = text(
    "UPDATE execution.swept SET is_told = true WHERE run_id = :run_id AND trip_id = :trip_id "
    "AND command_id = :command_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """An order that the kill switch has canceled by itself."""

    trip_id: str
    command_id: str
    """of the command that sent the order"""
    shard: int
    client_order_id: str
    answer: str
    """what the venue said: CANCELED, CANCEL_REJECTED (it is not open), ASKED (nothing at once)"""
    swept_ns: int
    is_told: bool = False


class SweepStore(IntentStore):
    """Every method raises IntentsAway or IntentsUnfit."""

    def remember(self, records: Mapping[str, Any]) -> None:
        """Keeps config records by name."""
        rows = [
            {"run_id": self.run_id, "name": name, "record": encode(record)}
            for name, record in records.items()
        ]
        if rows:
            self.do(lambda connection: connection.execute(_REMEMBER, rows))

    def recall(self) -> list[Any]:
        """The config records that were kept."""

        def work(connection: Connection) -> list[Any]:
            rows = connection.execute(_RECALL, {"run_id": self.run_id})
            return [DECODER.decode(bytes(row.record)) for row in rows]

        return self.do(work)

    def note(self, swept: Iterable[Swept]) -> None:
        """Keeps what was canceled."""
        rows = [
            {
                "run_id": self.run_id,
                "trip_id": one.trip_id,
                "command_id": one.command_id,
                "shard": one.shard,
                "client_order_id": one.client_order_id,
                "answer": one.answer,
                "swept_ns": one.swept_ns,
            }
            for one in swept
        ]
        if rows:
            self.do(lambda connection: connection.execute(_NOTE, rows))

    def swept(self, shards: Iterable[int]) -> list[Swept]:
        """What was canceled in these shards, oldest first."""

        def work(connection: Connection) -> list[Swept]:
            values = {"run_id": self.run_id, "shards": list(shards)}
            return [Swept(**row._mapping) for row in connection.execute(_SWEPT, values)]

        return self.do(work)

    def told(self, swept: Iterable[Swept]) -> None:
        """An incident has told of them."""
        rows = [
            {"run_id": self.run_id, "trip_id": one.trip_id, "command_id": one.command_id}
            for one in swept
        ]
        if rows:
            self.do(lambda connection: connection.execute(_TELL, rows))
