"""Fees on paper: maker and taker rates, and tiers of them by what an account has traded.

The tier of a day is that of the notional which the account's fills at the venue made in the 30 UTC
days before it; what is traded today counts from tomorrow on. So exchanges assess it, once a day.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import ZERO, fixed
from tapeline.contracts.config import Venue
from tapeline.execution.venues.arrival import DAY_NS
from tapeline.execution.venues.paper_state import PaperAccount

TIER_DAYS: Final = 30


def fee_rate(venue: Venue, account: PaperAccount, now_ns: int, *, is_maker: bool) -> Decimal:
    """Fraction of a fill's notional, at a time."""
    maker_rate, taker_rate = venue.maker_fee_rate, venue.taker_fee_rate
    if venue.fee_tiers:
        volume = assessed(account, now_ns)
        for tier in venue.fee_tiers:
            if volume >= tier.notional_min:
                maker_rate, taker_rate = tier.maker_fee_rate, tier.taker_fee_rate
    return maker_rate if is_maker else taker_rate


def assessed(account: PaperAccount, now_ns: int) -> Decimal:
    """Notional of the 30 UTC days before today, in the account's base currency."""
    today = now_ns // DAY_NS
    days = range(today - TIER_DAYS, today)
    return sum((account.traded.get(str(day), ZERO) for day in days), ZERO)


def with_traded(account: PaperAccount, now_ns: int, value: Decimal) -> dict[str, Decimal]:
    """`traded` after a fill of that notional; days that count no more are let go."""
    today = now_ns // DAY_NS
    traded = account.traded
    if str(today) not in traded:
        traded = {day: sum_ for day, sum_ in traded.items() if int(day) >= today - TIER_DAYS}
    return {**traded, str(today): fixed(traded.get(str(today), ZERO) + abs(value))}
