"""The first data-quality gate: what of a feed may become a tick, and with which remarks.

In:  RawTrade, RawQuote, RawMacro and RawFunding of one feed, in the order of the feed.
Out: QualityFlags for what passes, or a Refusal (stable code and reason) for what does not.

Invariants: nothing that is not finite, not positive or out of range passes; a refused record leaves
the gate's memory as it was, except that repeated refusals as absurd confirm a new price level.
The order of the checks is the order of precedence of the codes.

Spikes are judged against the median of the last prices, in robust deviations (1.4826 x median
absolute deviation, as in Iglewicz and Hoaglin 1993), never below a floor, so that a quiet market
does not turn every tick into a spike.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Final

from tapeline.contracts.market import QualityFlag, TickOrigin
from tapeline.market_data.durations import SECOND_NS
from tapeline.market_data.feeds.interface import RawFunding, RawMacro, RawQuote, RawTrade

TS_NS_MAX: Final = 4_102_444_800 * SECOND_NS
"""2100-01-01: a time behind it is a wrong unit or a broken clock"""
PRICE_MAX: Final = 1e12
SIZE_MAX: Final = 1e15
MACRO_MAX: Final = 1e15
FUNDING_MAX: Final = 1.0
"""No interval costs more than the position is worth."""
MAD_TO_DEVIATION: Final = 1.4826
TRADE_IDS_KEPT: Final = 4096
BAND_USES: Final = 16
USUAL: Final = "usual"
SPIKE: Final = "spike"
ABSURD: Final = "absurd"
_BAR_ORIGINS: Final = frozenset(
    (TickOrigin.BAR_OPEN, TickOrigin.BAR_HIGH, TickOrigin.BAR_LOW, TickOrigin.BAR_CLOSE)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where the gate draws its lines."""

    silence_ns_max: int = 0
    """longer silence of an instrument is a gap; 0: never"""
    frozen_ns_max: int = 3600 * SECOND_NS
    """one price for longer, over `frozen_ticks_min` ticks or more, is stale; 0: never"""
    frozen_ticks_min: int = 50
    age_ns_max: int = 10 * SECOND_NS
    """live: an older tick is stale"""
    ahead_ns_max: int = 5 * SECOND_NS
    """live: a tick further in the future is refused"""
    disorder_ns_max: int = 5 * SECOND_NS
    """a tick further behind the newest of its instrument is refused"""
    jump_ns_max: int = 45 * 86_400 * SECOND_NS
    """recorded: a tick further ahead of the newest of its instrument is refused once; a second one
    in a row near it shows that the hole is real"""
    spike_deviations: float = 10.0
    """robust deviations from the median of the last prices"""
    spike_floor: float = 0.002
    """a deviation counts as at least this fraction of the median"""
    absurd_ratio: float = 3.0
    """a price that many times the median, or the median that many times the price, is refused"""
    prices_kept: int = 31
    prices_min: int = 5
    """fewer prices judge nothing"""
    confirmations: int = 5
    """so many absurd prices in a row that agree with each other are a new level"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a record goes to quarantine."""

    code: str
    reason: str


Verdict = tuple[QualityFlag, ...] | Refusal


class Gate:
    """The gate of one feed; mutable, as it is asked for every tick."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._memories: dict[tuple[str, bool], _Memory] = {}
        self._series: dict[str, _Memory] = {}

    def know(self, instrument_id: str, trade_ids: tuple[str, ...], ts_ns: int) -> None:
        """What was published before a restart, so that its repetition is noticed."""
        memory = self._memory(instrument_id, False)
        memory.newest_ns = max(memory.newest_ns, ts_ns)
        for trade_id in trade_ids:
            memory.remember(trade_id)

    def judge(self, raw: RawTrade | RawQuote, now_ns: int | None) -> Verdict:
        """Flags or a refusal; `now_ns` is the session clock of a live feed, else None."""
        is_quote = isinstance(raw, RawQuote)
        memory = self._memory(raw.instrument_id, is_quote)
        refusal = (
            (_quote_refusal(raw) if isinstance(raw, RawQuote) else _trade_refusal(raw))
            or _time_refusal(raw.ts_event_ns, now_ns, self._limits)
            or self._sequence_refusal(memory, raw)
        )
        if refusal is not None:
            return refusal
        price = raw.price if isinstance(raw, RawTrade) else (raw.bid_price + raw.ask_price) / 2.0
        deviation = memory.deviation(price, self._limits)
        if deviation == ABSURD:
            return Refusal(
                code="SPIKE",
                reason=f"{price!r} is absurd beside the last prices around {memory.center()!r}",
            )
        flags = self._flags(memory, raw, price, now_ns)
        if deviation == SPIKE:
            flags = (*flags, QualityFlag.SPIKE)
        memory.take(raw, price)
        return flags

    def judge_macro(self, raw: RawMacro, now_ns: int | None) -> Verdict:
        """No flags, or a refusal."""
        if not isfinite(raw.value):
            return Refusal(code="NOT_FINITE", reason=f"{raw.series} is {raw.value!r}")
        if abs(raw.value) > MACRO_MAX:
            return Refusal(code="OUT_OF_RANGE", reason=f"{raw.series} is {raw.value!r}")
        refusal = _time_refusal(raw.ts_event_ns, now_ns, self._limits)
        if refusal is not None:
            return refusal
        memory = self._series.setdefault(raw.series, _Memory(1))
        if raw.ts_event_ns <= memory.newest_ns:
            is_same = memory.is_at(raw.ts_event_ns, raw.value)
            return Refusal(
                code="DUPLICATE" if is_same else "OUT_OF_ORDER",
                reason=f"{raw.series} is not newer than its last reading",
            )
        if memory.is_lone_jump(raw.ts_event_ns, self._limits):
            return Refusal(code="FUTURE_TIMESTAMP", reason=f"{raw.series} jumps far ahead")
        memory.read(raw)
        return ()

    def judge_funding(self, raw: RawFunding, now_ns: int | None) -> Verdict:
        """No flags, or a refusal: a rate is judged as a series of its instrument."""
        name = f"funding of {raw.instrument_id}"
        if abs(raw.rate) > FUNDING_MAX or raw.interval_ns <= 0:
            return Refusal(
                code="OUT_OF_RANGE", reason=f"{name} is {raw.rate!r} in {raw.interval_ns} ns"
            )
        reading = RawMacro(series=name, value=raw.rate, ts_event_ns=raw.ts_event_ns)
        return self.judge_macro(reading, now_ns)

    def _memory(self, instrument_id: str, is_quote: bool) -> _Memory:
        memory = self._memories.get((instrument_id, is_quote))
        if memory is None:
            memory = self._memories[instrument_id, is_quote] = _Memory(self._limits.prices_kept)
        return memory

    def _sequence_refusal(self, memory: _Memory, raw: RawTrade | RawQuote) -> Refusal | None:
        if memory.is_repeated(raw):
            what = f"trade {raw.trade_id}" if type(raw) is RawTrade else "the same quote"
            return Refusal(code="DUPLICATE", reason=f"{what} of {raw.instrument_id} came before")
        behind_ns = memory.newest_ns - raw.ts_event_ns
        if behind_ns > self._limits.disorder_ns_max:
            behind_s = behind_ns / SECOND_NS
            return Refusal(
                code="OUT_OF_ORDER",
                reason=f"{behind_s:.3f} s older than the newest of {raw.instrument_id}",
            )
        if memory.is_lone_jump(raw.ts_event_ns, self._limits):
            return Refusal(
                code="FUTURE_TIMESTAMP",
                reason=f"{-behind_ns // SECOND_NS} s ahead of the newest of {raw.instrument_id}",
            )
        return None

    def _flags(
        self, memory: _Memory, raw: RawTrade | RawQuote, price: float, now_ns: int | None
    ) -> tuple[QualityFlag, ...]:
        limits, ts_ns = self._limits, raw.ts_event_ns
        flags: tuple[QualityFlag, ...] = ()
        if ts_ns < memory.newest_ns:
            flags = (QualityFlag.OUT_OF_ORDER,)
        is_old = now_ns is not None and now_ns - ts_ns > limits.age_ns_max
        if is_old or memory.is_frozen(price, ts_ns, limits):
            flags = (*flags, QualityFlag.STALE)
        is_silent = 0 < limits.silence_ns_max < ts_ns - memory.newest_ns and memory.newest_ns >= 0
        if raw.is_after_gap or is_silent:
            flags = (*flags, QualityFlag.GAP_BEFORE)
        if raw.is_suspicious:
            flags = (*flags, QualityFlag.SUSPICIOUS)
        return flags


def _trade_refusal(raw: RawTrade) -> Refusal | None:
    if not (isfinite(raw.price) and isfinite(raw.size)):
        return Refusal(code="NOT_FINITE", reason=f"price {raw.price!r}, size {raw.size!r}")
    # A bar without volume, such as an index's, still has prices.
    is_empty = raw.size == 0 and raw.origin not in _BAR_ORIGINS
    if raw.price <= 0 or raw.size < 0 or is_empty:
        return Refusal(code="NOT_POSITIVE", reason=f"price {raw.price!r}, size {raw.size!r}")
    if raw.price > PRICE_MAX or raw.size > SIZE_MAX:
        return Refusal(code="OUT_OF_RANGE", reason=f"price {raw.price!r}, size {raw.size!r}")
    return None


def _quote_refusal(raw: RawQuote) -> Refusal | None:
    prices = f"bid {raw.bid_price!r}, ask {raw.ask_price!r}"
    sizes = f"sizes {raw.bid_size!r}, {raw.ask_size!r}"
    numbers = (raw.bid_price, raw.ask_price, raw.bid_size, raw.ask_size)
    if not all(isfinite(number) for number in numbers):
        return Refusal(code="NOT_FINITE", reason=f"{prices}, {sizes}")
    if min(raw.bid_price, raw.ask_price) <= 0 or min(raw.bid_size, raw.ask_size) < 0:
        return Refusal(code="NOT_POSITIVE", reason=f"{prices}, {sizes}")
    if raw.ask_price > PRICE_MAX or max(raw.bid_size, raw.ask_size) > SIZE_MAX:
        return Refusal(code="OUT_OF_RANGE", reason=f"{prices}, {sizes}")
    if raw.bid_price > raw.ask_price:
        return Refusal(code="CROSSED_QUOTE", reason=prices)
    return None


def _time_refusal(ts_ns: int, now_ns: int | None, limits: Limits) -> Refusal | None:
    if not 0 <= ts_ns < TS_NS_MAX:
        return Refusal(code="BAD_TIMESTAMP", reason=f"{ts_ns} ns is not between 1970 and 2100")
    if now_ns is not None and ts_ns - now_ns > limits.ahead_ns_max:
        ahead_s = (ts_ns - now_ns) / SECOND_NS
        return Refusal(code="FUTURE_TIMESTAMP", reason=f"{ahead_s:.3f} s ahead of the clock")
    return None


class _Memory:
    """What the gate remembers of one instrument's trades or quotes."""

    def __init__(self, prices_kept: int) -> None:
        self.newest_ns = -1
        self._prices: deque[float] = deque(maxlen=prices_kept)
        self._last_price = 0.0
        self._since_ns = -1
        self._same_ticks = 0
        self._absurd: list[float] = []
        self._jump_ns = -1
        self._low, self._high, self._uses = 1.0, 0.0, 0
        """the band of usual prices, computed anew every BAND_USES ticks"""
        self._trade_ids: dict[str, None] = {}
        self._last_quote: RawQuote | None = None

    def is_repeated(self, raw: RawTrade | RawQuote) -> bool:
        """True for a known trade id, or a quote equal to the last in every field and its time."""
        if type(raw) is RawTrade:
            return raw.trade_id != "" and raw.trade_id in self._trade_ids
        return self._last_quote is not None and raw == self._last_quote

    def is_lone_jump(self, ts_ns: int, limits: Limits) -> bool:
        """True for the first tick in a row that lies far ahead; it could be a broken clock."""
        if self.newest_ns < 0 or ts_ns - self.newest_ns <= limits.jump_ns_max:
            self._jump_ns = -1
            return False
        is_confirmed = self._jump_ns >= 0 and abs(ts_ns - self._jump_ns) <= limits.jump_ns_max
        self._jump_ns = ts_ns
        return not is_confirmed

    def remember(self, trade_id: str) -> None:
        """Keeps a trade id, and lets go of the oldest."""
        self._trade_ids[trade_id] = None
        if len(self._trade_ids) > TRADE_IDS_KEPT:
            del self._trade_ids[next(iter(self._trade_ids))]

    def center(self) -> float:
        """Median of the last prices."""
        return median(self._prices)

    def deviation(self, price: float, limits: Limits) -> str:
        """USUAL, SPIKE or ABSURD; an absurd level that is confirmed becomes a SPIKE."""
        if self._low <= price <= self._high and self._uses < BAND_USES:
            self._uses += 1
            self._absurd.clear()
            return USUAL
        if len(self._prices) < limits.prices_min:
            return USUAL
        middle = self.center()
        if price > middle * limits.absurd_ratio or price * limits.absurd_ratio < middle:
            return self._absurdity(price, limits)
        self._absurd.clear()
        spread = median([abs(kept - middle) for kept in self._prices]) * MAD_TO_DEVIATION
        limit = limits.spike_deviations * max(spread, limits.spike_floor * middle)
        self._low, self._high, self._uses = middle - limit, middle + limit, 0
        return SPIKE if abs(price - middle) > limit else USUAL

    def _absurdity(self, price: float, limits: Limits) -> str:
        """Absurd until enough prices in a row agree on the new level."""
        first = self._absurd[0] if self._absurd else price
        if price > first * limits.absurd_ratio or price * limits.absurd_ratio < first:
            self._absurd.clear()
        self._absurd.append(price)
        if len(self._absurd) < limits.confirmations:
            return ABSURD
        self._prices.clear()
        self._absurd.clear()
        self._low, self._high = 1.0, 0.0
        return SPIKE

    def is_frozen(self, price: float, ts_ns: int, limits: Limits) -> bool:
        """True when the price has been the same for too long over enough ticks."""
        return (
            0 < limits.frozen_ns_max < ts_ns - self._since_ns
            and price == self._last_price
            and self._same_ticks >= limits.frozen_ticks_min
        )

    def is_at(self, ts_ns: int, value: float) -> bool:
        """True when the last value is this one, of this time."""
        return ts_ns == self.newest_ns and value == self._last_price

    def read(self, raw: RawMacro) -> None:
        """A reading of a series that passed."""
        self.newest_ns, self._last_price = raw.ts_event_ns, raw.value

    def take(self, raw: RawTrade | RawQuote, price: float) -> None:
        """A record that passed."""
        if price == self._last_price:
            self._same_ticks += 1
        else:
            self._last_price, self._since_ns, self._same_ticks = price, raw.ts_event_ns, 1
        self._prices.append(price)
        self.newest_ns = max(self.newest_ns, raw.ts_event_ns)
        if type(raw) is RawQuote:
            self._last_quote = raw
        elif type(raw) is RawTrade and raw.trade_id:
            self.remember(raw.trade_id)
