"""The kill switch in risk: control records, trips by file and signal, and closing positions."""

from __future__ import annotations

from typing import Any

import pytest
from risk_samples import (
    ACCOUNT,
    EWG,
    GROUP,
    NOW,
    SECOND,
    SPY,
    D,
    decision,
    desk,
    fill_of,
    flatten,
    mandate,
    mark,
    order,
    switch,
    update_of,
)

from tapeline.contracts.control import LocalTrip, ScopeKind, SwitchLevel
from tapeline.contracts.orders import ApprovedOrder, OrderStatus, Side
from tapeline.contracts.risk import DenialCode, TradingState, TradingStateChanged
from tapeline.contracts.system import Incident
from tapeline.risk.switchboard import TRIPS_MAX, is_released

BUY, SELL = Side.BUY, Side.SELL
ACTIVE, REDUCING, HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED


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
        "expires_ns": NOW + 600 * SECOND,
    }
    return LocalTrip(**{**values, **changes})


def tell(world: Any, record: Any, verdict: str = "") -> list[Any]:
    return list(world.tell(record, verdict=verdict, topic=" "))


SCOPES = [
    (ScopeKind.ALL, "", True),
    (ScopeKind.ACCOUNT, ACCOUNT, True),
    (ScopeKind.ACCOUNT, "PAPER-2", False),
    (ScopeKind.GROUP, GROUP, True),
    (ScopeKind.GROUP, "other", False),
    (ScopeKind.STRATEGY, GROUP, True),
    (ScopeKind.INSTRUMENT, SPY, True),
    (ScopeKind.INSTRUMENT, EWG, False),
    (ScopeKind.VENUE, "PAPER", True),
    (ScopeKind.VENUE, "ELSEWHERE", False),
]


@pytest.mark.parametrize(("scope", "scope_id", "is_in"), SCOPES)
@pytest.mark.parametrize("level", [SwitchLevel.STOP_ENTRIES, SwitchLevel.CANCEL_ALL])
def test_a_trip_holds_for_its_scope(
    scope: ScopeKind, scope_id: str, is_in: bool, level: SwitchLevel
) -> None:
    world = desk()
    tell(world, trip(scope=scope, scope_id=scope_id, level=level))
    if not is_in:
        world.approved(decision())
        return
    is_entries = level is SwitchLevel.STOP_ENTRIES
    code = DenialCode.TRADING_REDUCING if is_entries else DenialCode.TRADING_HALTED
    assert world.denied(decision()).code is code


def test_a_trip_is_latched_until_a_record_above_it_resumes() -> None:
    world = desk()
    world.tell(switch(ACTIVE, 9))
    said = tell(world, trip())
    assert [(one.state, one.sequence, one.reason) for one in said] == [(HALTED, 10, "drill")]
    for number in (9, 10):
        world.tell(switch(ACTIVE, number))
        assert world.denied(decision(index=number)).code is DenialCode.TRADING_HALTED
        assert not is_released(world.state, trip())
    world.tell(switch(ACTIVE, 11))
    assert is_released(world.state, trip())
    world.approved(decision(index=12))
    # The file still lies there when the process is started again.
    assert tell(world, trip()) == []
    world.tell(switch(HALTED, 10))
    world.approved(decision(index=13, target_weight=D("0.05")))


def test_an_old_resume_sent_again_is_an_incident_and_one_said_by_file_is_none() -> None:
    world = desk()
    tell(world, trip())
    (old,) = world.tell(switch(ACTIVE, 9))
    assert isinstance(old, Incident)
    assert (old.code, old.severity) == ("CONTROL_OLD_SEQUENCE", "critical")
    (same,) = world.tell(switch(ACTIVE, 10))
    assert same.code == "CONTROL_OLD_SEQUENCE"
    assert world.tell(switch(HALTED, 10)) == []


def test_a_trip_never_loosens_and_counts_whatever_its_number() -> None:
    world = desk()
    world.tell(switch(HALTED, 50))
    tell(world, trip(level=SwitchLevel.STOP_ENTRIES))
    assert world.denied(decision()).code is DenialCode.TRADING_HALTED
    world.tell(switch(ACTIVE, 51))
    tell(world, trip("trip-2", sequence=1))
    assert world.denied(decision(index=1)).code is DenialCode.TRADING_HALTED
    world.tell(switch(ACTIVE, 51))
    assert world.denied(decision(index=2)).code is DenialCode.TRADING_HALTED
    world.tell(switch(ACTIVE, 52))
    world.approved(decision(index=3))


def test_trips_that_are_remembered_are_few() -> None:
    world = desk()
    for number in range(TRIPS_MAX + 5):
        tell(world, trip(f"trip-{number}"))
    assert len(world.state.trips) == TRIPS_MAX
    assert f"trip-{TRIPS_MAX + 4}" in world.state.trips


def closes(said: list[Any]) -> list[tuple[str, int]]:
    found = [one for one in said if isinstance(one, ApprovedOrder)]
    assert all(one.order.is_reduce_only for one in found)
    return [(one.approval.decision_id, int(one.order.quantity)) for one in found]


def test_a_trip_that_flattens_closes_once_by_file_and_topic() -> None:
    world = desk()
    world.hold("10")
    said = tell(world, trip("command-1", level=SwitchLevel.FLATTEN))
    assert closes(said) == [("command-1", 10)]
    assert isinstance(said[0], TradingStateChanged)
    assert world.tell(switch(HALTED, 10), flatten(sequence=10)) == []
    # The other way round.
    world = desk()
    world.hold("10")
    assert closes(world.tell(switch(HALTED, 10), flatten(sequence=10))) == [("command-1", 10)]
    assert closes(tell(world, trip("command-1", level=SwitchLevel.FLATTEN))) == []


@pytest.mark.parametrize(("changes", "verdict"), [({"expires_ns": NOW}, ""), ({}, "KEY_MISSING")])
def test_a_trip_that_cannot_flatten_halts_all_the_same(
    changes: dict[str, Any], verdict: str
) -> None:
    world = desk()
    world.hold("10")
    said = tell(world, trip(level=SwitchLevel.FLATTEN, **changes), verdict)
    assert closes(said) == []
    assert world.denied(decision()).code is DenialCode.TRADING_HALTED
    assert world.core.next_due_ns(world.state) != NOW + SECOND


def fire(world: Any, seconds: float) -> list[Any]:
    world.now_ns = NOW + int(seconds * SECOND)
    return [one for one in world.fire() if isinstance(one, ApprovedOrder)]


def test_what_a_canceled_order_had_reserved_is_closed_a_second_later() -> None:
    world = desk()
    world.hold("10")
    closing = world.approved(order(SELL, "7"))
    first = world.tell(switch(HALTED), flatten(expires_ns=NOW + 60 * SECOND))
    assert closes(first) == [("command-1", 3)]
    assert fire(world, 1) == []
    world.tell(update_of(closing, OrderStatus.CANCELED))
    (second,) = fire(world, 2)
    assert (second.order.quantity, second.order.side) == (7, SELL)
    assert second.approval.approval_id != first[-1].approval.approval_id
    assert fire(world, 3) == []
    for one in (first[-1], second):
        world.tell(
            fill_of(one, one.order.quantity, "100"), update_of(one, filled=one.order.quantity)
        )
    assert fire(world, 4) == []


def test_what_execution_refused_on_the_way_is_asked_again_until_the_command_expires() -> None:
    world = desk()
    world.hold("10")
    (one,) = (said for said in world.tell(flatten(expires_ns=NOW + 3 * SECOND)))
    for second in (1, 2):
        world.tell(update_of(one, OrderStatus.DENIED))
        (one,) = fire(world, second)
    world.tell(update_of(one, OrderStatus.DENIED))
    assert fire(world, 3) == []
    assert world.state.flattening == {}


def test_a_resume_ends_a_flatten() -> None:
    world = desk()
    world.hold("10")
    (one,) = world.tell(flatten(expires_ns=NOW + 60 * SECOND))
    world.tell(update_of(one, OrderStatus.DENIED), switch(ACTIVE, 2))
    assert fire(world, 1) == []
    assert world.state.flattening == {}


def test_a_late_fill_is_closed_too() -> None:
    world = desk(mandate(position_weight_max=D(1)), marks=[mark(), mark(EWG)])
    entry = world.approved(order(BUY, "5", instrument_id=EWG))
    assert closes(world.tell(switch(HALTED), flatten(expires_ns=NOW + 60 * SECOND))) == []
    world.tell(fill_of(entry, "5", "100"), update_of(entry, filled="5"))
    (close,) = fire(world, 1)
    assert (close.order.instrument_id, close.order.quantity) == (EWG, 5)


def test_switches_survive_a_restart() -> None:
    world = desk()
    world.hold("10")
    tell(world, trip(level=SwitchLevel.FLATTEN))
    world.state = world.core.load(world.core.dump(world.state))
    assert world.denied(decision()).code is DenialCode.TRADING_HALTED
    assert tell(world, trip(level=SwitchLevel.FLATTEN)) == []
