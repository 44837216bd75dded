"""The topic config: read completely at the start, then followed.

Errors:
    ConfigUnreadable   a record of it cannot be decoded: better no service than half a configuration
    ClientLost         Kafka gave no answer at the start; later on it is asked again
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from tapeline.agents.config_book import ConfigBook
from tapeline.contracts import topics
from tapeline.contracts.topics import TOPICS
from tapeline.runtime import exits
from tapeline.runtime.codec import DecodeError, Decoder
from tapeline.runtime.kafka import ClientLost
from tapeline.runtime.range_reader import RangeReader
from tapeline.runtime.settings import KafkaSettings
from tapeline.runtime.telemetry import get_logger

WATCH_S: Final = 0.5
"""between two looks"""
Resolve = Callable[[int], dict[str, Any] | None]
log = get_logger(__name__)


class ConfigUnreadable(exits.Failure):
    """A record of config cannot be decoded."""

    exit_code = exits.USAGE


class ConfigWatch:
    """A ConfigSource over Kafka; `async with` reads, `follow` keeps it up to date."""

    def __init__(
        self,
        settings: KafkaSettings,
        resolve: Resolve,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._decoder = Decoder(TOPICS[topics.CONFIG].records, resolve, is_canonical=True)
        self._on_change = on_change
        self._next_offset = 0
        self.book = ConfigBook()

    async def __aenter__(self) -> Self:
        async with RangeReader(self._settings) as reader:
            await self._read(reader)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing stays open but what `follow` holds itself."""

    async def follow(self, stopping: asyncio.Event) -> None:
        """Takes new records into the book until `stopping`; an outage only delays them."""
        while not stopping.is_set():
            try:
                async with RangeReader(self._settings) as reader:
                    while not await _is_set_within(stopping, WATCH_S):
                        await self._read(reader)
            except ClientLost as error:
                log.warning("config_not_read", reason=error.cause)
                await _is_set_within(stopping, WATCH_S)

    async def _read(self, reader: RangeReader) -> None:
        start, end = await reader.bounds(topics.CONFIG, 0)
        book, first = self.book, max(start, self._next_offset)
        async for records in reader.read(topics.CONFIG, 0, first, end):
            for record in records:
                if record.value is not None:
                    book = book.with_record(self._decoded(record.offset, record.value))
        self._next_offset = max(self._next_offset, end)
        if book is not self.book:
            # In one go: nobody sees half of what was published together.
            self.book = book
            log.info("config_changed", position=end)
            self._on_change()

    def _decoded(self, offset: int, value: bytes) -> Any:
        try:
            return self._decoder.decode(value)
        except DecodeError as error:
            name = f"{self._settings.topic_prefix}{topics.CONFIG}"
            raise ConfigUnreadable(
                f"The record {offset} of {name} cannot be read: {error}.",
                "Publish the configuration again with a tool of this version.",
            ) from error


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
