"""The kill switch in execution: trips by file and signal, and what they take off the book."""

from __future__ import annotations

from typing import Any

import pytest
from execution_samples import (
    SECOND,
    T0,
    Driver,
    approved,
    cancel_all,
    dec,
    flatten,
    incidents,
    limit,
    order,
    ready,
    says,
    set_state,
    sliced,
    told,
    trade,
)

from tapeline.contracts.control import LocalTrip, ScopeKind, SwitchLevel
from tapeline.contracts.orders import OrderAction, Side
from tapeline.contracts.risk import TradingState
from tapeline.execution.last_look import is_send
from tapeline.execution.switchboard import TRIPS_MAX, is_released

ACTIVE, HALTED = TradingState.ACTIVE, TradingState.HALTED


def trip(name: str = "trip-1", **changes: Any) -> LocalTrip:
    values: dict[str, Any] = {
        "trip_id": name,
        "origin": "file halt",
        "scope": ScopeKind.ALL,
        "scope_id": "",
        "level": SwitchLevel.CANCEL_ALL,
        "spares_protective": True,
        "reason": "drill",
        "sequence": 10,
        "expires_ns": T0 + 600 * SECOND,
    }
    return LocalTrip(**{**values, **changes})


def holding() -> Driver:
    """Something to close."""
    driver = ready()
    driver.step(approved(order("held")))
    driver.step(trade(T0 + 1, 100.0))
    assert driver.state.orders == {}
    return driver


def with_book() -> Driver:
    """An entry and a protective order at rest."""
    driver = holding()
    driver.step(approved(limit("entry", "90")))
    stop = limit("stop", "120", side=Side.SELL, is_reduce_only=True)
    driver.step(approved(stop, action=OrderAction.CLOSE))
    assert sorted(driver.state.orders) == ["entry", "stop"]
    return driver


@pytest.mark.parametrize(
    ("record", "left"),
    [
        (trip(), ["stop"]),
        (trip(spares_protective=False), []),
        (trip(level=SwitchLevel.FLATTEN), []),
        (trip(level=SwitchLevel.STOP_ENTRIES), ["entry", "stop"]),
        (trip(scope=ScopeKind.GROUP, scope_id="g1"), ["stop"]),
        (trip(scope=ScopeKind.GROUP, scope_id="g2"), ["entry", "stop"]),
        (cancel_all(), ["stop"]),
        (cancel_all(spares_protective=False), []),
        (flatten(), []),
    ],
)
def test_what_is_taken_off_the_book(record: Any, left: list[str]) -> None:
    driver = with_book()
    driver.step(record)
    assert sorted(driver.state.orders) == left
    assert driver.recovered() == driver.state


def test_a_trip_stops_orders_is_told_once_and_waits_for_a_record_above_it() -> None:
    driver = ready()
    (incident,) = incidents(driver.step(trip()))
    assert (incident.code, incident.severity) == ("SWITCH_PULLED", "critical")
    assert not driver.step(trip())
    refused = "approval-{} DENIED EXECUTION_TRADING_HALTED end"
    assert says(driver.step(approved(order("o1")))) == [refused.format("o1")]
    for number in (9, 10):
        driver.step(set_state(ACTIVE, number))
        assert not is_released(driver.state.switchboard, trip())
    driver.step(set_state(ACTIVE, 11))
    assert is_released(driver.state.switchboard, trip())
    assert says(driver.step(approved(order("o2"))))[0] == "approval-o2 SUBMITTED SUBMIT"
    assert driver.recovered() == driver.state


def test_what_is_said_by_file_and_topic_is_carried_out_once() -> None:
    driver = with_book()
    driver.step(trip())
    for record in (set_state(HALTED, 10), cancel_all(10)):
        assert driver.step(record) == []
    assert [one.code for one in incidents(driver.step(set_state(ACTIVE, 9)))] == [
        "CONTROL_OLD_SEQUENCE"
    ]


def test_orders_that_carry_out_a_flatten_pass_and_are_spared() -> None:
    driver = holding()
    driver.step(trip(level=SwitchLevel.FLATTEN))
    close = limit("close", "120", side=Side.SELL, is_reduce_only=True)
    driver.step(approved(close, action=OrderAction.CLOSE, decision_id="trip-1"))
    assert sorted(driver.state.orders) == ["close"]
    driver.step(flatten(20))
    assert sorted(driver.state.orders) == ["close"]
    other = limit("other", "120", side=Side.SELL, is_reduce_only=True)
    driver.step(approved(other, action=OrderAction.CLOSE, decision_id="trip-2"))
    assert sorted(driver.state.orders) == ["close"]


def test_a_trip_never_loosens_and_few_are_remembered() -> None:
    driver = ready()
    driver.step(set_state(HALTED, 50))
    driver.step(trip(level=SwitchLevel.STOP_ENTRIES))
    assert driver.state.switchboard.states["ALL/"] is HALTED
    assert driver.state.switchboard.sequences["SetTradingState/ALL/"] == 50
    for number in range(TRIPS_MAX + 5):
        driver.step(trip(f"trip-{number}-"))
    assert len(driver.state.switchboard.trips) == TRIPS_MAX
    assert f"trip-{TRIPS_MAX + 4}-" in driver.state.switchboard.trips


def test_sends_are_told_from_what_a_halt_lets_through() -> None:
    driver = holding()
    said = [*driver.step(approved(limit("entry", "90")))]
    close = limit("close", "120", side=Side.SELL, is_reduce_only=True)
    said += driver.step(approved(close, action=OrderAction.CLOSE))
    said += driver.step(trip())
    assert [one.record.client_order_id for one in said if is_send(one.record)] == ["entry"]


def test_a_trip_ends_what_is_worked_in_slices() -> None:
    driver = ready()
    driver.step(sliced(order(quantity=dec(6)), [2, 2, 2]))
    assert [parent.is_over for parent in driver.state.parents.values()] == [False]
    said = told(driver.step(trip()))
    assert said[-1] == "whole CANCELED end"
    assert [parent.is_over for parent in driver.state.parents.values()] == [True]
    assert driver.recovered() == driver.state
