"""Each guard on both sides of its edge. NAV is 100,000 USD, SPY at 100."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from risk_samples import (
    ACCOUNT,
    EURUSD,
    EWG,
    GROUP,
    NOW,
    SECOND,
    SPY,
    Desk,
    account,
    decision,
    desk,
    fx,
    group,
    instrument,
    mandate,
    mark,
    order,
    switch,
    update_of,
    venue,
)

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import RiskOverlay
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.orders import ApprovedOrder, OrderStatus, OrderType, Side, TimeInForce
from tapeline.contracts.risk import Denial, DenialCode, LimitWarning, TradingState

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
LIMIT = OrderType.LIMIT


def refused(world: Desk, asked: Decision, code: DenialCode, verdict: str = "") -> Denial:
    denial = world.denied(asked, verdict)
    assert denial.code is code, denial
    assert denial.decision_id == asked.decision_id
    assert denial.reason
    return denial


def figures(answer: Denial | LimitWarning) -> tuple[object, object]:
    """What was measured, and the limit."""
    return answer.measured, answer.limit


# ---- account, group, instrument, mandate


def test_a_plain_entry_is_approved() -> None:
    approved = desk().approved(decision())
    assert approved.order.quantity == 40
    assert approved.order.venue == "PAPER"
    assert approved.order.arrival_price == 100
    assert approved.approval.key_id == ""
    assert approved.approval.mac == b""
    assert approved.approval.expires_ns == NOW + 5 * SECOND
    assert not approved.order.is_reduce_only


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (decision(account_id="NOBODY"), DenialCode.ACCOUNT_UNKNOWN),
        (decision(group_id="strangers"), DenialCode.GROUP_UNKNOWN),
        (decision(instrument_id="QQQ.ARCA"), DenialCode.INSTRUMENT_UNKNOWN),
    ],
)
def test_what_is_not_configured_is_denied(asked: Decision, code: DenialCode) -> None:
    refused(desk(), asked, code)


def test_an_account_of_another_shard_is_denied() -> None:
    world = desk()
    world.tell(account("FAR", shard=3))
    denial = refused(world, decision(account_id="FAR"), DenialCode.WRONG_SHARD)
    assert figures(denial) == (0, 3)


def test_a_group_of_another_account_is_denied() -> None:
    world = desk()
    world.tell(account("PAPER-2"), mandate("PAPER-2"))
    refused(world, decision(account_id="PAPER-2"), DenialCode.GROUP_UNKNOWN)


def test_an_account_without_mandate_is_denied() -> None:
    world = desk()
    world.tell(account("PAPER-2"))
    asked = decision(account_id="PAPER-2", group_id="MANUAL")
    refused(world, asked, DenialCode.MANDATE_MISSING)


def test_operators_need_no_group_record() -> None:
    assert desk().approved(decision(group_id="MANUAL")).order.group_id == "MANUAL"


@pytest.mark.parametrize(
    "change",
    [
        instrument(is_permitted=False),
        mandate(instruments=(EWG,)),
        mandate(instruments=()),
        group(instruments=(EWG,)),
    ],
)
def test_an_instrument_that_someone_withholds_cannot_be_entered_but_left(change: Any) -> None:
    world = desk(change)
    refused(world, decision(), DenialCode.INSTRUMENT_NOT_PERMITTED)
    world.hold("10")
    assert world.approved(decision(target_weight=D(0), index=1)).order.quantity == 10


def test_a_silenced_group_can_leave_but_not_enter() -> None:
    world = desk(group(is_enabled=False))
    refused(world, decision(), DenialCode.GROUP_UNKNOWN)
    world.hold("10")
    assert world.approved(order(SELL, "10", index=1)).order.quantity == 10


# ---- trading state


@pytest.mark.parametrize(
    ("kind", "scope_id", "applies"),
    [
        (ScopeKind.ALL, "", True),
        (ScopeKind.ACCOUNT, ACCOUNT, True),
        (ScopeKind.ACCOUNT, "PAPER-2", False),
        (ScopeKind.GROUP, GROUP, True),
        (ScopeKind.GROUP, "other", False),
        (ScopeKind.STRATEGY, GROUP, True),
        (ScopeKind.INSTRUMENT, SPY, True),
        (ScopeKind.INSTRUMENT, EWG, False),
        (ScopeKind.VENUE, "PAPER", True),
        (ScopeKind.VENUE, "ARCA", False),
    ],
)
def test_a_halt_stops_exactly_its_scope(kind: ScopeKind, scope_id: str, applies: bool) -> None:
    world = desk()
    world.tell(switch(TradingState.HALTED, scope=kind, scope_id=scope_id))
    if applies:
        refused(world, decision(), DenialCode.TRADING_HALTED)
    else:
        world.approved(decision())


def test_a_halt_stops_closing_too() -> None:
    world = desk()
    world.hold("10")
    world.tell(switch(TradingState.HALTED))
    refused(world, order(SELL, "10"), DenialCode.TRADING_HALTED)


def test_reducing_lets_out_and_not_in() -> None:
    world = desk()
    world.hold("10")
    world.tell(switch(TradingState.REDUCING))
    refused(world, decision(), DenialCode.TRADING_REDUCING)
    approved = world.approved(order(SELL, "4", index=1))
    assert approved.order.is_reduce_only


def test_the_strictest_scope_counts_and_active_ends_it() -> None:
    world = desk()
    world.tell(
        switch(TradingState.REDUCING),
        switch(TradingState.HALTED, scope=ScopeKind.GROUP, scope_id=GROUP),
    )
    refused(world, decision(), DenialCode.TRADING_HALTED)
    world.tell(switch(TradingState.ACTIVE, 2, scope=ScopeKind.GROUP, scope_id=GROUP))
    refused(world, decision(index=1), DenialCode.TRADING_REDUCING)
    world.tell(switch(TradingState.ACTIVE, 2))
    world.approved(decision(index=2))


# ---- key, form, numbers


@pytest.mark.parametrize("verdict", ["KEY_MISSING", "KEY_UNSAFE"])
def test_without_a_key_nothing_is_approved(verdict: str) -> None:
    refused(desk(), decision(), DenialCode.KEY_MISSING, verdict)
    world = desk()
    world.hold("1")
    refused(world, order(SELL, "1"), DenialCode.KEY_MISSING, verdict)


@pytest.mark.parametrize(
    "asked",
    [
        decision(target_weight=None),
        decision(kind=DecisionKind.ORDER, quantity=D(1)),
        decision(kind=DecisionKind.ORDER, side=BUY),
        order(BUY, "1", order_type=LIMIT),
        decision(confidence=1.01),
        decision(confidence=-0.01),
        decision(time_in_force=TimeInForce.GTD),
        decision(time_in_force=TimeInForce.GTD, expire_time_ns=NOW),
        decision(is_post_only=True),
        order(
            BUY,
            "1",
            order_type=LIMIT,
            limit_price=D(100),
            is_post_only=True,
            time_in_force=TimeInForce.IOC,
        ),
    ],
)
def test_a_decision_that_lacks_something_is_malformed(asked: Decision) -> None:
    refused(desk(), asked, DenialCode.MALFORMED)


@pytest.mark.parametrize(
    "asked",
    [
        decision(confidence=1.0),
        decision(time_in_force=TimeInForce.GTD, expire_time_ns=NOW + 1),
        order(BUY, "1", order_type=LIMIT, limit_price=D(100), is_post_only=True),
        order(BUY, "1", limit_price=D(1000)),
    ],
)
def test_a_decision_that_has_all_is_taken(asked: Decision) -> None:
    approved = desk().approved(asked)
    if asked.order_type is OrderType.MARKET:
        assert approved.order.limit_price is None


@pytest.mark.parametrize("order_type", [OrderType.STOP_MARKET, OrderType.STOP_LIMIT])
def test_stop_orders_are_not_permitted(order_type: OrderType) -> None:
    asked = order(BUY, "1", order_type=order_type, stop_price=D(101))
    refused(desk(), asked, DenialCode.ORDER_TYPE_NOT_PERMITTED)


def test_an_amendment_of_nothing_is_denied() -> None:
    asked = decision(kind=DecisionKind.AMEND, client_order_id="x")
    refused(desk(), asked, DenialCode.ORDER_UNKNOWN)


@pytest.mark.parametrize(
    ("asked", "measured"),
    [
        (order(BUY, "0"), "0"),
        (order(BUY, "-1"), "-1"),
        (order(BUY, "1", order_type=LIMIT, limit_price=D(0)), "0"),
        (order(BUY, "1", order_type=LIMIT, limit_price=D(-1)), "-1"),
        (decision(take_profit_price=D(0)), "0"),
        (decision(stop_loss_price=D("-0.01")), "-0.01"),
    ],
)
def test_numbers_that_are_not_positive_are_denied(asked: Decision, measured: str) -> None:
    denial = refused(desk(), asked, DenialCode.NOT_POSITIVE)
    assert figures(denial) == (D(measured), 0)


# ---- time


@pytest.mark.parametrize(
    ("age_ns", "code"),
    [
        (10 * SECOND, None),
        (10 * SECOND + 1, DenialCode.DECISION_STALE),
        (-SECOND, None),
        (-SECOND - 1, DenialCode.DECISION_FROM_FUTURE),
    ],
)
def test_a_decision_is_neither_old_nor_from_the_future(
    age_ns: int, code: DenialCode | None
) -> None:
    world, asked = desk(), decision(ts_event_ns=NOW - age_ns)
    if code is None:
        world.approved(asked)
    else:
        refused(world, asked, code)


def test_a_cycle_from_the_future_is_denied_once_and_does_not_silence_its_group() -> None:
    world, far = desk(), decision(cycle_ns=NOW + 2 * SECOND)
    denial = refused(world, far, DenialCode.DECISION_FROM_FUTURE)
    assert figures(denial) == (2, 1)
    assert world.tell(far) == []
    world.approved(decision())


@pytest.mark.parametrize(
    ("age_ns", "code"),
    [
        (30 * SECOND, None),
        (30 * SECOND + 1, DenialCode.MARK_STALE),
        (-SECOND, None),
        (-SECOND - 1, DenialCode.MARK_STALE),
    ],
)
def test_entries_need_a_fresh_mark(age_ns: int, code: DenialCode | None) -> None:
    for asked in (decision(), order(BUY, "10")):
        world = desk(marks=[mark(ts_ns=NOW - age_ns)])
        if code is None:
            world.approved(asked)
        else:
            refused(world, asked, code)


def test_without_a_mark_nothing_is_entered() -> None:
    for asked in (decision(), order(BUY, "10")):
        refused(desk(marks=[]), asked, DenialCode.MARK_MISSING)


@pytest.mark.parametrize("price", [0.0, -1.0, 1e-10, 1e16, 1e300])
def test_a_price_that_is_none_is_no_mark(price: float) -> None:
    refused(desk(marks=[mark(price=price)]), decision(), DenialCode.MARK_MISSING)


def test_a_mark_from_the_future_gives_way_to_an_honest_one() -> None:
    world = desk(marks=[mark(price=500.0, ts_ns=NOW + 3600 * SECOND), mark(price=100.0)])
    assert world.approved(decision()).order.arrival_price == 100


def test_an_older_mark_changes_nothing() -> None:
    world = desk(marks=[mark(price=100.0), mark(price=50.0, ts_ns=NOW - 1)])
    assert world.approved(decision()).order.arrival_price == 100


# ---- prices


@pytest.mark.parametrize(
    ("side", "price", "code"),
    [
        (BUY, "105", None),
        (BUY, "105.01", DenialCode.PRICE_COLLAR),
        (BUY, "95", None),
        (BUY, "94.99", DenialCode.PRICE_COLLAR),
        (BUY, "100.001", DenialCode.TICK_SIZE),
    ],
)
def test_limit_prices_stay_near_the_mark_and_on_the_tick(
    side: Side, price: str, code: DenialCode | None
) -> None:
    world, asked = desk(), order(side, "10", order_type=LIMIT, limit_price=D(price))
    if code is None:
        assert world.approved(asked).order.limit_price == D(price)
    else:
        refused(world, asked, code)


def test_the_collar_holds_for_closing_and_needs_a_fresh_mark() -> None:
    world = desk()
    world.hold("10")
    far = order(SELL, "10", order_type=LIMIT, limit_price=D(90))
    denial = refused(world, far, DenialCode.PRICE_COLLAR)
    assert figures(denial) == (D("0.1"), D("0.05"))
    world.now_ns += 60 * SECOND
    late = {"index": 1, "cycle_ns": world.now_ns, "ts_event_ns": world.now_ns}
    near = order(SELL, "10", order_type=LIMIT, limit_price=D(100), **late)
    refused(world, near, DenialCode.MARK_STALE)


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ({"take_profit_price": D("100.01"), "stop_loss_price": D("99.99")}, None),
        ({"take_profit_price": D(100)}, DenialCode.PROTECTIVE_LEVEL),
        ({"stop_loss_price": D(100)}, DenialCode.PROTECTIVE_LEVEL),
        ({"take_profit_price": D(99)}, DenialCode.PROTECTIVE_LEVEL),
        ({"stop_loss_price": D(101)}, DenialCode.PROTECTIVE_LEVEL),
        ({"take_profit_price": D(120), "stop_loss_price": D(80)}, None),
        ({"take_profit_price": D("120.01")}, DenialCode.PROTECTIVE_LEVEL),
        ({"stop_loss_price": D("79.99")}, DenialCode.PROTECTIVE_LEVEL),
    ],
)
def test_protective_levels_of_a_purchase(
    levels: dict[str, Decimal], code: DenialCode | None
) -> None:
    world, asked = desk(), decision(**levels)
    if code is None:
        approved = world.approved(asked)
        assert approved.order.take_profit_price == levels["take_profit_price"]
        assert approved.order.stop_loss_price == levels["stop_loss_price"]
    else:
        refused(world, asked, code)


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ({"take_profit_price": D("99.99"), "stop_loss_price": D("100.01")}, None),
        ({"take_profit_price": D("100.01")}, DenialCode.PROTECTIVE_LEVEL),
        ({"stop_loss_price": D("99.99")}, DenialCode.PROTECTIVE_LEVEL),
    ],
)
def test_protective_levels_of_a_short_sale(
    levels: dict[str, Decimal], code: DenialCode | None
) -> None:
    world = desk(mandate(allows_short=True))
    asked = decision(target_weight=D("-0.04"), **levels)
    if code is None:
        world.approved(asked)
    else:
        refused(world, asked, code)


def test_protective_levels_are_measured_from_the_limit_where_there_is_one() -> None:
    levels = {"stop_loss_price": D("99.5")}
    above = order(BUY, "10", order_type=LIMIT, limit_price=D(100), **levels)
    below = order(BUY, "10", order_type=LIMIT, limit_price=D(99), **levels)
    desk().approved(above)
    refused(desk(), below, DenialCode.PROTECTIVE_LEVEL)


def test_a_closing_order_drops_protective_levels() -> None:
    world = desk()
    world.hold("10")
    approved = world.approved(order(SELL, "10", stop_loss_price=D(1), take_profit_price=D(9999)))
    assert approved.order.stop_loss_price is None
    assert approved.order.take_profit_price is None


# ---- confidence


@pytest.mark.parametrize(("confidence", "is_approved"), [(0.5, True), (0.499, False)])
def test_an_entry_needs_confidence(confidence: float, is_approved: bool) -> None:
    world, asked = desk(), decision(confidence=confidence)
    if is_approved:
        world.approved(asked)
    else:
        denial = refused(world, asked, DenialCode.CONFIDENCE_LOW)
        assert figures(denial) == (D("0.499"), D("0.5"))


def test_leaving_needs_none() -> None:
    world = desk()
    world.hold("10")
    world.approved(order(SELL, "10", confidence=0.0))


# ---- lot, minimum, no change


@pytest.mark.parametrize(
    ("asked", "quantity", "code"),
    [
        (order(BUY, "2.9"), "2", None),
        (order(BUY, "0.9"), "", DenialCode.BELOW_LOT),
        (decision(target_weight=D("0.00999")), "9", None),
        (decision(target_weight=D("0.0009")), "", DenialCode.NO_CHANGE),
        (decision(target_weight=D(0)), "", DenialCode.NO_CHANGE),
    ],
)
def test_quantities_come_in_lots(asked: Decision, quantity: str, code: DenialCode | None) -> None:
    if code is None:
        assert desk().approved(asked).order.quantity == D(quantity)
    else:
        refused(desk(), asked, code)


@pytest.mark.parametrize(
    ("change", "quantity", "code"),
    [
        ({"quantity_min": D(5)}, "5", None),
        ({"quantity_min": D(5)}, "4", DenialCode.BELOW_LOT),
        ({"notional_min": D(500)}, "5", None),
        ({"notional_min": D("500.01")}, "5", DenialCode.BELOW_NOTIONAL_MIN),
    ],
)
def test_orders_have_a_minimum(
    change: dict[str, Any], quantity: str, code: DenialCode | None
) -> None:
    world, asked = desk(instrument(**change)), order(BUY, quantity)
    if code is None:
        world.approved(asked)
    else:
        refused(world, asked, code)


def test_the_rest_of_a_position_can_be_closed_below_the_minimum_and_a_part_cannot() -> None:
    world = desk(instrument(quantity_min=D(5), notional_min=D(500)))
    world.hold("4")
    refused(world, order(SELL, "3"), DenialCode.BELOW_LOT)
    assert world.approved(order(SELL, "4", index=1)).order.quantity == 4


def test_a_target_already_held_or_on_order_is_no_change() -> None:
    world = desk()
    world.approved(decision())
    denial = refused(world, decision(index=1), DenialCode.NO_CHANGE)
    assert figures(denial) == (0, 1)


# ---- limits that cut


def cut(world: Desk, asked: Decision, quantity: str, code: DenialCode) -> LimitWarning:
    """The decision is approved for less, and it is said why."""
    said = world.tell(asked)
    assert isinstance(said[0], ApprovedOrder), said
    assert said[0].order.quantity == D(quantity)
    assert isinstance(said[1], LimitWarning)
    assert said[1].code is code
    return said[1]


def test_a_position_is_cut_to_its_share_of_nav() -> None:
    assert desk().approved(order(BUY, "50")).order.quantity == 50
    warning = cut(desk(), order(BUY, "51"), "50", DenialCode.POSITION_LIMIT)
    assert figures(warning) == (D("0.051"), D("0.05"))


def test_a_full_position_is_denied_with_what_it_would_have_been() -> None:
    world = desk()
    world.hold("50")
    denial = refused(world, order(BUY, "10"), DenialCode.POSITION_LIMIT)
    assert figures(denial) == (D("0.06"), D("0.05"))


def test_open_orders_count_against_the_position() -> None:
    world = desk()
    world.approved(order(BUY, "45"))
    cut(world, order(BUY, "10", index=1), "5", DenialCode.POSITION_LIMIT)
    refused(world, order(BUY, "10", index=2), DenialCode.POSITION_LIMIT)


def test_all_groups_share_the_position_limit() -> None:
    world = desk()
    world.hold("45", group_id="other")
    cut(world, order(BUY, "10"), "5", DenialCode.POSITION_LIMIT)


def wide(**changes: Any) -> Any:
    """A mandate in which nothing binds but what a test says."""
    values = {
        "position_weight_max": D(10),
        "gross_exposure_max": D(10),
        "leverage_max": D(10),
        "cash_reserve_min": D(-10),
    }
    return mandate(**{**values, **changes})


def test_gross_exposure_is_netted_over_groups_and_counts_open_orders() -> None:
    world = desk(wide(gross_exposure_max=D("0.5")), marks=[mark(), mark(EWG)])
    world.hold("200", instrument_id=EWG)
    world.hold("-100", group_id="other", instrument_id=EWG)
    world.approved(order(BUY, "100", instrument_id=EWG))
    # 200 EWG at worst, 500 allowed.
    cut(world, order(BUY, "301", index=1), "300", DenialCode.GROSS_EXPOSURE)


def test_leverage_nets_nothing() -> None:
    world = desk(wide(leverage_max=D("0.5")), marks=[mark(), mark(EWG)])
    world.hold("200", instrument_id=EWG)
    world.hold("-100", group_id="other", instrument_id=EWG)
    world.approved(order(BUY, "100", instrument_id=EWG))
    warning = cut(world, order(BUY, "101", index=1), "100", DenialCode.LEVERAGE)
    assert figures(warning) == (D("0.501"), D("0.5"))


def test_cash_keeps_its_reserve() -> None:
    world = desk(wide(cash_reserve_min=D("0.1")))
    world.approved(order(BUY, "800"))
    warning = cut(world, order(BUY, "101", index=1), "100", DenialCode.CASH_RESERVE)
    assert figures(warning) == (D("0.099"), D("0.1"))
    refused(world, order(BUY, "1", index=2), DenialCode.CASH_RESERVE)


def test_cash_pays_the_limit_price_and_the_fee() -> None:
    world = desk(wide(cash_reserve_min=D("0.1")))
    asked = order(BUY, "900", order_type=LIMIT, limit_price=D(105))
    cut(world, asked, "857", DenialCode.CASH_RESERVE)
    world = desk(wide(cash_reserve_min=D("0.1")), venue(taker_fee_rate=D("0.002")))
    cut(world, order(BUY, "900"), "898", DenialCode.CASH_RESERVE)


def test_shorts_tie_up_cash_like_purchases() -> None:
    world = desk(wide(cash_reserve_min=D("0.1"), allows_short=True))
    cut(world, order(SELL, "901"), "900", DenialCode.CASH_RESERVE)


def test_shorts_need_permission() -> None:
    denial = refused(desk(), order(SELL, "10"), DenialCode.POSITION_LIMIT)
    assert figures(denial) == (-10, 0)
    approved = desk(mandate(allows_short=True)).approved(decision(target_weight=D("-0.04")))
    assert (approved.order.side, approved.order.quantity) == (SELL, D(40))


def test_short_positions_have_the_same_limits() -> None:
    world = desk(mandate(allows_short=True))
    cut(world, decision(target_weight=D("-0.06")), "50", DenialCode.POSITION_LIMIT)


def test_an_overlay_tightens_a_limit_until_it_expires_and_never_loosens() -> None:
    def overlay(value: str, field: str = "position_weight_max") -> RiskOverlay:
        return RiskOverlay(
            overlay_id=f"{field}{value}",
            account_id=ACCOUNT,
            field=field,
            value=D(value),
            expires_ns=NOW + 5 * SECOND,
            version=1,
        )

    world = desk()
    world.tell(overlay("0.02"), overlay("0.5"), overlay("0.01", "cash_reserve_min"))
    cut(world, order(BUY, "30"), "20", DenialCode.POSITION_LIMIT)
    world.now_ns += 5 * SECOND
    cut(world, order(BUY, "40", index=1), "30", DenialCode.POSITION_LIMIT)


# ---- losses


@pytest.mark.parametrize(
    ("price", "code"), [(96.0, None), (95.99, DenialCode.DAILY_LOSS), (110.0, None)]
)
def test_a_day_s_loss_stops_entries_and_not_exits(price: float, code: DenialCode | None) -> None:
    # 500 held at 100: a fall of 4 is 2 % of NAV.
    world = desk(wide())
    world.hold("500")
    world.tell(mark(price=price))
    if code is None:
        world.approved(order(BUY, "10"))
        return
    denial = refused(world, order(BUY, "10"), code)
    assert figures(denial) == (D("0.02005"), D("0.02"))
    assert world.approved(order(SELL, "500", index=1)).order.quantity == 500


def test_what_the_day_had_won_before_is_not_lost() -> None:
    world = desk(wide())
    world.hold("500")
    world.tell(mark(price=106.0))
    world.now_ns += SECOND
    world.fire()
    world.tell(mark(price=101.0, ts_ns=NOW + 1))
    world.approved(order(BUY, "10"))


@pytest.mark.parametrize(("price", "code"), [(99.0, None), (98.98, DenialCode.DRAWDOWN)])
def test_a_drawdown_stops_entries(price: float, code: DenialCode | None) -> None:
    # The peak is 110,000 at 120; 10 % below are 99,000.
    world = desk(wide(daily_loss_max=D(1)))
    world.hold("500")
    world.tell(mark(price=120.0))
    world.now_ns += SECOND
    world.fire()
    world.tell(mark(price=price - 1.0, ts_ns=NOW + 1))
    if code is None:
        world.approved(order(BUY, "10"))
    else:
        denial = refused(world, order(BUY, "10"), code)
        assert figures(denial) == (D("0.100090909090909091"), D("0.1"))


def test_without_equity_nothing_is_entered() -> None:
    world = desk()
    world.hold("2000")
    world.tell(mark(price=50.0))
    denial = refused(world, order(BUY, "10"), DenialCode.EQUITY_NOT_POSITIVE)
    assert figures(denial) == (0, 0)
    assert world.approved(order(SELL, "2000", index=1)).order.quantity == 2000


# ---- currencies


def euro_desk(*marks: Any) -> Desk:
    return desk(instrument(EWG, currency="EUR"), fx(), marks=[mark(EWG), *marks])


def test_another_currency_needs_its_rate() -> None:
    asked = order(BUY, "10", instrument_id=EWG)
    refused(euro_desk(), asked, DenialCode.FX_MISSING)
    old = euro_desk(mark(EURUSD, 1.25, NOW - 31 * SECOND))
    assert figures(refused(old, asked, DenialCode.FX_MISSING)) == (31, 30)
    euro_desk(mark(EURUSD, 1.25, NOW - 30 * SECOND)).approved(asked)
    euro_desk(mark(EURUSD, 1.25)).approved(asked)


def test_limits_are_in_the_account_s_currency() -> None:
    # 5,000 USD are 40 units at 100 EUR and 1.25 USD.
    world = euro_desk(mark(EURUSD, 1.25))
    cut(world, order(BUY, "50", instrument_id=EWG), "40", DenialCode.POSITION_LIMIT)


def test_a_unit_that_is_worth_nothing_cannot_be_measured() -> None:
    tiny = instrument(EWG, currency="EUR", multiplier=D("1E-9"))
    world = desk(tiny, fx(), marks=[mark(EWG, 1e-9), mark(EURUSD, 1e-9)])
    refused(world, order(BUY, "10", instrument_id=EWG), DenialCode.FX_MISSING)


def test_a_pair_serves_in_both_directions() -> None:
    world = Desk()
    world.tell(
        instrument(),
        fx(),
        account(base_currency="EUR"),
        *(mandate(), group(), venue()),
        mark(),
        mark(EURUSD, 1.25),
    )
    # 5,000 EUR are 6,250 USD.
    cut(world, order(BUY, "70"), "62", DenialCode.POSITION_LIMIT)


def test_an_account_that_holds_what_has_no_rate_can_only_leave() -> None:
    world = euro_desk(mark())
    world.hold("10", instrument_id=EWG)
    refused(world, decision(), DenialCode.FX_MISSING)
    refused(world, decision(instrument_id=EWG, index=1), DenialCode.FX_MISSING)
    out = decision(instrument_id=EWG, index=2, target_weight=D(0))
    assert world.approved(out).order.quantity == 10


# ---- reduce only, flips, closing when all is broken


def test_reduce_only_is_cut_to_what_is_held_and_denied_when_that_is_nothing() -> None:
    world = desk()
    denial = refused(world, order(SELL, "10", is_reduce_only=True), DenialCode.REDUCE_ONLY)
    assert denial.measured == 0
    world.hold("4")
    approved = world.approved(order(SELL, "10", is_reduce_only=True, index=1))
    assert approved.order.quantity == 4
    refused(world, order(SELL, "1", is_reduce_only=True, index=2), DenialCode.REDUCE_ONLY)


def test_a_flip_that_may_not_open_closes() -> None:
    world = desk()
    world.hold("10")
    warning = cut(world, order(SELL, "25"), "10", DenialCode.POSITION_LIMIT)
    assert "25 to 10" in warning.reason


def test_what_is_held_can_be_closed_whatever_is_broken() -> None:
    world = desk(
        instrument(is_permitted=False, notional_min=D(10**6), quantity_min=D(1000)),
        mandate(
            instruments=(),
            position_weight_max=D(0),
            gross_exposure_max=D(0),
            leverage_max=D(0),
            cash_reserve_min=D(1),
            daily_loss_max=D(0),
            drawdown_max=D(0),
            confidence_min=1.0,
        ),
        group(is_enabled=False, instruments=()),
        marks=[mark(ts_ns=NOW - 3600 * SECOND)],
    )
    world.hold("2000")
    world.tell(mark(price=10.0, ts_ns=NOW - 3599 * SECOND), switch(TradingState.REDUCING))
    for index, asked in enumerate(
        (decision(target_weight=D(0), confidence=0.0), order(SELL, "2000", index=1, confidence=0.0))
    ):
        approved = world.approved(asked)
        assert approved.order.quantity == 2000
        assert approved.order.arrival_price == 10
        if not index:
            world.tell(update_of(approved, OrderStatus.REJECTED))


def test_figures_that_no_order_can_have_are_answered_like_any_other() -> None:
    huge = D("99999999999999999999.999999999999999999")
    tiny = D("0.000000000000000001")
    for index, asked in enumerate(
        (
            order(BUY, str(huge)),
            order(BUY, str(tiny), index=1),
            order(SELL, str(huge), index=2),
            decision(target_weight=huge, index=3),
            decision(target_weight=huge.copy_negate(), index=4),
            decision(target_weight=tiny, index=5),
            order(BUY, str(huge), order_type=LIMIT, limit_price=huge, index=6),
            order(BUY, "1", order_type=LIMIT, limit_price=tiny, index=7),
            decision(take_profit_price=huge, index=8),
        )
    ):
        for price in (1e-9, 100.0, 1e15):
            world = desk(mandate(allows_short=True), marks=[mark(price=price)])
            assert len(world.tell(asked)) in (1, 2), index
