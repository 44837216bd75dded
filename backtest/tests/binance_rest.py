"""What Binance's public spot endpoints answer beside data: markets, and faults."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

RETRY_AFTER_S = "7"
HANG_S = 600.0


async def info(_request: web.Request) -> web.Response:
    """The exchange has one market."""
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


async def answer(page: Any, fault: str, retry_after_s: str = RETRY_AFTER_S) -> web.Response:
    """A page, or what comes in its place: 429, 418, 500, half, html, empty, hang."""
    match fault:
        case "429" | "418":
            headers = {"Retry-After": retry_after_s}
            return web.Response(status=int(fault), headers=headers, text="{}")
        case "500":
            return web.Response(status=500, text="oops")
        case "html":
            return web.Response(text="<html>maintenance</html>", content_type="text/html")
        case "half":
            return web.Response(text=json.dumps(page)[:-20], content_type="application/json")
        case "empty":
            return web.json_response([])
        case "hang":
            await asyncio.sleep(HANG_S)
    return web.json_response(page)
