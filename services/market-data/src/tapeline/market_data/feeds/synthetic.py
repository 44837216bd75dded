"""Made-up market data for tests and load; labelled so everywhere (feed `synthetic`, SYNTHETIC).

A seeded generator: the same options give the same records on every machine with the same NumPy.
Log prices are a random walk whose variance follows GARCH(1,1) (Bollerslev 1986), so that calm and
wild spells cluster, with rare jumps (Merton 1976). Ticks come at exponential distances; each is a
trade, or a quote around the price. Faults can be injected at given rates.

Options: seed, instruments (comma-separated), start (UTC), seconds (of event time), rate (ticks a
second over all instruments), volatility (of a year), quote_share, and the rates of faults (share of
ticks) gap_share, spike_share, crossed_share, duplicate_share, disorder_share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np

from tapeline.contracts.market import AggressorSide, TickOrigin
from tapeline.market_data.durations import SECOND_NS
from tapeline.market_data.feeds.datasets import utc_ns
from tapeline.market_data.feeds.interface import (
    Feed,
    FeedError,
    LastSeen,
    Options,
    RawQuote,
    RawRecord,
    RawTrade,
    only_options,
)

NAME: Final = "synthetic"
BLOCK: Final = 10_000
YEAR_S: Final = 365.25 * 86_400
GARCH_ALPHA: Final = 0.05
GARCH_BETA: Final = 0.94
JUMPS_A_TICK: Final = 1e-5
JUMP_DEVIATION: Final = 0.005
HALF_SPREAD: Final = 0.0001
GAP_NS: Final = 120 * SECOND_NS
DISORDER_NS: Final = 2 * SECOND_NS
SPIKE_FACTOR: Final = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to make up."""

    seed: int = 1
    instruments: tuple[str, ...] = ("SYNA.SIM", "SYNB.SIM")
    start_ns: int = 1_577_923_200 * SECOND_NS
    """2020-01-02"""
    seconds: float = 3600.0
    """of event time; 0: without end"""
    rate: float = 10.0
    """ticks a second, over all instruments"""
    volatility: float = 0.6
    """standard deviation of the log return of a year"""
    quote_share: float = 0.5
    gap_share: float = 0.0
    """a pause of two minutes"""
    spike_share: float = 0.0
    """a price 20 % off"""
    crossed_share: float = 0.0
    """a quote whose bid is above its ask"""
    duplicate_share: float = 0.0
    """the tick once more"""
    disorder_share: float = 0.0
    """a tick two seconds old"""

    def __post_init__(self) -> None:
        """Raises FeedError for numbers that make no market."""
        shares = [getattr(self, field.name) for field in fields(self) if "share" in field.name]
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise FeedError("A share of the synthetic feed is not within 0 to 1.", "Correct it.")
        if self.rate <= 0 or self.seconds < 0 or self.volatility < 0 or not self.instruments:
            raise FeedError(
                "The synthetic feed needs a positive rate and at least one instrument.",
                "Correct its options.",
            )


class SyntheticFeed:
    """Ticks of a made-up market."""

    name = NAME
    is_live = False
    silence_ns_max = GAP_NS // 2

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    async def batches(self, seen: Mapping[str, LastSeen]) -> AsyncIterator[Sequence[RawRecord]]:
        """Blocks of ticks; the same at every call."""
        for block in self.blocks():
            yield block

    def blocks(self) -> Iterator[list[RawRecord]]:
        """Blocks of ticks, until the plan's end."""
        market = _Market(self.plan)
        end_ns = self.plan.start_ns + int(self.plan.seconds * SECOND_NS)
        while True:
            block = market.block()
            if self.plan.seconds > 0 and block[-1].ts_event_ns >= end_ns:
                yield [raw for raw in block if raw.ts_event_ns < end_ns]
                return
            yield block

    async def close(self) -> None:
        """Nothing is held."""


class _Market:
    """Prices of all instruments, tick by tick."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = np.random.Generator(np.random.PCG64(plan.seed))
        count = len(plan.instruments)
        self._now_ns = plan.start_ns
        self._log_prices = np.log(100.0 * (1.0 + np.arange(count)))
        tick_s = count / plan.rate
        self._usual = plan.volatility**2 * tick_s / YEAR_S
        self._variances = np.full(count, self._usual)

    def block(self) -> list[RawRecord]:
        """The next ticks."""
        plan, random = self._plan, self._random
        who = random.integers(0, len(plan.instruments), BLOCK)
        waits_ns = np.maximum(1, random.exponential(SECOND_NS / plan.rate, BLOCK)).astype(np.int64)
        waits_ns[random.random(BLOCK) < plan.gap_share] += GAP_NS
        shocks = random.standard_normal(BLOCK)
        jumps = random.standard_normal(BLOCK) * JUMP_DEVIATION
        jumps[random.random(BLOCK) >= JUMPS_A_TICK] = 0.0
        is_quote = random.random(BLOCK) < plan.quote_share
        sizes = np.ceil(random.exponential(5.0, BLOCK)) * 10.0
        is_buy = random.random(BLOCK) < 0.5
        faults = random.random((4, BLOCK))
        out: list[RawRecord] = []
        for index in range(BLOCK):
            self._now_ns += int(waits_ns[index])
            price = self._move(int(who[index]), float(shocks[index]), float(jumps[index]))
            name = plan.instruments[int(who[index])]
            size = float(sizes[index])
            raw = (
                _quote(name, price, size, self._now_ns)
                if is_quote[index]
                else _trade(name, price, size, self._now_ns, bool(is_buy[index]))
            )
            out += self._with_faults(raw, faults[:, index])
        return out

    def _move(self, who: int, shock: float, jump: float) -> float:
        variance = float(self._variances[who])
        move = variance**0.5 * shock
        self._log_prices[who] += move + jump
        self._variances[who] = (
            (1.0 - GARCH_ALPHA - GARCH_BETA) * self._usual
            + GARCH_ALPHA * move * move
            + GARCH_BETA * variance
        )
        return round(float(np.exp(self._log_prices[who])), 4)

    def _with_faults(
        self, raw: RawTrade | RawQuote, faults: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> list[RawRecord]:
        plan = self._plan
        if faults[0] < plan.spike_share:
            raw = _scaled(raw, SPIKE_FACTOR)
        if faults[1] < plan.crossed_share and isinstance(raw, RawQuote):
            raw = replace(raw, bid_price=raw.ask_price, ask_price=raw.bid_price)
        if faults[2] < plan.disorder_share:
            raw = replace(raw, ts_event_ns=raw.ts_event_ns - DISORDER_NS)
        return [raw, raw] if faults[3] < plan.duplicate_share else [raw]


def make(options: Options) -> Feed:
    """The plug-in `synthetic`."""
    known = [field.name for field in fields(Plan) if field.name != "start_ns"]
    only_options(NAME, options, sorted([*known, "start"]))
    values: dict[str, object] = {}
    for name, text in options.items():
        try:
            if name == "instruments":
                values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
            elif name == "start":
                values["start_ns"] = utc_ns(text)
            else:
                values[name] = int(text) if name == "seed" else float(text)
        except ValueError as error:
            raise FeedError(
                f"The option {name}={text!r} of the synthetic feed is wrong.", "Correct it."
            ) from error
    return SyntheticFeed(Plan(**values))  # type: ignore[arg-type]  # checked field by field above


def _quote(name: str, price: float, size: float, ts_ns: int) -> RawQuote:
    return RawQuote(
        instrument_id=name,
        bid_price=round(price * (1.0 - HALF_SPREAD), 4),
        ask_price=round(price * (1.0 + HALF_SPREAD), 4),
        bid_size=size,
        ask_size=size,
        ts_event_ns=ts_ns,
        origin=TickOrigin.SYNTHETIC,
    )


def _trade(name: str, price: float, size: float, ts_ns: int, is_buy: bool) -> RawTrade:
    return RawTrade(
        instrument_id=name,
        price=price,
        size=size,
        ts_event_ns=ts_ns,
        trade_id=str(ts_ns),
        side=AggressorSide.BUY if is_buy else AggressorSide.SELL,
        origin=TickOrigin.SYNTHETIC,
    )


def _scaled(raw: RawTrade | RawQuote, factor: float) -> RawTrade | RawQuote:
    if isinstance(raw, RawTrade):
        return replace(raw, price=raw.price * factor)
    return replace(raw, bid_price=raw.bid_price * factor, ask_price=raw.ask_price * factor)
