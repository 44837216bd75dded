"""Transcripts: what happens, and what risk says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from risk_samples import (
    ACCOUNT,
    CONTEXT,
    EWG,
    GROUP,
    NOW,
    SECOND,
    SPY,
    Desk,
    account,
    command,
    correction,
    decision,
    desk,
    fill_of,
    flatten,
    group,
    instrument,
    mandate,
    mark,
    order,
    switch,
    update_of,
    venue,
)

from tapeline.contracts import topics
from tapeline.contracts.accounts import CashAdjustment, CorporateAction, FundingPayment
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import Trigger
from tapeline.contracts.control import CancelAll, ScopeKind
from tapeline.contracts.orders import ApprovedOrder, OrderAction, OrderStatus, OrderType, Side
from tapeline.contracts.risk import (
    Denial,
    DenialCode,
    PortfolioSnapshot,
    TradingState,
    TradingStateChanged,
)
from tapeline.contracts.system import Incident, Watermark
from tapeline.risk.core import RiskCore
from tapeline.runtime.core import MoneyCore, Pacing, TimerFired, Undecodable

D = Decimal
BUY, SELL = Side.BUY, Side.SELL


def books(world: Desk) -> Any:
    return world.state.accounts[ACCOUNT]


def cash(world: Desk) -> Decimal:
    found: Decimal = books(world).ledger.cash["USD"]
    return found


def snapshot(world: Desk) -> Any:
    """The snapshot that is due one second on."""
    world.now_ns += SECOND
    (shown,) = snapshots(world.fire())
    return shown


def snapshots(said: list[Any]) -> list[PortfolioSnapshot]:
    """Without the warnings that may come with them."""
    return [one for one in said if isinstance(one, PortfolioSnapshot)]


def incident(said: list[Any]) -> str:
    assert len(said) == 1, said
    assert isinstance(said[0], Incident)
    assert said[0].service == "risk/0"
    assert said[0].reason
    return said[0].code


# ---- the contract with the drivers


def test_inputs_come_in_the_order_that_breaks_ties() -> None:
    core: MoneyCore[Any] = RiskCore(CONTEXT)
    assert [spec.topic for spec in core.inputs] == [
        topics.CONTROL,
        topics.CONFIG,
        topics.FILLS,
        topics.ORDER_UPDATES,
        topics.ACCOUNT_EVENTS,
        topics.MARKS,
        topics.BARS,
        topics.DECISIONS,
    ]
    assert [spec.topic for spec in core.inputs if spec.is_first] == [topics.CONTROL]
    assert [spec.topic for spec in core.inputs if not spec.is_own] == [
        topics.CONTROL,
        topics.CONFIG,
        topics.MARKS,
        topics.BARS,
    ]
    paced = {spec.topic: spec.pacing for spec in core.inputs}
    assert paced[topics.FILLS] is paced[topics.ORDER_UPDATES] is Pacing.PREVIOUS
    assert paced[topics.MARKS] is paced[topics.DECISIONS] is Pacing.CURRENT
    critical = {spec.topic for spec in core.inputs if spec.is_critical}
    assert topics.DECISIONS not in critical
    assert topics.FILLS in critical


# ---- answers


def test_a_decision_is_answered_once_however_often_it_comes() -> None:
    world = desk()
    asked = decision()
    assert len(world.tell(asked)) == 1
    assert world.tell(asked) == []
    assert world.tell(decision(cycle_ns=NOW - 1, index=9)) == []
    assert len(world.tell(decision(index=1))) == 1
    assert len(world.tell(decision(cycle_ns=NOW + 1))) == 1


def test_groups_and_accounts_count_for_themselves() -> None:
    world = desk()
    world.tell(account("PAPER-2"), mandate("PAPER-2"), group("other"))
    assert len(world.tell(decision(cycle_ns=NOW + 1))) == 1
    assert len(world.tell(decision(group_id="other", target_weight=D("0.01")))) == 1
    for name in (ACCOUNT, "PAPER-2"):
        asked = decision(group_id="MANUAL", account_id=name, decision_id=name)
        assert len(world.tell(asked)) == 1


def test_answers_have_ids_of_their_own_even_for_a_repeated_decision_id() -> None:
    world = desk()
    first = world.approved(decision(target_weight=D("0.01"), decision_id="same"))
    second = world.approved(decision(target_weight=D("0.02"), decision_id="same", index=1))
    assert first.approval.approval_id != second.approval.approval_id
    assert first.order.client_order_id != second.order.client_order_id


def test_an_output_carries_its_record_s_own_id_and_key() -> None:
    world = desk()
    (output,) = world.step(decision())
    assert output.event_id == output.record.approval.approval_id
    assert (output.topic, output.key) == (topics.APPROVED_ORDERS, ACCOUNT)
    (output,) = world.step(decision(index=1, instrument_id="no"))
    assert (output.topic, output.key) == (topics.RISK_EVENTS, ACCOUNT)


def test_a_decision_that_cannot_be_read_is_denied_where_its_account_can() -> None:
    world = desk()
    broken = Undecodable(key=ACCOUNT, code="TRUNCATED", reason="Decision ends too early")
    (said,) = world.tell(broken, topic=topics.DECISIONS)
    assert isinstance(said, Denial)
    assert (said.code, said.account_id) == (DenialCode.MALFORMED, ACCOUNT)
    assert said.decision_id == "event-7"
    assert "TRUNCATED" in said.reason
    assert world.tell(replace(broken, key=""), topic=topics.DECISIONS) == []
    assert world.tell(broken, topic=topics.MARKS) == []
    assert books(world).denied_count == 1


def test_watermarks_say_nothing() -> None:
    world = desk()
    record = Watermark(
        source="group/momentum",
        slice=1,
        is_paced=True,
        is_final=False,
        ts_event_ns=NOW,
        ts_init_ns=NOW,
    )
    assert world.tell(record, topic=topics.DECISIONS) == []


# ---- what becomes of a decision


@pytest.mark.parametrize(
    ("held", "weight", "action", "side", "quantity"),
    [
        ("0", "0.04", OrderAction.OPEN, BUY, "40"),
        ("10", "0.04", OrderAction.UPDATE, BUY, "30"),
        ("40", "0.01", OrderAction.UPDATE, SELL, "30"),
        ("40", "0", OrderAction.CLOSE, SELL, "40"),
        ("40", "-0.04", OrderAction.FLIP, SELL, "80"),
        ("0", "-0.04", OrderAction.OPEN, SELL, "40"),
        ("-40", "0", OrderAction.CLOSE, BUY, "40"),
        ("-40", "0.04", OrderAction.FLIP, BUY, "80"),
    ],
)
def test_a_target_opens_updates_flips_or_closes(
    held: str, weight: str, action: OrderAction, side: Side, quantity: str
) -> None:
    world = desk(mandate(allows_short=True))
    if D(held):
        world.hold(held)
    approved = world.approved(decision(target_weight=D(weight)))
    assert (approved.action, approved.order.side) == (action, side)
    assert approved.order.quantity == D(quantity)
    is_reducing = action is OrderAction.CLOSE or (action, held) == (OrderAction.UPDATE, "40")
    assert approved.order.is_reduce_only == is_reducing


def test_a_target_counts_what_is_on_order() -> None:
    world = desk()
    first = world.approved(decision(target_weight=D("0.02")))
    second = world.approved(decision(target_weight=D("0.05"), index=1))
    assert (first.order.quantity, second.order.quantity) == (D(20), D(30))


def test_the_ledger_is_the_group_s_own() -> None:
    world = desk(mandate(position_weight_max=D(1)))
    world.hold("30", group_id="other")
    assert world.approved(decision()).order.quantity == 40


def test_a_close_that_the_venue_would_see_as_an_opening_is_not_marked_reduce_only() -> None:
    # The account holds nothing net: at the venue the sale opens a short position.
    world = desk(mandate(position_weight_max=D(1)))
    world.hold("30")
    world.hold("-30", group_id="other")
    approved = world.approved(order(SELL, "30"))
    assert approved.action is OrderAction.CLOSE
    assert not approved.order.is_reduce_only


def test_closing_twice_closes_once() -> None:
    world = desk()
    world.hold("10")
    world.approved(order(SELL, "10"))
    assert world.denied(order(SELL, "10", index=1)).code is DenialCode.POSITION_LIMIT
    denial = world.denied(order(SELL, "10", index=2, is_reduce_only=True))
    assert denial.code is DenialCode.REDUCE_ONLY


# ---- reservations


def test_a_fill_gives_back_its_part_and_the_end_the_rest() -> None:
    world = desk()
    approved = world.approved(order(BUY, "40"))
    reserve = books(world).reserve(GROUP, SPY)
    assert (reserve.buying, reserve.opening_buying, reserve.opening_cost) == (40, 40, 4000)
    world.tell(fill_of(approved, "15", "100"))
    reserve = books(world).reserve(GROUP, SPY)
    assert (reserve.buying, reserve.opening_cost) == (25, 2500)
    assert books(world).open_order_count == 1
    world.tell(update_of(approved, OrderStatus.CANCELED, "15"))
    assert books(world).reserves == {}
    assert books(world).open_order_count == 0
    assert world.state.open_orders == {}
    assert world.state.approval_ids == {}
    assert books(world).ledger.line(GROUP, SPY).quantity == 15


def test_an_end_before_its_fills_keeps_what_it_announced_reserved() -> None:
    world = desk()
    approved = world.approved(order(BUY, "40"))
    world.tell(update_of(approved, OrderStatus.FILLED, "40"))
    assert books(world).reserve(GROUP, SPY).buying == 40
    assert books(world).open_order_count == 0
    world.tell(update_of(approved, OrderStatus.FILLED, "40"))
    assert books(world).open_order_count == 0
    world.tell(fill_of(approved, "25", "100", 0))
    assert books(world).reserve(GROUP, SPY).buying == 15
    world.tell(fill_of(approved, "15", "100", 1))
    assert books(world).reserves == {}
    assert world.state.open_orders == {}


@pytest.mark.parametrize(
    "status",
    [OrderStatus.DENIED, OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.CANCELED],
)
def test_every_end_releases(status: OrderStatus) -> None:
    world = desk()
    approved = world.approved(order(BUY, "50"))
    assert world.denied(order(BUY, "50", index=1)).code is DenialCode.POSITION_LIMIT
    world.tell(update_of(approved, status))
    world.approved(order(BUY, "50", index=2))


@pytest.mark.parametrize(
    "status", [OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.UNKNOWN]
)
def test_what_has_not_ended_stays_reserved(status: OrderStatus) -> None:
    world = desk()
    approved = world.approved(order(BUY, "50"))
    world.tell(update_of(approved, status, is_terminal=False))
    assert books(world).reserve(GROUP, SPY).buying == 50


def test_a_flip_closes_first_with_its_fills() -> None:
    world = desk(mandate(allows_short=True))
    world.hold("10")
    approved = world.approved(order(SELL, "30"))
    reserve = books(world).reserve(GROUP, SPY)
    assert (reserve.selling, reserve.opening_selling) == (30, 20)
    world.tell(fill_of(approved, "10", "100"))
    reserve = books(world).reserve(GROUP, SPY)
    assert (reserve.selling, reserve.opening_selling) == (20, 20)


def test_a_fill_above_what_is_open_is_booked_and_reported() -> None:
    world = desk()
    approved = world.approved(order(BUY, "10"))
    assert incident(world.tell(fill_of(approved, "11", "100"))) == "FILL_NOT_APPROVED"
    assert books(world).ledger.line(GROUP, SPY).quantity == 11
    world.tell(update_of(approved, OrderStatus.FILLED, "10"))
    assert incident(world.tell(fill_of(approved, "1", "100"))) == "FILL_NOT_APPROVED"


def test_fills_and_updates_of_a_foreign_account_are_reported() -> None:
    world = desk()
    approved = world.approved(order(BUY, "10"))
    foreign = replace(fill_of(approved, "1", "100"), account_id="FAR")
    assert incident(world.tell(foreign)) == "ACCOUNT_NOT_HERE"
    update = replace(update_of(approved), account_id="FAR")
    assert incident(world.tell(update)) == "ACCOUNT_NOT_HERE"
    assert books(world).reserve(GROUP, SPY).buying == 10


def test_a_purchase_reserves_what_its_limit_may_cost() -> None:
    world = desk(mandate(position_weight_max=D(1), cash_reserve_min=D("0.1")))
    world.approved(limit(800, 105))
    assert books(world).reserve(GROUP, SPY).opening_cost == 84_000
    # 6,000 are left above the reserve, not 10,000.
    assert world.approved(order(BUY, "100", index=1)).order.quantity == 60


def limit(quantity: int, price: int) -> Any:
    return order(BUY, str(quantity), order_type=OrderType.LIMIT, limit_price=D(price))


def test_reservations_lose_no_digit() -> None:
    world = desk(instrument(lot_size=D("1E-18")))
    whole, part = D("123456789012.123456789012345678"), D("23456789012.000000000000000001")
    world.hold(str(whole), "0.000000000000000001")
    sold = world.approved(order(SELL, str(part)))
    world.approved(order(SELL, str(part), index=1))
    assert books(world).reserve(GROUP, SPY).selling == D("46913578024.000000000000000002")
    rest = world.approved(decision(target_weight=D(0), index=2))
    assert rest.order.quantity == D("76543210988.123456789012345676")
    world.tell(fill_of(sold, "0.000000000000000002", "1"))
    left = D("123456789012.123456789012345676")
    assert books(world).reserve(GROUP, SPY).selling == left


def test_equal_states_have_equal_bytes_whatever_came_first() -> None:
    records = [instrument(), instrument(EWG), account(), mandate(), group()]
    one, other = Desk(), Desk()
    one.tell(*records, mark(), mark(EWG))
    other.tell(*records[::-1], mark(EWG), mark())
    assert one.state == other.state
    assert one.core.dump(one.state) == other.core.dump(other.state)


# ---- money


def test_fills_move_cash_position_and_profit() -> None:
    world = desk()
    bought = world.approved(order(BUY, "40"))
    world.tell(replace(fill_of(bought, "40", "100.5"), commission=D("1.25")))
    world.tell(update_of(bought, filled="40"))
    sold = world.approved(order(SELL, "10", index=1))
    world.tell(replace(fill_of(sold, "10", "102"), commission=D("-0.25")))
    assert cash(world) == D(100_000) - D(4020) - D("1.25") + D(1020) + D("0.25")
    line = books(world).ledger.line(GROUP, SPY)
    assert (line.quantity, line.average_price()) == (30, D("100.5"))
    assert (line.realized_pnl, line.commission) == (15, 1)


def test_a_contract_multiplier_counts_in_cash_and_limits() -> None:
    world = desk(instrument(multiplier=D(10)))
    approved = world.approved(order(BUY, "9"))
    assert approved.order.quantity == 5
    world.tell(fill_of(approved, "5", "100"))
    assert cash(world) == 95_000


def test_cash_and_positions_move_by_other_than_fills() -> None:
    world = desk()
    world.hold("10", "100")
    assert cash(world) == 99_000
    times: dict[str, Any] = {"account_id": ACCOUNT, "ts_event_ns": NOW, "ts_init_ns": NOW}
    world.tell(
        CashAdjustment(adjustment_id="a", currency="USD", amount=D(500), reason="deposit", **times),
        FundingPayment(
            payment_id="p",
            group_id=GROUP,
            instrument_id=SPY,
            currency="USD",
            amount=D("-2.5"),
            **times,
        ),
        CorporateAction(
            action_id="s",
            instrument_id=SPY,
            split_ratio=D(2),
            dividend=D("0.5"),
            currency="USD",
            **times,
        ),
    )
    assert cash(world) == D("99502.5")
    assert books(world).ledger.line(GROUP, SPY).quantity == 20
    foreign = {**times, "account_id": "FAR"}
    world.tell(
        CashAdjustment(adjustment_id="b", currency="USD", amount=D(1), reason="deposit", **foreign)
    )
    assert cash(world) == D("99502.5")


@pytest.mark.parametrize(("reason", "is_loss"), [("withdrawal", False), ("fee", True)])
def test_a_withdrawal_is_no_loss_and_a_fee_is(reason: str, is_loss: bool) -> None:
    world = desk()
    world.tell(
        CashAdjustment(
            adjustment_id="a",
            account_id=ACCOUNT,
            currency="USD",
            amount=D(-5000),
            reason=reason,
            ts_event_ns=NOW,
            ts_init_ns=NOW,
        )
    )
    if is_loss:
        assert world.denied(decision()).code is DenialCode.DAILY_LOSS
    else:
        assert world.approved(decision()).order.quantity == 38


# ---- cancels


def cancel(client_order_id: str | None, **changes: Any) -> Any:
    return decision(
        kind=DecisionKind.CANCEL,
        target_weight=None,
        client_order_id=client_order_id,
        **{"index": 50, **changes},
    )


@pytest.mark.parametrize("state", list(TradingState))
def test_a_cancel_passes_in_every_trading_state(state: TradingState) -> None:
    world = desk()
    approved = world.approved(order(BUY, "10"))
    world.tell(switch(state))
    canceled = world.approved(cancel(approved.order.client_order_id))
    assert canceled.action is OrderAction.CANCEL
    assert canceled.order == approved.order
    assert canceled.approval.approval_id != approved.approval.approval_id
    assert books(world).approved_count == 1
    assert books(world).reserve(GROUP, SPY).buying == 10


def test_a_cancel_s_own_end_releases_nothing() -> None:
    world = desk()
    approved = world.approved(order(BUY, "10"))
    canceled = world.approved(cancel(approved.order.client_order_id))
    world.tell(update_of(canceled, OrderStatus.CANCELED))
    assert books(world).reserve(GROUP, SPY).buying == 10


def test_only_an_open_order_of_the_group_can_be_canceled_and_operators_cancel_any() -> None:
    world = desk()
    world.tell(group("other"))
    approved = world.approved(order(BUY, "10"))
    target = approved.order.client_order_id
    for index, asked in enumerate(
        (cancel("unknown"), cancel(None, index=51), cancel(target, group_id="other"))
    ):
        assert world.denied(asked).code is DenialCode.ORDER_UNKNOWN, index
    world.approved(cancel(target, group_id="MANUAL"))
    world.tell(update_of(approved, OrderStatus.CANCELED))
    assert world.denied(cancel(target, index=52)).code is DenialCode.ORDER_UNKNOWN


def test_a_cancel_needs_a_key_and_an_account() -> None:
    world = desk()
    approved = world.approved(order(BUY, "10"))
    asked = cancel(approved.order.client_order_id)
    assert world.denied(asked, "KEY_MISSING").code is DenialCode.KEY_MISSING
    stranger = cancel(approved.order.client_order_id, account_id="NOBODY")
    assert world.denied(stranger).code is DenialCode.ACCOUNT_UNKNOWN
    world.tell(account("PAPER-2"))
    other = cancel(approved.order.client_order_id, account_id="PAPER-2", group_id="MANUAL")
    assert world.denied(other).code is DenialCode.ORDER_UNKNOWN


# ---- control


def test_a_switch_is_announced_for_each_account_it_concerns() -> None:
    world = desk()
    world.tell(account("PAPER-2"))
    said = world.tell(switch(TradingState.HALTED))
    assert [change.account_id for change in said] == [ACCOUNT, "PAPER-2"]
    assert all(isinstance(change, TradingStateChanged) for change in said)
    assert said[0].scope == "ALL/"
    said = world.tell(switch(TradingState.ACTIVE, scope=ScopeKind.ACCOUNT, scope_id="PAPER-2"))
    assert [change.account_id for change in said] == ["PAPER-2"]
    said = world.tell(switch(TradingState.ACTIVE, scope=ScopeKind.GROUP, scope_id=GROUP))
    assert [change.account_id for change in said] == [ACCOUNT]


@pytest.mark.parametrize(
    ("record", "verdict", "code"),
    [
        (switch(TradingState.ACTIVE, 5), "", "CONTROL_OLD_SEQUENCE"),
        (switch(TradingState.ACTIVE, 4), "", "CONTROL_OLD_SEQUENCE"),
        (switch(TradingState.ACTIVE, 6, run_id="other"), "", "CONTROL_WRONG_RUN"),
        (switch(TradingState.ACTIVE, 6), "BAD_SIGNATURE", "CONTROL_BAD_SIGNATURE"),
        (switch(TradingState.ACTIVE, 6), "UNKNOWN_KEY", "CONTROL_UNKNOWN_KEY"),
    ],
)
def test_control_that_does_not_count_is_ignored_and_reported(
    record: Any, verdict: str, code: str
) -> None:
    world = desk()
    world.tell(switch(TradingState.HALTED, 5))
    assert incident(world.tell(record, verdict=verdict)) == code
    assert world.denied(decision()).code is DenialCode.TRADING_HALTED
    world.tell(switch(TradingState.ACTIVE, 6))
    world.approved(decision(index=1))


def test_sequences_ascend_per_scope_and_type() -> None:
    world = desk()
    world.tell(switch(TradingState.HALTED, 5))
    said = world.tell(switch(TradingState.REDUCING, 1, scope=ScopeKind.GROUP, scope_id=GROUP))
    assert isinstance(said[0], TradingStateChanged)
    assert len(world.tell(flatten(sequence=1))) == 0


def test_flatten_closes_every_line_in_the_command_s_name_although_halted() -> None:
    world = desk(marks=[mark(), mark(EWG)])
    world.hold("10")
    world.hold("5", group_id="other")
    world.hold("-3", instrument_id=EWG)
    world.tell(switch(TradingState.HALTED))
    said = world.tell(flatten())
    assert all(isinstance(record, ApprovedOrder) for record in said)
    assert [
        (one.order.instrument_id, one.order.group_id, one.order.side, one.order.quantity)
        for one in said
    ] == [(EWG, GROUP, BUY, 3), (SPY, GROUP, SELL, 10), (SPY, "other", SELL, 5)]
    for one in said:
        assert one.action is OrderAction.CLOSE
        assert one.order.is_reduce_only
        assert one.approval.decision_id == "command-1"
    assert len({one.approval.approval_id for one in said}) == 3
    assert incident(world.tell(flatten())) == "CONTROL_OLD_SEQUENCE"
    assert world.tell(flatten(sequence=2, command_id="command-2")) == []


@pytest.mark.parametrize(
    ("scope", "scope_id", "count"),
    [
        (ScopeKind.ACCOUNT, ACCOUNT, 2),
        (ScopeKind.ACCOUNT, "PAPER-2", 0),
        (ScopeKind.GROUP, GROUP, 1),
        (ScopeKind.INSTRUMENT, SPY, 2),
        (ScopeKind.INSTRUMENT, EWG, 0),
    ],
)
def test_flatten_keeps_to_its_scope(scope: ScopeKind, scope_id: str, count: int) -> None:
    world = desk()
    world.hold("10")
    world.hold("5", group_id="other")
    assert len(world.tell(flatten(scope=scope, scope_id=scope_id))) == count


def test_flatten_closes_what_the_venue_holds_and_leaves_offsetting_groups() -> None:
    world = desk(mandate(position_weight_max=D(1)))
    world.hold("10")
    world.hold("-4", group_id="other")
    (one,) = world.tell(flatten())
    assert (one.order.group_id, one.order.quantity) == (GROUP, 6)


def test_flatten_leaves_alone_what_is_being_closed() -> None:
    world = desk()
    world.hold("10")
    world.approved(order(SELL, "7"))
    (one,) = world.tell(flatten())
    assert one.order.quantity == 3


def test_flatten_counts_what_the_account_is_selling_already() -> None:
    world = desk()
    world.hold("10")
    world.hold("-4", group_id="other")
    world.approved(order(SELL, "3"))
    (one,) = world.tell(flatten())
    assert one.order.quantity == 3


@pytest.mark.parametrize(
    ("expires_ns", "verdict", "code"),
    [
        (NOW, "", "CONTROL_EXPIRED"),
        (NOW + 1, "KEY_MISSING", "CONTROL_KEY_MISSING"),
    ],
)
def test_flatten_that_cannot_be_carried_out_is_reported(
    expires_ns: int, verdict: str, code: str
) -> None:
    world = desk()
    world.hold("10")
    assert incident(world.tell(flatten(expires_ns=expires_ns), verdict=verdict)) == code


def test_flatten_of_an_odd_lot_or_an_unknown_instrument_orders_nothing() -> None:
    world = desk()
    world.hold("0.5")
    world.tell(correction("3", instrument_id="GONE.ARCA"))
    assert world.tell(flatten()) == []


def test_cancel_all_is_left_to_execution() -> None:
    world = desk()
    world.approved(order(BUY, "10"))
    assert world.tell(command(CancelAll, spares_protective=True)) == []
    assert incident(world.tell(command(CancelAll, spares_protective=True))) == (
        "CONTROL_OLD_SEQUENCE"
    )


# ---- config


def test_a_config_record_that_does_not_follow_is_ignored_and_reported() -> None:
    world = desk(mandate(position_weight_max=D("0.04")))
    lower = mandate(position_weight_max=D("0.5"))
    assert incident(world.tell(lower)) == "CONFIG_OLD_VERSION"
    assert incident(world.tell(replace(lower, version=2))) == "CONFIG_OLD_VERSION"
    assert world.tell(replace(lower, position_weight_max=D("0.04"), version=2)) == []
    assert world.approved(order(BUY, "50")).order.quantity == 40


@pytest.mark.parametrize(
    "record",
    [
        instrument(lot_size=D(0), version=2),
        instrument(tick_size=D(-1), version=2),
        instrument(multiplier=D(0), version=2),
        account(shard=4, version=2),
        account(base_currency="EUR", version=2),
        mandate(daily_loss_max=D("-0.1"), version=2),
        mandate(approval_ttl_ns=0, version=2),
    ],
)
def test_config_that_makes_no_sense_is_not_taken(record: Any) -> None:
    world = desk()
    before = world.core.dump(world.state)
    assert incident(world.tell(record)) == "CONFIG_INVALID"
    assert world.core.dump(world.state) == before


def test_a_new_version_of_an_account_keeps_its_books() -> None:
    world = desk()
    world.hold("10")
    world.tell(venue(venue="OTHER"), instrument(venue_symbols={"OTHER": "SPY-O"}, version=2))
    world.tell(account(initial_cash=D(5), venue="OTHER", version=2))
    assert cash(world) == 99_000
    order = world.approved(decision()).order
    assert (order.venue, order.venue_symbol) == ("OTHER", "SPY-O")


def test_what_is_not_for_risk_is_passed_over() -> None:
    world = desk()
    trigger = Trigger(
        trigger="sma",
        implementation="sma_cross",
        universe="all",
        instruments=(SPY,),
        interval_ns=60,
        parameters={},
        is_enabled=True,
        version=1,
    )
    assert world.tell(trigger) == []


# ---- portfolio


def test_the_first_snapshot_shows_an_account_as_it_starts() -> None:
    world = desk()
    (shown,) = world.fire()
    assert (shown.cash, shown.nav, shown.peak_nav, shown.day_start_nav) == (100_000,) * 4
    assert shown.positions == ()
    assert world.fire() == []


def test_a_snapshot_follows_a_fill_within_a_second_and_not_more_often() -> None:
    world = desk()
    world.fire()
    approved = world.approved(order(BUY, "40"))
    assert world.core.next_due_ns(world.state) == NOW + 10 * SECOND
    world.tell(fill_of(approved, "10", "100"))
    world.tell(fill_of(approved, "10", "101", 1), mark(price=103.0, ts_ns=NOW + 1))
    assert world.fire() == []
    shown = snapshot(world)
    assert shown.nav == D(100_050)
    assert shown.cash == D(97_990)
    assert (shown.gross_exposure, shown.net_exposure) == (2060, 2060)
    assert shown.pending_exposure == 2060
    assert (shown.open_order_count, shown.approved_count, shown.denied_count) == (1, 1, 0)
    assert shown.trading_state is TradingState.ACTIVE
    (line,) = shown.positions
    assert (line.quantity, line.average_price, line.mark_price) == (20, D("100.5"), 103)
    assert (line.unrealized_pnl, line.realized_pnl) == (50, 0)


def test_what_is_held_is_looked_at_every_ten_seconds_and_shown_when_it_changed() -> None:
    world = desk()
    world.hold("40")
    world.now_ns += SECOND
    assert len(snapshots(world.fire())) == 1
    world.now_ns += 10 * SECOND
    assert world.fire() == []
    world.tell(mark(price=101.0, ts_ns=world.now_ns))
    world.now_ns += 10 * SECOND
    (shown,) = world.fire()
    assert shown.nav == D(100_040)


def test_a_denial_is_shown_within_ten_seconds() -> None:
    world = desk()
    world.fire()
    world.denied(decision(instrument_id="no"))
    world.now_ns += 9 * SECOND
    assert world.fire() == []
    world.now_ns += SECOND
    (shown,) = world.fire()
    assert shown.denied_count == 1


def test_lines_are_shown_by_group_and_instrument() -> None:
    world = desk()
    for group_id in ("b", "a"):
        for instrument_id in (SPY, EWG):
            world.hold("1", group_id=group_id, instrument_id=instrument_id)
    shown = snapshot(world)
    assert [(line.group_id, line.instrument_id) for line in shown.positions] == [
        ("a", EWG),
        ("a", SPY),
        ("b", EWG),
        ("b", SPY),
    ]


def test_a_halt_shows_in_the_account_s_snapshot() -> None:
    world = desk()
    world.tell(switch(TradingState.HALTED, scope=ScopeKind.ACCOUNT, scope_id=ACCOUNT))
    world.hold("1")
    assert snapshot(world).trading_state is TradingState.HALTED


def test_an_account_without_a_known_worth_is_not_shown_and_looked_at_again() -> None:
    world = desk(instrument(EWG, currency="EUR"))
    world.fire()
    world.hold("1", instrument_id=EWG)
    world.now_ns += SECOND
    assert world.tell(TimerFired(ts_event_ns=world.now_ns)) == []
    assert world.state.accounts[ACCOUNT].due_ns == world.now_ns + 10 * SECOND


def test_a_mark_that_runs_wild_does_not_stop_the_shard() -> None:
    world = desk()
    world.hold("99999999999999999999")
    world.tell(mark(price=1e15, ts_ns=NOW + 1))
    assert snapshot(world).nav == D("99999999999999999999.999999999999999999")


def test_a_new_day_starts_from_the_last_nav_of_the_old_one() -> None:
    world = desk()
    world.hold("100")
    world.tell(mark(price=110.0, ts_ns=NOW + 1))
    world.now_ns += SECOND
    world.fire()
    world.now_ns += 86_400 * SECOND
    world.tell(mark(price=105.0, ts_ns=world.now_ns))
    (shown,) = world.fire()
    assert (shown.day_start_nav, shown.nav, shown.peak_nav) == (101_000, 100_500, 101_000)
