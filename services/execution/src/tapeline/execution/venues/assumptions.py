"""What the paper venue takes for granted under a configuration, in words a trader can judge.

Each assumption names the field of the venue's (or instrument's) config record that sets it, so that
a run can be repeated with it switched off: the difference is what it costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tapeline.contracts.config import (
    Account,
    AssetClass,
    Instrument,
    MissingInputRule,
    QueueRule,
    Venue,
)
from tapeline.execution.venues.fees import TIER_DAYS
from tapeline.execution.venues.matching import QUOTE_AGE_NS_MAX
from tapeline.execution.venues.missing import DERIVATIVES, borrow_rate

_QUEUES: Final = {
    QueueRule.THROUGH: "trades beyond the limit fill, trades at it never do: everybody is ahead",
    QueueRule.AHEAD: "the size displayed at the limit on arrival must trade there first; where "
    "that is not known only trades beyond the limit fill",
    QueueRule.TOUCH: "the first trade at the limit fills, as if nobody were ahead: optimistic",
}
_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One thing taken for granted."""

    name: str
    value: str
    meaning: str
    switch: str
    """field of the config record that sets it, such as venue.latency_ns"""
    is_on: bool = True
    """False: the simulator leaves it out, which flatters the result or does not concern it"""


def assumptions_of(
    venue: Venue, instruments: Sequence[Instrument] = (), account: Account | None = None
) -> tuple[Assumption, ...]:
    """All assumptions for orders at a venue, always in the same order."""
    return (
        *_prices(venue),
        *_liquidity(venue),
        *_time(venue),
        *_costs(venue, account),
        *_holding(venue, instruments),
        *_exchange(instruments),
        _missing(venue),
    )


def _prices(venue: Venue) -> Iterable[Assumption]:
    yield Assumption(
        name="spread",
        value=_percent(venue.half_spread_rate),
        meaning="a market order pays the ask and earns the bid; at a trade without a quote of the "
        f"last {QUOTE_AGE_NS_MAX // 1_000_000_000} s it pays this half spread on the trade's price",
        switch="venue.half_spread_rate",
        is_on=venue.half_spread_rate > 0,
    )
    yield Assumption(
        name="depth",
        value="as displayed" if venue.participation_max else "best price for all",
        meaning="a taker goes through the levels of a book where the data has books; quotes and "
        "trades have one price",
        switch="venue.participation_max",
        is_on=bool(venue.participation_max),
    )
    yield Assumption(
        name="gap through stops",
        value="price of the tick" if venue.is_stop_gapped else "stop price",
        meaning="a stop pays the price of the tick that it finds"
        if venue.is_stop_gapped
        else "a stop is filled at its stop price, whatever was traded: optimistic",
        switch="venue.is_stop_gapped",
        is_on=venue.is_stop_gapped,
    )


def _liquidity(venue: Venue) -> Iterable[Assumption]:
    has_limit = bool(venue.participation_max)
    yield Assumption(
        name="participation",
        value=f"{_percent(venue.participation_max)} of a tick's size" if has_limit else "no limit",
        meaning="the most of one tick's size that one order takes; the rest waits for later ticks"
        if has_limit
        else "an order is filled whole, however small the tick",
        switch="venue.participation_max",
        is_on=has_limit,
    )
    is_counted = venue.is_own_size_consumed and has_limit
    yield Assumption(
        name="own size",
        value="consumed" if is_counted else "refilled at every tick",
        meaning="what our orders took of a displayed size is gone until more is displayed or the "
        "price moves",
        switch="venue.is_own_size_consumed",
        is_on=is_counted,
    )
    yield Assumption(
        name="queue",
        value=venue.queue_rule.value,
        meaning=f"a limit order at rest: {_QUEUES[venue.queue_rule]}",
        switch="venue.queue_rule",
        is_on=venue.queue_rule is not QueueRule.TOUCH,
    )
    rate = venue.impact_rate
    yield Assumption(
        name="impact",
        value="none" if rate is None else f"{_percent(rate)} x sqrt(taken / displayed size)",
        meaning="how far a taker's price moves against it by its own size (square-root model); "
        "not where a book shows the depth",
        switch="venue.impact_rate",
        is_on=bool(rate),
    )


def _time(venue: Venue) -> Iterable[Assumption]:
    late, jitter = _number(venue.latency_ns), _number(venue.latency_jitter_ns)
    yield Assumption(
        name="latency",
        value=f"{late} ms" + (f" and up to {jitter} ms more" if venue.latency_jitter_ns else ""),
        meaning="from sending to arrival; only later ticks fill. What is drawn comes from the "
        "command's id: the same in every replay",
        switch="venue.latency_ns, venue.latency_jitter_ns",
        is_on=venue.latency_ns + venue.latency_jitter_ns > 0,
    )


def _costs(venue: Venue, account: Account | None) -> Iterable[Assumption]:
    maker, taker = _percent(venue.maker_fee_rate), _percent(venue.taker_fee_rate)
    yield Assumption(
        name="fees",
        value=f"maker {maker}, taker {taker}",
        meaning="of notional, by who took liquidity; negative is a rebate",
        switch="venue.maker_fee_rate, venue.taker_fee_rate",
        is_on=bool(venue.maker_fee_rate or venue.taker_fee_rate),
    )
    currency = "the account's currency" if account is None else account.base_currency
    tiers = [
        f"from {tier.notional_min:f}: maker {_percent(tier.maker_fee_rate)}, "
        f"taker {_percent(tier.taker_fee_rate)}"
        for tier in venue.fee_tiers
    ]
    yield Assumption(
        name="fee tiers",
        value="; ".join(tiers) or "none",
        meaning=f"by the notional traded in the {TIER_DAYS} UTC days before, in {currency}",
        switch="venue.fee_tiers",
        is_on=bool(tiers),
    )


def _holding(venue: Venue, instruments: Sequence[Instrument]) -> Iterable[Assumption]:
    perpetual = [
        one.instrument_id for one in instruments if one.asset_class is AssetClass.CRYPTO_PERPETUAL
    ]
    value = "charged" if venue.is_funding_charged else "not charged"
    yield Assumption(
        name="funding",
        value=f"{value}: {', '.join(perpetual)}" if perpetual else "no perpetual contract",
        meaning="each funding rate is paid on quantity x last price when it comes; longs pay a "
        "positive one",
        switch="venue.is_funding_charged",
        is_on=bool(perpetual) and venue.is_funding_charged,
    )
    borrowed = [one for one in instruments if one.asset_class not in DERIVATIVES]
    rates = {one.instrument_id: borrow_rate(one, venue) for one in borrowed}
    told = [f"{name} {_rate(rate)}" for name, rate in rates.items()]
    yield Assumption(
        name="borrow",
        value=", ".join(told) if borrowed else _rate(venue.borrow_rate),
        meaning="a year of 365 days, on the worth of a short position at each midnight UTC",
        switch="instrument.borrow_rate, venue.borrow_rate",
        is_on=any(rates.values()) if borrowed else bool(venue.borrow_rate),
    )


def _exchange(instruments: Sequence[Instrument]) -> Iterable[Assumption]:
    said = []
    for one in instruments:
        if one.is_halted:
            said.append(f"{one.instrument_id} halted")
        if one.limit_down_price is not None or one.limit_up_price is not None:
            low, high = one.limit_down_price, one.limit_up_price
            said.append(
                f"{one.instrument_id} {'-' if low is None else _plain(low)} to "
                f"{'-' if high is None else _plain(high)}"
            )
    yield Assumption(
        name="halts and price limits",
        value=", ".join(said) or "none configured",
        meaning="while halted nothing is accepted or filled; nothing trades beyond the limits",
        switch="instrument.is_halted, .limit_down_price, .limit_up_price",
        is_on=bool(said),
    )


def _missing(venue: Venue) -> Assumption:
    is_refused = venue.missing_input_rule is MissingInputRule.REJECT
    return Assumption(
        name="missing input",
        value="orders are rejected" if is_refused else "named by an incident, left out",
        meaning="a size, borrow rate, funding rate or exchange rate that a rule needs and the data "
        "does not have",
        switch="venue.missing_input_rule",
    )


def _rate(rate: Decimal | None) -> str:
    return "not known" if rate is None else _percent(rate)


def _percent(rate: Decimal) -> str:
    return f"{_plain(rate * 100)} %"


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(time_ns: int) -> str:
    return _plain(Decimal(time_ns) / _MS)
