"""Guards of pace on both sides of their edges. NAV is 100,000 USD, SPY at 100."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_samples import (
    ACCOUNT,
    EWG,
    GROUP,
    NOW,
    SECOND,
    Desk,
    decision,
    desk,
    fill_of,
    group,
    mandate,
    mark,
    order,
    update_of,
)

from tapeline.contracts.agents import Decision, DecisionKind
from tapeline.contracts.config import Limits, Mandate
from tapeline.contracts.orders import ApprovedOrder, OrderStatus, OrderType, Side
from tapeline.contracts.risk import Denial, DenialCode, TradingStateChanged

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
DAY = 86_400 * SECOND


def wide(**limits: Any) -> Mandate:
    """A mandate in which nothing binds but what a test says."""
    return mandate(
        position_weight_max=D(10),
        gross_exposure_max=D(10),
        leverage_max=D(10),
        cash_reserve_min=D(-10),
        mark_age_max_ns=10 * DAY,
        limits=Limits(**limits),
    )


def world_of(**limits: Any) -> Desk:
    world = desk(wide(**limits), marks=[mark(), mark(EWG)])
    world.tell(group("other"))
    return world


def asked(world: Desk, number: int, quantity: str = "1", **changes: Any) -> Decision:
    """An explicit purchase now."""
    now = {"cycle_ns": world.now_ns, "ts_event_ns": world.now_ns, "index": number}
    return order(changes.pop("side", BUY), quantity, **{**now, **changes})


def refused(world: Desk, decision: Decision, code: DenialCode) -> Denial:
    denial = world.denied(decision)
    assert denial.code is code, denial
    assert denial.reason
    return denial


def held_back(world: Desk, decision: Decision) -> None:
    """A decision above the rate: it has no answer of its own."""
    assert world.tell(decision) == []
    (rush,) = world.state.rushes.values()
    assert rush.waiting[-1] == decision.decision_id


# ---- decisions a second


@pytest.mark.parametrize(
    ("limits", "groups"),
    [
        ({"order_rate_max": 2}, (GROUP, GROUP, GROUP)),
        ({"order_rate_max": 2}, (GROUP, "other", "MANUAL")),
        ({"group_order_rate_max": 2}, (GROUP, GROUP, GROUP)),
    ],
)
def test_the_third_decision_of_a_second_is_denied(
    limits: dict[str, int], groups: tuple[str, ...]
) -> None:
    world = world_of(**limits)
    for number, group_id in enumerate(groups[:2]):
        world.approved(asked(world, number, group_id=group_id))
    held_back(world, asked(world, 2, group_id=groups[2]))
    world.now_ns += SECOND - 1
    held_back(world, asked(world, 3, group_id=groups[2]))
    world.now_ns += 1
    world.approved(asked(world, 4, group_id=groups[2]))
    (denial,) = [one for one in world.fire() if isinstance(one, Denial)]
    assert denial.code is DenialCode.ORDER_RATE
    assert (denial.measured, denial.limit) == (3, 2)


def test_a_group_s_rate_leaves_others_alone() -> None:
    world = world_of(group_order_rate_max=1)
    world.approved(asked(world, 0))
    held_back(world, asked(world, 1))
    world.approved(asked(world, 0, group_id="other"))


def test_denied_decisions_count_but_not_those_over_the_rate() -> None:
    world = world_of(order_rate_max=2)
    refused(world, asked(world, 0, instrument_id="QQQ.ARCA"), DenialCode.INSTRUMENT_UNKNOWN)
    world.approved(asked(world, 1))
    world.now_ns += SECOND // 2
    for number in range(2, 9):
        held_back(world, asked(world, number))
    world.now_ns += SECOND // 2
    world.approved(asked(world, 9))


def test_a_cancel_is_not_held_up() -> None:
    world = world_of(order_rate_max=1)
    approved = world.approved(asked(world, 0))
    said = world.tell(
        decision(kind=DecisionKind.CANCEL, index=1, client_order_id=approved.order.client_order_id)
    )
    assert isinstance(said[0], ApprovedOrder)


def test_a_rate_of_nothing_lets_nothing_pass() -> None:
    world = world_of(order_rate_max=0)
    held_back(world, asked(world, 0))
    world.now_ns += SECOND
    (denial,) = [one for one in world.fire() if isinstance(one, Denial)]
    assert (denial.measured, denial.limit) == (1, 0)


def test_names_made_up_by_others_leave_no_pace() -> None:
    world = world_of()
    for number in range(5):
        world.denied(asked(world, number, group_id=f"stranger-{number}"))
        world.denied(asked(world, number, account_id=f"nobody-{number}"))
    assert set(world.state.paces) == {ACCOUNT}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.integers(0, 700_000_000), min_size=1, max_size=60),
)
def test_no_second_has_more_than_the_rate(limit: int, pauses_ns: list[int]) -> None:
    world = world_of(order_rate_max=limit)
    passed: list[int] = []
    for number, pause_ns in enumerate(pauses_ns):
        world.now_ns += pause_ns
        said = world.tell(asked(world, number))
        if any(isinstance(one, TradingStateChanged) for one in said):
            break  # The group ran hot for a second and was halted; its orders are canceled.
        if any(isinstance(one, ApprovedOrder) for one in said):
            passed.append(world.now_ns)
        else:
            assert len([at for at in passed if world.now_ns - at < SECOND]) >= limit
        world.fire()
    for at_ns in passed:
        within = [other for other in passed if at_ns <= other < at_ns + SECOND]
        assert len(within) <= limit


# ---- cooldowns


@pytest.mark.parametrize(
    ("limits", "second", "is_held_up"),
    [
        ({"instrument_cooldown_ns": 10 * SECOND}, {}, True),
        ({"instrument_cooldown_ns": 10 * SECOND}, {"group_id": "other"}, True),
        ({"instrument_cooldown_ns": 10 * SECOND}, {"instrument_id": EWG}, False),
        ({"group_cooldown_ns": 10 * SECOND}, {}, True),
        ({"group_cooldown_ns": 10 * SECOND}, {"instrument_id": EWG}, True),
        ({"group_cooldown_ns": 10 * SECOND}, {"group_id": "other"}, False),
    ],
)
def test_an_entry_is_followed_by_a_pause(
    limits: dict[str, int], second: dict[str, str], is_held_up: bool
) -> None:
    world = world_of(**limits)
    world.approved(asked(world, 0))
    world.now_ns += 10 * SECOND - 1
    if not is_held_up:
        world.approved(asked(world, 1, **second))
        return
    denial = refused(world, asked(world, 1, **second), DenialCode.COOLDOWN)
    assert (denial.measured, denial.limit) == (D("9.999999999"), 10)
    world.now_ns += 1
    world.approved(asked(world, 2, **second))


def test_a_pause_does_not_keep_anyone_in() -> None:
    world = world_of(instrument_cooldown_ns=10 * SECOND, group_cooldown_ns=10 * SECOND)
    approved = world.approved(asked(world, 0, "5"))
    world.tell(fill_of(approved, "5", "100"), update_of(approved, OrderStatus.FILLED, "5"))
    assert world.approved(asked(world, 1, "5", side=SELL)).order.quantity == 5


def test_an_exit_starts_no_pause() -> None:
    world = world_of(instrument_cooldown_ns=10 * SECOND)
    world.hold("5")
    world.approved(asked(world, 0, "5", side=SELL))
    world.approved(asked(world, 1))


def test_a_flip_is_an_entry_and_its_closing_part_is_none() -> None:
    world = desk(replace(wide(instrument_cooldown_ns=10 * SECOND), allows_short=True))
    world.hold("5")
    world.approved(asked(world, 0, "8", side=SELL))
    denial = refused(world, asked(world, 1, "9", side=SELL), DenialCode.COOLDOWN)
    assert denial.measured == 0


# ---- entries a day


@pytest.mark.parametrize(
    ("limits", "last"),
    [
        ({"trades_per_day_max": 2}, {"group_id": "other"}),
        ({"group_trades_per_day_max": 2}, {}),
    ],
)
def test_a_day_has_so_many_entries(limits: dict[str, int], last: dict[str, str]) -> None:
    world = world_of(**limits)
    world.approved(asked(world, 0))
    world.approved(asked(world, 1, instrument_id=EWG))
    denial = refused(world, asked(world, 2, **last), DenialCode.TRADES_PER_DAY)
    assert (denial.measured, denial.limit) == (3, 2)
    world.hold("5")
    world.approved(asked(world, 3, "5", side=SELL))
    world.now_ns += DAY - NOW % DAY - 1
    refused(world, asked(world, 4, **last), DenialCode.TRADES_PER_DAY)
    world.now_ns += 1
    world.approved(asked(world, 5, **last))
    # The next day, and the one after it.
    world.approved(asked(world, 6, **last))
    refused(world, asked(world, 7, **last), DenialCode.TRADES_PER_DAY)
    world.now_ns += DAY
    world.approved(asked(world, 8, **last))


def test_a_group_s_entries_are_its_own() -> None:
    world = world_of(group_trades_per_day_max=1)
    world.approved(asked(world, 0))
    world.approved(asked(world, 0, group_id="other"))
    refused(world, asked(world, 1), DenialCode.TRADES_PER_DAY)


# ---- open orders


def test_so_many_orders_are_open_and_an_unknown_one_is_still_open() -> None:
    world = world_of(open_orders_max=2)
    first = world.approved(asked(world, 0))
    second = world.approved(asked(world, 1, instrument_id=EWG))
    denial = refused(world, asked(world, 2), DenialCode.OPEN_ORDERS)
    assert (denial.measured, denial.limit) == (3, 2)
    world.tell(update_of(second, OrderStatus.UNKNOWN, is_terminal=False))
    refused(world, asked(world, 3), DenialCode.OPEN_ORDERS)
    world.tell(update_of(first, OrderStatus.CANCELED))
    world.approved(asked(world, 4))


def test_a_full_book_lets_out() -> None:
    world = world_of(open_orders_max=1)
    world.hold("5")
    world.approved(asked(world, 0))
    world.approved(asked(world, 1, "5", side=SELL))


# ---- the same order again


def test_the_same_order_is_not_approved_twice_within_the_window() -> None:
    world = world_of(duplicate_window_ns=10 * SECOND)
    world.approved(asked(world, 0, "7"))
    world.now_ns += 10 * SECOND - 1
    denial = refused(world, asked(world, 1, "7.00"), DenialCode.DUPLICATE_DECISION)
    assert (denial.measured, denial.limit) == (D("9.999999999"), 10)
    world.now_ns += 1
    world.approved(asked(world, 2, "7"))


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": "8"},
        {"side": SELL},
        {"group_id": "other"},
        {"instrument_id": EWG},
        {"order_type": OrderType.LIMIT, "limit_price": D(100)},
    ],
)
def test_another_order_is_another_order(change: dict[str, Any]) -> None:
    world = desk(
        replace(wide(duplicate_window_ns=10 * SECOND), allows_short=True),
        marks=[mark(), mark(EWG)],
    )
    world.tell(group("other"))
    world.approved(asked(world, 0, "7"))
    world.approved(asked(world, 1, **{"quantity": "7", **change}))


def test_what_was_denied_may_be_asked_again() -> None:
    world = world_of(duplicate_window_ns=10 * SECOND, open_orders_max=1)
    first = world.approved(asked(world, 0, "3"))
    refused(world, asked(world, 1, "7"), DenialCode.OPEN_ORDERS)
    world.tell(update_of(first, OrderStatus.CANCELED))
    world.approved(asked(world, 2, "7"))


def test_a_cut_order_is_known_by_what_was_asked() -> None:
    narrow = replace(wide(duplicate_window_ns=10 * SECOND), position_weight_max=D("0.05"))
    world = desk(narrow)
    assert world.approved(asked(world, 0, "70")).order.quantity == 50
    refused(world, asked(world, 1, "70"), DenialCode.DUPLICATE_DECISION)


def test_targets_may_be_repeated_and_exits_too() -> None:
    world = world_of(duplicate_window_ns=10 * SECOND)
    world.approved(decision(target_weight=D("0.01")))
    (said,) = world.tell(decision(target_weight=D("0.01"), index=1))
    assert said.code is DenialCode.NO_CHANGE
    world.hold("10", instrument_id=EWG)
    for number in (2, 3):
        world.approved(asked(world, number, "5", side=SELL, instrument_id=EWG))


def test_what_is_remembered_ends_with_the_window() -> None:
    world = world_of(duplicate_window_ns=10 * SECOND)
    for number in range(30):
        world.approved(asked(world, number, str(number + 1)))
        world.now_ns += SECOND
    (kept,) = world.state.recent_orders.values()
    assert len(kept) == 10
    free = world_of()
    free.approved(asked(free, 0))
    assert free.state.recent_orders == {}
