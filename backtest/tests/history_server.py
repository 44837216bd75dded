"""An exchange's history on loopback: Binance's public spot endpoints for bars and trades.

It answers as the real one does: at most 1000 rows from a start time on, times in milliseconds,
prices as text; and now and then a fault.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import binance_rest
from aiohttp import web

MINUTE_MS = 60_000


@dataclass(slots=True)
class History:
    """What the server serves, and what it was asked."""

    bars: Sequence[tuple[int, float, float, float, float, float]] = ()
    """open time in ms, open, high, low, close, volume"""
    trades: Sequence[tuple[int, int, float, float, bool]] = ()
    """id, time in ms, price, size, whether the buyer was the maker"""
    faults: list[str] = field(default_factory=list)
    """for the next requests of history: ok, or a fault of binance_rest"""
    retry_after_s: str = binance_rest.RETRY_AFTER_S
    requests: list[str] = field(default_factory=list)
    url: str = ""

    async def start(self) -> web.AppRunner:
        """Listens on a free port; the caller cleans the runner up."""
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", binance_rest.info)
        app.router.add_get("/api/v3/klines", self._klines)
        app.router.add_get("/api/v3/aggTrades", self._agg_trades)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _klines(self, request: web.Request) -> web.Response:
        start, end, limit = self._asked(request)
        page: list[list[Any]] = [
            [at, *map(str, prices), at + MINUTE_MS - 1, "0", 1, "0", "0", "0"]
            for at, *prices in self.bars
            if start <= at <= end
        ][:limit]
        return await self._answer(page)

    async def _agg_trades(self, request: web.Request) -> web.Response:
        start, end, limit = self._asked(request)
        page = [
            {"a": name, "p": str(price), "q": str(size), "f": name, "l": name, "T": at, "m": maker}
            for name, at, price, size, maker in self.trades
            if start <= at <= end
        ][:limit]
        return await self._answer(page)

    def _asked(self, request: web.Request) -> tuple[int, int, int]:
        self.requests.append(str(request.rel_url))
        asked = request.query
        end = int(asked.get("endTime", 2**53))
        return int(asked["startTime"]), end, int(asked.get("limit", "500"))

    async def _answer(self, page: Any) -> web.Response:
        fault = self.faults.pop(0) if self.faults else "ok"
        return await binance_rest.answer(page, fault, self.retry_after_s)


@contextmanager
def serving(history: History) -> Iterator[None]:
    """The server, in a thread of its own while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(history.start(), loop).result()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
