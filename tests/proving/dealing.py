"""Somebody who deals all the time: small orders to and fro, each decision remembered."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Producer

from tapeline.cli.commands.act import manual_decision
from tapeline.contracts import topics
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.orders import Side
from tapeline.runtime import clock
from tapeline.runtime.codec import encode
from tapeline.runtime.kafka import confluent_config
from tapeline.runtime.settings import KafkaSettings


@dataclass(slots=True)
class Dealt:
    """One decision."""

    decision_id: str
    made_ns: int
    acknowledged_ns: int = 0
    """0: Kafka has not taken it"""


class Dealer:
    """Sends a decision every `pause_s` from a thread, whether Kafka is there or not: an idempotent
    producer keeps what it could not deliver, so that after an outage it all comes at once, late."""

    def __init__(self, settings: KafkaSettings, run_id: str, account_id: str, pause_s: float):
        self.dealt: dict[str, Dealt] = {}
        self._settings = settings
        self._run_id = run_id
        self._account_id = account_id
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dealer", daemon=True)
        self._producer = Producer({**confluent_config(settings), "enable.idempotence": True})

    def stop(self) -> None:
        """No more decisions; what is under way is still delivered."""
        self._stopping.set()
        self._thread.join()
        self._producer.flush(60)

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(self._pause_s):
            number += 1
            self._deal(Side.BUY if number % 2 else Side.SELL)
            self._producer.poll(0)

    def _deal(self, side: Side) -> None:
        decision = manual_decision(
            self._run_id,
            self._account_id,
            kind=DecisionKind.ORDER,
            instrument_id="SYNA.SIM",
            side=side,
            quantity=Decimal("0.1"),
        )
        dealt = Dealt(decision.decision_id, decision.ts_event_ns)
        self.dealt[dealt.decision_id] = dealt

        def delivered(error: Any, _message: Any) -> None:
            if error is None:
                dealt.acknowledged_ns = clock.wall_ns()

        self._producer.produce(
            self._settings.topic_prefix + topics.DECISIONS,
            encode(decision),
            self._account_id.encode(),
            0,
            on_delivery=delivered,
            headers=[
                ("event_id", decision.decision_id.encode()),
                ("causation_id", b""),
                ("correlation_id", decision.decision_id.encode()),
                ("producer", b"cli"),
                ("run_id", self._run_id.encode()),
            ],
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._stopping.is_set():
            self.stop()
