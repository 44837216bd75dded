"""A quantity fits a limit just when it is not above the room that the limit leaves."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from tapeline.accounting.numbers import CONTEXT, exact
from tapeline.contracts.risk import DenialCode
from tapeline.risk.bound import Bound, holds

D = Decimal


def scaled(number: int) -> Decimal:
    return CONTEXT.scaleb(D(number), -18)


WIRE = st.integers(-(10**30), 10**30).map(scaled)
QUANTITIES = st.integers(1, 10**30).map(scaled)


@given(QUANTITIES, QUANTITIES, WIRE, WIRE)
@example(D(3), D("0.333333333333333333"), D("0.999999999999999999"), D(0))
@example(D(3), D("0.333333333333333334"), D("1.000000000000000001"), D(0))
@example(D("1E-18"), D("1E-18"), D(0), D(0))
@example(D("1E-18"), D("1E-18"), D(0), D("1E-18"))
@exact
def test_what_holds_is_what_there_is_room_for(
    quantity: Decimal, cost: Decimal, allowed: Decimal, used: Decimal
) -> None:
    bound = Bound(
        code=DenialCode.CAPITAL, reason="", used=used, allowed=allowed, cost=cost, limit=allowed
    )
    assert holds(quantity, cost, allowed - used) == (bound.room() >= quantity)
    room = bound.room()
    assert not room or holds(room, cost, allowed - used)
    assert not holds(room + D("1E-18"), cost, allowed - used)
