"""The intents of one process in PostgreSQL: written and committed before anything is sent.

A row says: this command may have left. Without a row it certainly has not, because nothing is sent
before its row is committed, and only the sender that wrote the row sends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, text

from tapeline.contracts.orders import CommandKind, VenueCommand
from tapeline.execution.intents.database import Database
from tapeline.execution.intents.errors import SenderReplaced
from tapeline.runtime.codec import Decoder, encode

DECODER: Final = Decoder((VenueCommand.AVRO,))

_OWN: Final = text(
    "SELECT epoch FROM execution.sender WHERE run_id = :run_id AND shard = :shard FOR UPDATE"
)
_CLAIM: Final = text(
    "INSERT INTO execution.sender (run_id, shard, epoch, next_offset, intent_count) "
    "VALUES (:run_id, :shard, 1, 0, 0) ON CONFLICT (run_id, shard) "
    "DO UPDATE SET epoch = execution.sender.epoch + 1 "
    "RETURNING epoch, next_offset, intent_count"
)
_COUNT: Final = text(
    "SELECT count(*) FROM execution.intent WHERE run_id = :run_id AND shard = :shard"
)
_WRITE: Final = text(
    "INSERT INTO execution.intent (run_id, command_id, shard, epoch, kind, approval_id, "
    "child_index, account_id, venue, client_order_id, command, written_ns) VALUES (:run_id, "
    ":command_id, :shard, :epoch, :kind, :approval_id, :child_index, :account_id, :venue, "
    ":client_order_id, :command, :written_ns) ON CONFLICT DO NOTHING RETURNING command_id"
)
_MOVE: Final = text(
    "UPDATE execution.sender SET next_offset = :next_offset, "
    "intent_count = intent_count + :written WHERE run_id = :run_id AND shard = :shard"
)
_SETTLE: Final = text(
    "UPDATE execution.intent SET state = :state WHERE run_id = :run_id "
    "AND command_id = :command_id AND state <> 'ENDED'"
)
_END: Final = text(
    "UPDATE execution.intent SET state = 'ENDED' WHERE run_id = :run_id AND kind = 'SUBMIT' "
    "AND client_order_id = :client_order_id AND approval_id = :approval_id AND state <> 'ENDED'"
)
_NOT_ENDED: Final = text(
    "SELECT command, state, epoch, written_ns FROM execution.intent "
    "WHERE run_id = :run_id AND shard = :shard AND state <> 'ENDED' "
    "ORDER BY written_ns, command_id"
)


class IntentState(StrEnum):
    """How far a command has come."""

    OPEN = "OPEN"
    """it may have left, and the venue has not answered"""
    ANSWERED = "ANSWERED"
    """the venue has answered; its order may still live"""
    ENDED = "ENDED"
    """nothing more is to be done about it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """A sender's hold on its shard."""

    epoch: int
    next_offset: int
    """first offset of order-updates whose command has not been written"""
    intent_count: int
    """intents written under this run and shard, as the sender's row has it"""
    found_count: int
    """the same, counted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A row, read back."""

    command: VenueCommand
    state: IntentState
    epoch: int
    written_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a stretch of order-updates says, written in one transaction."""

    commands: Sequence[VenueCommand] = ()
    ended: Sequence[tuple[str, str]] = ()
    """(client_order_id, approval_id) of orders that have ended"""
    next_offset: int
    """behind the last update"""


class IntentStore(Database):
    """One run's intents. Every method raises IntentsAway or IntentsUnfit."""

    def claim(self, shard: int) -> Ownership:
        """Takes the shard over: whoever owned it before can write no intent any more."""

        def work(connection: Connection) -> Ownership:
            row = connection.execute(_CLAIM, self._place(shard)).one()
            found = connection.execute(_COUNT, self._place(shard)).scalar_one()
            return Ownership(
                epoch=row.epoch,
                next_offset=row.next_offset,
                intent_count=row.intent_count,
                found_count=found,
            )

        return self.do(work)

    def write(self, owner: tuple[int, int], page: Page, now_ns: int) -> frozenset[str]:
        """Commits a page: intents, ends and the position; returns the ids of new intents.

        `owner` is (shard, epoch). A command that has a row already, or whose (approval id, child
        index) has, is not new: it must not be sent. Raises SenderReplaced.
        """
        shard, epoch = owner

        def work(connection: Connection) -> frozenset[str]:
            self._require(connection, shard, epoch)
            new: list[str] = []
            for command in page.commands:
                row = connection.execute(_WRITE, self._row(command, shard, epoch, now_ns))
                new += [found.command_id for found in row]
            for client_order_id, approval_id in page.ended:
                names = {"client_order_id": client_order_id, "approval_id": approval_id}
                connection.execute(_END, {"run_id": self.run_id, **names})
            values = {"next_offset": page.next_offset, "written": len(new)}
            connection.execute(_MOVE, {**self._place(shard), **values})
            return frozenset(new)

        return self.do(work)

    def require(self, shard: int, epoch: int) -> None:
        """Raises SenderReplaced where another sender has taken the shard over."""
        self.do(lambda connection: self._require(connection, shard, epoch))

    def settle(self, command_id: str, state: IntentState) -> None:
        """Moves a command's state; what has ended stays so."""
        values = {"run_id": self.run_id, "command_id": command_id, "state": state.value}
        self.do(lambda connection: connection.execute(_SETTLE, values))

    def not_ended(self, shard: int) -> list[Intent]:
        """What a start has to look after, oldest first."""

        def work(connection: Connection) -> list[Intent]:
            return [
                Intent(
                    command=DECODER.decode(bytes(row.command)),
                    state=IntentState(row.state),
                    epoch=row.epoch,
                    written_ns=row.written_ns,
                )
                for row in connection.execute(_NOT_ENDED, self._place(shard))
            ]

        return self.do(work)

    def _require(self, connection: Connection, shard: int, epoch: int) -> None:
        owner = connection.execute(_OWN, self._place(shard)).scalar_one_or_none()
        if owner != epoch:
            raise SenderReplaced(
                f"Another sender owns shard {shard} (epoch {owner}, ours is {epoch}).",
                "Nothing to do if that was meant: two processes must not serve one shard.",
            )

    def _place(self, shard: int) -> dict[str, Any]:
        return {"run_id": self.run_id, "shard": shard}

    def _row(self, command: VenueCommand, shard: int, epoch: int, now_ns: int) -> dict[str, Any]:
        approval = command.approved.approval
        return {
            **self._place(shard),
            "command_id": command.command_id,
            "epoch": epoch,
            "kind": command.kind.value,
            "approval_id": approval.approval_id,
            "child_index": command.child_index,
            "account_id": approval.account_id,
            "venue": command.venue,
            "client_order_id": command.client_order_id,
            "command": encode(command),
            "written_ns": now_ns,
        }


def is_send(command: VenueCommand) -> bool:
    """Whether a command makes an order, which may happen once."""
    return command.kind is CommandKind.SUBMIT
