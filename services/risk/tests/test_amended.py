"""Amendments as risk answers and books them, computed by hand. The mark is 100, the NAV 100,000,
the position limit 5 %: 50 shares."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
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
    mark,
    order,
    switch,
    update_of,
)

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.orders import (
    ApprovedOrder,
    OrderAction,
    OrderStatus,
    OrderType,
    ReportNotice,
    Side,
)
from tapeline.contracts.risk import DenialCode, LimitWarning, TradingState

BUY, SELL = Side.BUY, Side.SELL


def buy(quantity: str = "10", limit_price: str = "99", **changes: Any) -> Decision:
    return order(BUY, quantity, order_type=OrderType.LIMIT, limit_price=D(limit_price), **changes)


def amend(approved: ApprovedOrder, number: int = 1, **changes: Any) -> Decision:
    """A decision of the same group, which mentions only what it changes."""
    plain: dict[str, Any] = {
        "kind": DecisionKind.AMEND,
        "target_weight": None,
        "instrument_id": "",
        "client_order_id": approved.order.client_order_id,
        "cycle_ns": NOW + number,
    }
    return decision(**{**plain, **changes})


def reserved(world: Desk) -> tuple[Decimal, Decimal]:
    """(quantity, cost) that is reserved for purchases."""
    reserve = world.state.accounts[ACCOUNT].reserve(GROUP, SPY)
    return reserve.buying, reserve.opening_cost


def answer(amended: ApprovedOrder, notice: ReportNotice, filled: str = "0") -> Any:
    """What execution says when the venue has answered."""
    plain = update_of(amended, OrderStatus.ACCEPTED, filled)
    return replace(plain, notice=notice)


def test_an_amendment_is_approved_for_the_order_as_it_is_to_be() -> None:
    world = desk()
    first = world.approved(buy())
    amended = world.approved(amend(first, quantity=D(20), limit_price=D("99.5")))
    assert amended.action is OrderAction.AMEND
    assert amended.order == replace(first.order, quantity=D(20), limit_price=D("99.5"))
    assert amended.approval.approval_id != first.approval.approval_id
    assert amended.approval.schedule is None


@pytest.mark.parametrize(
    ("quantity", "limit_price", "meanwhile", "amended", "rejected"),
    [
        # Reserved is what a share may cost at worst: 100, the mark, or the limit above it.
        ("20", "99", (20, 2000), (20, 2000), (10, 1000)),
        ("4", "99", (10, 1000), (4, 400), (10, 1000)),
        ("10", "103", (10, 1030), (10, 1030), (10, 1000)),
        ("20", "103", (20, 2060), (20, 2060), (10, 1000)),
        ("5", "103", (10, 1030), (5, 515), (10, 1000)),
    ],
)
def test_the_larger_of_both_is_reserved_until_the_venue_answers(
    quantity: str,
    limit_price: str,
    meanwhile: tuple[int, int],
    amended: tuple[int, int],
    rejected: tuple[int, int],
) -> None:
    for notice, after in (
        (ReportNotice.AMENDED, amended),
        (ReportNotice.AMEND_REJECTED, rejected),
        # Execution has refused it: nothing was asked of the venue.
        (ReportNotice.NONE, rejected),
    ):
        world = desk()
        first = world.approved(buy())
        asked = amend(first, quantity=D(quantity), limit_price=D(limit_price))
        second = world.approved(asked)
        assert reserved(world) == meanwhile
        assert world.tell(answer(second, notice)) == []
        assert reserved(world) == after
        world.tell(update_of(first, OrderStatus.CANCELED))
        assert reserved(world) == (0, 0)
        assert not world.state.open_orders


def test_fills_count_for_both_sizes() -> None:
    world = desk()
    first = world.approved(buy())
    world.tell(fill_of(first, "4", "99"))
    second = world.approved(amend(first, quantity=D(20)))
    assert reserved(world) == (16, 1600)
    world.tell(fill_of(first, "3", "99", 1))
    assert reserved(world) == (13, 1300)
    world.tell(answer(second, ReportNotice.AMEND_REJECTED, "7"))
    assert reserved(world) == (3, 300)


def test_the_end_of_the_order_releases_all_of_it() -> None:
    world = desk()
    first = world.approved(buy())
    second = world.approved(amend(first, quantity=D(20)))
    world.tell(update_of(first, OrderStatus.CANCELED))
    assert reserved(world) == (0, 0)
    assert world.tell(answer(second, ReportNotice.AMEND_REJECTED)) == []
    assert not world.state.open_orders


def test_never_more_than_the_limits_allow_beside_what_is_filled() -> None:
    world = desk()
    first = world.approved(buy())
    world.tell(fill_of(first, "4", "99"))
    said = world.tell(amend(first, quantity=D(90)))
    # 50 shares are 5 %; 4 of them are held.
    assert said[0].order.quantity == 50
    assert isinstance(said[1], LimitWarning)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": D(10), "limit_price": D(99)}, DenialCode.AMENDMENT),
        ({}, DenialCode.AMENDMENT),
        ({"quantity": D(4)}, DenialCode.AMENDMENT),
        ({"stop_price": D(101)}, DenialCode.AMENDMENT),
        ({"quantity": D(0)}, DenialCode.AMENDMENT),
        ({"quantity": D(-1)}, DenialCode.AMENDMENT),
        ({"limit_price": D("94.99")}, DenialCode.PRICE_COLLAR),
        ({"limit_price": D("99.001")}, DenialCode.TICK_SIZE),
        ({"client_order_id": "nobody"}, DenialCode.ORDER_UNKNOWN),
        ({"client_order_id": None}, DenialCode.ORDER_UNKNOWN),
        ({"group_id": "other"}, DenialCode.ORDER_UNKNOWN),
        ({"quantity": D(5), "ts_event_ns": NOW - 11 * SECOND}, DenialCode.DECISION_STALE),
    ],
)
def test_what_an_amendment_is_denied_for(changes: dict[str, Any], code: DenialCode) -> None:
    world = desk()
    first = world.approved(buy())
    world.tell(fill_of(first, "4", "99"))
    before = reserved(world)
    assert world.denied(amend(first, **changes)).code is code
    assert reserved(world) == before


def test_a_second_amendment_waits_for_the_answer_to_the_first() -> None:
    world = desk()
    first = world.approved(buy())
    second = world.approved(amend(first, quantity=D(20)))
    assert world.denied(amend(first, 2, quantity=D(15))).code is DenialCode.AMENDMENT
    world.tell(answer(second, ReportNotice.AMENDED))
    assert world.approved(amend(first, 3, quantity=D(15))).order.quantity == 15


def test_a_market_order_gets_no_limit_and_a_protected_one_is_ordered_anew() -> None:
    world = desk()
    plain = world.approved(order(BUY, "10"))
    assert world.denied(amend(plain, limit_price=D(99))).code is DenialCode.AMENDMENT
    protected = world.approved(buy(cycle_ns=NOW + 2, stop_loss_price=D(95)))
    assert world.denied(amend(protected, 3, quantity=D(5))).code is DenialCode.AMENDMENT


def test_in_reducing_an_order_can_only_become_smaller() -> None:
    world = desk()
    first = world.approved(buy())
    world.tell(switch(TradingState.REDUCING))
    assert world.denied(amend(first, quantity=D(20))).code is DenialCode.TRADING_REDUCING
    assert world.approved(amend(first, 2, quantity=D(5))).order.quantity == 5


def test_while_halted_nothing_is_amended() -> None:
    world = desk()
    first = world.approved(buy())
    world.tell(switch(TradingState.HALTED))
    assert world.denied(amend(first, quantity=D(5))).code is DenialCode.TRADING_HALTED


def test_an_amendment_is_no_entry_of_its_own() -> None:
    limits = (
        mandate(limits=replace(mandate().limits, open_orders_max=1))
        if (getattr(mandate(), "limits", None) is not None)
        else mandate()
    )
    world = desk(limits)
    first = world.approved(buy())
    assert world.approved(amend(first, quantity=D(20))).order.quantity == 20


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["amend", "fill", "amended", "rejected", "mark"]), st.integers(1, 70)
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_what_is_reserved_covers_both_and_a_restart_changes_nothing(
    steps: list[tuple[str, int]],
) -> None:
    world = desk()
    first = world.approved(buy())
    held: list[int] = [10]
    pending: ApprovedOrder | None = None
    filled = 0
    for number, (step, figure) in enumerate(steps):
        if step == "amend":
            said = world.tell(amend(first, number + 1, quantity=D(figure)))
            if said and isinstance(said[0], ApprovedOrder):
                pending = said[0]
                held.append(int(pending.order.quantity))
                assert pending.order.quantity <= max(figure, held[0])
        elif step == "fill" and filled + 1 <= min(held):
            filled += 1
            world.tell(fill_of(first, "1", "99", number))
        elif step in ("amended", "rejected") and pending is not None:
            is_amended = step == "amended"
            notice = ReportNotice.AMENDED if is_amended else ReportNotice.AMEND_REJECTED
            world.tell(answer(pending, notice, str(filled)))
            held, pending = [held[-1] if is_amended else held[0]], None
        elif step == "mark":
            world.tell(mark(price=100.0, ts_ns=NOW + number))
        assert reserved(world)[0] == max(held) - filled
        data = world.core.dump(world.state)
        world.state = world.core.load(data)
        assert world.core.dump(world.state) == data
    world.tell(update_of(first, OrderStatus.CANCELED, str(filled)))
    assert reserved(world) == (0, 0)


def test_an_answer_that_is_not_for_the_amendment_changes_nothing() -> None:
    world = desk()
    first = world.approved(buy())
    world.approved(amend(first, quantity=D(20)))
    stranger = replace(first, approval=replace(first.approval, approval_id="another"))
    world.tell(answer(stranger, ReportNotice.AMENDED))
    assert reserved(world) == (20, 2000)


def test_an_answer_behind_the_end_leaves_what_fills_are_still_awaited() -> None:
    world = desk()
    first = world.approved(buy())
    second = world.approved(amend(first, quantity=D(20)))
    # The end overtakes a fill of 3: that much stays reserved until it comes.
    world.tell(update_of(first, OrderStatus.CANCELED, "3"))
    before = reserved(world)
    assert before[0] == 3
    world.tell(answer(second, ReportNotice.AMENDED, "3"))
    assert reserved(world) == (3, 300)
    world.tell(fill_of(first, "3", "99"))
    assert reserved(world) == (0, 0)
    assert not world.state.open_orders


def test_an_amendment_needs_a_key() -> None:
    world = desk()
    first = world.approved(buy())
    asked = amend(first, quantity=D(20))
    assert world.denied(asked, verdict="NO_KEY").code is DenialCode.KEY_MISSING
