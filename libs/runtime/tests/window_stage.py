"""A stage with a state, as a process: `python window_stage.py`, settings as usual.

Each output is the sum of the last WIDTH values of its partition, so a state that was not rebuilt
exactly shows in the bytes. Values are numbers from 0 in the order of their partition.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence

from tapeline.contracts import topics
from tapeline.contracts.agents import Feature
from tapeline.contracts.system import Watermark
from tapeline.runtime.core import Input, Output
from tapeline.runtime.derived import run_stages
from tapeline.runtime.ids import derive_id
from tapeline.runtime.settings import ServiceSettings, load_settings, main_guard

WIDTH = 5
NAME = "window"


class WindowStage:
    """Sums over the last values, rebuilt from the inputs behind the low water."""

    name = NAME
    input_topics: tuple[str, ...] = (topics.FEATURES,)
    output_topic = topics.DISCUSSIONS
    state_topic: str | None = None

    def __init__(self) -> None:
        self._values: dict[int, deque[tuple[int, float]]] = {}

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        assert not kept
        self._values[partition] = deque(maxlen=WIDTH)
        return committed

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        return [self._output(partition, event) for event in events]

    def _output(self, partition: int, event: Input) -> Output:
        if isinstance(event.record, Watermark):
            return Output(topic=self.output_topic, key=NAME, record=event.record, event_id="")
        values = self._values[partition]
        values.append((event.offset, event.record.value))
        record = Feature(
            instrument_id=event.record.instrument_id,
            name=NAME,
            window_ns=WIDTH,
            value=sum(value for _, value in values),
            ts_event_ns=event.record.ts_event_ns,
            ts_init_ns=event.session_ns,
        )
        return Output(
            topic=self.output_topic,
            key=str(partition),
            record=record,
            event_id=derive_id("run", NAME, event.event_id, "Feature"),
            causation_id=event.event_id,
            partition=0,
        )

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        return ()

    def low_water(self, topic: str, partition: int, position: int) -> int:
        values = self._values[partition]
        return values[0][0] if values else position

    def is_warm(self) -> bool:
        return True


def expected_value(number: int) -> float:
    """What the stage makes of the number-th value of a partition."""
    return float(sum(range(max(0, number - WIDTH + 1), number + 1)))


class Settings(ServiceSettings):
    """A service that exists, so that its variables are known."""

    service = "agents"


if __name__ == "__main__":
    sys.exit(main_guard(lambda: run_stages([WindowStage()], load_settings(Settings))))
