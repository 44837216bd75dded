"""Public trades and quotes of any exchange that ccxt knows, without a key.

By WebSocket (ccxt.pro) where the exchange offers it, else by REST. A lost connection is made anew
with a growing pause; then the missed trades are fetched, and what could not be fetched is reported
as a gap. ccxt's own rate limiter is on; an answer 429 or 418 stops all requests for as long as the
exchange says. An instrument is named symbol.EXCHANGE: BTC/USDT of binance is BTCUSDT.BINANCE.

Options: exchange (ccxt's id), symbols (comma-separated, as BTC/USDT), transport (auto, websocket
or rest), quotes (yes or no), poll_seconds (REST), silence_seconds (a longer silence of the stream
makes a new connection), consecutive_ids (yes or no: the exchange numbers each symbol's trades
without holes), http_url and websocket_url (instead of the exchange's own hosts), config (JSON for
ccxt's constructor).

Errors:
    FeedError   an unknown exchange or symbol, or a feature that the exchange does not have
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tapeline.contracts.market import AggressorSide
from tapeline.market_data.feeds.interface import (
    Feed,
    FeedError,
    LastSeen,
    Options,
    RawQuote,
    RawRecord,
    RawTrade,
    RawUnreadable,
    only_options,
)
from tapeline.market_data.feeds.message_watch import MessageWatch
from tapeline.market_data.feeds.trade_tape import TradeTape
from tapeline.runtime import clock
from tapeline.runtime.telemetry import get_logger

MILLISECOND_NS: Final = 1_000_000
QUEUE_MAX: Final = 10_000
BATCH_MAX: Final = 1000
CATCH_UP_LIMIT: Final = 1000
BACK_OFF_S: Final = 0.5
BACK_OFF_MAX_S: Final = 60.0
RETRY_AFTER_MAX_S: Final = 3 * 86_400.0
NAMES: Final = (
    "config",
    "consecutive_ids",
    "exchange",
    "http_url",
    "poll_seconds",
    "quotes",
    "silence_seconds",
    "symbols",
    "transport",
    "websocket_url",
)
CONSECUTIVE_IDS: Final = ("binance", "binanceus", "coinbaseexchange")
# Binance's default for REST are aggregated trades, whose ids are not those of the stream; its plain
# trades take no start time.
QUIRKS: Final[dict[str, dict[str, Any]]] = {
    "binance": {"fetchTradesMethod": "publicGetTrades"},
    "binanceus": {"fetchTradesMethod": "publicGetTrades"},
}
WITHOUT_SINCE: Final = tuple(QUIRKS)
_SIDES: Final = {"buy": AggressorSide.BUY, "sell": AggressorSide.SELL}
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, IndexError)
Pause = Callable[[float], Awaitable[None]]
log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CcxtOptions:
    """What to watch, and how."""

    exchange: str
    symbols: tuple[str, ...]
    transport: str = "auto"
    has_quotes: bool = True
    poll_s: float = 2.0
    silence_s: float = 120.0
    ids_are_consecutive: bool = False
    http_url: str = ""
    websocket_url: str = ""
    config: dict[str, Any] = field(default_factory=dict)


def make(options: Options) -> Feed:
    """The plug-in `ccxt`."""
    return CcxtFeed(parsed(options))


def parsed(options: Options) -> CcxtOptions:
    """The options understood; raises FeedError."""
    only_options("ccxt", options, NAMES)
    symbols = tuple(part.strip() for part in options.get("symbols", "").split(",") if part.strip())
    exchange = options.get("exchange", "")
    if not exchange or not symbols:
        raise FeedError(
            "The feed ccxt needs an exchange and symbols.",
            "Set the options exchange=binance and symbols=BTC/USDT,ETH/USDT, for example.",
        )
    transport = options.get("transport", "auto")
    if transport not in ("auto", "websocket", "rest"):
        raise FeedError(f"{transport!r} is no transport.", "Use auto, websocket or rest.")
    try:
        return CcxtOptions(
            exchange=exchange,
            symbols=symbols,
            transport=transport,
            has_quotes=_yes(options.get("quotes", "yes")),
            poll_s=float(options.get("poll_seconds", "2")),
            silence_s=float(options.get("silence_seconds", "120")),
            ids_are_consecutive=_yes(
                options.get("consecutive_ids", "yes" if exchange in CONSECUTIVE_IDS else "no")
            ),
            http_url=options.get("http_url", ""),
            websocket_url=options.get("websocket_url", ""),
            config=dict(json.loads(options.get("config", "{}"))),
        )
    except ValueError as error:
        raise FeedError(f"An option of the feed ccxt is wrong: {error}.", "Correct it.") from error


def instrument_id_of(symbol: str, exchange: str) -> str:
    """BTC/USDT of binance is BTCUSDT.BINANCE; BTC/USDT:USDT is BTCUSDT-PERP.BINANCE."""
    pair, _, settlement = symbol.partition(":")
    dated = settlement.partition("-")[2]
    kind = f"-{dated}" if dated else "-PERP" if settlement else ""
    return f"{pair.replace('/', '')}{kind}.{exchange.upper()}"


class CcxtFeed:
    """A live feed of one exchange."""

    is_live = True
    silence_ns_max = 0
    """a quiet market is no gap: breaks of the connection are reported as they happen"""

    def __init__(self, options: CcxtOptions, pause: Pause = asyncio.sleep) -> None:
        self.name = options.exchange
        self._options = options
        self._pause = pause
        self._exchange = make_exchange(options)
        self._uses_stream = self._chosen_transport()
        self._queue: asyncio.Queue[RawRecord] = asyncio.Queue(QUEUE_MAX)
        self._stopped_until_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def batches(self, seen: Mapping[str, LastSeen]) -> AsyncIterator[Sequence[RawRecord]]:
        """Records as they come, until closed; raises FeedError for an unknown symbol."""
        await self._load_markets()
        for symbol in self._options.symbols:
            instrument_id = instrument_id_of(symbol, self.name)
            tape = TradeTape(self._options.ids_are_consecutive, seen.get(instrument_id))
            self._start(self._trades(symbol, instrument_id, tape))
            if self._options.has_quotes:
                self._start(self._quotes(symbol, instrument_id))
        while True:
            batch = [await self._next()]
            while not self._queue.empty() and len(batch) < BATCH_MAX:
                batch.append(self._queue.get_nowait())
            yield batch

    async def close(self) -> None:
        """Ends all watching and closes the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._exchange.close()

    def _start(self, pump: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(pump))

    async def _next(self) -> RawRecord:
        """The next record; a pump that ended by a bug ends the feed with it."""
        getter = asyncio.ensure_future(self._queue.get())
        try:
            done, _ = await asyncio.wait(
                (getter, *self._tasks), return_when=asyncio.FIRST_COMPLETED
            )
            if getter in done:
                return getter.result()
        finally:
            getter.cancel()
        for task in done:
            if isinstance(task, asyncio.Task):
                task.result()
        raise FeedError(f"The feed of {self.name} has ended.", "Start it again.")

    # ---- trades

    async def _trades(self, symbol: str, instrument_id: str, tape: TradeTape) -> None:
        watch = self._watch(lambda: self._exchange.watch_trades(symbol))
        last: Any = None

        async def stream() -> None:
            nonlocal last
            try:
                await watch.turn()
            finally:
                # Also when the connection broke: what came before is not lost.
                fresh = _behind(self._exchange.trades.get(symbol) or (), last)
                trades = [trade_of(item, instrument_id) for item in fresh]
                last = fresh[-1] if fresh else last
                if watch.has_reconnected(self._exchange.clients):
                    tape.break_off()
                if tape.needs_catch_up(trades):
                    await self._put(tape.caught_up(await self._fetch(symbol, instrument_id, tape)))
                await self._put(tape.streamed(trades))

        async def poll() -> None:
            is_first = tape.is_empty
            trades = await self._fetch(symbol, instrument_id, tape)
            if is_first:
                tape.begin(trades)
            else:
                await self._put(tape.caught_up(trades))
            await self._pause(self._options.poll_s)

        await self._forever(stream if self._uses_stream else poll, tape.break_off)

    async def _fetch(self, symbol: str, instrument_id: str, tape: TradeTape) -> list[RawTrade]:
        """The latest trades, since the last known one where the exchange takes a start time."""
        since_ms = None
        if not tape.is_empty and self.name not in WITHOUT_SINCE:
            since_ms = tape.newest_ns // MILLISECOND_NS
        await self._obey()
        raw = await self._exchange.fetch_trades(symbol, since_ms, CATCH_UP_LIMIT)
        return [trade_of(item, instrument_id) for item in raw]

    # ---- quotes

    async def _quotes(self, symbol: str, instrument_id: str) -> None:
        last: RawQuote | None = None
        exchange = self._exchange
        has_bids_asks = bool(exchange.has.get("watchBidsAsks"))
        watch = self._watch(
            (lambda: exchange.watch_bids_asks([symbol]))
            if has_bids_asks
            else (lambda: exchange.watch_order_book(symbol))
        )

        async def emit(quote: RawQuote | None) -> None:
            nonlocal last
            if quote is not None and (last is None or _values(quote) != _values(last)):
                last = quote
                await self._put([quote])

        async def stream() -> None:
            await watch.turn()
            if has_bids_asks:
                await emit(_ticker_quote(exchange.bidsasks.get(symbol) or {}, instrument_id))
            elif symbol in exchange.orderbooks:
                await emit(_book_quote(exchange.orderbooks[symbol], instrument_id))

        async def poll() -> None:
            await self._obey()
            book = await self._exchange.fetch_order_book(symbol, 5)
            await emit(_book_quote(book, instrument_id))
            await self._pause(self._options.poll_s)

        await self._forever(stream if self._uses_stream else poll, lambda: None)

    # ---- breaks

    async def _forever(
        self, once: Callable[[], Awaitable[None]], broken: Callable[[], None]
    ) -> None:
        """Repeats, with a growing pause after every failure in a row."""
        ccxt_errors = importlib.import_module("ccxt.base.errors")
        pause_s = BACK_OFF_S
        while True:
            try:
                await once()
                pause_s = BACK_OFF_S
                continue
            except ccxt_errors.BadSymbol as error:
                raise FeedError(f"{self.name}: {error}", "Correct the option symbols.") from error
            except (ccxt_errors.BaseError, ConnectionError, TimeoutError) as error:
                log.warning("feed_broken", feed=self.name, reason=str(error)[:200], pause_s=pause_s)
                self._heed(error, ccxt_errors)
            except _UNREADABLE as error:
                await self._put([self._unreadable(error)])
            broken()
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, BACK_OFF_MAX_S)

    def _watch(self, ask: Callable[[], Any]) -> MessageWatch:
        return MessageWatch(ask, self._options.silence_s, self._exchange.close)

    def _heed(self, error: Exception, ccxt_errors: Any) -> None:
        """After 429 or 418 nothing is asked until the time the exchange names."""
        if not isinstance(error, ccxt_errors.DDoSProtection | ccxt_errors.RateLimitExceeded):
            return
        headers = {
            str(name).lower(): value
            for name, value in (self._exchange.last_response_headers or {}).items()
        }
        try:
            wait_s = float(headers.get("retry-after", BACK_OFF_S))
        except ValueError:
            wait_s = BACK_OFF_MAX_S
        wait_s = min(max(wait_s, BACK_OFF_S), RETRY_AFTER_MAX_S)
        self._stopped_until_s = max(self._stopped_until_s, clock.monotonic_s() + wait_s)

    async def _obey(self) -> None:
        """Waits while the exchange has told us to stay away."""
        wait_s = self._stopped_until_s - clock.monotonic_s()
        if wait_s > 0:
            await self._pause(wait_s)

    def _unreadable(self, error: Exception) -> RawUnreadable:
        raw = self._exchange.last_http_response or ""
        return RawUnreadable(
            raw=str(raw).encode(),
            code="UNREADABLE",
            reason=f"{self.name}: {type(error).__name__}: {error}"[:200],
            ts_event_ns=clock.wall_ns(),
        )

    async def _put(self, records: Sequence[RawRecord]) -> None:
        for record in records:
            await self._queue.put(record)

    # ---- start

    def _chosen_transport(self) -> bool:
        has_stream = bool(self._exchange.has.get("watchTrades"))
        if self._options.transport == "websocket" and not has_stream:
            raise FeedError(f"{self.name} has no trade stream.", "Use the option transport=rest.")
        return has_stream and self._options.transport != "rest"

    async def _load_markets(self) -> None:
        """Learns the exchange's symbols; tries until it answers."""
        loaded = False

        async def load() -> None:
            nonlocal loaded
            await self._obey()
            await self._exchange.load_markets()
            loaded = True
            raise _Done

        with contextlib.suppress(_Done):
            await self._forever(load, lambda: None)
        for symbol in self._options.symbols:
            if symbol not in self._exchange.markets:
                raise FeedError(
                    f"{self.name} does not trade {symbol!r}.",
                    "Write symbols as ccxt does: BTC/USDT, or BTC/USDT:USDT for a perpetual.",
                )


class _Done(Exception):
    """Ends a repetition."""


def make_exchange(options: CcxtOptions) -> Any:
    """ccxt's client of the exchange, rate limiter on; raises FeedError for an unknown one."""
    try:
        library = importlib.import_module("ccxt.pro")
        cls = getattr(library, options.exchange, None)
        if cls is None:
            library = importlib.import_module("ccxt.async_support")
            cls = getattr(library, options.exchange)
    except AttributeError as error:
        raise FeedError(
            f"ccxt knows no exchange {options.exchange!r}.", "Use ccxt's id, such as binance."
        ) from error
    given = dict(options.config)
    quirks = QUIRKS.get(options.exchange, {})
    given["options"] = {**quirks, **given.get("options", {})}
    exchange = cls({"enableRateLimit": True, "newUpdates": True, **given})
    exchange.urls["api"] = _moved(exchange.urls["api"], options)
    return exchange


def _moved(urls: Any, options: CcxtOptions) -> Any:
    """The exchange's addresses with other hosts, paths kept."""
    if isinstance(urls, dict):
        return {name: _moved(value, options) for name, value in urls.items()}
    scheme, separator, rest = str(urls).partition("://")
    path = rest.partition("/")[2]
    target = options.websocket_url if scheme in ("ws", "wss") else options.http_url
    return f"{target}/{path}" if separator and target else urls


def _behind(cache: Sequence[Any], last: Any) -> list[Any]:
    """The entries of ccxt's cache behind the one that was seen last; all when that one is gone."""
    fresh: list[Any] = []
    for item in reversed(cache):
        if item is last:
            break
        fresh.append(item)
    return fresh[::-1]


def trade_of(item: Mapping[str, Any], instrument_id: str) -> RawTrade:
    """A trade as ccxt gives it; raises what is raised where it is none."""
    return RawTrade(
        instrument_id=instrument_id,
        price=float(item["price"]),
        size=float(item["amount"]),
        ts_event_ns=int(item["timestamp"]) * MILLISECOND_NS,
        trade_id=str(item.get("id") or ""),
        side=_SIDES.get(str(item.get("side")), AggressorSide.NONE),
    )


def _ticker_quote(ticker: Mapping[str, Any], instrument_id: str) -> RawQuote | None:
    if ticker.get("bid") is None or ticker.get("ask") is None:
        return None
    return RawQuote(
        instrument_id=instrument_id,
        bid_price=float(ticker["bid"]),
        ask_price=float(ticker["ask"]),
        bid_size=float(ticker.get("bidVolume") or 0.0),
        ask_size=float(ticker.get("askVolume") or 0.0),
        ts_event_ns=_time_ns(ticker),
    )


def _book_quote(book: Mapping[str, Any], instrument_id: str) -> RawQuote | None:
    if not book["bids"] or not book["asks"]:
        return None
    return RawQuote(
        instrument_id=instrument_id,
        bid_price=float(book["bids"][0][0]),
        ask_price=float(book["asks"][0][0]),
        bid_size=float(book["bids"][0][1]),
        ask_size=float(book["asks"][0][1]),
        ts_event_ns=_time_ns(book),
    )


def _time_ns(item: Mapping[str, Any]) -> int:
    """The exchange's time, or ours where it gives none."""
    timestamp = item.get("timestamp")
    return clock.wall_ns() if timestamp is None else int(timestamp) * MILLISECOND_NS


def _values(quote: RawQuote) -> tuple[float, float, float, float]:
    return quote.bid_price, quote.ask_price, quote.bid_size, quote.ask_size


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"
