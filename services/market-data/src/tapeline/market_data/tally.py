"""The sums of open bars: what a tick changes, and nothing that decides when a bar closes."""

from __future__ import annotations

from tapeline.contracts.market import Quote, TickOrigin, Trade


class Tally:
    """First, highest, lowest and last price, by event time, with volume and count."""

    __slots__ = ("close", "count", "first_ns", "high", "last_ns", "low", "open", "origin", "volume")

    def __init__(self, ts_ns: int, price: float, origin: TickOrigin) -> None:
        self.open = self.high = self.low = self.close = price
        self.first_ns = self.last_ns = ts_ns
        self.volume = 0.0
        self.count = 0
        self.origin = origin

    def add(self, ts_ns: int, price: float, size: float) -> None:
        """One tick; a tick out of order moves the open or the close only where its time says so."""
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        if ts_ns >= self.last_ns:
            self.close = price
            self.last_ns = ts_ns
        elif ts_ns < self.first_ns:
            self.open = price
            self.first_ns = ts_ns
        self.volume += size
        self.count += 1

    def fold(self, later: Tally) -> None:
        """The sums of a shorter interval inside this one."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        if later.last_ns >= self.last_ns:
            self.close, self.last_ns = later.close, later.last_ns
        if later.first_ns < self.first_ns:
            self.open, self.first_ns = later.open, later.first_ns
        self.volume += later.volume
        self.count += later.count

    def copy(self) -> Tally:
        """An independent tally with the same sums."""
        other = Tally(self.first_ns, self.open, self.origin)
        other.fold(self)
        return other


class Bucket:
    """One open interval: trades and quotes apart, as a bar is of trades where there are any."""

    __slots__ = ("end_ns", "is_complete", "quotes", "start_ns", "trades")

    def __init__(self, start_ns: int, end_ns: int, is_complete: bool) -> None:
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.is_complete = is_complete
        self.trades: Tally | None = None
        self.quotes: Tally | None = None

    def add(self, record: Trade | Quote) -> None:
        """A trade with its size, or a quote at its mid without volume."""
        ts_ns = record.ts_event_ns
        if type(record) is Trade:
            trades = self.trades
            if trades is None:
                trades = self.trades = Tally(ts_ns, record.price, record.origin)
            trades.add(ts_ns, record.price, record.size)
        elif type(record) is Quote:
            mid = mid_price(record)
            quotes = self.quotes
            if quotes is None:
                quotes = self.quotes = Tally(ts_ns, mid, record.origin)
            quotes.add(ts_ns, mid, 0.0)

    def fold(self, fine: Bucket) -> None:
        """A closed shorter interval inside this one."""
        self.is_complete = self.is_complete and fine.is_complete
        if fine.trades is not None:
            if self.trades is None:
                self.trades = fine.trades.copy()
            else:
                self.trades.fold(fine.trades)
        if fine.quotes is not None:
            if self.quotes is None:
                self.quotes = fine.quotes.copy()
            else:
                self.quotes.fold(fine.quotes)


class Builder:
    """What is open for one instrument of one feed: a bucket an interval, and the mark's second."""

    __slots__ = (
        "coarse",
        "feed",
        "fine",
        "instrument_id",
        "last_sequence",
        "late",
        "mark_ask_price",
        "mark_bid_price",
        "mark_end_ns",
        "mark_price",
        "mark_start_ns",
        "mark_ts_ns",
    )

    def __init__(self, feed: str, instrument_id: str, interval_count: int) -> None:
        self.feed = feed
        self.instrument_id = instrument_id
        self.last_sequence = -1
        self.fine: Bucket | None = None
        self.coarse: list[Bucket | None] = [None] * interval_count
        """by index of the interval; the first stays empty, it is `fine`"""
        self.late = [0] * interval_count
        self.mark_price = 0.0
        self.close_mark()

    def open_mark(self, start_ns: int, end_ns: int) -> None:
        """A new second, without a price yet."""
        self.close_mark()
        self.mark_start_ns, self.mark_end_ns = start_ns, end_ns

    def close_mark(self) -> None:
        """No second is open."""
        self.mark_start_ns = self.mark_end_ns = self.mark_ts_ns = -1
        self.mark_bid_price: float | None = None
        self.mark_ask_price: float | None = None

    def price(self, record: Trade | Quote) -> None:
        """The last price of the open second; a trade does not replace a quote."""
        ts_ns = record.ts_event_ns
        if not self.mark_start_ns <= ts_ns < self.mark_end_ns:
            return
        if type(record) is Quote:
            if ts_ns >= self.mark_ts_ns or self.mark_bid_price is None:
                self.mark_ts_ns = ts_ns
                self.mark_price = mid_price(record)
                self.mark_bid_price, self.mark_ask_price = record.bid_price, record.ask_price
        elif type(record) is Trade and ts_ns >= self.mark_ts_ns and self.mark_bid_price is None:
            self.mark_ts_ns = ts_ns
            self.mark_price = record.price

    def lose(self) -> None:
        """Something of this instrument is missing: what is open is not whole."""
        for bucket in (self.fine, *self.coarse):
            if bucket is not None:
                bucket.is_complete = False

    def is_open(self) -> bool:
        """True while a bar or a mark is being built."""
        buckets = (self.fine, *self.coarse)
        return self.mark_end_ns >= 0 or any(bucket is not None for bucket in buckets)

    def reaches(self, ts_ns: int) -> bool:
        """True when a bucket of that time or later is open."""
        buckets = (self.fine, *self.coarse)
        return any(bucket is not None and bucket.start_ns >= ts_ns for bucket in buckets)


def mid_price(quote: Quote) -> float:
    """Half-way between bid and ask."""
    return (quote.bid_price + quote.ask_price) / 2.0
