"""Why two runs of the same plan came to different money: the gap, order by order, by cause.

The profit of a run is, over its fills, `quantity x (last price - price) - fee`, and the cash that
moved without a fill. So the gap between two runs is a sum over pairs of orders (alignment.py), and
each pair's part is split (Q signed quantity, P last price of the run, p average price paid, M the
market at a time, t time of the fill; A's terms first, then B's):

    Q_b (P_b - p_b) - Q_a (P_a - p_a)
        = (Q_b - Q_a) (P_a - p_a)                   more or less was traded
        + Q_b (P_b - P_a)                           data: the last price differs
        - Q_b (M_b(t_b) - M_a(t_b))                 data: the market at the fill differs
        - Q_b (M_a(t_b) - M_a(t_a))                 timing: the market moved on meanwhile
        - Q_b ((p_b - M_b(t_b)) - (p_a - M_a(t_a))) fill: dealt worse or better than the market

What was more or less traded is signal (another side or size was asked for), fill (the venue gave
more or less of the same), missing (one run has no such order, or denied it), or data, where the
bars before the decision differ. A quantity that only makes up for an earlier difference of the
positions belongs to what made that difference. Fees at another rate are fee; those that a larger
quantity costs go with it. Cash is funding; deposits and withdrawals are no profit.

All of it is in the instrument's currency, and is converted at A's last rate into the base currency.
Where B's last rate is another, that on B's profit is data. Accounts keep cash in the currency that
it came in, so the last rate is what counts.

Within a bar the market is known to lie between its low and high. Of two orders that were filled at
different times the prices paid, as far as they lie in that range, are taken for the market.

Computed in fractions: the buckets add up to the gap exactly.

Errors:
    RateUnknown     a run dealt in a currency of which it tells no rate
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import polars as pl

from tapeline.backtest.parity.alignment import (
    ZERO,
    Filled,
    Match,
    Pair,
    Placed,
    aligned,
    exact,
    placed_orders,
)
from tapeline.backtest.parity.scope import unlike
from tapeline.backtest.rates import is_foreign, unknown_rate
from tapeline.backtest.run_labels import labels_of, span_of
from tapeline.backtest.run_tables import Description, RunTables

BUCKETS: Final = ("signal", "timing", "fill", "fee", "funding", "data", "missing")
CAPITAL: Final = ("deposit", "withdrawal")
"""Kinds of cash that are neither profit nor loss."""
UNANSWERED: Final = ("DENIED", "PENDING")
"""Of an order that never came to be."""
LOOKBACK_BARS: Final = 50
"""How far before a decision other bars count as its cause."""
TOLERANCE_NS: Final = 60_000_000_000
"""Between two decisions of one order, where the runs have no bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one pair of orders adds to the gap."""

    pair: Pair
    buckets: Mapping[str, Fraction]

    @property
    def total(self) -> Fraction:
        """Over all causes."""
        return sum(self.buckets.values(), ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Two runs side by side; money is in their base currency, B minus A."""

    a: Description
    b: Description
    profit_a: Fraction
    """from the tables"""
    profit_b: Fraction
    buckets: Mapping[str, Fraction]
    parts: tuple[Part, ...]
    funding: Mapping[str, Fraction]
    """by instrument: the part of the gap that is cash"""
    untold: Fraction
    """difference of the reported profits that the tables do not tell: splits and corrections; 0
    where the tables are whole"""
    warnings: tuple[str, ...] = ()
    labels: tuple[str, str] = ("A", "B")
    """what people call the two"""
    spans: tuple[tuple[int, int] | None, ...] = (None, None)
    """(first, last) time that each covers, nanoseconds UTC"""

    @property
    def gap(self) -> Fraction:
        """Profit of B minus profit of A."""
        return self.profit_b - self.profit_a

    def count(self, *matches: Match) -> int:
        """Pairs that were matched so."""
        return sum(part.pair.match in matches for part in self.parts)


@dataclass(slots=True)
class Market:
    """Prices of one run by time: opens and closes of its bars, and its last prices."""

    times: dict[str, list[int]] = field(default_factory=dict)
    prices: dict[str, list[Fraction]] = field(default_factory=dict)
    lasts: dict[str, Fraction] = field(default_factory=dict)
    bars: dict[str, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    """instrument -> close time -> the bar's figures"""
    rates: dict[str, Fraction] = field(default_factory=dict)
    """instrument -> last rate of its currency into the base currency; none is 1"""

    def rate(self, instrument_id: str) -> Fraction | None:
        """What one unit of an instrument's currency is worth; None where it was not dealt in."""
        return self.rates.get(instrument_id)

    def near(self, fill: Filled, instrument_id: str) -> Fraction | None:
        """The market at a fill, as far as the price paid tells it within its bar."""
        known = self.at(instrument_id, fill.ts_event_ns)
        times = self.times.get(instrument_id, [])
        index = bisect_right(times, fill.ts_event_ns) - 1
        if known is None or times[index] == fill.ts_event_ns or index + 1 == len(times):
            return known
        figures = self.bars[instrument_id].get(times[index + 1])
        if figures is None:
            return known
        low, high = exact(figures[2]), exact(figures[1])
        return min(max(fill.price, low), high)

    def at(self, instrument_id: str, ts_ns: int) -> Fraction | None:
        """The market's price at a time; None before the first bar and without bars."""
        index = bisect_right(self.times.get(instrument_id, []), ts_ns) - 1
        return None if index < 0 else self.prices[instrument_id][index]

    def last(self, instrument_id: str) -> Fraction | None:
        """What a position is valued at in the end."""
        return self.lasts.get(instrument_id)


def market_of(run: RunTables) -> Market:
    """The prices in a run's tables."""
    found = Market()
    bars = run["bars"].sort("ts_close_ns", maintain_order=True)
    for (name,), rows in bars.group_by("instrument_id", maintain_order=True):
        points: dict[int, Fraction] = {}
        figures: dict[int, tuple[float, ...]] = {}
        for ts_open, ts_close, *values in rows.select(
            "ts_open_ns", "ts_close_ns", "open", "high", "low", "close"
        ).rows():
            # The open of a bar is newer than the close of the one before, at the same time.
            points[ts_open] = exact(values[0])
            points[ts_close] = exact(values[3])
            figures[ts_close] = tuple(values)
        key = str(name)
        found.times[key], found.prices[key] = sorted(points), []
        found.prices[key] = [points[ts_ns] for ts_ns in found.times[key]]
        found.bars[key] = figures
        found.lasts[key] = exact(rows["close"][-1])
    for name, price in run["fills"].select("instrument_id", "price").iter_rows():
        if name not in found.bars:
            found.lasts[name] = exact(price)
    for name, text in run.description.last_prices.items():
        found.lasts[name] = Fraction(text)
    dealt = run["fills"].select("instrument_id", "currency").unique(maintain_order=True)
    for name, currency in dealt.iter_rows():
        found.rates[name] = rate_of(run, currency, name)
    return found


def rate_of(run: RunTables, currency: str | None, name: str) -> Fraction:
    """What one unit of a currency was worth in the run's base currency at its end; `name` is what
    has it. Raises RateUnknown."""
    if not currency or not is_foreign(run, currency):
        return Fraction(1)
    if currency not in run.description.last_rates:
        raise unknown_rate(run, name, currency)
    return Fraction(run.description.last_rates[currency])


def parity(a: RunTables, b: RunTables, tolerance_ns: int | None = None) -> Parity:
    """Aligns B with A and says where the difference in profit comes from.

    `tolerance_ns` bounds the time between two decisions that may be one; a bar where not given.
    """
    within_ns = tolerance_ns
    if within_ns is None:
        longest_ns = max(a.description.interval_ns, b.description.interval_ns)
        within_ns = longest_ns or TOLERANCE_NS
    markets = (market_of(a), market_of(b))
    orders = (placed_orders(a), placed_orders(b))
    attribution = _Attribution(*markets)
    parts = tuple(attribution.part(pair) for pair in aligned(*orders, within_ns))
    funding = _funding(a, b)
    buckets = {
        name: sum((part.buckets.get(name, ZERO) for part in parts), ZERO) for name in BUCKETS
    }
    buckets["funding"] += sum(funding.values(), ZERO)
    profit_a, profit_b = (
        _profit(run, found, market)
        for run, found, market in zip((a, b), orders, markets, strict=True)
    )
    reported = _reported(b) - _reported(a)
    labels = labels_of((a, b))
    return Parity(
        a=a.description,
        b=b.description,
        profit_a=profit_a,
        profit_b=profit_b,
        buckets=buckets,
        parts=parts,
        funding=funding,
        untold=reported - (profit_b - profit_a),
        warnings=(*unlike(a, b), *_warnings(a, b, markets)),
        labels=(labels[0], labels[1]),
        spans=(span_of(a), span_of(b)),
    )


class _Attribution:
    """Splits pair after pair, in their order of time, and remembers how positions came apart."""

    def __init__(self, market_a: Market, market_b: Market) -> None:
        self._a, self._b = market_a, market_b
        self._apart: dict[tuple[str, str], dict[str, Fraction]] = {}
        self._first_other = {name: self._other_bars(name) for name in market_a.bars}

    def part(self, pair: Pair) -> Part:
        """What a pair adds to the gap, by cause."""
        known = pair.known
        name = known.instrument_id
        last_a, last_b = self._lasts(name)
        a, b = pair.a or _nothing(known), pair.b or _nothing(known)
        quantity_a, quantity_b = a.quantity, b.quantity
        found = dict.fromkeys(BUCKETS, ZERO)
        if quantity_a and quantity_b:
            price_a, price_b = a.paid / quantity_a, b.paid / quantity_b
            self._price_parts(found, (a, b), price_b - price_a)
        else:
            filled = a if quantity_a else b
            price_a = filled.paid / filled.quantity if filled.quantity else last_a
        found["data"] += quantity_b * (last_b - last_a)
        traded = self._quantity_parts(pair, a, b)
        for bucket, quantity in traded.items():
            found[bucket] += quantity * (last_a - price_a)
        # Fees of A at B's quantity go with the quantity; what is left is another rate.
        larger = _fee_of_difference(a, b)
        found[max(traded, key=lambda name: abs(traded[name]), default="fee")] += larger
        found["fee"] += a.fee - b.fee - larger
        rate_a, rate_b = self._rates(name)
        found = {bucket: value * rate_a for bucket, value in found.items()}
        found["data"] += (b.quantity * last_b - b.paid - b.fee) * (rate_b - rate_a)
        return Part(pair=pair, buckets=found)

    def _rates(self, name: str) -> tuple[Fraction, Fraction]:
        """A run that did not deal in the instrument has the rate of the other."""
        rate_a, rate_b = self._a.rate(name), self._b.rate(name)
        one = rate_a if rate_a is not None else rate_b
        other = rate_b if rate_b is not None else rate_a
        return one or Fraction(1), other or Fraction(1)

    def _lasts(self, name: str) -> tuple[Fraction, Fraction]:
        last_a, last_b = self._a.last(name), self._b.last(name)
        one = last_a if last_a is not None else last_b
        other = last_b if last_b is not None else last_a
        return one or ZERO, other or ZERO

    def _price_parts(
        self, found: dict[str, Fraction], orders: tuple[Placed, Placed], worse: Fraction
    ) -> None:
        """Splits -Q_b x (p_b - p_a) over data, timing and fill."""
        a, b = orders
        name, quantity = b.instrument_id, b.quantity
        shared = {fill.ts_event_ns for fill in a.fills} & {fill.ts_event_ns for fill in b.fills}
        market_a = _average(self._a, name, a.fills, shared)
        market_b = _average(self._b, name, b.fills, shared)
        shifted = _average(self._a, name, b.fills, shared)
        if market_a is None or market_b is None or shifted is None:
            found["fill"] -= quantity * worse
            return
        data, timing = market_b - shifted, shifted - market_a
        found["data"] -= quantity * data
        found["timing"] -= quantity * timing
        found["fill"] -= quantity * (worse - data - timing)

    def _quantity_parts(self, pair: Pair, a: Placed, b: Placed) -> dict[str, Fraction]:
        """The difference of the quantities by cause; what makes up for an earlier one first."""
        difference = b.quantity - a.quantity
        line = (pair.known.group_id, pair.known.instrument_id)
        apart = self._apart.setdefault(line, {})
        held = sum(apart.values(), ZERO)
        found: dict[str, Fraction] = {}
        made_up = ZERO
        if held and difference and (held > 0) != (difference > 0):
            made_up = -held if abs(difference) >= abs(held) else difference
            for bucket in list(apart):
                share = apart[bucket] * made_up / held
                found[bucket] = found.get(bucket, ZERO) + share
                apart[bucket] += share
        left = difference - made_up
        for bucket, quantity in self._fresh_parts(pair, (a, b), difference, left).items():
            found[bucket] = found.get(bucket, ZERO) + quantity
            apart[bucket] = apart.get(bucket, ZERO) + quantity
        return found

    def _fresh_parts(
        self, pair: Pair, orders: tuple[Placed, Placed], difference: Fraction, left: Fraction
    ) -> dict[str, Fraction]:
        """Causes of the part of the difference that nothing earlier explains."""
        a, b = orders
        if not left:
            return {}
        is_data = self._data_differ_before(pair)
        if pair.match in (Match.ONLY_A, Match.ONLY_B):
            bucket = "fill" if pair.known.leg else "missing"
            return {"data" if is_data else bucket: left}
        if not all(item.fills or item.status not in UNANSWERED for item in orders):
            return {"missing": left}
        wished = b.wanted - a.wanted
        asked = wished * left / difference
        return {
            "data" if is_data else "signal": asked,
            "fill": left - asked,
        }

    def _other_bars(self, name: str) -> list[int]:
        """Close times of the bars that differ, or that only one of the runs has."""
        bars_a, bars_b = self._a.bars[name], self._b.bars.get(name, {})
        if not bars_b:
            return []
        # Where one run ends earlier or begins later its bars are not wrong.
        low = max(min(bars_a), min(bars_b))
        high = min(max(bars_a), max(bars_b))
        return sorted(
            ts_ns
            for ts_ns in bars_a.keys() | bars_b.keys()
            if low <= ts_ns <= high and bars_a.get(ts_ns) != bars_b.get(ts_ns)
        )

    def _data_differ_before(self, pair: Pair) -> bool:
        """Whether one of the last bars before the decision differs."""
        name, times = pair.known.instrument_id, self._a.times.get(pair.known.instrument_id, [])
        others = self._first_other.get(name, [])
        if not others:
            return False
        index = bisect_right(times, pair.ts_ns)
        # Two points a bar.
        since_ns = times[max(0, index - 2 * LOOKBACK_BARS)] if times else 0
        found = bisect_right(others, pair.ts_ns) - 1
        return found >= 0 and others[found] >= since_ns


def _nothing(like: Placed) -> Placed:
    """An order that was not there."""
    return Placed(
        group_id=like.group_id,
        instrument_id=like.instrument_id,
        ts_decided_ns=like.ts_decided_ns,
        side=like.side,
        leg=like.leg,
    )


def _fee_of_difference(a: Placed, b: Placed) -> Fraction:
    """Fees that A's order cost more than B's because of its quantity alone, at A's rate."""
    if a.quantity and b.quantity:
        return a.fee / abs(a.quantity) * (abs(a.quantity) - abs(b.quantity))
    return a.fee - b.fee


def _average(
    market: Market, name: str, fills: Sequence[Filled], shared: Container[int]
) -> Fraction | None:
    """The market at the fills, weighted by their quantities; `shared` are times at which both
    orders were filled, so that what they paid tells nothing of a delay."""
    total, paid = ZERO, ZERO
    for fill in fills:
        is_shared = fill.ts_event_ns in shared
        price = market.at(name, fill.ts_event_ns) if is_shared else market.near(fill, name)
        if price is None:
            return None
        total += fill.quantity
        paid += fill.quantity * price
    return paid / total if total else None


def _funding(a: RunTables, b: RunTables) -> dict[str, Fraction]:
    """Cash without a fill, B minus A, by instrument."""
    found: dict[str, Fraction] = {}
    for sign, run in ((-1, a), (1, b)):
        for name, amount in _moved(run):
            found[name] = found.get(name, ZERO) + sign * amount
    return found


def _moved(run: RunTables) -> Iterator[tuple[str, Fraction]]:
    """(instrument, cash that came without a fill), in the base currency."""
    columns = ("instrument_id", "kind", "amount", "currency")
    for name, kind, amount, currency in run["cash"].select(columns).rows():
        if not (kind or "").lower().startswith(CAPITAL):
            yield name or "", exact(amount) * rate_of(run, currency, name or f"{kind} cash")


def _profit(run: RunTables, orders: Sequence[Placed], market: Market) -> Fraction:
    """Of a run, from its fills and its cash."""
    found = ZERO
    for order in orders:
        last = market.last(order.instrument_id) or ZERO
        rate = market.rate(order.instrument_id) or Fraction(1)
        found += (order.quantity * last - order.paid - order.fee) * rate
    return found + sum((amount for _, amount in _moved(run)), ZERO)


def _reported(run: RunTables) -> Fraction:
    """Profit as the run itself has it: final equity less what was put in.

    A first deposit of just the starting cash, before anything was worth something, is that."""
    starting = Fraction(run.description.starting_cash)
    put_in = starting
    first_ns = run["equity"]["ts_event_ns"].min()
    rows = run["cash"].sort("ts_event_ns", maintain_order=True)
    capital = [
        (ts_ns, exact(amount) * rate_of(run, currency, f"{kind} cash"))
        for ts_ns, kind, amount, currency in rows.select(
            "ts_event_ns", "kind", "amount", "currency"
        ).rows()
        if (kind or "").lower().startswith(CAPITAL)
    ]
    for number, (ts_ns, amount) in enumerate(capital):
        is_starting = number == 0 and amount == starting and isinstance(first_ns, int)
        if not (is_starting and ts_ns <= first_ns):
            put_in += amount
    return Fraction(run.description.final_equity) - put_in


def _warnings(a: RunTables, b: RunTables, markets: tuple[Market, Market]) -> tuple[str, ...]:
    found = []
    for letter, run, market in zip("AB", (a, b), markets, strict=True):
        found += [f"{letter}: {text}" for text in run.description.warnings]
        traded = run["fills"].select(pl.col("instrument_id").unique().sort()).to_series().to_list()
        bare = [name for name in traded if name not in market.bars]
        if bare:
            found.append(
                f"{letter} has no bars of {', '.join(bare)}: there delay and data count as fill"
            )
    if a.description.base_currency != b.description.base_currency:
        found.append("the runs are in different currencies: their figures are not comparable")
    return tuple(found)
