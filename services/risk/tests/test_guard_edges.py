"""Guards at figures where a digit decides, and what they say of what they measured."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from risk_samples import (
    ACCOUNT,
    EWG,
    GROUP,
    SPY,
    Desk,
    account,
    decision,
    desk,
    fill_of,
    group,
    instrument,
    mandate,
    mark,
    order,
    venue,
)

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Limits, Mandate
from tapeline.contracts.orders import Side
from tapeline.contracts.risk import Denial, DenialCode
from tapeline.risk.appraisal import worth_of
from tapeline.risk.in_force import Gathered
from tapeline.risk.market_guards import _directions
from tapeline.risk.state import Reserve
from tapeline.risk.worth import rate_mark, unit_of

D = Decimal
BUY = Side.BUY


def wide(limits: Limits | None = None, **changes: Any) -> Mandate:
    """A mandate in which nothing binds but what a test says."""
    values: dict[str, Any] = {
        "position_weight_max": D(10),
        "gross_exposure_max": D(10),
        "leverage_max": D(10),
        "cash_reserve_min": D(-10),
    }
    return mandate(**{**values, **changes}, limits=limits)


def refused(world: Desk, asked: Decision, code: DenialCode) -> Denial:
    denial = world.denied(asked)
    assert denial.code is code, denial
    return denial


def figures(denial: Denial) -> tuple[object, object]:
    """What was measured, and the limit."""
    return denial.measured, denial.limit


@pytest.mark.parametrize("price", [50.0005, 50.0000005])
def test_the_last_of_the_equity_still_counts(price: float) -> None:
    # 2,000 held at 100 with -100,000 of cash: NAV is 1, and a thousandth of that.
    world = desk(wide(daily_loss_max=D(1), drawdown_max=D(1)))
    world.hold("2000")
    world.tell(mark(price=price))
    refused(world, order(BUY, "10"), DenialCode.POSITION_LIMIT)


@pytest.mark.parametrize(
    ("levels", "measured"),
    [({"take_profit_price": D("125.5")}, "0.255"), ({"stop_loss_price": D("70.5")}, "0.295")],
)
def test_a_level_too_far_away_says_how_far(levels: dict[str, Decimal], measured: str) -> None:
    denial = refused(desk(), decision(**levels), DenialCode.PROTECTIVE_LEVEL)
    assert figures(denial) == (D(measured), D("0.20"))


def test_an_order_of_another_account_is_not_this_account_s_to_amend_or_cancel() -> None:
    world = desk()
    world.tell(account("PAPER-2"), mandate("PAPER-2"), group("theirs", account_id="PAPER-2"))
    name = world.approved(order(BUY, "10")).order.client_order_id
    theirs = {"account_id": "PAPER-2", "group_id": "MANUAL", "client_order_id": name}
    cancel = decision(kind=DecisionKind.CANCEL, target_weight=None, **theirs)
    amend = decision(kind=DecisionKind.AMEND, target_weight=None, quantity=D(5), index=1, **theirs)
    refused(world, cancel, DenialCode.ORDER_UNKNOWN)
    refused(world, amend, DenialCode.ORDER_UNKNOWN)


def test_no_unit_of_what_is_not_configured_or_has_no_price() -> None:
    world = desk()
    assert unit_of(world.state, SPY, "USD") is not None
    assert unit_of(world.state, EWG, "USD") is None
    assert unit_of(world.state, "QQQ.ARCA", "USD") is None
    assert rate_mark(world.state, "EUR", "USD") is None
    appraiser = Gathered().appraiser
    assert appraiser.unit(world.state, "QQQ.ARCA", "USD") is None
    assert appraiser.unit(world.state, EWG, "USD") is None
    world.tell(mark(EWG))
    assert appraiser.unit(world.state, EWG, "USD") == unit_of(world.state, EWG, "USD") is not None


def test_a_line_that_is_flat_and_held_again_is_valued_again() -> None:
    world, gathered = desk(), Gathered()
    for quantity, gross in (("5", 500), ("-5", 0), ("3", 300)):
        world.hold(quantity)
        account_now = world.state.accounts[ACCOUNT]
        worth = gathered.appraiser.worth(world.state, account_now)
        assert worth == worth_of(world.state, account_now)
        assert worth is not None
        assert worth.gross == gross


# ---- the market


@pytest.mark.parametrize(
    ("bid", "ask", "measured"),
    [
        (0.0, 100.0, None),
        (100.0, 99.0, None),
        (0.5, 0.6, D("0.181818181818181818")),
        (99.0, 101.0, D("0.02")),
    ],
)
def test_a_spread_that_is_too_wide_or_none(bid: float, ask: float, measured: object) -> None:
    world = desk(wide(Limits(spread_max=D("0.001"))), venue(half_spread_rate=D(0)))
    world.tell(replace(mark(), bid_price=bid, ask_price=ask))
    assert figures(refused(world, decision(), DenialCode.SPREAD)) == (measured, D("0.001"))


def test_a_quote_of_small_prices_has_a_spread_and_one_of_one_side_has_the_venue_s() -> None:
    limits = wide(Limits(spread_max=D("0.001")))
    world = desk(limits, venue(half_spread_rate=D(0)))
    world.tell(replace(mark(price=0.5), bid_price=0.5, ask_price=0.5004))
    assert world.approved(decision())
    for one_sided in ({"bid_price": 1.0}, {"ask_price": 1000.0}):
        world = desk(limits, venue(half_spread_rate=D(0)))
        world.tell(replace(mark(), **one_sided))
        assert world.approved(decision())


def test_a_calendar_that_is_not_known_is_named() -> None:
    for calendar, name in (("MOON", "MOON is"), ("", "No name is")):
        world = desk(wide(Limits(trades_in_hours=True)), instrument(calendar=calendar))
        assert refused(world, decision(), DenialCode.CALENDAR_UNKNOWN).reason.startswith(name)


@pytest.mark.parametrize(
    ("net", "reserve", "signs"),
    [
        ("0", None, ()),
        ("0.5", None, (1,)),
        ("-0.5", None, (-1,)),
        ("0", ("0.5", "0"), (1,)),
        ("0", ("0", "0.5"), (-1,)),
        ("-0.5", ("0.5", "0"), (-1,)),
        ("0.5", ("0", "0.5"), (1,)),
        ("-1", ("0.5", "0"), (-1,)),
        ("1", ("0", "0.5"), (1,)),
        ("-0.5", ("1", "0"), (1, -1)),
        ("0.5", ("0", "1"), (1, -1)),
        ("0", ("0.5", "0.5"), (1, -1)),
    ],
)
def test_where_an_account_is_or_may_come_to_be(
    net: str, reserve: tuple[str, str] | None, signs: tuple[int, ...]
) -> None:
    world = desk()
    world.hold(net)
    held = world.state.accounts[ACCOUNT]
    if reserve is not None:
        buying, selling = map(D, reserve)
        own = Reserve(buying=buying, selling=selling)
        held = replace(held, reserves={SPY: {GROUP: own}})
    assert _directions(held, SPY) == signs


def test_what_is_filled_to_the_last_unit_is_neither_canceled_nor_amended() -> None:
    world = desk()
    first = world.approved(order(BUY, "10"))
    name = first.order.client_order_id
    world.tell(fill_of(first, "9", "100"))
    cancel = {"kind": DecisionKind.CANCEL, "target_weight": None, "client_order_id": name}
    world.approved(decision(**cancel, index=1))
    # Its end is still on the way.
    world.tell(fill_of(first, "1", "100", 1))
    assert first.approval.approval_id in world.state.open_orders
    refused(world, decision(**cancel, index=2), DenialCode.ORDER_UNKNOWN)
    amend = {**cancel, "kind": DecisionKind.AMEND, "quantity": D(20)}
    refused(world, decision(**amend, index=3), DenialCode.ORDER_UNKNOWN)
