"""Follows topics of a run in a thread and keeps a tally; the view reads it when it draws."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPlace

from tapeline.cli.records import Found, TopicRecords
from tapeline.cli.tally import WATCHED
from tapeline.runtime.log_reader import LogReader, raw_of

FETCH_MAX = 2000


class Follower(threading.Thread):
    """Reads from the beginning and goes on until stopped."""

    def __init__(
        self,
        config: dict[str, Any],
        prefix: str,
        on_record: Callable[[Found], None],
        names: tuple[str, ...] = WATCHED,
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._prefix = prefix
        self._on_record = on_record
        self._stopping = threading.Event()
        self._records = TopicRecords(LogReader(config, prefix))
        self._places = [place for name in names for place in self._records.places(name)]
        self.failure: BaseException | None = None
        self._consumer = Consumer(
            {
                **config,
                "group.id": f"{prefix}view",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )

    def stop(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        if self.is_alive():
            self.join(10)

    def run(self) -> None:
        """The thread."""
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - shown by whoever looks at the view
            self.failure = error
        finally:
            self._consumer.close()

    def _follow(self) -> None:
        self._consumer.assign(
            [KafkaPlace(self._prefix + topic, number, 0) for topic, number in self._places]
        )
        while not self._stopping.is_set():
            for message in self._consumer.consume(FETCH_MAX, 0.2):
                if message.error() is None:
                    self._on_record(self._records.decode(raw_of(message, self._prefix)))
