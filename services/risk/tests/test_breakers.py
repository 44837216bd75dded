"""Warnings and automatic halts: one bad tick halts nothing, a real loss always does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
    SPY,
    D,
    Desk,
    account,
    decision,
    desk,
    group,
    instrument,
    mandate,
    mark,
    order,
    switch,
    venue,
)

from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import Limits
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.orders import ApprovedOrder, OrderAction, Side
from tapeline.contracts.risk import (
    Denial,
    DenialCode,
    LimitWarning,
    TradingState,
    TradingStateChanged,
)
from tapeline.contracts.system import Incident
from tapeline.risk.breakers import CONFIRMATIONS
from tapeline.risk.rush import WINDOW_NS, WINDOWS

ACTIVE, HALTED = TradingState.ACTIVE, TradingState.HALTED


def holder(**limits: Any) -> Desk:
    """400 SPY at 100 in an account worth 100,000: a point of SPY is 0.4 % of NAV."""
    wide = {"position_weight_max": D(10), "gross_exposure_max": D(10), "leverage_max": D(10)}
    world = desk(
        mandate(**{**wide, **limits}), marks=[mark(ts_ns=NOW - number) for number in (3, 2, 1)]
    )
    world.hold("400")
    assert see(world) == []
    return world


def see(world: Desk, *prices: float, instrument_id: str = SPY) -> list[Any]:
    """Marks a second apart, each looked at; warnings, changes of state and cancels that follow."""
    found = []
    for price in prices or (None,):
        world.now_ns += SECOND
        if price is not None:
            world.tell(mark(instrument_id, price=price, ts_ns=world.now_ns))
        found += world.fire()
    return [
        one for one in found if isinstance(one, LimitWarning | TradingStateChanged | ApprovedOrder)
    ]


def told(said: list[Any]) -> list[str]:
    return [
        f"warned {one.code.value}"
        if isinstance(one, LimitWarning)
        else f"{one.state.value} {one.scope}"
        for one in said
        if not isinstance(one, ApprovedOrder)
    ]


HALT = f"HALTED ACCOUNT/{ACCOUNT}"
LOSS = 100 - 5.5
"""2.2 % of NAV below where the day began; the limit is 2 %"""


def test_a_loss_that_three_marks_agree_on_halts_the_account() -> None:
    world = holder()
    assert told(see(world, LOSS, LOSS)) == []
    assert told(see(world, LOSS)) == ["warned DAILY_LOSS", HALT]
    assert world.denied(decision(cycle_ns=world.now_ns, ts_event_ns=world.now_ns)).code is (
        DenialCode.TRADING_HALTED
    )
    assert told(see(world, LOSS, LOSS, LOSS)) == []


@pytest.mark.parametrize("bad", [0.01, 50.0, LOSS])
def test_one_bad_tick_halts_nothing_however_long_it_stands(bad: float) -> None:
    world = holder()
    assert told(see(world, bad, *[None] * 30)) == []  # type: ignore[list-item]
    assert told(see(world, 100.0, bad, 100.0, bad, bad, 100.0, bad, bad)) == []


def test_a_bad_tick_that_stands_while_others_move_halts_nothing() -> None:
    world = holder()
    for number in (3, 2, 1):
        world.tell(mark(EWG, price=20.0, ts_ns=world.now_ns - number))
    world.hold("10", price="20", instrument_id=EWG)
    see(world, 20.0, instrument_id=EWG)
    assert told(see(world, 1.0)) == []
    assert told(see(world, *[20.0, 20.1] * 5, instrument_id=EWG)) == []
    assert told(see(world, LOSS, LOSS)) == ["warned DAILY_LOSS", HALT]


def test_old_marks_confirm_nothing() -> None:
    world = holder()
    for number in range(CONFIRMATIONS):
        world.tell(mark(price=LOSS, ts_ns=NOW + number + 1))
    world.now_ns += 100 * SECOND
    assert told(see(world)) == []
    assert told(see(world, LOSS)) == ["warned DAILY_LOSS", HALT]


def test_a_short_position_is_measured_at_its_best_price_too() -> None:
    world = desk(mandate(allows_short=True, position_weight_max=D(10)), marks=[mark()])
    world.hold("-400")
    assert told(see(world, 100.0, 100.0, 500.0, 100.0)) == []
    assert told(see(world, 105.5, 105.5, 105.5)) == ["warned DAILY_LOSS", HALT]


def test_a_drawdown_halts_where_no_day_s_loss_does() -> None:
    world = holder(daily_loss_max=D(1), drawdown_max=D("0.02"))
    assert told(see(world, LOSS, LOSS, LOSS)) == ["warned DRAWDOWN", HALT]


def test_a_loss_in_money_halts_too() -> None:
    world = holder(daily_loss_max=D(1), limits=Limits(loss_amount_max=D(2000)))
    assert told(see(world, LOSS, LOSS, LOSS)) == ["warned DAILY_LOSS", HALT]


def test_a_warning_comes_once_a_crossing() -> None:
    world = holder()
    near, quiet, far = 100 - 4.2, 100 - 3.6, 100 - 3.4
    assert told(see(world, near, near, near)) == ["warned DAILY_LOSS"]
    assert told(see(world, *[quiet] * 3, *[near] * 5)) == []
    assert told(see(world, *[far] * 3)) == []
    assert told(see(world, *[near] * 3)) == ["warned DAILY_LOSS"]


def test_exposure_is_warned_of_and_halts_nothing() -> None:
    world = desk(mandate(gross_exposure_max=D("0.05"), leverage_max=D("0.1")))
    world.hold("39")
    assert told(see(world)) == []
    world.hold("1")
    assert told(see(world)) == ["warned GROSS_EXPOSURE"]
    world.hold("30")
    assert told(see(world)) == []
    world.hold("10", group_id="other")
    assert told(see(world)) == ["warned LEVERAGE"]


def test_a_halt_latches_and_only_a_record_above_it_resumes() -> None:
    world = holder()
    *_, change = see(world, LOSS, LOSS, LOSS)
    scope = {"scope": ScopeKind.ACCOUNT, "scope_id": ACCOUNT}
    (old,) = world.tell(switch(ACTIVE, change.sequence, **scope))
    assert isinstance(old, Incident)
    world.tell(switch(ACTIVE, change.sequence - 1))
    world.state = world.core.load(world.core.dump(world.state))
    now = {"cycle_ns": world.now_ns, "ts_event_ns": world.now_ns}
    assert world.denied(decision(**now)).code is DenialCode.TRADING_HALTED
    world.tell(switch(ACTIVE, change.sequence + 1, **scope))
    # The loss still stands: entries are denied by the limit, and nobody fights the operator.
    entry = order(Side.BUY, "10", index=1, **now)
    assert world.denied(entry).code is DenialCode.DAILY_LOSS
    assert told(see(world, *[LOSS] * 5)) == []
    world.approved(order(Side.SELL, "10", index=2, cycle_ns=world.now_ns, ts_event_ns=world.now_ns))
    # Recovered, and lost again: that is another halt.
    assert told(see(world, *[100.0] * 3)) == []
    assert told(see(world, *[LOSS] * 3)) == ["warned DAILY_LOSS", HALT]


def test_a_halt_cancels_what_would_open_and_spares_what_protects() -> None:
    world = holder()
    entry = world.approved(order(Side.BUY, "10", cycle_ns=world.now_ns, ts_event_ns=world.now_ns))
    world.approved(
        order(
            Side.SELL,
            "5",
            index=1,
            is_reduce_only=True,
            cycle_ns=world.now_ns,
            ts_event_ns=world.now_ns,
        )
    )
    said = see(world, LOSS, LOSS, LOSS)
    (change,) = [one for one in said if isinstance(one, TradingStateChanged)]
    (cancel,) = [one for one in said if isinstance(one, ApprovedOrder)]
    assert cancel.action is OrderAction.CANCEL
    assert cancel.order.client_order_id == entry.order.client_order_id
    assert cancel.approval.decision_id == change.command_id


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([100.0, 99.0, LOSS, 90.0, 1.0]), min_size=1, max_size=25))
def test_an_account_is_halted_just_when_three_marks_in_a_row_are_below_the_limit(
    prices: list[float],
) -> None:
    world = holder()
    seen = [100.0] * CONFIRMATIONS
    is_halted = False
    for price in prices:
        seen.append(price)
        is_over = max(seen[-CONFIRMATIONS:]) <= LOSS
        said = told(see(world, price))
        assert (HALT in said) == (is_over and not is_halted)
        is_halted = is_halted or is_over


# ---- a runaway group

COUNT, PAUSE_NS = 1_500, 700_000
"""decisions in a little more than a second"""


def rushing(**limits: Any) -> Desk:
    return desk(group("other"), mandate(position_weight_max=D(1), limits=Limits(**limits)))


def asked(world: Desk, number: int, **changes: Any) -> Any:
    now = {"cycle_ns": NOW + number, "ts_event_ns": world.now_ns}
    return order(Side.BUY, "1", **{**now, **changes})


def rush(world: Desk, count: int, pause_ns: int, first: int = 0) -> Iterator[Any]:
    """Decisions so far apart, timers fired as a driver would."""
    for number in range(first, first + count):
        world.now_ns += pause_ns
        yield from world.tell(asked(world, number))
        yield from world.fire()


def ids(said: list[Any]) -> list[str]:
    denials = [one for one in said if isinstance(one, Denial)]
    approvals = [
        one.approval.decision_id
        for one in said
        if isinstance(one, ApprovedOrder) and one.action is not OrderAction.CANCEL
    ]
    answered = [one.decision_id for one in denials]
    return approvals + answered + [name for one in denials for name in one.also_decision_ids]


def test_a_runaway_group_is_halted_within_a_second_and_answered_together() -> None:
    world = rushing(group_order_rate_max=50)
    began_ns = world.now_ns
    said = list(rush(world, COUNT, PAUSE_NS))
    (halt,) = [one for one in said if isinstance(one, TradingStateChanged)]
    assert (halt.state, halt.scope) == (HALTED, f"GROUP/{GROUP}")
    assert halt.ts_event_ns - began_ns <= SECOND
    world.now_ns += 2 * SECOND
    said += world.fire()
    names = ids(said)
    assert sorted(names) == sorted(asked(world, number).decision_id for number in range(COUNT))
    rates = [one for one in said if isinstance(one, Denial) and one.code is DenialCode.ORDER_RATE]
    assert len(rates) <= 3
    # Others trade on.
    world.approved(asked(world, 0, group_id="other", cycle_ns=world.now_ns))
    world.now_ns += 2 * SECOND
    world.fire()
    assert world.state.rushes == {}


def test_a_group_that_is_halted_and_goes_on_as_fast_is_not_looked_at_at_all() -> None:
    world = rushing(group_order_rate_max=50)
    first = list(rush(world, COUNT, PAUSE_NS))
    assert [one for one in first if isinstance(one, TradingStateChanged)]
    # None of its share of a second either: each would be denied on its own.
    said = list(rush(world, COUNT, PAUSE_NS, COUNT))
    assert {one.code for one in said if isinstance(one, Denial)} == {DenialCode.ORDER_RATE}
    assert len(said) <= 2
    # A cancel passes; so does everybody else.
    cancel = replace(asked(world, 2 * COUNT), kind=DecisionKind.CANCEL, client_order_id="none")
    [answer] = world.tell(cancel)
    assert isinstance(answer, ApprovedOrder) or answer.code is not DenialCode.ORDER_RATE
    world.approved(asked(world, 0, group_id="other", cycle_ns=world.now_ns))
    # Two windows later it has slowed down, and is told why it is denied.
    world.now_ns += 2 * WINDOW_NS
    said += list(rush(world, 1, 0, 2 * COUNT + 1))
    assert said[-1].code is DenialCode.TRADING_HALTED
    world.now_ns += 2 * SECOND
    named = ids(first + said + world.fire())
    assert sorted(named) == sorted(
        asked(world, number).decision_id for number in (*range(2 * COUNT), 2 * COUNT + 1)
    )


def test_a_burst_is_answered_together_and_halts_nothing() -> None:
    world = rushing(group_order_rate_max=5)
    said = list(rush(world, 500, 0))
    world.now_ns += SECOND
    said += world.fire()
    assert len(ids(said)) == 500
    assert not [one for one in said if isinstance(one, TradingStateChanged)]


def test_windows_that_are_hot_now_and_then_halt_nothing() -> None:
    world = rushing(group_order_rate_max=5)
    said, number = [], 0
    for _ in range(10):
        for _ in range(WINDOWS - 1):
            said += list(rush(world, 50, WINDOW_NS // 50, number))
            number += 50
        world.now_ns += WINDOW_NS * 2
    assert not [one for one in said if isinstance(one, TradingStateChanged)]


def test_a_group_that_is_resumed_and_still_runs_away_is_halted_again() -> None:
    world = rushing(group_order_rate_max=50)
    said = list(rush(world, COUNT, PAUSE_NS))
    (halt,) = [one for one in said if isinstance(one, TradingStateChanged)]
    scope = {"scope": ScopeKind.GROUP, "scope_id": GROUP}
    world.tell(switch(ACTIVE, halt.sequence + 1, **scope))
    said = list(rush(world, COUNT, PAUSE_NS, COUNT))
    assert [one.state for one in said if isinstance(one, TradingStateChanged)] == [HALTED]


def test_the_rate_holds_in_every_second_of_a_rush() -> None:
    world = rushing(group_order_rate_max=20)
    passed = []
    for number in range(600):
        world.now_ns += 5_000_000
        said = world.tell(asked(world, number))
        if [one for one in said if ids([one]) == [asked(world, number).decision_id]]:
            passed.append(world.now_ns)
        world.fire()
    assert passed
    for at_ns in passed:
        assert len([other for other in passed if at_ns <= other < at_ns + SECOND]) <= 20


def test_what_was_held_back_survives_a_restart() -> None:
    world = rushing(group_order_rate_max=1)
    list(rush(world, 10, 1))
    world.state = world.core.load(world.core.dump(world.state))
    world.now_ns += SECOND
    assert len(ids(world.fire())) == 9


def test_long_ids_are_answered_before_a_record_cannot_hold_them() -> None:
    world = rushing(group_order_rate_max=1)
    said = []
    for number in range(40):
        said += world.tell(asked(world, number, decision_id=f"{number:030000d}"))
    world.now_ns += SECOND
    said += world.fire()
    assert len(ids(said)) == 40
    assert len([one for one in said if isinstance(one, Denial)]) == 2


def test_an_account_that_holds_nothing_is_not_looked_at() -> None:
    world = holder(daily_loss_max=D("0.02"))
    world.tell(account("PAPER-0"), mandate("PAPER-0"))
    idle = world.state.accounts["PAPER-0"]
    assert told(see(world, *([90.0] * CONFIRMATIONS)))[-1] == HALT
    assert world.state.accounts["PAPER-0"].breakers == idle.breakers == {}


def test_without_a_mandate_no_limit_is_warned_of() -> None:
    world = Desk()
    world.tell(instrument(), account(), group(), venue(), mark())
    world.hold("5000")
    assert see(world, 100.0, 50.0, 50.0, 50.0) == []
    assert world.state.accounts[ACCOUNT].breakers == {}


def test_a_rush_that_was_answered_is_forgotten_a_second_later() -> None:
    world = rushing(group_order_rate_max=5)
    list(rush(world, 20, 0))
    world.now_ns += SECOND
    assert len(ids(world.fire())) == 15
    world.now_ns += SECOND - 1
    assert world.fire() == []
    assert len(world.state.rushes) == 1
    world.now_ns += 1
    world.fire()
    assert world.state.rushes == {}
    assert WINDOWS * WINDOW_NS < SECOND
