"""One row per refusal, and beside each the neighbor that is just inside the limit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from execution_samples import (
    SECOND,
    T0,
    Driver,
    account,
    approved,
    cancel,
    cancel_all,
    dec,
    fills,
    flatten,
    incidents,
    instrument,
    limit,
    order,
    ready,
    says,
    set_state,
    trade,
    updates,
    watermark,
)

from tapeline.contracts import topics
from tapeline.contracts.control import ScopeKind
from tapeline.contracts.orders import ApprovedOrder, Mode, OrderAction, OrderStatus, Side
from tapeline.contracts.risk import TradingState

TTL = 5 * SECOND


def answer(driver: Driver, record: ApprovedOrder) -> str:
    """Code of the refusal, or SENT."""
    said = driver.step(record)
    first = updates(said)[0]
    if first.command is not None:
        return "SENT"
    assert first.status is OrderStatus.DENIED
    assert first.is_terminal
    assert first.reason
    assert not driver.state.orders
    return first.code


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (approved(order(), expires_ns=T0), "EXECUTION_EXPIRED"),
        (approved(order(), expires_ns=T0 + 1), "SENT"),
        (approved(order(), expires_ns=T0 - 1), "EXECUTION_EXPIRED"),
        (approved(order(), run_id="run-2"), "EXECUTION_WRONG_RUN"),
        (approved(order(), run_id="run-1"), "SENT"),
        (approved(order(), mode=Mode.LIVE), "EXECUTION_WRONG_MODE"),
        (approved(order(), mode=Mode.SHADOW), "EXECUTION_WRONG_MODE"),
        (approved(order(), mode=Mode.PAPER), "SENT"),
        (approved(order(), account_id="a2"), "EXECUTION_WRONG_ACCOUNT"),
        (approved(order(account_id="a2")), "EXECUTION_WRONG_ACCOUNT"),
        (approved(order(account_id="a2"), account_id="a2"), "EXECUTION_WRONG_ACCOUNT"),
        (approved(order(account_id="b7"), account_id="b7"), "EXECUTION_WRONG_ACCOUNT"),
        (approved(order(instrument_id="QQQ.ARCA")), "EXECUTION_UNKNOWN_INSTRUMENT"),
        (approved(order(venue="ELSEWHERE")), "EXECUTION_UNKNOWN_VENUE"),
        (approved(order(), action=OrderAction.AMEND), "EXECUTION_UNKNOWN_ORDER"),
        (approved(order(), child_count=2), "EXECUTION_SCHEDULE"),
        (approved(order(), child_count=0), "EXECUTION_SCHEDULE"),
        (approved(order(quantity=dec(0))), "EXECUTION_NOT_POSITIVE"),
        (approved(order(quantity=dec(-1))), "EXECUTION_NOT_POSITIVE"),
        (approved(order(quantity=dec(1))), "SENT"),
        (cancel(order("nobody")), "EXECUTION_UNKNOWN_ORDER"),
    ],
)
def test_what_does_not_fit_is_refused(record: ApprovedOrder, code: str) -> None:
    driver = ready()
    driver.step(account(account_id="b7", shard=7))
    assert answer(driver, record) == code


def test_an_approval_that_has_run_out_says_since_when() -> None:
    (update,) = updates(ready().step(approved(order(), expires_ns=T0 - 7)))
    assert update.reason == "Expired 7 ns ago."


@pytest.mark.parametrize(
    ("age_ns", "code"),
    [
        (0, "SENT"),
        (2 * SECOND, "SENT"),
        (2 * SECOND + 1, "EXECUTION_RISK_SILENT"),
        (-2 * SECOND, "SENT"),
        (-2 * SECOND - 1, "EXECUTION_RISK_SILENT"),
    ],
)
def test_risk_must_have_shown_a_sign_of_life(age_ns: int, code: str) -> None:
    driver = ready()
    driver.now_ns = T0 + age_ns
    assert answer(driver, approved(order(), now_ns=driver.now_ns)) == code


def test_without_any_sign_of_life_nothing_is_sent() -> None:
    driver = Driver()
    for record in ready().history[:3]:
        driver.step(record.record)
    assert answer(driver, approved(order())) == "EXECUTION_RISK_SILENT"


@pytest.mark.parametrize(
    ("source", "topic"),
    [
        ("risk/1", topics.APPROVED_ORDERS),
        ("feed/daily", topics.APPROVED_ORDERS),
        ("risk/0", topics.TICKS),
    ],
)
def test_others_signs_of_life_are_not_risks(source: str, topic: str) -> None:
    driver = ready()
    driver.now_ns = T0 + 3 * SECOND
    driver.step(watermark(driver.now_ns, source), topic=topic)
    assert answer(driver, approved(order(), now_ns=driver.now_ns)) == "EXECUTION_RISK_SILENT"


def test_in_a_paced_run_risk_is_alive_by_construction() -> None:
    driver = ready(is_paced=True)
    driver.now_ns = T0 + 86_400 * SECOND
    assert answer(driver, approved(order(), now_ns=driver.now_ns)) == "SENT"


def test_in_real_time_a_watermark_that_says_paced_ages_like_any_other() -> None:
    driver = ready()
    driver.step(watermark(T0, is_paced=True), topic=topics.APPROVED_ORDERS)
    driver.now_ns = T0 + 3 * SECOND
    assert answer(driver, approved(order(), now_ns=driver.now_ns)) == "EXECUTION_RISK_SILENT"


@pytest.mark.parametrize(
    ("age_ns", "code"), [(SECOND, "SENT"), (3 * SECOND, "EXECUTION_RISK_SILENT")]
)
def test_a_snapshot_that_still_says_whether_the_run_was_paced_loads(age_ns: int, code: str) -> None:
    driver = ready()
    older = json.loads(driver.dumped())
    older["heartbeat"]["is_paced"] = True
    driver.state = driver.core.load(json.dumps(older).encode())
    driver.now_ns = T0 + age_ns
    assert answer(driver, approved(order(), now_ns=driver.now_ns)) == code


def test_a_cancel_passes_halted_and_with_risk_silent() -> None:
    driver = ready()
    driver.step(approved(limit("o1", "90")))
    driver.step(set_state(TradingState.HALTED))
    driver.now_ns = T0 + 3600 * SECOND
    assert says(driver.step(cancel(limit("o1", "90"), now_ns=driver.now_ns))) == [
        "cancel-o1 PENDING_CANCEL CANCEL",
        "report CANCELED",
        "approval-o1 CANCELED end",
        "cancel-o1 CANCELED end",
    ]


def test_a_cancel_of_another_accounts_order_is_refused() -> None:
    driver = ready()
    driver.step(account(account_id="a2"))
    driver.step(approved(limit("o1", "90")))
    said = driver.step(cancel(limit("o1", "90", account_id="a2"), account_id="a2"))
    assert says(said) == ["cancel-o1 DENIED EXECUTION_UNKNOWN_ORDER end"]


# ---- reuse


def test_a_replayed_approval_sends_nothing_and_ends_nothing() -> None:
    driver = ready()
    record = approved(limit("o1", "90"))
    driver.step(record)
    before = driver.state.orders
    assert says(driver.step(record)) == ["incident EXECUTION_REUSED"]
    assert driver.state.orders == before
    driver.step(trade(T0 + 1, 80.0))
    assert says(driver.step(record)) == ["incident EXECUTION_REUSED"]


def test_an_approval_is_used_under_another_order_too() -> None:
    driver = ready()
    driver.step(approved(limit("o1", "90"), approval_id="x"))
    said = driver.step(approved(limit("o2", "90"), approval_id="x"))
    assert says(said) == ["incident EXECUTION_REUSED"]


def test_a_refused_approval_is_used_up_as_well() -> None:
    driver = ready()
    driver.step(approved(order("o1"), run_id="run-2"))
    assert says(driver.step(approved(order("o1"), run_id="run-2"))) == ["incident EXECUTION_REUSED"]
    assert not driver.state.orders


def test_one_order_id_under_two_approvals_is_sent_once() -> None:
    driver = ready()
    driver.step(approved(limit("o1", "90"), approval_id="x"))
    said = driver.step(approved(limit("o1", "90"), approval_id="y"))
    assert says(said) == ["y DENIED EXECUTION_DUPLICATE_ORDER end"]
    assert driver.state.orders["o1"].status is OrderStatus.ACCEPTED
    assert driver.state.orders["o1"].approval_id == "x"


def test_used_ids_are_forgotten_only_when_expiry_alone_refuses() -> None:
    driver = ready()
    record = approved(order("o1"))
    driver.step(record)
    driver.step(trade(T0 + 1, 100.0))
    assert not driver.at(T0 + TTL + 59 * SECOND)
    assert "approval-o1" in driver.state.used
    driver.at(T0 + TTL + 70 * SECOND)
    assert not driver.state.used
    assert not driver.state.ended
    assert driver.core.next_due_ns(driver.state) is None
    driver.beat()
    assert says(driver.step(record)) == ["approval-o1 DENIED EXECUTION_EXPIRED end"]


def test_an_open_order_outlives_the_memory_of_its_approval() -> None:
    driver = ready()
    record = approved(limit("o1", "90"))
    driver.step(record)
    driver.at(T0 + 3600 * SECOND)
    assert not driver.state.used
    assert says(driver.step(record)) == ["incident EXECUTION_REUSED"]
    assert says(driver.step(trade(T0 + 3601 * SECOND, 89.0)))[-1] == "approval-o1 FILLED end"


# ---- kill switch


@pytest.mark.parametrize(
    ("scope", "scope_id", "code"),
    [
        (ScopeKind.ALL, "", "EXECUTION_TRADING_HALTED"),
        (ScopeKind.ACCOUNT, "a1", "EXECUTION_TRADING_HALTED"),
        (ScopeKind.ACCOUNT, "a2", "SENT"),
        (ScopeKind.GROUP, "g1", "EXECUTION_TRADING_HALTED"),
        (ScopeKind.GROUP, "g2", "SENT"),
        (ScopeKind.STRATEGY, "g1", "EXECUTION_TRADING_HALTED"),
        (ScopeKind.INSTRUMENT, "SPY.ARCA", "EXECUTION_TRADING_HALTED"),
        (ScopeKind.INSTRUMENT, "QQQ.ARCA", "SENT"),
        (ScopeKind.VENUE, "PAPER", "EXECUTION_TRADING_HALTED"),
        (ScopeKind.VENUE, "OTHER", "SENT"),
    ],
)
def test_a_halt_holds_in_its_scope(scope: ScopeKind, scope_id: str, code: str) -> None:
    driver = ready()
    driver.step(set_state(TradingState.HALTED, scope=scope, scope_id=scope_id))
    assert answer(driver, approved(order())) == code


def test_the_strictest_scope_wins() -> None:
    driver = ready()
    driver.step(set_state(TradingState.HALTED, scope=ScopeKind.ACCOUNT, scope_id="a1"))
    driver.step(set_state(TradingState.ACTIVE))
    assert answer(driver, approved(order())) == "EXECUTION_TRADING_HALTED"


@pytest.mark.parametrize(
    ("changes", "action", "code"),
    [
        ({}, OrderAction.OPEN, "EXECUTION_TRADING_REDUCING"),
        ({}, OrderAction.UPDATE, "EXECUTION_TRADING_REDUCING"),
        ({}, OrderAction.FLIP, "EXECUTION_TRADING_REDUCING"),
        ({}, OrderAction.CLOSE, "SENT"),
        ({"is_reduce_only": True}, OrderAction.UPDATE, "SENT"),
    ],
)
def test_reducing_lets_reducing_orders_through(
    changes: dict[str, Any], action: OrderAction, code: str
) -> None:
    driver = ready()
    driver.step(set_state(TradingState.REDUCING))
    assert answer(driver, approved(order(**changes), action=action)) == code


@pytest.mark.parametrize(
    ("decision_id", "is_reduce_only", "code"),
    [
        ("f1", True, "SENT"),
        ("f1", False, "EXECUTION_TRADING_HALTED"),
        ("f2", True, "EXECUTION_TRADING_HALTED"),
    ],
)
def test_halted_lets_only_an_accepted_flatten_through(
    decision_id: str, is_reduce_only: bool, code: str
) -> None:
    driver = ready()
    driver.step(set_state(TradingState.HALTED))
    driver.step(flatten())
    record = approved(order(is_reduce_only=is_reduce_only), decision_id=decision_id)
    assert answer(driver, record) == code


@pytest.mark.parametrize(
    ("sequences", "state"),
    [
        ((1, 2), TradingState.ACTIVE),
        ((2, 1), TradingState.HALTED),
        ((2, 2), TradingState.HALTED),
    ],
)
def test_an_old_resume_does_nothing(sequences: tuple[int, int], state: TradingState) -> None:
    driver = ready()
    driver.step(set_state(TradingState.HALTED, sequences[0]))
    said = driver.step(set_state(TradingState.ACTIVE, sequences[1]))
    assert driver.state.switchboard.states["ALL/"] is state
    is_ignored = state is TradingState.HALTED
    assert says(said) == (["incident CONTROL_OLD_SEQUENCE"] if is_ignored else [])


@pytest.mark.parametrize(
    ("record", "verdict", "code"),
    [
        (set_state(TradingState.HALTED), "BAD_SIGNATURE", "CONTROL_BAD_SIGNATURE"),
        (set_state(TradingState.HALTED, run_id="run-2"), "", "CONTROL_WRONG_RUN"),
        (cancel_all(expires_ns=T0), "", "CONTROL_EXPIRED"),
        (flatten(expires_ns=T0), "", "CONTROL_EXPIRED"),
    ],
)
def test_control_that_does_not_count_is_reported(record: Any, verdict: str, code: str) -> None:
    driver = ready()
    before = driver.state
    assert [one.code for one in incidents(driver.step(record, verdict))] == [code]
    assert driver.state == before


def test_cancel_all_cancels_its_scope_and_spares_protection() -> None:
    driver = ready()
    driver.step(approved(order("held")))
    driver.step(trade(T0 + 1, 100.0))
    driver.step(approved(limit("o1", "90")))
    driver.step(approved(limit("o2", "90", group_id="g2")))
    protective = limit("o3", "120", side=Side.SELL, is_reduce_only=True)
    driver.step(approved(protective))
    said = driver.step(cancel_all(scope=ScopeKind.GROUP, scope_id="g1"))
    assert says(said) == [
        "approval-o1 PENDING_CANCEL CANCEL",
        "report CANCELED",
        "approval-o1 CANCELED end",
    ]
    assert sorted(driver.state.orders) == ["o2", "o3"]
    driver.step(cancel_all(2, spares_protective=False))
    assert not driver.state.orders
    assert not driver.state.paper.orders


def test_cancel_all_is_carried_out_once() -> None:
    driver = ready()
    driver.step(cancel_all())
    driver.step(approved(limit("o1", "90")))
    assert says(driver.step(cancel_all())) == ["incident CONTROL_OLD_SEQUENCE"]
    assert list(driver.state.orders) == ["o1"]


def test_flatten_takes_what_would_open_off_the_book() -> None:
    driver = ready()
    driver.step(approved(limit("o1", "90")))
    driver.step(flatten())
    assert not driver.state.orders


# ---- config


def test_config_without_increments_or_out_of_date_is_ignored() -> None:
    driver = ready()
    driver.step(instrument(version=3, sector="new"))
    for record in (
        instrument(version=4, tick_size=dec(0)),
        instrument(version=4, lot_size=dec(0)),
        instrument(version=2),
        account(version=0, shard=5),
    ):
        assert [one.code for one in incidents(driver.step(record))] == ["CONFIG_IGNORED"]
    assert driver.state.instruments["SPY.ARCA"].sector == "new"
    assert driver.state.paper.instruments == driver.state.instruments
    assert driver.state.accounts["a1"].shard == 0


def test_a_fill_names_the_approval_and_the_decision_behind_it() -> None:
    driver = ready()
    driver.step(approved(order()))
    fill = fills(driver.step(trade(T0 + 1, 100.0)))[0]
    assert (fill.approval_id, fill.decision_id) == ("approval-o1", "decision-o1")
    assert (fill.account_id, fill.group_id, fill.arrival_price) == ("a1", "g1", 100)
