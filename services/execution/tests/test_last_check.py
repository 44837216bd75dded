"""The last check before a request leaves, on both sides of each edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from execution_samples import (
    RUN,
    SECOND,
    T0,
    account,
    approved,
    instrument,
    limit,
    live_switch,
    order,
    outside,
    set_state,
    updates,
    venue,
    watermark,
)

from tapeline.contracts import topics
from tapeline.contracts.control import LocalTrip, ScopeKind, SwitchLevel
from tapeline.contracts.orders import ApprovedOrder, Mode, OrderUpdate, VenueCommand
from tapeline.contracts.risk import TradingState
from tapeline.execution.outside.last_check import LastCheck, World
from tapeline.runtime.core import Input

AGE = 2 * SECOND


def world(*records: Any) -> World:
    """What is known after the usual records and these."""
    found = World()
    usual = (account(mode=Mode.LIVE), instrument(), venue(adapter="elsewhere"), live_switch())
    for record in (*usual, watermark(T0), *records):
        topic = topics.APPROVED_ORDERS if record.AVRO.endswith("Watermark") else topics.CONTROL
        event = Input(record=record, topic=topic, partition=0, session_ns=T0)
        found = found.after(event, RUN)
    return found


def sent(record: ApprovedOrder | None = None) -> tuple[OrderUpdate, VenueCommand]:
    """An order as the core commands it."""
    update = updates(outside().step(record or approved(order())))[0]
    assert update.command is not None
    return update, update.command


def check(**changes: Any) -> LastCheck:
    plain = LastCheck(
        run_id=RUN, mode="LIVE", heartbeat_age_ns_max=AGE, verdict=lambda _approved: ""
    )
    return replace(plain, **changes)


def trip(level: SwitchLevel = SwitchLevel.CANCEL_ALL, scope_id: str = "") -> LocalTrip:
    return LocalTrip(
        trip_id="t",
        origin="file",
        scope=ScopeKind.ACCOUNT if scope_id else ScopeKind.ALL,
        scope_id=scope_id,
        level=level,
        spares_protective=False,
        reason="test",
        sequence=5,
        expires_ns=T0 + 60 * SECOND,
    )


@pytest.mark.parametrize(
    ("known", "now_ns", "code"),
    [
        (world(), T0, ""),
        (world(), T0 + AGE, ""),
        (world(), T0 + AGE + 1, "EXECUTION_RISK_SILENT"),
        (world(watermark(T0 + 4 * SECOND)), T0 + 5 * SECOND - 1, ""),
        (world(watermark(T0 + 4 * SECOND)), T0 + 5 * SECOND, "EXECUTION_EXPIRED"),
        (world(watermark(T0 + 9 * SECOND, "risk/1")), T0 + AGE + 1, "EXECUTION_RISK_SILENT"),
        (world(live_switch(False, 2)), T0, "EXECUTION_LIVE_NOT_PERMITTED"),
        (world(live_switch(False, 2), live_switch(True, 3)), T0, ""),
        (world(live_switch(False, 2), live_switch(True, 1)), T0, "EXECUTION_LIVE_NOT_PERMITTED"),
        (world(account(version=2)), T0, "EXECUTION_LIVE_NOT_PERMITTED"),
        (world(account(version=0)), T0, ""),
        (World(), T0, "EXECUTION_LIVE_NOT_PERMITTED"),
        (world(set_state(TradingState.HALTED)), T0, "EXECUTION_TRADING_HALTED"),
        (world(set_state(TradingState.REDUCING)), T0, "EXECUTION_TRADING_REDUCING"),
        (
            world(set_state(TradingState.HALTED), set_state(TradingState.ACTIVE, 2)),
            T0,
            "",
        ),
        (
            world(set_state(TradingState.HALTED, 2), set_state(TradingState.ACTIVE, 1)),
            T0,
            "EXECUTION_TRADING_HALTED",
        ),
    ],
)
def test_what_is_known_now_decides(known: World, now_ns: int, code: str) -> None:
    found = check().of_moment(known, sent()[1], (0, now_ns))
    assert ("" if found is None else found.code) == code


def test_a_control_record_nobody_signed_is_not_known() -> None:
    event = Input(
        record=set_state(TradingState.HALTED),
        topic=topics.CONTROL,
        session_ns=T0,
        verdict="UNSIGNED",
    )
    assert check().of_moment(world().after(event, RUN), sent()[1], (0, T0)) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"trips": lambda: (trip(),)}, "EXECUTION_TRADING_HALTED"),
        ({"trips": lambda: (trip(SwitchLevel.STOP_ENTRIES),)}, "EXECUTION_TRADING_REDUCING"),
        ({"trips": lambda: (trip(scope_id="a1"),)}, "EXECUTION_TRADING_HALTED"),
        ({"trips": lambda: (trip(scope_id="a2"),)}, ""),
        ({"blind_because": lambda: "no folder"}, "EXECUTION_TRADING_HALTED"),
        ({"mode": "SHADOW"}, "EXECUTION_SHADOW"),
    ],
)
def test_the_switch_at_this_process_decides_as_well(changes: dict[str, Any], code: str) -> None:
    found = check(**changes).of_moment(world(), sent()[1], (0, T0))
    assert ("" if found is None else found.code) == code


def test_reducing_lets_through_what_reduces() -> None:
    _, command = sent(approved(order(is_reduce_only=True)))
    known = world(set_state(TradingState.REDUCING))
    assert check().of_moment(known, command, (0, T0)) is None


def test_what_was_read_must_be_what_was_approved() -> None:
    update, command = sent(approved(limit("o1", "90")))
    assert check().of_command(update, command) is None
    forged = [
        replace(command, venue="OTHER"),
        replace(command, client_order_id="o2"),
        replace(command, child_index=1),
    ]
    for other in forged:
        found = check().of_command(update, other)
        assert found is not None
        assert found.code == "EXECUTION_BAD_COMMAND"
    found = check(verdict=lambda _approved: "BAD_MAC").of_command(update, command)
    assert found is not None
    assert "BAD_MAC" in found.reason
