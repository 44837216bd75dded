"""A model endpoint that can fail in every way: HTTP over a real socket, answers by script.

It stands where a commercial endpoint would, speaks its protocol by hand so that it can break it,
and counts what reaches it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tapeline.agents.model_server import chat


@dataclass
class Exchange:
    """One request that has arrived, and the connection to answer it on."""

    number: int
    """from 0"""
    node: str
    """role, and instrument for an analyst"""
    request: dict[str, Any]
    body: bytes
    headers: dict[str, str]
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Raw bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def respond(self, status: int, body: bytes, *headers: str) -> None:
        """A whole response."""
        lines = [f"HTTP/1.1 {status} Status", f"content-length: {len(body)}", *headers, "", ""]
        await self.send("\r\n".join(lines).encode() + body)

    async def say(self, text: str, model: str = "fake-1") -> None:
        """A completion with this text."""
        await self.respond(200, completion(text, model))

    async def obey(self) -> None:
        """What the offline model would say, under the name of another model."""
        request = chat.parse_request(json.dumps({**self.request, "model": OFFLINE}).encode())
        await self.say(chat.content(request))


OFFLINE = "offline-rules-1"
Script = Callable[[Exchange], Awaitable[None]]


def completion(text: str, model: str = "fake-1") -> bytes:
    """Body of a completion."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"model": model, "choices": [choice], "usage": usage}).encode()


def figures_of(request: dict[str, Any]) -> dict[str, Any]:
    """The figures of a request's prompt."""
    return chat.figures(chat.parse_request(json.dumps({**request, "model": OFFLINE}).encode()))


@dataclass
class FakeModel:
    """Answers every request by the script and remembers it."""

    script: Script
    base_url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    in_flight: int = 0
    in_flight_max: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def nodes(self) -> list[str]:
        """Who has asked, sorted."""
        return sorted(exchange.node for exchange in self.exchanges)

    async def until_in_flight(self, count: int) -> None:
        """Waits until so many requests are in flight at the same time, now or before."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.in_flight_max >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while (exchange := await self._read(reader, writer)) is not None:
                await self._answer(exchange)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, exchange: Exchange) -> None:
        async with self.changed:
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)
            self.changed.notify_all()
        try:
            await self.script(exchange)
        finally:
            self.in_flight -= 1

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Exchange | None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")[1:-2]
        headers = {
            name.lower(): value.strip() for name, _, value in (s.partition(":") for s in lines)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        request = json.loads(body)
        figures = figures_of(request)
        node = "/".join(filter(None, (figures["role"], figures.get("instrument_id"))))
        exchange = Exchange(len(self.exchanges), node, request, body, headers, writer)
        self.exchanges.append(exchange)
        return exchange


@asynccontextmanager
async def fake_model(script: Script) -> AsyncIterator[FakeModel]:
    """The endpoint, on a free port of this machine."""
    fake = FakeModel(script)
    connections: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.append(task)
        await fake.serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    fake.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def obedient(exchange: Exchange) -> None:
    """Answers as it should."""
    await exchange.obey()
