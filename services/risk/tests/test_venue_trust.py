"""What risk relies on at the venues: unknown orders, drift, and the live switch."""

from __future__ import annotations

from typing import Any

import pytest
from risk_samples import (
    ACCOUNT,
    EWG,
    NOW,
    SPY,
    D,
    Desk,
    account,
    decision,
    desk,
    fill_of,
    flatten,
    group,
    instrument,
    live_switch,
    mandate,
    mark,
    order,
    update_of,
    venue,
)

from tapeline.contracts.accounts import VenueDrift
from tapeline.contracts.control import AcceptVenueTruth, ScopeKind
from tapeline.contracts.orders import ApprovedOrder, Mode, OrderStatus, Side
from tapeline.contracts.risk import DenialCode
from tapeline.runtime.core import Context


def live() -> Desk:
    """A live world whose account nobody has switched on."""
    found = Desk(Context(run_id="run-1", service="risk", shard=0, mode="LIVE"))
    found.tell(instrument(), instrument(EWG), account(mode=Mode.LIVE), mandate(), group(), venue())
    found.tell(mark(), mark(EWG))
    return found


def drift(subject: str = f"position/{SPY}", *, is_open: bool = True, **changes: Any) -> VenueDrift:
    values: dict[str, Any] = {
        "drift_id": "d",
        "account_id": ACCOUNT,
        "venue": "PAPER",
        "subject": subject,
        "instrument_id": SPY,
        "ours": D(1),
        "theirs": D(2),
        "is_open": is_open,
        "reason": "test",
        "ts_event_ns": NOW,
        "ts_init_ns": NOW,
    }
    return VenueDrift(**{**values, **changes})


def asked(world: Desk, index: int, instrument_id: str = SPY) -> str:
    said = world.tell(order(Side.BUY, "1", index=index, instrument_id=instrument_id))
    return "approved" if isinstance(said[0], ApprovedOrder) else said[0].code.value


def settled(world: Desk) -> Desk:
    """The same by evolve alone, and from its own bytes."""
    state = world.core.initial()
    for event, outputs in world.history:
        state = world.core.evolve(state, event)
        for output in outputs:
            state = world.core.evolve(state, output)
    assert world.core.dump(state) == world.core.dump(world.state)
    assert world.core.dump(world.core.load(world.core.dump(state))) == world.core.dump(state)
    return world


def test_a_paper_account_takes_no_part_in_a_live_run() -> None:
    world = live()
    world.tell(account(mode=Mode.PAPER, version=2), live_switch())
    assert world.denied(decision()).code is DenialCode.ACCOUNT_UNKNOWN


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], "LIVE_NOT_PERMITTED"),
        ([live_switch()], "approved"),
        ([live_switch(), live_switch(False, 2)], "LIVE_NOT_PERMITTED"),
        ([live_switch(False, 2), live_switch(True, 1)], "LIVE_NOT_PERMITTED"),
        ([live_switch(False, 2), live_switch(True, 3)], "approved"),
        ([live_switch(scope_id="OTHER")], "LIVE_NOT_PERMITTED"),
        ([live_switch(run_id="run-2")], "LIVE_NOT_PERMITTED"),
    ],
)
def test_live_needs_the_accounts_own_switch(records: list[Any], expected: str) -> None:
    world = live()
    world.tell(*records)
    assert asked(settled(world), 1) == expected


def test_a_switch_that_nobody_signed_switches_nothing() -> None:
    world = live()
    assert world.tell(live_switch(), verdict="UNSIGNED")[0].code == "CONTROL_UNSIGNED"
    assert asked(world, 1) == "LIVE_NOT_PERMITTED"


def test_on_paper_nobody_needs_a_switch() -> None:
    assert asked(desk(), 1) == "approved"


def test_an_unknown_order_keeps_its_exposure_and_its_instrument_only_reduces() -> None:
    world = desk(marks=(mark(), mark(EWG)))
    sent = world.approved(order(Side.BUY, "10", index=1))
    before = world.state.accounts[ACCOUNT].reserves
    world.tell(update_of(sent, OrderStatus.UNKNOWN, is_terminal=False))
    assert world.state.accounts[ACCOUNT].reserves == before
    assert world.state.accounts[ACCOUNT].open_order_count == 1
    assert asked(settled(world), 2) == "TRADING_REDUCING"
    assert asked(world, 3, EWG) == "approved"
    world.hold("5")
    reducing = order(Side.SELL, "1", index=4, is_reduce_only=True)
    assert isinstance(world.tell(reducing)[0], ApprovedOrder)
    world.tell(update_of(sent, OrderStatus.ACCEPTED, is_terminal=False))
    assert asked(settled(world), 5) == "approved"


@pytest.mark.parametrize("end", [OrderStatus.DENIED, OrderStatus.REJECTED, OrderStatus.CANCELED])
def test_an_unknown_order_that_ended_gives_everything_back(end: OrderStatus) -> None:
    world = desk()
    sent = world.approved(order(Side.BUY, "10", index=1))
    world.tell(update_of(sent, OrderStatus.UNKNOWN, is_terminal=False), update_of(sent, end))
    assert world.state.accounts[ACCOUNT].reserves == {}
    assert asked(settled(world), 2) == "approved"


def test_an_unknown_order_that_was_filled_is_a_position() -> None:
    world = desk()
    sent = world.approved(order(Side.BUY, "10", index=1))
    world.tell(update_of(sent, OrderStatus.UNKNOWN, is_terminal=False))
    world.tell(fill_of(sent, "10", "100"), update_of(sent, OrderStatus.FILLED, "10"))
    assert world.state.unknown_orders == {}
    assert settled(world).state.accounts[ACCOUNT].ledger.net_quantity(SPY) == 10


@pytest.mark.parametrize(
    ("instrument_id", "spy", "ewg"),
    [(SPY, "TRADING_REDUCING", "approved"), ("", "TRADING_REDUCING", "TRADING_REDUCING")],
)
def test_drift_lets_an_instrument_or_an_account_only_reduce(
    instrument_id: str, spy: str, ewg: str
) -> None:
    world = desk(marks=(mark(), mark(EWG)))
    world.tell(drift(instrument_id=instrument_id), drift("cash/EUR", instrument_id=SPY))
    assert (asked(world, 1), asked(world, 2, EWG)) == (spy, ewg)
    world.tell(drift(is_open=False))
    assert asked(world, 3) == "TRADING_REDUCING"
    world.tell(drift("cash/EUR", is_open=False))
    assert asked(settled(world), 4) == "approved"
    assert world.state.drifts == {}


def test_drift_of_another_account_is_not_ours() -> None:
    world = desk()
    world.tell(drift(account_id="OTHER"))
    assert asked(world, 1) == "approved"


def test_what_operators_accept_is_executions_to_book() -> None:
    world = desk()
    record = AcceptVenueTruth(
        command_id="k",
        scope=ScopeKind.ACCOUNT,
        scope_id=ACCOUNT,
        drift_ids=("d",),
        expires_ns=NOW + 1,
        sequence=1,
        operator="ada",
        reason="drill",
        issued_ns=NOW,
        run_id="run-1",
        key_id="ada",
        signature=b"",
    )
    assert world.tell(record) == []
    assert world.tell(flatten()) == []
