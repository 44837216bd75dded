"""Reads `control`, `config` and risk's signs of life with a consumer of the sender's own.

Errors:
    ControlUnread   the end of `control` was not reached within the bound: nothing may be sent
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPlace

from tapeline.contracts import topics
from tapeline.execution.outside.last_check import World
from tapeline.runtime import clock
from tapeline.runtime.intake import Intake, Resolve, Verdict
from tapeline.runtime.log_reader import raw_of

WHOLE: Final = (topics.CONTROL, topics.CONFIG)
LOOK_BACK: Final = 200
"""Records of approved-orders that are read again for risk's last sign of life."""
ROUND_TRIP_S: Final = 1.0


class ControlUnread(Exception):
    """The end of `control` was not reached within the bound."""


class Watch:
    """For one thread at a time."""

    def __init__(
        self, config: Mapping[str, Any], place: tuple[str, str], verdict: Verdict, resolve: Resolve
    ) -> None:
        """`place` is (topic prefix, run id)."""
        prefix, run_id = place
        self.world = World()
        self._prefix = prefix
        self._run_id = run_id
        self._intake = Intake(
            (*WHOLE, topics.APPROVED_ORDERS),
            critical=frozenset(WHOLE),
            verdict=verdict,
            resolve=resolve,
        )
        self._next: dict[str, int] = dict.fromkeys(WHOLE, 0)
        self._consumer = Consumer(
            {
                **config,
                "group.id": f"{prefix}execution-sender-watch",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": False,
                "fetch.wait.max.ms": 20,
            }
        )

    def start(self, shards: tuple[int, ...], timeout_s: float) -> None:
        """Reads control and config to their ends; raises ControlUnread, KafkaException."""
        places = [KafkaPlace(self._prefix + topic, 0, OFFSET_BEGINNING) for topic in WHOLE]
        for shard in shards:
            place = KafkaPlace(self._prefix + topics.APPROVED_ORDERS, shard)
            low, high = self._consumer.get_watermark_offsets(place, timeout_s)
            place.offset = max(low, high - LOOK_BACK)
            places.append(place)
        self._consumer.assign(places)
        self.catch_up(timeout_s, WHOLE)

    def catch_up(self, timeout_s: float, names: tuple[str, ...] = (topics.CONTROL,)) -> World:
        """Takes in all that the broker holds of the named topics now, and what else has come."""
        deadline_s = clock.monotonic_s() + timeout_s
        try:
            ends = {
                name: self._consumer.get_watermark_offsets(
                    KafkaPlace(self._prefix + name, 0), min(timeout_s, ROUND_TRIP_S), cached=False
                )[1]
                for name in names
            }
        except KafkaException as error:
            raise ControlUnread(
                f"The broker does not say where {names[0]} ends: {error}"
            ) from error
        self.take(0.0)
        while any(self._next[name] < end for name, end in ends.items()):
            if clock.monotonic_s() > deadline_s:
                raise ControlUnread(f"{', '.join(names)} was not read to its end in time.")
            self.take(0.02)
        return self.world

    def take(self, wait_s: float) -> World:
        """Takes in what has come."""
        while messages := self._consumer.consume(2000, wait_s):
            for message in messages:
                self._take(message)
            wait_s = 0.0
        for place in self._consumer.position(
            [KafkaPlace(self._prefix + name, 0) for name in self._next]
        ):
            # Behind compacted or aborted records the position is ahead of the last record.
            name = place.topic[len(self._prefix) :]
            self._next[name] = max(self._next[name], place.offset)
        return self.world

    def _take(self, message: Message) -> None:
        if message.error() is not None:
            return
        raw = raw_of(message, self._prefix)
        if raw.topic in self._next:
            self._next[raw.topic] = raw.offset + 1
        event = self._intake.input_of(raw, session_ns=clock.wall_ns())
        self.world = self.world.after(event, self._run_id)

    def close(self) -> None:
        """Lets go of the consumer."""
        self._consumer.close()
