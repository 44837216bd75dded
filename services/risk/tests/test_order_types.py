"""Stops, algorithms and protective levels as risk approves them, computed by hand.

The mark is 100, the NAV 100,000, the lot 1, the tick 0.01, the price collar 5 %, the largest
distance of a protective level 20 %.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from risk_samples import (
    ACCOUNT,
    GROUP,
    NOW,
    SECOND,
    SPY,
    D,
    Desk,
    decision,
    desk,
    fill_of,
    mandate,
    order,
    switch,
    update_of,
)

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.orders import (
    Algorithm,
    ApprovedOrder,
    ChildRole,
    OrderAction,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from tapeline.contracts.risk import DenialCode, TradingState
from tapeline.risk.schedules import CHILDREN_MAX, FOREVER_NS, parts, split

BUY, SELL = Side.BUY, Side.SELL
STOP, STOP_LIMIT, LIMIT = OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.LIMIT
ALL = ("STOP_MARKET", "STOP_LIMIT", "TWAP", "VWAP", "ICEBERG", "BRACKET")
MINUTE = 60 * SECOND


def permissive(**changes: Any) -> Desk:
    return desk(mandate(order_types=ALL, **changes))


def stop(side: Side, price: str, **changes: Any) -> Decision:
    plain: dict[str, Any] = {"order_type": STOP, "stop_price": D(price)}
    return order(side, "10", **{**plain, **changes})


def twap(quantity: str = "10", **changes: Any) -> Decision:
    plain: dict[str, Any] = {
        "algorithm": Algorithm.TWAP,
        "duration_ns": 30 * MINUTE,
        "slice_count": 3,
    }
    return order(BUY, quantity, **{**plain, **changes})


def vwap(quantity: str, *profile: str) -> Decision:
    volumes = tuple(D(one) for one in profile)
    return twap(quantity, algorithm=Algorithm.VWAP, slice_count=None, volume_profile=volumes)


def iceberg(quantity: str = "10", visible: str = "4", **changes: Any) -> Decision:
    plain: dict[str, Any] = {
        "algorithm": Algorithm.ICEBERG,
        "order_type": LIMIT,
        "limit_price": D(100),
        "visible_quantity": D(visible),
        "duration_ns": None,
        "slice_count": None,
    }
    return twap(quantity, **{**plain, **changes})


def bracket(side: Side = BUY, quantity: str = "10", **changes: Any) -> Decision:
    plain: dict[str, Any] = {"take_profit_price": D(110), "stop_loss_price": D(95)}
    return order(side, quantity, **{**plain, **changes})


# ---- permission


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (stop(BUY, "101"), "STOP_MARKET"),
        (stop(BUY, "101", order_type=STOP_LIMIT, limit_price=D(102)), "STOP_LIMIT"),
        (twap(), "TWAP"),
        (vwap("10", "3", "1", "1"), "VWAP"),
        (iceberg(), "ICEBERG"),
        (bracket(), "BRACKET"),
    ],
)
def test_each_type_needs_the_mandates_permission(asked: Decision, name: str) -> None:
    denial = desk(mandate(order_types=tuple(set(ALL) - {name}))).denied(asked)
    assert denial.code is DenialCode.ORDER_TYPE_NOT_PERMITTED
    assert name in denial.reason
    assert desk(mandate(order_types=(name,))).approved(asked).order.quantity == 10


def test_an_algorithm_of_a_later_version_is_not_permitted() -> None:
    denial = permissive().denied(twap(algorithm=Algorithm.UNKNOWN))
    assert denial.code is DenialCode.ORDER_TYPE_NOT_PERMITTED


# ---- what an order needs


@pytest.mark.parametrize(
    "asked",
    [
        order(BUY, "1", order_type=STOP),
        order(BUY, "1", order_type=STOP_LIMIT, limit_price=D(101)),
        order(BUY, "1", order_type=STOP_LIMIT, stop_price=D(101)),
        stop(BUY, "101", time_in_force=TimeInForce.IOC),
        stop(BUY, "101", time_in_force=TimeInForce.FOK),
        stop(BUY, "101", is_post_only=True),
        twap(duration_ns=None),
        twap(duration_ns=0),
        twap(slice_count=None),
        twap(slice_count=1),
        twap(slice_count=CHILDREN_MAX + 1),
        twap(time_in_force=TimeInForce.IOC),
        twap(order_type=STOP, stop_price=D(101)),
        twap(take_profit_price=D(110)),
        twap(stop_loss_price=D(95)),
        vwap("10", "1"),
        vwap("10", "0", "0"),
        vwap("10", "2", "-1"),
        vwap("10", *["1"] * (CHILDREN_MAX + 1)),
        iceberg(visible_quantity=None),
        iceberg(order_type=OrderType.MARKET, limit_price=None),
        iceberg(duration_ns=-1),
    ],
)
def test_an_order_that_lacks_something_is_malformed(asked: Decision) -> None:
    assert permissive().denied(asked).code is DenialCode.MALFORMED


@pytest.mark.parametrize(
    "levels",
    [
        {"take_profit_price": D(110)},
        {"stop_loss_price": D(95)},
        {"take_profit_price": D(110), "stop_loss_price": D(95)},
    ],
)
@pytest.mark.parametrize("asked", [twap(), vwap("10", "3", "1", "1"), iceberg()])
@pytest.mark.parametrize("by_weight", [False, True])
def test_an_order_has_slices_or_protective_levels_and_is_told_so(
    asked: Decision, levels: dict[str, Any], *, by_weight: bool
) -> None:
    weight = {
        "kind": DecisionKind.TARGET_WEIGHT,
        "target_weight": D("0.04"),
        "side": None,
        "quantity": None,
    }
    asked = replace(asked, **weight) if by_weight else asked
    assert permissive().approved(asked)
    denial = permissive().denied(replace(asked, **levels))
    assert denial.code is DenialCode.MALFORMED
    assert denial.reason == "An order is worked in slices or has protective levels, not both."


@pytest.mark.parametrize("asked", [twap(), vwap("10", "3", "1", "1"), iceberg(), bracket()])
@pytest.mark.parametrize(
    "change", [{"quantity": D(20)}, {"quantity": D(5)}, {"limit_price": D(99)}]
)
def test_what_has_a_schedule_is_not_amended_and_is_told_so(
    asked: Decision, change: dict[str, Any]
) -> None:
    world = permissive()
    first = world.approved(asked)
    amendment = decision(
        kind=DecisionKind.AMEND,
        client_order_id=first.order.client_order_id,
        index=1,
        **{"quantity": None, **change},
    )
    denial = world.denied(amendment)
    assert denial.code is DenialCode.AMENDMENT
    text = "An order with slices or protective legs is canceled and ordered anew."
    assert denial.reason == text
    cancel = decision(
        kind=DecisionKind.CANCEL, client_order_id=first.order.client_order_id, index=2
    )
    assert world.approved(cancel).action is OrderAction.CANCEL


@pytest.mark.parametrize(
    "asked",
    [stop(BUY, "0"), stop(BUY, "-1"), iceberg(visible="0"), iceberg(visible="-4")],
)
def test_prices_and_sizes_are_positive(asked: Decision) -> None:
    assert permissive().denied(asked).code is DenialCode.NOT_POSITIVE


# ---- stops


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (stop(BUY, "100.01"), None),
        (stop(BUY, "100"), DenialCode.STOP_PRICE),
        (stop(BUY, "99.99"), DenialCode.STOP_PRICE),
        (stop(BUY, "105"), None),
        (stop(BUY, "105.01"), DenialCode.STOP_PRICE),
        (stop(BUY, "101.001"), DenialCode.TICK_SIZE),
        (stop(SELL, "99.99"), None),
        (stop(SELL, "100"), DenialCode.STOP_PRICE),
        # It only closes: the distance of protective levels holds.
        (stop(SELL, "80"), None),
        (stop(SELL, "79.99"), DenialCode.STOP_PRICE),
        (stop(BUY, "104", order_type=STOP_LIMIT, limit_price=D("109.2")), None),
        (
            stop(BUY, "104", order_type=STOP_LIMIT, limit_price=D("109.21")),
            DenialCode.PRICE_COLLAR,
        ),
    ],
)
def test_a_stop_is_where_the_market_has_yet_to_go(asked: Decision, code: DenialCode | None) -> None:
    world = permissive()
    world.hold("10")
    if code is None:
        assert world.approved(asked).order.stop_price == asked.stop_price
    else:
        assert world.denied(asked).code is code


def test_a_stop_needs_a_fresh_mark_also_when_it_closes() -> None:
    world = permissive()
    world.hold("10")
    world.now_ns += 31 * SECOND
    asked = stop(SELL, "90", ts_event_ns=world.now_ns, cycle_ns=world.now_ns)
    assert world.denied(asked).code is DenialCode.MARK_STALE


def test_a_stop_is_reserved_at_its_own_price() -> None:
    world = permissive()
    world.approved(stop(BUY, "104"))
    reserve = world.state.accounts[ACCOUNT].reserve(GROUP, SPY)
    assert (reserve.opening_buying, reserve.opening_cost) == (10, 1040)


# ---- slices


def sizes(approved: ApprovedOrder) -> list[int]:
    schedule = approved.approval.schedule
    assert schedule is not None
    return [int(child.quantity) for child in schedule.children]


def minutes(approved: ApprovedOrder) -> list[int]:
    schedule = approved.approval.schedule
    assert schedule is not None
    return [(child.send_ns - NOW) // MINUTE for child in schedule.children]


@pytest.mark.parametrize(
    ("asked", "expected", "times"),
    [
        # 10 in thirds is 3.33, 6.67, 10: running totals of 3, 6, 10.
        (twap("10"), [3, 3, 4], [0, 10, 20]),
        (twap("12", slice_count=4, duration_ns=20 * MINUTE), [3, 3, 3, 3], [0, 5, 10, 15]),
        # Two lots in three slices: 0, 1, 2. What would be empty is left out, the first goes now.
        (twap("2"), [1, 1], [0, 20]),
        (twap("1"), [1], [0]),
        # 3 : 1 : 1 of 10 is 6, 8, 10.
        (vwap("10", "3", "1", "1"), [6, 2, 2], [0, 10, 20]),
        # 1.5 of 3 is 1, then nothing trades, then the rest.
        (vwap("3", "1", "0", "1"), [1, 2], [0, 20]),
        (vwap("10", "0.5", "0.25", "0.25"), [5, 2, 3], [0, 10, 20]),
        (iceberg("10", "4"), [4, 4, 2], [0, 0, 0]),
        (iceberg("10", "4.9"), [4, 4, 2], [0, 0, 0]),
        (iceberg("10", "50"), [10], [0]),
    ],
)
def test_slices_are_whole_lots_that_add_up(
    asked: Decision, expected: list[int], times: list[int]
) -> None:
    approved = permissive().approved(asked)
    assert sizes(approved) == expected
    assert minutes(approved) == times
    assert approved.approval.child_count == len(expected)


def test_slices_end_with_the_duration_and_the_approval_is_taken_within_its_ttl() -> None:
    approval = permissive().approved(twap()).approval
    assert approval.schedule is not None
    assert approval.schedule.end_ns == NOW + 30 * MINUTE
    assert approval.last_send_ns == NOW + 30 * MINUTE - 1
    assert {child.last_send_ns for child in approval.schedule.children} == {approval.last_send_ns}
    assert approval.expires_ns == NOW + 5 * SECOND


@pytest.mark.parametrize("asked", [iceberg("40", "0.5"), iceberg("40", "0.1")])
def test_an_iceberg_in_parts_below_a_lot_is_denied(asked: Decision) -> None:
    assert permissive().denied(asked).code is DenialCode.SCHEDULE


def test_an_iceberg_in_too_many_parts_is_denied() -> None:
    world = permissive(position_weight_max=D(1))
    assert world.approved(iceberg("100", "1")).approval.child_count == 100
    late = iceberg("101", "1", cycle_ns=NOW + 1)
    assert world.denied(late).code is DenialCode.SCHEDULE


def test_limits_cut_the_whole_before_it_is_sliced() -> None:
    # 5 % of 100,000 at 100 are 50 shares.
    world = permissive()
    said = world.tell(twap("90"))
    assert said[0].order.quantity == 50
    assert sizes(said[0]) == [16, 17, 17]


def test_the_whole_is_reserved_until_the_parent_ends() -> None:
    world = permissive()
    approved = world.approved(twap("10"))
    world.tell(fill_of(approved, "3", "100"))
    assert world.state.accounts[ACCOUNT].reserve(GROUP, SPY).buying == 7
    world.tell(update_of(approved, OrderStatus.EXPIRED, "3"))
    assert not world.state.accounts[ACCOUNT].reserves
    assert not world.state.open_orders


@given(
    st.integers(1, 10**6),
    st.lists(st.integers(0, 1000), min_size=1, max_size=CHILDREN_MAX).filter(any),
    st.sampled_from(["1", "0.001", "5"]),
)
def test_a_split_adds_up_and_is_never_more_than_a_lot_off(
    lots: int, weights: list[int], lot_size: str
) -> None:
    lot, total = D(lot_size), sum(weights)
    quantity = lots * lot
    found = split(quantity, [D(weight) for weight in weights], lot)
    assert sum(found) == quantity
    assert all(part >= 0 and part % lot == 0 for part in found)
    for part, weight in zip(found, weights, strict=True):
        assert abs(part * total - quantity * weight) < 2 * lot * total


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_parts_add_up_and_none_shows_more_than_permitted(lots: int, visible: int) -> None:
    found = parts(D(lots), D(visible), D(1))
    assert found == () or sum(found) == lots
    assert all(0 < part <= visible for part in found)
    assert bool(found) == (-(-lots // visible) <= CHILDREN_MAX)


# ---- protective levels


def legs(approved: ApprovedOrder) -> list[tuple[ChildRole, OrderType, Decimal | None, Decimal]]:
    schedule = approved.approval.schedule
    assert schedule is not None
    assert schedule.algorithm is Algorithm.NONE
    assert schedule.children[0].role is ChildRole.WHOLE
    assert schedule.children[0].quantity == approved.order.quantity
    return [
        (leg.role, leg.order_type, leg.limit_price or leg.stop_price, leg.quantity)
        for leg in schedule.children[1:]
    ]


def test_levels_become_legs_for_what_the_order_opens() -> None:
    approved = permissive().approved(bracket())
    assert legs(approved) == [
        (ChildRole.TAKE_PROFIT, LIMIT, 110, 10),
        (ChildRole.STOP_LOSS, STOP, 95, 10),
    ]
    assert approved.approval.child_count == 3
    assert approved.approval.schedule is not None
    assert approved.approval.schedule.children[1].last_send_ns == FOREVER_NS


def test_a_flip_protects_only_the_new_position() -> None:
    world = permissive(allows_short=True)
    world.hold("5")
    asked = bracket(SELL, "15", take_profit_price=D(90), stop_loss_price=D(105))
    approved = world.approved(asked)
    assert approved.action is OrderAction.FLIP
    assert [leg[3] for leg in legs(approved)] == [10, 10]


def test_a_closing_order_has_no_legs() -> None:
    world = permissive()
    world.hold("10")
    approved = world.approved(bracket(SELL, take_profit_price=D(90), stop_loss_price=None))
    assert approved.approval.schedule is None


def test_levels_off_the_tick_are_denied() -> None:
    denial = permissive().denied(bracket(take_profit_price=D("110.001")))
    assert denial.code is DenialCode.TICK_SIZE


def leg_fill(approved: ApprovedOrder, quantity: str, number: int, price: str = "110") -> Any:
    plain = fill_of(approved, quantity, price, number)
    return replace(plain, side=SELL, role=ChildRole.TAKE_PROFIT)


def test_legs_reserve_nothing_and_what_they_protect_can_still_be_closed() -> None:
    world = permissive()
    approved = world.approved(bracket())
    world.tell(fill_of(approved, "10", "100"))
    assert not world.state.accounts[ACCOUNT].reserves
    close = world.approved(order(SELL, "10", cycle_ns=NOW + 1))
    assert close.action is OrderAction.CLOSE


@pytest.mark.parametrize("is_update_first", [False, True])
def test_fills_of_legs_are_known_before_and_behind_the_end(*, is_update_first: bool) -> None:
    world = permissive()
    approved = world.approved(bracket())
    world.tell(fill_of(approved, "10", "100"))
    end = replace(update_of(approved, OrderStatus.FILLED, "10"), protective_filled_quantity=D(10))
    first, last = leg_fill(approved, "4", 1), leg_fill(approved, "6", 2)
    events = [first, end, last] if is_update_first else [first, last, end]
    assert world.tell(*events) == []
    assert not world.state.open_orders
    assert world.state.accounts[ACCOUNT].ledger.net_quantity(SPY) == 0


def test_a_leg_that_closes_more_than_was_opened_is_reported() -> None:
    world = permissive()
    approved = world.approved(bracket())
    world.tell(fill_of(approved, "4", "100"))
    assert world.tell(leg_fill(approved, "4", 1)) == []
    (incident,) = world.tell(leg_fill(approved, "1", 2))
    assert incident.code == "FILL_NOT_APPROVED"


def test_protection_can_be_taken_off_by_a_cancel_behind_the_entry() -> None:
    world = permissive()
    approved = world.approved(bracket())
    world.tell(fill_of(approved, "10", "100"))
    asked = decision(
        kind=DecisionKind.CANCEL, client_order_id=approved.order.client_order_id, cycle_ns=NOW + 1
    )
    assert world.approved(asked).action is OrderAction.CANCEL


def test_in_reducing_no_bracket_opens() -> None:
    world = permissive()
    world.tell(switch(TradingState.REDUCING))
    assert world.denied(bracket()).code is DenialCode.TRADING_REDUCING


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"take_profit_price": D(110), "stop_loss_price": None}, ChildRole.TAKE_PROFIT),
        ({"take_profit_price": None, "stop_loss_price": D(95)}, ChildRole.STOP_LOSS),
    ],
)
def test_one_level_is_one_leg(levels: dict[str, Any], expected: ChildRole) -> None:
    approved = permissive().approved(bracket(**levels))
    assert [leg[0] for leg in legs(approved)] == [expected]
    assert approved.approval.child_count == 2
