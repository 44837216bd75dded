"""What holds behind every sequence of inputs: checks of a driver and all that it said."""

from __future__ import annotations

from decimal import Decimal

from execution_samples import Driver, dec, fills, instrument, updates

from tapeline.accounting.numbers import ZERO, notional
from tapeline.contracts.orders import Side
from tapeline.execution.order_table import TERMINAL

START_CASH = dec(100_000)


def no_order_fills_beyond_its_quantity(driver: Driver) -> None:
    ordered = {
        one.approval_id: one.quantity for one in updates(driver.outputs) if one.command is not None
    }
    filled: dict[str, Decimal] = {}
    for fill in fills(driver.outputs):
        filled[fill.approval_id] = filled.get(fill.approval_id, ZERO) + fill.quantity
        assert filled[fill.approval_id] <= ordered[fill.approval_id]
        assert fill.leaves_quantity == ordered[fill.approval_id] - filled[fill.approval_id]
        assert fill.quantity > 0
    assert len({fill.fill_id for fill in fills(driver.outputs)}) == len(fills(driver.outputs))


def one_send_for_each_approval_and_child(driver: Driver) -> None:
    sends = [
        (one.command.approved.approval.approval_id, one.command.child_index)
        for one in updates(driver.outputs)
        if one.command is not None
    ]
    assert len(set(sends)) == len(sends)
    ids = [output.event_id for output in driver.outputs]
    assert len(set(ids)) == len(ids)


def no_approval_ends_twice(driver: Driver) -> None:
    ended: set[str] = set()
    for update in updates(driver.outputs):
        # An id is remembered for a minute past its expiry; a copy that comes later is EXPIRED. What
        # was denied in doubt is denied once more if it comes and verifies.
        if update.code in ("EXECUTION_EXPIRED", "EXECUTION_REUSED"):
            continue
        assert update.approval_id not in ended
        if update.is_terminal:
            ended.add(update.approval_id)


def the_venues_ledger_is_the_fold_of_the_fills(driver: Driver) -> None:
    cash, position = START_CASH, ZERO
    for fill in fills(driver.outputs):
        signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
        position += signed
        cash -= notional(signed, fill.price, instrument().multiplier) + fill.commission
    ledger = driver.state.paper.accounts["a1"]
    assert ledger.cash["USD"] == cash
    assert ledger.positions.get("SPY.ARCA", ZERO) == position


def the_two_cores_hold_the_same_open_orders(driver: Driver) -> None:
    ours, theirs = driver.state.orders, driver.state.paper.orders
    assert set(ours) == set(theirs)
    for name, held in theirs.items():
        assert held.filled_quantity == ours[name].filled_quantity
        assert held.venue_order_id == ours[name].venue_order_id or not held.is_accepted
        assert ours[name].status not in TERMINAL
    indexed = [name for names in driver.state.paper.by_instrument.values() for name in names]
    assert sorted(indexed) == sorted(theirs)


def evolve_alone_and_the_dump_give_the_same_state(driver: Driver) -> None:
    data = driver.dumped()
    assert driver.core.dump(driver.recovered()) == data
    loaded = driver.core.load(data)
    assert loaded == driver.state
    assert driver.core.dump(loaded) == data
