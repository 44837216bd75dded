"""Guards of the market an entry meets: its hours, its spread, its volume, what moves with it.

What a guard needs and cannot know is denied under its own code, without a measured figure.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tapeline.accounting.numbers import (
    bounded,
    divide_rounded,
    price_from_float,
)
from tapeline.contracts.risk import DenialCode
from tapeline.risk.history import BARS_MIN
from tapeline.risk.hours import sessions_of
from tapeline.risk.question import Question, Refusal, Wish, seconds
from tapeline.risk.state import AccountState
from tapeline.risk.worth import Worth, combined


def in_session(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """The exchange must be open, by the instrument's calendar."""
    if not question.limits.trades_in_hours:
        return None
    assert question.instrument is not None
    calendar = question.instrument.calendar
    sessions = sessions_of(calendar)
    if sessions is None:
        return Refusal(
            code=DenialCode.CALENDAR_UNKNOWN,
            reason=f"{calendar or 'No name'} is not an exchange calendar.",
        )
    if sessions.is_open(question.now_ns):
        return None
    opens_ns = sessions.next_open_ns(question.now_ns)
    return Refusal(
        code=DenialCode.MARKET_CLOSED,
        reason=f"{calendar} is closed; now and its next opening, in seconds since 1970.",
        measured=seconds(question.now_ns),
        limit=None if opens_ns is None else seconds(opens_ns),
    )


def spread_narrow(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """Bid and ask must be near each other."""
    limit = question.limit("spread_max")
    if limit is None:
        return None
    spread = spread_of(question)
    if spread is not None and spread <= limit:
        return None
    return Refusal(
        code=DenialCode.SPREAD,
        reason="The spread is too wide, or not known, as a share of the mid price.",
        measured=None if spread is None else bounded(spread),
        limit=limit,
    )


def spread_of(question: Question) -> Decimal | None:
    """That of the mark's quote; where only trades are known, what the venue is configured with.

    None without either, and for a quote that is crossed.
    """
    mark, account = question.mark, question.account
    assert mark is not None
    assert account is not None
    if mark.bid_price is not None and mark.ask_price is not None:
        bid, ask = price_from_float(mark.bid_price), price_from_float(mark.ask_price)
        return divide_rounded(2 * (ask - bid), ask + bid) if 0 < bid <= ask else None
    venue = question.state.venues.get(account.account.venue)
    return None if venue is None else 2 * venue.half_spread_rate


def volume_known(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """A share of the average volume needs one."""
    limit = question.limit("volume_share_max")
    if limit is None or average_volume(question) is not None:
        return None
    return Refusal(
        code=DenialCode.VOLUME_SHARE,
        reason=f"The average volume is not known: it takes {BARS_MIN} bars, and trades in them.",
        limit=limit,
    )


def average_volume(question: Question) -> float | None:
    """Mean volume of the instrument's bars that are kept."""
    history = question.state.histories.get(question.decision.instrument_id)
    return None if history is None else history.average_volume()


def sector_named(question: Question, _wish: Wish, _worth: Worth | None) -> Refusal | None:
    """A limit for sectors needs the instrument's."""
    assert question.instrument is not None
    limit = question.limit("sector_weight_max")
    if limit is None or question.instrument.sector:
        return None
    return Refusal(
        code=DenialCode.SECTOR_LIMIT,
        reason=f"{question.instrument.instrument_id} names no sector.",
        limit=limit,
    )


def not_alike(question: Question, wish: Wish, _worth: Worth | None) -> Refusal | None:
    """What is entered must not move like what is held.

    The correlation of returns counts with the directions of both: a short against a long that
    moves alike is a hedge. Open orders count as held.
    """
    limit = question.limit("correlation_max")
    if limit is None:
        return None
    account, instrument_id = question.account, question.decision.instrument_id
    assert account is not None
    lines, reserves = account.ledger.lines, account.reserves
    others = (*lines, *(name for name in reserves if name not in lines))
    alike = question.gathered.may_be_alike(question.state, instrument_id, others, limit)
    # In the order of their names: that of the maps is another one after a recovery.
    found = (_alike(question, wish, account, (name, limit)) for name in sorted(alike))
    return next((refusal for refusal in found if refusal is not None), None)


def _together(question: Question, other: str) -> Decimal | None:
    return question.gathered.correlation(question.state, question.decision.instrument_id, other)


def _alike(
    question: Question, wish: Wish, account: AccountState, against: tuple[str, Decimal]
) -> Refusal | None:
    other, limit = against
    signs, together = _directions(account, other), _together(question, other)
    if not signs:
        return None
    if together is None:
        return Refusal(
            code=DenialCode.CORRELATION,
            reason=f"The correlation with {other}, which is held or on order, is not known: "
            f"it takes {BARS_MIN} bars that both have.",
            limit=limit,
        )
    worst = max(together * wish.sign * sign for sign in signs)
    if worst <= limit:
        return None
    return Refusal(
        code=DenialCode.CORRELATION,
        reason=f"It moves like {other}, which is held or on order.",
        measured=bounded(worst),
        limit=limit,
    )


def _directions(account: AccountState, instrument_id: str) -> tuple[int, ...]:
    """1 where the account is or may become long, -1 where short."""
    net = account.ledger.net_quantity(instrument_id)
    reserves = account.reserves.get(instrument_id)
    if reserves is None:
        return () if not net else ((1,) if net > 0 else (-1,))
    total = combined(reserves)
    found = ((1, net + total.buying > 0), (-1, net - total.selling < 0))
    return tuple(sign for sign, is_possible in found if is_possible)


MARKET_GUARDS: Final = (in_session, spread_narrow, volume_known, sector_named, not_alike)
