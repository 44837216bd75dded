"""One acknowledged record on a topic of a run."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from tapeline.cli.runs import Run
from tapeline.runtime.codec import encode
from tapeline.runtime.exits import UNAVAILABLE, Failure

ANSWER_S: Final = 10.0


class NotSent(Failure):
    """Kafka did not take a record."""

    exit_code = UNAVAILABLE


class Sender:
    """A producer for the topics of one run, for as long as a command lasts."""

    def __init__(self, config: dict[str, Any], run: Run, timeout_s: float = ANSWER_S) -> None:
        self._run = run
        self._timeout_s = timeout_s
        self._failures: list[str] = []
        bounds = {"enable.idempotence": True, "message.timeout.ms": int(timeout_s * 1000)}
        # A broker that is away is told once, by what follows; not on the terminal.
        silence = {"error_cb": lambda _error: None, "log_level": 0}
        self._producer = Producer({**config, **bounds, **silence})

    def send(self, topic: str, partition: int, key: str, record: Any, event_id: str) -> None:
        """Hands a record over."""
        headers: list[tuple[str, str | bytes | None]] = [
            ("event_id", event_id.encode()),
            ("causation_id", b""),
            ("correlation_id", event_id.encode()),
            ("producer", b"cli"),
            ("run_id", self._run.run_id.encode()),
        ]
        self._producer.produce(
            self._run.prefix + topic,
            encode(record),
            key.encode(),
            partition,
            headers=headers,
            on_delivery=lambda error, _message: (
                self._failures.append(str(error)) if error else None
            ),
        )

    def finish(self) -> None:
        """Waits until all of them are acknowledged; raises NotSent."""
        try:
            left = self._producer.flush(self._timeout_s + 0.5)
        except KafkaException as error:
            self._failures.append(str(error))
            left = 0
        if left or self._failures:
            why = self._failures[0] if self._failures else "no answer"
            raise NotSent(f"Kafka did not take the record: {why}.", "Nothing was done; try again.")
