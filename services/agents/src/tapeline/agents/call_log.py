"""The topic llm-calls as a group writes it and reads it back.

A call is recorded when the broker has acknowledged it. Reading back goes from the end of the topic
backwards until the group's earlier cycles: they ascend, so nothing older can matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from tapeline.agents.group import instance_of
from tapeline.contracts import topics
from tapeline.contracts.agents import LlmCall
from tapeline.contracts.topics import TOPICS
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.core import Output
from tapeline.runtime.kafka import ClientLost
from tapeline.runtime.outbox import Outbox
from tapeline.runtime.range_reader import RangeReader
from tapeline.runtime.settings import ServiceSettings
from tapeline.runtime.telemetry import Metrics, get_logger

CHUNK: Final = 200
"""records of one look back"""
BACK_MAX: Final = 20_000
"""records looked at, at most; a cycle has a handful of calls"""
Resolve = Callable[[int], dict[str, Any] | None]
log = get_logger(__name__)


class KafkaCallLog:
    """The call log of one group."""

    def __init__(
        self, settings: ServiceSettings, group_id: str, metrics: Metrics, resolve: Resolve
    ) -> None:
        self._settings = settings
        self._group_id = group_id
        self._metrics = metrics
        self._outbox: Outbox | None = None
        """thrown away when it gave no answer, made anew with the next call"""
        self._starting = asyncio.Lock()
        self._decoder = Decoder(TOPICS[topics.LLM_CALLS].records, resolve, is_canonical=True)
        self._known: tuple[LlmCall, ...] | None = None
        """read back; None: not looked at yet"""

    async def __aenter__(self) -> Self:
        await self._producer()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._throw_away()

    async def record(self, call: LlmCall) -> None:
        """Returns when the broker has acknowledged it; raises ClientLost."""
        output = Output(
            topic=topics.LLM_CALLS,
            key=call.group_id,
            record=call,
            event_id=call.call_id,
            partition=0,
            causation_id="",
            correlation_id=f"{instance_of(call.group_id)}/{call.cycle_ns}",
        )
        outbox = await self._producer()
        try:
            await outbox.send([output])
        except ClientLost:
            await self._throw_away()
            raise

    async def recorded(self, group_id: str, cycle_ns: int) -> Sequence[LlmCall]:
        """Calls of a cycle, the first of each id, oldest first; raises ClientLost."""
        assert group_id == self._group_id, f"the call log of {self._group_id} serves it alone"
        if self._known is None:
            self._known = await self._read_back(cycle_ns)
        return [call for call in self._known if call.cycle_ns == cycle_ns]

    def forget(self) -> None:
        """The next question looks at the topic anew."""
        self._known = None

    async def _producer(self) -> Outbox:
        # Nodes of one cycle may record at the same time.
        async with self._starting:
            if self._outbox is None:
                outbox = Outbox(self._settings, instance_of(self._group_id), self._metrics)
                self._outbox = await outbox.start()
            return self._outbox

    async def _throw_away(self) -> None:
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            await outbox.stop()

    async def _read_back(self, cycle_ns: int) -> tuple[LlmCall, ...]:
        found: list[LlmCall] = []
        async with RangeReader(self._settings) as reader:
            first, end = await reader.bounds(topics.LLM_CALLS, 0)
            stop = max(first, end - BACK_MAX)
            upper = end
            while upper > stop and not any(call.cycle_ns < cycle_ns for call in found):
                lower = max(stop, upper - CHUNK)
                found = [*await self._calls(reader, lower, upper), *found]
                upper = lower
        log.info("calls_read_back", group=self._group_id, count=len(found), records=end - upper)
        first_of_each: dict[str, LlmCall] = {}
        for call in found:
            first_of_each.setdefault(call.call_id, call)
        return tuple(first_of_each.values())

    async def _calls(self, reader: RangeReader, lower: int, upper: int) -> list[LlmCall]:
        calls: list[LlmCall] = []
        async for records in reader.read(topics.LLM_CALLS, 0, lower, upper):
            for record in records:
                try:
                    call = self._decoder.decode(record.value)
                except DecodeError as error:
                    log.warning("call_unreadable", offset=record.offset, code=error.code)
                    continue
                if call.group_id == self._group_id:
                    calls.append(call)
        return calls
