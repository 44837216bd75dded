"""A small exchange on loopback: Binance's public spot endpoints, by REST and WebSocket.

It serves a list of trades and follows a script of faults. Everything it does is what the real one
may do: close a connection, answer 429 with Retry-After, break off in the middle of a message, send
a trade twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import binance_rest
from aiohttp import WSMsgType, web


@dataclass(slots=True)
class Exchange:
    """What the server serves, and what it was asked."""

    trades: Sequence[dict[str, Any]]
    """as of Binance's /trades: id, price, qty, time, isBuyerMaker"""
    streams: list[list[Any]] = field(default_factory=list)
    """for each trade connection what it sends: an index range (start, stop), or a word:
    drop, half, or silent"""
    rest_faults: list[str] = field(default_factory=list)
    """for the next requests of trades: ok, 429, 418, 500, half, html"""
    published: int = 0
    """how many trades the exchange has, as REST shows them"""
    books: list[tuple[str, str]] = field(default_factory=lambda: [("10.0", "10.1")])
    """(bid, ask) of the next requests; the last stays"""
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def asked(self, count: int) -> None:
        """Returns when that many requests of trades have come."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def start(self) -> web.AppRunner:
        """Listens on a free port; the caller cleans the runner up."""
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", binance_rest.info)
        app.router.add_get("/api/v3/trades", self._trades)
        app.router.add_get("/api/v3/depth", self._depth)
        app.router.add_get("/ws/{stream}", self._stream)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"127.0.0.1:{port}"
        return runner

    async def _trades(self, request: web.Request) -> web.Response:
        async with self._changed:
            self.requests.append(str(request.rel_url))
            self._changed.notify_all()
        fault = self.rest_faults.pop(0) if self.rest_faults else "ok"
        page = list(self.trades[max(0, self.published - 1000) : self.published])
        return await binance_rest.answer(page, fault)

    async def _depth(self, _request: web.Request) -> web.Response:
        bid, ask = self.books.pop(0) if len(self.books) > 1 else self.books[0]
        return web.json_response({"lastUpdateId": 1, "bids": [[bid, "3"]], "asks": [[ask, "4"]]})

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            order = json.loads(message.data)
            await socket.send_json({"result": None, "id": order["id"]})
            if any("bookTicker" in name for name in order["params"]):
                await self._send_books(socket)
            else:
                self.connections += 1
                await self._follow(socket)
        return socket

    async def _send_books(self, socket: web.WebSocketResponse) -> None:
        for bid, ask in self.books:
            await socket.send_json({"u": 1, "s": "XRPETH", "b": bid, "B": "3", "a": ask, "A": "4"})
            await asyncio.sleep(0)

    async def _follow(self, socket: web.WebSocketResponse) -> None:
        for step in self.streams.pop(0) if self.streams else ["silent"]:
            if step == "drop":
                assert socket._req is not None
                assert socket._req.transport is not None
                socket._req.transport.abort()
                return
            if step == "half":
                await socket.send_str(json.dumps(self._event(0))[:-9])
            elif isinstance(step, tuple):
                for index in range(*step):
                    self.published = max(self.published, index + 1)
                    await socket.send_json(self._event(index))

    def _event(self, index: int) -> dict[str, Any]:
        trade = self.trades[index]
        return {
            "e": "trade",
            "E": trade["time"],
            "s": "XRPETH",
            "t": trade["id"],
            "p": trade["price"],
            "q": trade["qty"],
            "T": trade["time"],
            "m": trade["isBuyerMaker"],
            "M": True,
        }
