"""Public history of an exchange (ccxt, without a key) as one Parquet file.

    bars      ts_open_ns, open, high, low, close, volume
    trades    ts_event_ns, price, size, side, trade_id

Asked page by page; ccxt's own rate limiter is on, and an answer 429 or 418 is heeded for as long as
the exchange says. Pages are kept as they come, each under the time from which the next is asked; so
a download that was stopped goes on there. The file itself comes at the end, whole. Its metadata say
where it is from. A minute without trades has no bar; a bar that is not over yet is left out. A page
without rows is asked for once more: an exchange that is overloaded may answer with nothing. If it
stays empty, the next one is asked from a page of bars, or an hour of trades, later: exchanges
answer for a stretch of time alone (Binance for an hour), and more may lie behind it.

Errors:
    NothingFound        the exchange has nothing of that time
    ExchangeSilent      it gave no answer again and again; the same command goes on where it was
    TooManyAtOnce       more trades in one millisecond than a page holds
    FeedError           an unknown exchange, symbol or interval
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from tapeline.market_data.feeds.ccxt_feed import (
    CcxtOptions,
    instrument_id_of,
    make_exchange,
    trade_of,
)
from tapeline.market_data.feeds.interface import FeedError, RawTrade
from tapeline.runtime import clock
from tapeline.runtime.exits import UNAVAILABLE, USAGE, Failure

MILLISECOND_NS: Final = 1_000_000
PAGE: Final = 1000
STRETCH_MS: Final = 3_600_000
"""for which Binance answers a question about trades"""
ATTEMPTS_MAX: Final = 8
BACK_OFF_S: Final = 0.5
RETRY_AFTER_MAX_S: Final = 3600.0
TRADES: Final = "trades"
BAR_SCHEMA: Final = {
    "ts_open_ns": pl.Int64,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
}
TRADE_SCHEMA: Final = {
    "ts_event_ns": pl.Int64,
    "price": pl.Float64,
    "size": pl.Float64,
    "side": pl.String,
    "trade_id": pl.String,
}
Pause = Callable[[float], Awaitable[None]]
OnPage = Callable[[int, int], None]
"""Hears (rows so far, milliseconds up to which there is history now)."""
Rows = list[tuple[Any, ...]]


class NothingFound(Failure):
    """The exchange has no history of that time."""

    exit_code = USAGE


class ExchangeSilent(Failure):
    """The exchange gives no answer."""

    exit_code = UNAVAILABLE


class TooManyAtOnce(Failure):
    """History cannot be asked for without leaving something out."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be downloaded."""

    options: CcxtOptions
    start_ns: int
    end_ns: int
    """what is at or behind it is left out"""
    what: str
    """trades, or the interval of bars as the exchange names it, such as 1m"""

    @property
    def symbol(self) -> str:
        """As ccxt writes it."""
        return self.options.symbols[0]

    @property
    def instrument_id(self) -> str:
        """As Tapeline names it."""
        return instrument_id_of(self.symbol, self.options.exchange)

    @property
    def time_column(self) -> str:
        """By which the rows are in order."""
        return "ts_event_ns" if self.what == TRADES else "ts_open_ns"

    @property
    def schema(self) -> dict[str, Any]:
        """Columns of the file."""
        return dict(TRADE_SCHEMA if self.what == TRADES else BAR_SCHEMA)


class Pages:
    """What has come so far, in a folder beside the file."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self._folder = path.with_name(f"{path.name}.pages")
        self._folder.mkdir(parents=True, exist_ok=True)
        for half in self._folder.glob("*.part"):
            half.unlink()
        self._wanted = wanted
        self._files = sorted(self._folder.glob("*.parquet"))
        self.rows = sum(pl.read_parquet(file).height for file in self._files)

    @property
    def since_ms(self) -> int:
        """From where the next page is asked."""
        if self._files:
            return int(self._files[-1].stem)
        return self._wanted.start_ns // MILLISECOND_NS

    def add(self, rows: Rows, next_ms: int) -> None:
        """Keeps a page; nobody sees half of one."""
        path = self._folder / f"{next_ms:015d}.parquet"
        frame = pl.DataFrame(rows, schema=self._wanted.schema, orient="row")
        part = path.with_suffix(".part")
        frame.write_parquet(part)
        part.replace(path)
        self._files.append(path)
        self.rows += len(rows)

    def join(self, path: Path) -> None:
        """Makes the file of all pages, and takes those away."""
        wanted = self._wanted
        frame = pl.concat([pl.read_parquet(file) for file in self._files])
        metadata = {
            "exchange": wanted.options.exchange,
            "symbol": wanted.symbol,
            "instrument_id": wanted.instrument_id,
            "what": wanted.what,
        }
        part = path.with_name(f"{path.name}.part")
        frame.write_parquet(part, metadata=metadata)
        part.replace(path)
        shutil.rmtree(self._folder)


class Download:
    """One download from one exchange."""

    def __init__(self, wanted: Wanted, pause: Pause = asyncio.sleep) -> None:
        """Raises FeedError for an unknown exchange."""
        self._wanted = wanted
        self._pause = pause
        self._exchange = make_exchange(wanted.options)
        self._exchange.enableLastJsonResponse = True
        self._errors = importlib.import_module("ccxt.base.errors")

    async def to(self, path: Path, on_page: OnPage = lambda _rows, _ms: None) -> int:
        """Fetches what is missing and writes the file; gives its rows."""
        try:
            await self._asked(self._exchange.load_markets)
            self._check()
            pages = Pages(path, self._wanted)
            while await self._page(pages):
                on_page(pages.rows, pages.since_ms)
        finally:
            await self._exchange.close()
        if not pages.rows:
            raise NothingFound(
                f"{self._wanted.options.exchange} has no {self._wanted.what} of "
                f"{self._wanted.symbol} in that time.",
                "Choose another time: exchanges keep a limited history of some kinds.",
            )
        pages.join(path)
        return pages.rows

    def _check(self) -> None:
        exchange, wanted = self._exchange, self._wanted
        if wanted.symbol not in exchange.markets:
            raise FeedError(
                f"{wanted.options.exchange} does not trade {wanted.symbol!r}.",
                "Write symbols as ccxt does: BTC/USDT, or BTC/USDT:USDT for a perpetual.",
            )
        feature = "fetchTrades" if wanted.what == TRADES else "fetchOHLCV"
        if not exchange.has.get(feature):
            raise FeedError(
                f"{wanted.options.exchange} gives no history of {wanted.what}.",
                "Choose another exchange, or trades instead of bars.",
            )
        if wanted.what != TRADES and wanted.what not in exchange.timeframes:
            raise FeedError(
                f"{wanted.options.exchange} has no bars of {wanted.what}.",
                f"Choose one of {', '.join(exchange.timeframes)}.",
            )

    async def _page(self, pages: Pages) -> bool:
        """Fetches and keeps the next page; False where there is none."""
        since_ms, end_ms = pages.since_ms, self._wanted.end_ns // MILLISECOND_NS
        if since_ms >= end_ms:
            return False
        if self._wanted.what == TRADES:
            rows, next_ms = await self._trades(since_ms)
        else:
            rows, next_ms = await self._bars(since_ms)
        if not rows and next_ms <= since_ms:
            return False
        kept = [row for row in rows if row[0] < self._wanted.end_ns]
        pages.add(kept, min(next_ms, end_ms))
        return True

    async def _bars(self, since_ms: int) -> tuple[Rows, int]:
        symbol, interval = self._wanted.symbol, self._wanted.what
        length_ms = int(self._exchange.parse_timeframe(interval) * 1000)
        found = await self._listed(
            lambda: self._exchange.fetch_ohlcv(symbol, interval, since_ms, PAGE)
        )
        now_ms = clock.wall_ns() // MILLISECOND_NS
        rows: Rows = [
            (int(bar[0]) * MILLISECOND_NS, *(float(value or 0) for value in bar[1:6]))
            for bar in found
            if since_ms <= bar[0] and bar[0] + length_ms <= now_ms
        ]
        rows.sort(key=lambda row: row[0])
        if not rows:
            return rows, _behind(since_ms, PAGE * length_ms)
        return rows, int(rows[-1][0]) // MILLISECOND_NS + length_ms

    async def _trades(self, since_ms: int) -> tuple[Rows, int]:
        """Those of the page's last millisecond are left to the next page, which has all of them."""
        found = await self._listed(
            lambda: self._exchange.fetch_trades(self._wanted.symbol, since_ms, PAGE)
        )
        since_ns = since_ms * MILLISECOND_NS
        trades = [trade_of(item, self._wanted.instrument_id) for item in found]
        trades = sorted((one for one in trades if one.ts_event_ns >= since_ns), key=_order)
        if not trades:
            return [], _behind(since_ms, STRETCH_MS)
        last_ms = trades[-1].ts_event_ns // MILLISECOND_NS
        is_one_moment = last_ms == since_ms
        if is_one_moment and len(trades) >= PAGE:
            raise TooManyAtOnce(
                f"{self._wanted.options.exchange} has more than {PAGE} trades of "
                f"{self._wanted.symbol} at {since_ms} ms, and gives no more of them.",
                "Download bars, or another exchange's trades.",
            )
        rows: Rows = [
            (trade.ts_event_ns, trade.price, trade.size, trade.side.value, trade.trade_id)
            for trade in trades
            if is_one_moment or trade.ts_event_ns < last_ms * MILLISECOND_NS
        ]
        return rows, since_ms + 1 if is_one_moment else last_ms

    async def _listed(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """A page; an empty one is asked for once more."""
        return await self._asked(ask) or await self._asked(ask)

    async def _asked(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """An answer, after growing pauses where there is none; raises ExchangeSilent."""
        pause_s = BACK_OFF_S
        for _ in range(ATTEMPTS_MAX):
            try:
                found = await ask()
                if self._exchange.last_json_response is None:
                    # Of half an answer ccxt makes an empty page, which would end the download.
                    raise ConnectionError("the answer cannot be read")
                return found
            except (self._errors.BadSymbol, self._errors.BadRequest) as error:
                raise FeedError(
                    f"{self._wanted.options.exchange} refuses the question: {str(error)[:200]}.",
                    "Check symbol, interval and time.",
                ) from error
            except (self._errors.BaseError, ConnectionError, TimeoutError) as error:
                reason = str(error)[:200]
                await self._pause(max(pause_s, self._told_s(error)))
                pause_s *= 2
        raise ExchangeSilent(
            f"{self._wanted.options.exchange} gave no answer {ATTEMPTS_MAX} times: {reason}.",
            "Give the same command later; what has come so far is kept.",
        )

    def _told_s(self, error: Exception) -> float:
        """How long the exchange wants us to stay away."""
        kinds = (self._errors.DDoSProtection, self._errors.RateLimitExceeded)
        if not isinstance(error, kinds):
            return 0.0
        headers = self._exchange.last_response_headers or {}
        told = {str(name).lower(): value for name, value in headers.items()}.get("retry-after", "")
        try:
            return min(float(told), RETRY_AFTER_MAX_S)
        except ValueError:
            return 0.0


def _behind(since_ms: int, stretch_ms: int) -> int:
    """Where to go on behind a stretch without rows; where that is in the future, nowhere."""
    behind_ms = since_ms + stretch_ms
    return behind_ms if behind_ms <= clock.wall_ns() // MILLISECOND_NS else since_ms


def _order(trade: RawTrade) -> tuple[int, int]:
    """ccxt sorts ids of one millisecond as texts: 1000 before 800."""
    name = trade.trade_id
    number = int(name) if name.isascii() and name.isdecimal() else 0
    return trade.ts_event_ns, number


def options_of(exchange: str, symbol: str, config: dict[str, Any], url: str = "") -> CcxtOptions:
    """The options for a download; `config` is for ccxt's constructor, `url` stands in the place of
    the exchange's own host."""
    # A history needs a start time, which the endpoint of Binance's single trades does not take.
    given = {"fetchTradesMethod": "publicGetAggTrades"} if exchange.startswith("binance") else {}
    options = {**given, **config.get("options", {})}
    return CcxtOptions(
        exchange=exchange, symbols=(symbol,), http_url=url, config={**config, "options": options}
    )
