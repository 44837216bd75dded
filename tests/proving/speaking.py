"""An operator who speaks up in a paced run: orders, halts, resumes, a limit that changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from proving.disturbing import DisturbedSession
from proving.playing import MakeSession, Progress
from tapeline.cli.commands.act import manual_decision
from tapeline.cli.commands.halting import Word, records_of
from tapeline.cli.configuration import key_of
from tapeline.cli.operators import signed_by_hand
from tapeline.cli.plan import Part
from tapeline.cli.runs import OPERATOR, SWITCH_FOLDER
from tapeline.cli.sending import Sender
from tapeline.cli.session import Session
from tapeline.contracts import topics
from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Mandate
from tapeline.contracts.control import SwitchLevel
from tapeline.contracts.orders import Order, OrderType, Side
from tapeline.risk.answers import cause_of
from tapeline.runtime import clock
from tapeline.runtime.ids import derive_id
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.keys import Signer
from tapeline.runtime.signing import sign
from tapeline.runtime.trips import parsed_scope, write_halt_file

ACCOUNT, SHARD, INSTRUMENT = "PAPER-1", 0, "SP500.US"
DAY_NS: Final = 86_400_000_000_000
ASKED_NS: Final = 1_388_620_800 * 10**9 + DAY_NS - 1
"""the end of 2014-01-02: behind the marks of the first slice, in which it is decided"""
QUANTITY = Decimal(5)


@dataclass
class Speaker:
    """Says a thing when the run has come to its slice."""

    asked: dict[str, Decision] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def script(self) -> tuple[tuple[int, str, Callable[[Session], None]], ...]:
        """(slice, name, what to do)"""
        group, account = "group:swing", f"account:{ACCOUNT}"
        return (
            (8, "cancel", self._cancel),
            (12, "halt", lambda run: self._switch(run, SwitchLevel.CANCEL_ALL, group)),
            (30, "resume", lambda run: self._switch(run, SwitchLevel.RESUME, group)),
            (40, "file", lambda run: self._pull(run, account)),
            (55, "resume", lambda run: self._switch(run, SwitchLevel.RESUME, account)),
            (65, "limit", self._tighten),
            (75, "flatten", lambda run: self._switch(run, SwitchLevel.FLATTEN, account)),
        )

    def ask(self, session: Session) -> None:
        """Orders that are there before the first slice; the last of them is badly signed."""
        run_id = session.run.run_id
        signer = self._signer(session)
        plain = {"instrument_id": INSTRUMENT, "side": Side.BUY, "quantity": QUANTITY}
        away = {"order_type": OrderType.LIMIT, "limit_price": Decimal(1741)}
        bought, standing, forged = (
            self._decision(session, number, **terms)
            for number, terms in enumerate((plain, {**plain, **away}, plain))
        )
        forged = replace(signed_by_hand(forged, run_id, signer), quantity=QUANTITY * 2)
        self.asked = {
            "bought": signed_by_hand(bought, run_id, signer),
            "standing": signed_by_hand(standing, run_id, signer),
            "forged": forged,
        }
        self._send(session, topics.DECISIONS, SHARD, *self.asked.values())

    def __call__(self, session: Session, progress: Progress) -> bool:
        """Called while the run plays; True when everything was said."""
        for number, name, act in self.script[len(self.said) :]:
            if progress.slice < number:
                return False
            act(session)
            self.said.append(name)
        return True

    # ---- what is said

    def _cancel(self, session: Session) -> None:
        cause = cause_of(self.asked["standing"])
        name = derive_id(session.run.run_id, f"risk/{SHARD}", cause, Order.AVRO)
        canceled = self._decision(session, 9, kind=DecisionKind.CANCEL, client_order_id=name)
        self.asked["cancel"] = signed_by_hand(canceled, session.run.run_id, self._signer(session))
        self._send(session, topics.DECISIONS, SHARD, self.asked["cancel"])

    def _switch(self, session: Session, level: SwitchLevel, scope: str) -> None:
        word = Word(
            run=session.run,
            level=level,
            scope=scope,
            reason="to see it again",
            spares_protective=True,
            number=clock.wall_ns(),
        )
        kind, name = parsed_scope(scope)
        signer = self._signer(session)
        found = [sign(item, signer) for item in records_of(word, signer, kind, name)]
        self._send(session, topics.CONTROL, 0, *found)

    def _pull(self, session: Session, scope: str) -> None:
        said = {"scope": scope, "level": "stop-entries", "reason": "by file"}
        write_halt_file(session.folder / SWITCH_FOLDER, "halt-it", said)

    def _tighten(self, session: Session) -> None:
        mandate = next(
            item for item in session.configuration.of(Mandate) if item.account_id == "PAPER-2"
        )
        tight = Decimal("0.02")
        later = replace(mandate, position_weight_max=tight, version=mandate.version + 1)
        self._send(session, topics.CONFIG, 0, later)

    # ---- how

    def _decision(self, session: Session, number: int, **terms: Any) -> Decision:
        plain = manual_decision(
            session.run.run_id, ACCOUNT, **{"kind": DecisionKind.ORDER, **terms}
        )
        return replace(
            plain,
            decision_id=f"{plain.decision_id}-{number}",
            cycle_ns=ASKED_NS + number,
            ts_event_ns=ASKED_NS,
            ts_init_ns=ASKED_NS,
        )

    def _signer(self, session: Session) -> Signer:
        return Signer.from_file(session.folder / "keys" / "private" / f"{OPERATOR}.key")

    def _send(self, session: Session, topic: str, partition: int, *records: Any) -> None:
        assert session.stack.endpoints is not None
        settings = session.kafka_settings(session.stack.endpoints)
        sender = Sender(confluent_config(settings), session.run)
        for record in records:
            key, event_id = ACCOUNT, getattr(record, "decision_id", "")
            if topic == topics.CONFIG:
                key = key_of(record)
            elif topic == topics.CONTROL:
                key = f"{record.scope.value}:{record.scope_id}/{type(record).__name__}"
            sender.send(topic, partition, key, record, event_id or f"{key}/{clock.wall_ns()}")
        sender.finish()


def speaking_first(speaker: Speaker) -> MakeSession:
    """Makes a session in which the operator asks when all but the feed has been started."""

    class SpokenFirst(DisturbedSession):
        def start_part(self, part: Part) -> None:
            if part.name == "feed":
                speaker.ask(self)
            super().start_part(part)

    return SpokenFirst
