"""The exchange over HTTP, with everything that can go wrong: python -m adverse_venue.server.

What goes wrong is told by a script (POST /test/script) and chosen by a seeded generator, so that a
run can be repeated. GET /test/ledger shows the exchange's own books.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from adverse_venue.exchange import LAST, Exchange, Order

HEARTBEAT_S = 0.2


@dataclass
class Script:
    """Shares from 0 to 1, drawn anew for each request; the rest are seconds and words."""

    lost_reply: float = 0.0
    """takes the order and never answers"""
    lost_request: float = 0.0
    """neither takes nor answers"""
    late: float = 0.0
    """never answers, takes the order only after late_s; queries know nothing until then"""
    late_s: float = 0.5
    throttled: float = 0.0
    """429 with Retry-After"""
    banned: float = 0.0
    """418 with Retry-After"""
    retry_after_s: float = 0.5
    error_before: float = 0.0
    """5xx, the order is not taken"""
    error_after: float = 0.0
    """5xx, the order is taken"""
    half_json: float = 0.0
    html: float = 0.0
    ok_with_error: float = 0.0
    """200 whose body says that something went wrong inside; the order is taken"""
    rejected: float = 0.0
    cut: float = 0.0
    """the connection is cut in the middle of the answer; the order is taken"""
    partial: float = 0.0
    """fills come in several parts"""
    query_fails: float = 0.0
    stream_gap: float = 0.0
    """an event never comes over the stream, while heartbeats go on"""
    stream_twice: float = 0.0
    stream_reorder_s: float = 0.0
    """events wait for up to so long, each for itself"""
    dedupe: str = "forever"
    """forever, open, window or none: when the same client_order_id makes no second order"""
    dedupe_window_s: float = 600.0
    receive_window_s: float = 60.0
    """a request older than this is refused"""


@dataclass
class Server:
    """State of one process."""

    random: random.Random
    script: Script = field(default_factory=Script)
    exchange: Exchange = field(default_factory=Exchange)
    banned_until_s: float = 0.0
    requests_in_ban: int = 0
    posts: dict[str, int] = field(default_factory=dict)
    """POSTs of an order by client_order_id, whatever became of them"""
    posted_ns: dict[str, int] = field(default_factory=dict)
    """when the last of them came, nanoseconds UTC"""
    told: dict[str, int] = field(default_factory=dict)
    """faults that struck, by name"""
    streams: list[tuple[str, asyncio.Queue[dict[str, Any]]]] = field(default_factory=list)
    streamed: int = 0
    answering: dict[str, float] = field(default_factory=dict)
    """monotonic seconds at which an order was first answerable after it was not, by id"""

    def draws(self, name: str) -> bool:
        """Whether a fault strikes now."""
        share = getattr(self.script, name)
        if not share or self.random.random() >= share:
            return False
        self.told[name] = self.told.get(name, 0) + 1
        return True

    # ---- orders

    async def submit(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = body["client_order_id"]
        self.posts[name] = self.posts.get(name, 0) + 1
        self.posted_ns[name] = time.time_ns()
        if self.draws("throttled"):
            return self._refused(429)
        if self.draws("banned"):
            self.banned_until_s = time.monotonic() + self.script.retry_after_s
            return self._refused(418)
        if self.draws("lost_request"):
            return await self._silence(request)
        if self.draws("late"):
            asyncio.get_running_loop().call_later(self.script.late_s, self._take_late, body)
            return await self._silence(request)
        if self.draws("error_before"):
            return web.Response(status=self.random.choice((500, 502, 503)), text="sorry")
        if time.time_ns() - body["time_ns"] > self.script.receive_window_s * 1e9:
            return self._said({"error": "outside of the receive window", "code": "REFUSED"}, 400)
        if self.draws("rejected"):
            return self._said({"error": "not today", "code": "REFUSED"}, 400)
        return await self._answer(request, self._take(body))

    async def _answer(self, request: web.Request, order: Order) -> web.StreamResponse:
        text = json.dumps(self._shown(order))
        if self.draws("lost_reply"):
            return await self._silence(request)
        if self.draws("error_after"):
            return web.Response(status=self.random.choice((500, 502, 504)), text="sorry")
        if self.draws("half_json"):
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        if self.draws("html"):
            return web.Response(text="<html>Bad gateway</html>", content_type="text/html")
        if self.draws("ok_with_error"):
            return self._said({"error": "internal", "code": "UNKNOWN"}, 200)
        if self.draws("cut"):
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text=text, content_type="application/json")

    def _take(self, body: dict[str, Any]) -> Order:
        known = self.exchange.latest(body["account"], body["client_order_id"])
        if known is not None and self._is_duplicate(known):
            return known
        parts = self.random.randint(2, 4) if self.draws("partial") else 1
        order = self.exchange.submit(body, time.time_ns(), parts)
        self.answering[order.client_order_id] = time.time()
        self._pump()
        return order

    def _take_late(self, body: dict[str, Any]) -> None:
        if time.time_ns() - body["time_ns"] <= self.script.receive_window_s * 1e9:
            self._take(body)

    def _is_duplicate(self, known: Order) -> bool:
        match self.script.dedupe:
            case "forever":
                return True
            case "open":
                return known.status == "OPEN"
            case "window":
                age_s = (time.time_ns() - known.accepted_ns) / 1e9
                return age_s <= self.script.dedupe_window_s
        return False

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise web.HTTPGatewayTimeout

    def _refused(self, status: int) -> web.Response:
        headers = {"Retry-After": str(self.script.retry_after_s)}
        return web.Response(status=status, text="slow down", headers=headers)

    @staticmethod
    def _said(body: Any, status: int = 200) -> web.Response:
        return web.Response(text=json.dumps(body), status=status, content_type="application/json")

    def _shown(self, order: Order) -> dict[str, Any]:
        fills = [
            trade.shown()
            for trade in self.exchange.trades
            if trade.order is order and not trade.busted_ns
        ]
        return {**order.shown(), "fills": fills, "time_ns": order.accepted_ns}

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        account, name = request.query["account"], request.match_info["name"]
        done = self.exchange.cancel(account, name, time.time_ns())
        self._pump()
        if self.draws("lost_reply"):
            return await self._silence(request)
        order = self.exchange.latest(account, name)
        shown = None if order is None else self._shown(order)
        return self._said({"canceled": done, "order": shown})

    async def amend(self, request: web.Request) -> web.StreamResponse:
        account, name = request.query["account"], request.match_info["name"]
        done = self.exchange.amend(account, name, await request.json(), time.time_ns())
        self._pump()
        if self.draws("lost_reply"):
            return await self._silence(request)
        return self._said({"amended": done})

    async def query(self, request: web.Request) -> web.StreamResponse:
        if self.draws("query_fails"):
            return web.Response(status=503, text="sorry")
        order = self.exchange.latest(request.query["account"], request.match_info["name"])
        if order is None:
            return self._said({"error": "no such order", "code": "NOT_FOUND"}, 404)
        return self._said(self._shown(order))

    # ---- lists

    async def orders(self, request: web.Request) -> web.Response:
        account = request.query["account"]
        return self._said(
            [
                one.shown()
                for one in self.exchange.orders
                if one.account == account and one.status not in LAST
            ]
        )

    async def fills(self, request: web.Request) -> web.Response:
        account, since_ns = request.query["account"], int(request.query["since_ns"])
        found = []
        for trade in self.exchange.trades:
            if trade.order.account != account:
                continue
            if trade.time_ns >= since_ns:
                found.append(trade.shown())
            if trade.busted_ns and trade.busted_ns >= since_ns:
                found.append(trade.bust_shown())
        return self._said(found)

    async def positions(self, request: web.Request) -> web.Response:
        held = self.exchange.held(request.query["account"])
        return self._said(
            [
                {"instrument": name, "quantity": str(quantity), "price": str(self._price(name))}
                for name, quantity in held.items()
            ]
        )

    def _price(self, name: str) -> Decimal:
        return self.exchange.prices.get(name, Decimal(0))

    async def balances(self, request: web.Request) -> web.Response:
        amount = self.exchange.balance(request.query["account"])
        return self._said([{"currency": "USD", "amount": str(amount)}])

    async def entries(self, request: web.Request) -> web.Response:
        account, since_ns = request.query["account"], int(request.query["since_ns"])
        return self._said(
            [
                one
                for one in self.exchange.entries
                if one["account"] == account and one["time_ns"] >= since_ns
            ]
        )

    # ---- the stream

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        place = (request.query["account"], asyncio.Queue[dict[str, Any]]())
        self.streams.append(place)
        try:
            while True:
                try:
                    event = await asyncio.wait_for(place[1].get(), HEARTBEAT_S)
                except TimeoutError:
                    event = {"type": "heartbeat"}
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self.streams.remove(place)

    def _pump(self) -> None:
        """Gives new events to the streams, as the script tells."""
        loop = asyncio.get_running_loop()
        fresh, self.streamed = self.exchange.events[self.streamed :], len(self.exchange.events)
        for account, event in fresh:
            if self.draws("stream_gap"):
                continue
            for _ in range(2 if self.draws("stream_twice") else 1):
                wait_s = self.random.uniform(0.0, self.script.stream_reorder_s)
                loop.call_later(wait_s, self._deliver, account, event)

    def _deliver(self, account: str, event: dict[str, Any]) -> None:
        for listener, queue in self.streams:
            if listener == account:
                queue.put_nowait(event)

    # ---- the tests' own door

    async def set_script(self, request: web.Request) -> web.Response:
        body = await request.json()
        known = {one.name for one in fields(Script)}
        assert set(body) <= known, f"unknown: {set(body) - known}"
        self.script = Script(**body)
        return self._said({})

    async def market(self, request: web.Request) -> web.Response:
        for name, price in (await request.json()).items():
            self.exchange.move(name, Decimal(price), time.time_ns())
        self._pump()
        return self._said({})

    async def past_us(self, request: web.Request) -> web.Response:
        body = await request.json()
        quantity = Decimal(body["quantity"])
        self.exchange.past_us(body["account"], body["instrument"], quantity, time.time_ns())
        return self._said({})

    async def entry(self, request: web.Request) -> web.Response:
        body = await request.json()
        amount = Decimal(body["amount"])
        self.exchange.entry(body["account"], body["kind"], amount, time.time_ns())
        return self._said({})

    async def bust(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.exchange.bust(body["trade_id"], time.time_ns())
        self._pump()
        return self._said({})

    async def posted(self, request: web.Request) -> web.Response:
        since_ns = int(request.query["since_ns"])
        recent: dict[str, int] = {}
        # The newest are at the end; one that was sent twice stands at its first place.
        for name in reversed(self.posted_ns):
            if self.posted_ns[name] <= since_ns:
                break
            recent[name] = self.posted_ns[name]
        return self._said(recent)

    async def ledger(self, request: web.Request) -> web.Response:
        exchange = self.exchange
        return self._said(
            {
                "orders": [{**one.shown(), "account": one.account} for one in exchange.orders],
                "trades": [
                    {**one.shown(), "busted": bool(one.busted_ns)} for one in exchange.trades
                ],
                "cash": {name: str(amount) for name, amount in exchange.cash.items()},
                "positions": {
                    name: {one: str(held) for one, held in exchange.held(name).items()}
                    for name in exchange.positions
                },
                "posts": self.posts,
                "posted_ns": self.posted_ns,
                "told": self.told,
                "requests_in_ban": self.requests_in_ban,
                "answering": self.answering,
            }
        )

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        is_test = request.path.startswith("/test/")
        left_s = self.banned_until_s - time.monotonic()
        if not is_test and left_s > 0 and request.path != "/stream":
            # What was on its way when the ban began could not know of it.
            self.requests_in_ban += left_s < self.script.retry_after_s / 2
            return self._refused(418)
        response: web.StreamResponse = await handler(request)
        return response

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.guard])
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("POST", "/orders", self.submit),
            ("GET", "/orders", self.orders),
            ("DELETE", "/orders/{name}", self.cancel),
            ("PATCH", "/orders/{name}", self.amend),
            ("GET", "/orders/{name}", self.query),
            ("GET", "/fills", self.fills),
            ("GET", "/positions", self.positions),
            ("GET", "/balances", self.balances),
            ("GET", "/entries", self.entries),
            ("GET", "/stream", self.stream),
            ("POST", "/test/script", self.set_script),
            ("POST", "/test/market", self.market),
            ("POST", "/test/past-us", self.past_us),
            ("POST", "/test/entry", self.entry),
            ("POST", "/test/bust", self.bust),
            ("GET", "/test/ledger", self.ledger),
            ("GET", "/test/posted", self.posted),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
        return app


async def serve(seed: int, port_file: Path) -> None:
    """Until it is killed."""
    runner = web.AppRunner(Server(random.Random(seed)).app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    part = port_file.with_suffix(".part")
    part.write_text(str(port))
    part.replace(port_file)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port-file", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.seed, options.port_file))
