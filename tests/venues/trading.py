"""Orders of all sorts, for runs in which the venue misbehaves."""

from __future__ import annotations

import random

from desk import Desk
from verdict import Verdict, judge

from tapeline.contracts.orders import Side

BATCH = 100


def trade(run: Desk, count: int, choice: random.Random) -> None:
    """Orders of all sorts, a batch at a time; the market moves so that resting ones fill too."""
    for number in range(count):
        side = choice.choice((Side.BUY, Side.SELL))
        limit = choice.choice((None, "100", "50" if side is Side.BUY else "200"))
        quantity = str(choice.randint(1, 50) / 10)
        # Reducing orders go on while others of the instrument are UNKNOWN; the venue does not mind.
        run.approve(f"o{number}", quantity, side=side, limit=limit, is_reduce_only=True)
        if number % BATCH == BATCH - 1:
            until_ended(run, number + 1)
    until_ended(run, count)


def until_ended(run: Desk, count: int) -> None:
    """Moves the market through every limit until the orders so far have ended."""

    def is_done() -> bool:
        for price in ("40", "100", "210", "100"):
            run.venue.market(SYNA_X=price)
        return len(run.ended()) >= count

    run.until(is_done, limit_s=900.0)


def finished(run: Desk) -> Verdict:
    """The verdict, once everything that was on its way has come."""
    run.settled()
    return judge(run)
