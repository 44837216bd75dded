"""What must hold of the topics of a whole run, whoever crashed in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tapeline.contracts import topics
from tapeline.contracts.agents import Decision
from tapeline.contracts.orders import ApprovedOrder, CommandKind, Fill, OrderUpdate
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.log import Raw
from tapeline.runtime.shard import STEP_HEADER

from . import world
from .books import ZERO, Book
from .faults import require

AUDITED = (
    topics.DECISIONS,
    topics.APPROVED_ORDERS,
    topics.RISK_EVENTS,
    topics.ORDER_UPDATES,
    topics.FILLS,
)


@dataclass
class Totals:
    """What a run came to."""

    decisions: int = 0
    approvals: int = 0
    denials: int = 0
    sends: int = 0
    fills: int = 0
    denial_codes: dict[str, int] = field(default_factory=dict)


class TopicsAudit:
    """Hears every record when it becomes visible."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.asked: dict[str, Decision] = {}
        self.answers: dict[str, str] = {}
        self.approved: dict[str, ApprovedOrder] = {}
        self.ended: set[str] = set()
        self.books: dict[str, Book] = {}
        self._instruments = {
            one.instrument_id: one for one in world.configuration() if hasattr(one, "lot_size")
        }
        self._sends: set[tuple[str, int]] = set()
        self._filled: dict[str, Decimal] = {}
        self._event_ids: set[str] = set()
        self._decoders = {name: Decoder(topics.TOPICS[name].records) for name in AUDITED}

    def heard(self, raws: Sequence[Raw]) -> None:
        """Records that one commit made visible."""
        for raw in raws:
            if raw.topic not in self._decoders:
                continue
            if raw.topic != topics.DECISIONS and not raw.header(STEP_HEADER):
                continue
            try:
                record = self._decoders[raw.topic].decode(raw.value)
            except DecodeError:
                continue
            if raw.topic != topics.DECISIONS:
                self._unique(raw)
            self._hear(record)

    def _unique(self, raw: Raw) -> None:
        event_id = raw.header("event_id")
        require(event_id not in self._event_ids, "event ids", f"{raw.topic} {event_id}")
        self._event_ids.add(event_id)

    def _hear(self, record: Any) -> None:
        totals = self.totals
        match record:
            case Decision():
                totals.decisions += record.decision_id not in self.asked
                self.asked[record.decision_id] = record
            case ApprovedOrder():
                totals.approvals += 1
                self._answered(record.approval.decision_id, "approved")
                self.approved[record.approval.approval_id] = record
            case Denial():
                totals.denials += 1
                code = record.code.value
                totals.denial_codes[code] = totals.denial_codes.get(code, 0) + 1
                if record.code is not DenialCode.MALFORMED or record.instrument_id:
                    self._answered(record.decision_id, "denied")
            case OrderUpdate():
                self._updated(record)
            case Fill():
                self._fill(record)

    def _answered(self, decision_id: str, answer: str) -> None:
        if decision_id.startswith("Flatten-"):
            return  # one command, an order for each line
        require(decision_id not in self.answers, "answered once", decision_id)
        self.answers[decision_id] = answer

    def _updated(self, record: OrderUpdate) -> None:
        command = record.command
        if command is not None and command.kind is CommandKind.SUBMIT:
            self.totals.sends += 1
            key = (command.approved.approval.approval_id, command.child_index)
            require(key not in self._sends, "one send", key)
            self._sends.add(key)
            known = self.approved.get(key[0])
            require(known == command.approved, "send with approval", key)
        if record.is_terminal:
            self.ended.add(record.approval_id)

    def _fill(self, record: Fill) -> None:
        self.totals.fills += 1
        order = self.approved[record.approval_id].order
        total = self._filled.get(record.approval_id, ZERO) + record.quantity
        require(total <= order.quantity, "fills within quantity", record.fill_id)
        self._filled[record.approval_id] = total
        book = self.books.setdefault(record.account_id, Book({"USD": world.START_CASH}))
        book.fill(record, self._instruments[record.instrument_id])
