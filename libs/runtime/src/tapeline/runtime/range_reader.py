"""Reads ranges of partitions outside any consumer group: kept states, and inputs to step again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError as AioKafkaError

from tapeline.runtime.clients import has_ended
from tapeline.runtime.kafka import ClientLost, aiokafka_config, topic_name
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.stage_intake import Consumed

START_S: Final = 20.0
ANSWER_S: Final = 10.0
CHUNK_MAX: Final = 1000


class RangeReader:
    """One consumer without group; one reading at a time. Names are without the run's prefix."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: Any = None

    async def __aenter__(self) -> Self:
        self._client = AIOKafkaConsumer(
            **aiokafka_config(self._settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
            request_timeout_ms=int(ANSWER_S * 1000),
            retry_backoff_ms=50,
        )
        try:
            async with asyncio.timeout(START_S):
                await self._client.start()
        except (AioKafkaError, TimeoutError) as error:
            await self._stop()
            raise ClientLost.because("A reader cannot start", error) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await has_ended(self._client.stop())

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First kept offset, and the offset behind the last decided record."""
        place = TopicPartition(topic_name(self._settings, topic), partition)
        try:
            async with asyncio.timeout(ANSWER_S):
                starts = await self._client.beginning_offsets([place])
                ends = await self._client.end_offsets([place])
        except (AioKafkaError, TimeoutError) as error:
            raise ClientLost.because(f"The bounds of {place} are not answered", error) from error
        return int(starts[place]), int(ends[place])

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Consumed]]:
        """The records with start <= offset < end in order, in chunks; raises ClientLost."""
        if start >= end:
            return
        place = TopicPartition(topic_name(self._settings, topic), partition)
        self._client.assign([place])
        self._client.seek(place, start)
        loop = asyncio.get_running_loop()
        position, deadline = start, loop.time() + ANSWER_S
        while position < end:
            try:
                found = await self._client.getmany(place, timeout_ms=200, max_records=CHUNK_MAX)
                reached = await self._client.position(place)
            except AioKafkaError as error:
                raise ClientLost.because(f"{place} cannot be read at {position}", error) from error
            if reached > position:
                position, deadline = reached, loop.time() + ANSWER_S
            elif loop.time() > deadline:
                raise ClientLost.because(f"{place} cannot be read behind {position}")
            records = [record for record in found.get(place, ()) if record.offset < end]
            if records:
                yield records
