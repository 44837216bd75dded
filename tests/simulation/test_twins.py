"""Hypothesis walks two chains that come back from snapshots at different steps."""

from __future__ import annotations

import os
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from simulation import world
from simulation.faults import Broken
from simulation.plants import Plant
from simulation.twin import Maps
from simulation.twin_machine import PERPETUAL, TwinChain
from simulation.twin_plants import TWIN_PLANTS, Unsorted
from tapeline.contracts.agents import DecisionKind
from tapeline.contracts.config import QueueRule
from tapeline.contracts.control import ScopeKind, SwitchLevel
from tapeline.contracts.orders import Side, TimeInForce

WALKS, STEPS = 25, 40
LONG_WALKS = int(os.environ.get("TAPELINE_TEST_TWIN_WALKS", "3000"))
QUICKLY_FOUND = ("fill-knows-no-quote", "schedules-as-they-come", "snapshot-without-consumed")
COMES_TO = (
    "approved OPEN",
    "approved CANCEL",
    "partial fill",
    "last fill",
    "own size consumed",
    "TWAP",
    "VWAP",
    "ICEBERG",
    "STOP_LOSS",
    "TAKE_PROFIT",
    "QUERY amendment",
    "denial",
    "trip",
    "deaths",
    "approved AMEND",
    "queued",
    "funding",
)
"""what a walk must meet to be worth anything"""
SPY = world.SPY
MANY = 400.0
"""the size of a quote that fills any order here"""
PLAIN = {
    "latency_ns": 0,
    "participation_max": Decimal(1),
    "queue_rule": QueueRule.AHEAD,
    "is_own_size_consumed": True,
    "borrow_rate": None,
}
"""a venue where nothing holds an order up but its queue"""


def walk(
    walks: int,
    steps: int,
    *,
    is_repeatable: bool = True,
    phases: tuple[Phase, ...] = tuple(Phase),
) -> None:
    """The same walks each time, or new ones."""
    run_state_machine_as_test(
        TwinChain,
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            deadline=None,
            derandomize=is_repeatable,
            database=None,
            print_blob=True,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_snapshots_anywhere_change_no_byte() -> None:
    walk(WALKS, STEPS)


@pytest.mark.parametrize(("risk", "execution"), [(0, 1), (1, 0), (1, 3), (3, 1)])
def test_snapshots_change_no_byte_of_all_that_an_order_can_be(risk: int, execution: int) -> None:
    """What chance draws may leave something out: this walk meets everything, each time."""
    TwinChain.met.clear()
    walk_through_everything(risk, execution)
    assert [name for name in COMES_TO if not TwinChain.met[name]] == []


def walk_through_everything(risk: int, execution: int) -> None:
    chain = TwinChain()
    chain.begin(venue=PLAIN, risk=risk, execution=execution)

    def order(form: str, name: str, *sizes: float, quantity: int = 20) -> None:
        chain.order(
            group_id="g1",
            name=name,
            side=Side.BUY,
            quantity=quantity,
            form=form,
            tif=TimeInForce.GTC,
            sizes=list(sizes),
        )

    def go_on(name: str, wait_ns: int, change: int = 0) -> None:
        chain.wait(wait_ns)
        chain.tick(name, change, MANY, "quote")
        chain.deliver(20)
        chain.report(50)

    order("market", SPY, 4.0, MANY)
    chain.report(50)
    for form in ("twap", "vwap", "iceberg", "bracket"):
        order(form, PERPETUAL, MANY)
        for _ in range(6):
            go_on(PERPETUAL, 3 * world.SECOND)
    go_on(PERPETUAL, world.MILLI, change=9)
    chain.funding(0.0001)
    go_on(SPY, world.MILLI)
    order("near", SPY)
    chain.deliver(20)
    for kind in (DecisionKind.AMEND, DecisionKind.CANCEL):
        go_on(SPY, world.MILLI)
        chain.change(which=0, kind=kind)
        go_on(SPY, world.MILLI)
    chain.trip((ScopeKind.ALL, ""), SwitchLevel.STOP_ENTRIES, False)
    order("market", SPY, MANY)
    for of, is_one, maps in product(("risk", "execution"), (True, False), Maps):
        chain.die(of, is_one, maps)
    go_on(SPY, world.SECOND)


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(
            one,
            id=one.name,
            marks=[] if one.name in QUICKLY_FOUND else [pytest.mark.slow, pytest.mark.chaos],
        )
        for one in TWIN_PLANTS
    ],
)
def test_a_planted_bug_is_found(plant: Plant | Unsorted) -> None:
    with plant.planted(), pytest.raises((Broken, AssertionError)):
        walk(400, 60, phases=(Phase.generate,))


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_many_snapshots_change_no_byte() -> None:
    TwinChain.met.clear()
    walk(LONG_WALKS, 60, is_repeatable=False)
    assert [name for name in COMES_TO if not TwinChain.met[name]] == []
