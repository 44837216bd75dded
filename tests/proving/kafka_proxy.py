"""Stands between Kafka's clients and the broker, understands who asks what, and interferes.

It reads frames: a length, then for requests api key, version and correlation id, for responses the
correlation id. That is enough to let the answer to a commit vanish, or to keep a commit back until
somebody else has taken over.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from tapeline.cli.stack.child import Command
from tapeline.cli.stack.kafka import EmbeddedKafka
from tapeline.cli.stack.ports import LOOPBACK, free_port
from tapeline.cli.stack.server import Say

END_TXN = 26
FRAME_BYTES_MAX = 256 * 1024 * 1024


class Mischief(StrEnum):
    """What is done to one commit."""

    REPLY_LOST = "REPLY_LOST"
    """the broker has committed; its answer is lost and the connection cut"""
    REPLY_NEVER = "REPLY_NEVER"
    """the broker has committed; the connection stands, and nothing comes on it any more"""
    REQUEST_LATE = "REQUEST_LATE"
    """the broker learns of it only when the client has given up and another has taken over"""


class ProxiedKafka(EmbeddedKafka):
    """A broker that tells its clients to come through the proxy."""

    advertised = 0

    def _prepare(self, say: Say) -> Command:
        self.advertised = self.advertised or free_port()
        command = super()._prepare(say)
        path = self.data_dir / "server.properties"
        lines = [
            f"advertised.listeners=PLAINTEXT://{LOOPBACK}:{self.advertised}"
            if line.startswith("advertised.listeners=")
            else line
            for line in path.read_text().splitlines()
        ]
        path.write_text("\n".join(lines) + "\n")
        return command


@dataclass
class Plan:
    """Which commits are interfered with: each so many of them on average, drawn from a seed."""

    seed: int
    every: int
    left: dict[Mischief, int]
    """how often each may still be done"""
    late_s: float = 12.0
    """longer than a transaction may take: the client has given up by then"""
    done: Counter[Mischief] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._choice = random.Random(self.seed)

    def next(self) -> Mischief | None:
        """What to do to the commit that is asked for now."""
        possible = [kind for kind, count in self.left.items() if count]
        if not possible or self._choice.randrange(self.every):
            return None
        kind = self._choice.choice(possible)
        self.left[kind] -= 1
        self.done[kind] += 1
        return kind


class KafkaProxy:
    """Runs in a thread of its own."""

    def __init__(self, port: int, broker_port: int, plan: Plan) -> None:
        self.plan = plan
        self._port = port
        self._broker_port = broker_port
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"{LOOPBACK}:{self._port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self._port)
        self._is_up.set()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            broker, to_broker = await asyncio.open_connection(LOOPBACK, self._broker_port)
        except OSError:
            to_client.close()
            return
        try:
            await Line(self.plan, client, to_client, broker, to_broker).run()
        finally:
            self._tasks.discard(task)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_up.wait(120.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async def end() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(10.0)


@dataclass
class Line:
    """One client's connection and the broker's."""

    plan: Plan
    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    broker: asyncio.StreamReader
    to_broker: asyncio.StreamWriter
    swallowed: dict[int, Mischief] = field(default_factory=dict)
    """correlation ids whose answers must not arrive"""
    is_mute: bool = False

    async def run(self) -> None:
        """Until either side has gone; what is kept back is still delivered."""
        asking = asyncio.create_task(self._requests())
        answering = asyncio.create_task(self._responses())
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.ALL_COMPLETED)
        finally:
            for task in (asking, answering):
                task.cancel()
            for writer in (self.to_client, self.to_broker):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _requests(self) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await read_frame(self.client)
                api_key, _, correlation = struct.unpack_from(">hhi", frame, 4)
                mischief = self.plan.next() if api_key == END_TXN else None
                if mischief is Mischief.REQUEST_LATE:
                    await asyncio.sleep(self.plan.late_s)
                elif mischief is not None:
                    self.swallowed[correlation] = mischief
                self.to_broker.write(frame)
                await self.to_broker.drain()
        # The broker has read what was written before it sees the end.
        with suppress(OSError, RuntimeError):
            self.to_broker.write_eof()

    async def _responses(self) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await read_frame(self.broker)
                (correlation,) = struct.unpack_from(">i", frame, 4)
                mischief = self.swallowed.pop(correlation, None)
                if mischief is Mischief.REPLY_LOST:
                    break
                self.is_mute = self.is_mute or mischief is Mischief.REPLY_NEVER
                if not self.is_mute:
                    self.to_client.write(frame)
                    await self.to_client.drain()
        self.to_client.close()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """One message with its length in front."""
    head = await reader.readexactly(4)
    (size,) = struct.unpack(">i", head)
    assert 0 < size <= FRAME_BYTES_MAX, size
    return head + await reader.readexactly(size)
