"""An exchange's history on loopback: Binance's public spot endpoints for bars and trades.

It answers as the real one does: at most 1000 rows from a start time on, times in milliseconds,
prices as text; and now and then 429 with Retry-After, 500, or half an answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """for the next requests of history: ok, 429, 500, half"""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    async def start(self) -> web.AppRunner:
        """Listens on a free port; the caller cleans the runner up."""
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", self._info)
        app.router.add_get("/api/v3/klines", self._klines)
        app.router.add_get("/api/v3/aggTrades", self._agg_trades)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _info(self, _request: web.Request) -> web.Response:
        symbol = {
            "symbol": "XRPETH",
            "status": "TRADING",
            "baseAsset": "XRP",
            "quoteAsset": "ETH",
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "isSpotTradingAllowed": True,
            "permissions": ["SPOT"],
            "filters": [],
            "orderTypes": ["LIMIT"],
        }
        return web.json_response({"timezone": "UTC", "rateLimits": [], "symbols": [symbol]})

    async def _klines(self, request: web.Request) -> web.Response:
        start, limit = self._asked(request)
        page: list[list[Any]] = [
            [at, *map(str, prices), at + MINUTE_MS - 1, "0", 1, "0", "0", "0"]
            for at, *prices in self.bars
            if at >= start
        ][:limit]
        return self._answer(page)

    async def _agg_trades(self, request: web.Request) -> web.Response:
        start, limit = self._asked(request)
        page = [
            {"a": name, "p": str(price), "q": str(size), "f": name, "l": name, "T": at, "m": maker}
            for name, at, price, size, maker in self.trades
            if at >= start
        ][:limit]
        return self._answer(page)

    def _asked(self, request: web.Request) -> tuple[int, int]:
        self.requests.append(str(request.rel_url))
        return int(request.query["startTime"]), int(request.query.get("limit", "500"))

    def _answer(self, page: Any) -> web.Response:
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault == "429":
            return web.Response(status=429, headers={"Retry-After": "7"}, text="{}")
        if fault == "500":
            return web.Response(status=500, text="oops")
        if fault == "half":
            return web.Response(text=json.dumps(page)[:-20], content_type="application/json")
        return web.json_response(page)
