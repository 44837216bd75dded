"""The bars core as a stage: one PartitionBars for each assigned partition of `ticks`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tapeline.contracts import topics
from tapeline.market_data.bars_core import PartitionBars
from tapeline.runtime.core import Input, Output


class BarsStage:
    """Ticks to bars and marks, restartable from the low water of the last commit."""

    name = "bars"
    input_topics: tuple[str, ...] = (topics.TICKS,)
    state_topic: str | None = None

    def __init__(self, intervals_ns: tuple[int, ...]) -> None:
        self._intervals_ns = intervals_ns
        self._partitions: dict[int, PartitionBars] = {}

    def restore(self, topic: str, partition: int, committed: int, kept: Sequence[Input]) -> int:
        """Starts a partition anew; the driver steps again from the low water it kept."""
        assert not kept, "bars keep no state topic"
        self._partitions[partition] = PartitionBars(partition, self._intervals_ns)
        return committed

    async def step(self, topic: str, partition: int, events: Sequence[Input]) -> Iterable[Output]:
        """Bars, marks and watermarks of a batch."""
        return self._bars(partition).step(events)

    def checkpoint(self, topic: str, partition: int) -> Iterable[Output]:
        """Nothing: the state is rebuilt from the ticks."""
        return ()

    def low_water(self, topic: str, partition: int, position: int) -> int:
        """First tick still needed for an open bar, or the watermark in front of it."""
        return self._bars(partition).low_water(position)

    def is_warm(self) -> bool:
        """Bars need no history."""
        return True

    def late_total(self) -> int:
        """Late ticks of the assigned partitions since they were assigned."""
        return sum(bars.late_total for bars in self._partitions.values())

    def _bars(self, partition: int) -> PartitionBars:
        bars = self._partitions.get(partition)
        if bars is None:
            bars = self._partitions[partition] = PartitionBars(partition, self._intervals_ns)
        return bars
