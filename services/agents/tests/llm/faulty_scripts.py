"""Every way in which a model endpoint goes wrong, as scripts of the fake model.

Each stands for a row of the table of faults: late, refused, broken, too much, not what was asked.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable

from fake_model import Exchange, Script, completion

MEGABYTE = 1_000_000
NEVER = asyncio.Event
SPY_REPORT = '{"instrument_id":"SPY.PAPER","stance":0.5,"confidence":0.9,"reasons":["up"]}'


async def silence(exchange: Exchange) -> None:
    await NEVER().wait()


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")
    while True:
        await exchange.send(b" ")
        await asyncio.sleep(0.005)


async def dripping_header(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        await exchange.send(b"a")
        await asyncio.sleep(0.005)


async def reset(exchange: Exchange) -> None:
    exchange.writer.transport.abort()


async def half_a_body(exchange: Exchange) -> None:
    body = completion(SPY_REPORT)
    await exchange.send(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    await exchange.send(body[: len(body) // 2])
    exchange.writer.close()


async def no_protocol(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    exchange.writer.close()


async def compressed(exchange: Exchange) -> None:
    bomb = gzip.compress(b" " * 50 * MEGABYTE)
    await exchange.respond(200, bomb, "content-encoding: gzip")


async def endless_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n")


def status(code: int, *headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(code, b'{"error":{"message":"no"}}', *headers)

    return script


def raw(body: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(200, body)

    return script


def says(text: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.say(text)

    return script


def manager_says(weights: object, **more: object) -> Script:
    """All others do as they should."""

    async def script(exchange: Exchange) -> None:
        if exchange.node != "portfolio_manager":
            await exchange.obey()
            return
        await exchange.say(json.dumps({"weights": weights, "comment": "c", **more}))

    return script


def weight(instrument_id: str, target_weight: float, **more: object) -> dict[str, object]:
    return {
        "instrument_id": instrument_id,
        "target_weight": target_weight,
        "confidence": 0.9,
        "reason": "r",
        **more,
    }


def only(node: str, script: Callable[[Exchange], Awaitable[None]]) -> Script:
    """One node meets the fault, all others are well."""

    async def scripted(exchange: Exchange) -> None:
        await (script(exchange) if exchange.node.startswith(node) else exchange.obey())

    return scripted


SPY, QQQ = "SPY.PAPER", "QQQ.PAPER"
GOOD = weight(QQQ, -0.01)
FAULTS: dict[str, Script] = {
    "no answer": silence,
    "no answer from one analyst": only("analyst/QQQ", silence),
    "no answer from the economist": only("economist", silence),
    "no answer from the portfolio manager": only("portfolio_manager", silence),
    "slow drip of the body": drip,
    "slow drip of the headers": dripping_header,
    "connection reset": reset,
    "half a body": half_a_body,
    "another protocol": no_protocol,
    "400": status(400),
    "401": status(401),
    "404": status(404),
    "429 without Retry-After": status(429),
    "429 with Retry-After beyond the deadline": status(429, "retry-after: 60"),
    "429 with a date": status(429, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT"),
    "500": status(500),
    "503 from the portfolio manager": only("portfolio_manager", status(503)),
    "redirect": status(302, "location: http://127.0.0.1:1/v1/chat/completions"),
    "empty body": raw(b""),
    "not UTF-8": raw(b"\xff\xfe\x00"),
    "half JSON": raw(completion(SPY_REPORT)[:-20]),
    "deep JSON": raw(b"[" * 200_000),
    "JSON of another kind": raw(b'{"choices":[{"message":7}]}'),
    "no choices": raw(b'{"choices":[]}'),
    "1 MB body": raw(b" " * MEGABYTE),
    "endless body": endless_body,
    "compressed body": compressed,
    "empty answer": says(""),
    "blank answer": says(" \n"),
    "answer without text": raw(
        b'{"choices":[{"message":{"content":null,"refusal":"I will not"}}]}'
    ),
    "100 kB answer": says(" " * 100_000 + SPY_REPORT),
    "prose": says("Buy everything!"),
    "NaN": says(SPY_REPORT.replace("0.5", "NaN")),
    "infinity": says(SPY_REPORT.replace("0.5", "1e999")),
    "lone surrogate": says('"\ud800'),
    "NUL": says("\x00"),
    "deep answer": says("[" * 15_000),
    "unknown symbol": manager_says([weight("GME.PAPER", 0.01), GOOD]),
    "symbol with a homoglyph": manager_says([weight("SPУ.PAPER", 0.01), GOOD]),
    "symbol too many": manager_says([weight(SPY, 0.01), GOOD, weight("GME.PAPER", 0.01)]),
    "symbol missing": manager_says([GOOD]),
    "symbol twice": manager_says([weight(SPY, 0.01), weight(SPY, 0.01)]),
    "side": manager_says([weight(SPY, 0.01, side="BUY "), GOOD]),
    "weight above the cap": manager_says([weight(SPY, 0.0401), GOOD]),
    "weight of 500 %": manager_says([weight(SPY, 5.0), GOOD]),
    "weight in percent": manager_says([weight(SPY, 4), GOOD]),
    "weight as text": manager_says([{**weight(SPY, 0), "target_weight": "0.01"}, GOOD]),
    "confidence of 2": manager_says([weight(SPY, 0.01, confidence=2), GOOD]),
    "weights are no list": manager_says({"SPY.PAPER": 0.01}),
    "an order": manager_says([weight(SPY, 0.01), GOOD], orders=[{"side": "BUY ", "quantity": 1}]),
}
