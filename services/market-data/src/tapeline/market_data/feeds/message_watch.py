"""Waits for the messages of a ccxt.pro connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from tapeline.runtime import clock

TURN_S: Final = 0.25


class MessageWatch:
    """Waits for one kind of message without losing any.

    ccxt wakes its caller for the first message only; what comes before the next call waits in its
    cache for a later message. So the cache is looked at after every wake-up and every TURN_S.
    """

    def __init__(
        self, ask: Callable[[], Any], silence_s: float, close: Callable[[], Awaitable[None]]
    ) -> None:
        self._ask = ask
        self._silence_s = silence_s
        self._close = close
        self._message: asyncio.Future[Any] | None = None
        self._since_s = clock.monotonic_s()
        self._clients: dict[str, Any] = {}

    def has_reconnected(self, clients: Mapping[str, Any]) -> bool:
        """True when ccxt has replaced a connection since the last call; it may do so silently."""
        before, self._clients = self._clients, dict(clients)
        return any(before.get(url, client) is not client for url, client in self._clients.items())

    async def turn(self) -> None:
        """Returns after a message or a moment.

        Raises TimeoutError after a long silence, disconnected, and ConnectionError where ccxt lost
        the connection.
        """
        if self._message is None:
            self._message = asyncio.ensure_future(self._ask())
        try:
            await asyncio.wait({self._message}, timeout=TURN_S)
        except asyncio.CancelledError:
            self._message.cancel()
            raise
        now_s = clock.monotonic_s()
        if self._message.done():
            message, self._message, self._since_s = self._message, None, now_s
            if message.cancelled():
                # So ccxt tells those who wait on a connection that has gone; nobody stops us.
                raise ConnectionError("the connection was closed")
            message.result()
        elif now_s - self._since_s > self._silence_s:
            message, self._message, self._since_s = self._message, None, now_s
            message.cancel()
            await self._close()
            raise TimeoutError(f"no message for {self._silence_s:.0f} s")
